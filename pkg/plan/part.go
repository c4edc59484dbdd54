package plan

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// isAfter says whether a phase of an enrolment comes after another; each does
// where that is empty.
func isAfter(phase, to v1alpha1.Phase) bool {
	return to == "" || slices.Index(EnrollPhases(), phase) > slices.Index(EnrollPhases(), to)
}

// left are the changes of a step that a run may have made, and that nothing has put
// back since.
func left(record v1alpha1.MigrationRecord, i int) []v1alpha1.Change {
	if i >= len(record.Steps) || !record.Steps[i].Begun() {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(record.Plan.Steps[i].Changes), func(change v1alpha1.Change) bool {
		kept := len(record.Remains) == 0 || slices.Contains(record.Remains, change.Object)
		return !kept || slices.Contains(record.Steps[i].Undone, change.Object)
	})
}

// remnant says whether a run is rolled back but for what other namespaces rely on.
func remnant(record v1alpha1.MigrationRecord) bool { return len(record.Remains) > 0 }

// unreturned are the records of runs that are more than remnants.
func unreturned(records []v1alpha1.MigrationRecord) []v1alpha1.MigrationRecord {
	return slices.DeleteFunc(slices.Clone(records), remnant)
}

// ToBeUndone are those among records of enrolments that have something left to undo
// in the phases after one.
func ToBeUndone(records []v1alpha1.MigrationRecord, to v1alpha1.Phase) []v1alpha1.MigrationRecord {
	return slices.DeleteFunc(slices.Clone(records), func(record v1alpha1.MigrationRecord) bool {
		return to != "" && !holdsChange(record, func(phase v1alpha1.Phase) bool { return isAfter(phase, to) })
	})
}

// holdsChange says whether a run may have changed something in phases that are meant,
// and it was not undone since.
func holdsChange(record v1alpha1.MigrationRecord, meant func(v1alpha1.Phase) bool) bool {
	for i, step := range record.Plan.Steps {
		if len(left(record, i)) > 0 && meant(step.Phase) {
			return true
		}
	}
	return false
}

// Undone is the record of an enrolment after a rollback to a phase: what it did in
// those after it is undone, and all of it where nothing else is left.
func Undone(record v1alpha1.MigrationRecord, to v1alpha1.Phase) v1alpha1.MigrationRecord {
	if to != "" {
		record.Steps = slices.Clone(record.Steps)
		for i, step := range record.Plan.Steps {
			if i < len(record.Steps) && record.Steps[i].Begun() && isAfter(step.Phase, to) {
				record.Steps[i].State = v1alpha1.StepUndone
			}
		}
	}
	if to == "" || !holdsChange(record, func(v1alpha1.Phase) bool { return true }) {
		record.State, record.Remains = v1alpha1.RunRolledBack, nil
	}
	return record
}

// UndoneBy is the record of an enrolment after a rollback. What that has kept for now, it
// holds on.
func UndoneBy(rollback v1alpha1.MigrationPlan, record v1alpha1.MigrationRecord) v1alpha1.MigrationRecord {
	kept := keptForNow(rollback, record)
	switch {
	case rollback.Service != "":
		return undoneObjects(record, func(_ v1alpha1.Phase, object v1alpha1.ObjectReference) bool {
			return slices.Contains(rollback.Part, object)
		})
	case len(kept) == 0:
		return Undone(record, rollback.To)
	case rollback.To != "":
		return undoneObjects(record, func(phase v1alpha1.Phase, object v1alpha1.ObjectReference) bool {
			return isAfter(phase, rollback.To) && !slices.Contains(kept, object)
		})
	default:
		record.State, record.Remains = v1alpha1.RunRolledBack, kept
		return record
	}
}

// keptForNow are the objects of a run that a rollback has kept and the next one is to put
// back.
func keptForNow(rollback v1alpha1.MigrationPlan, record v1alpha1.MigrationRecord) []v1alpha1.ObjectReference {
	var objects []v1alpha1.ObjectReference
	for i := range record.Plan.Steps {
		for _, change := range left(record, i) {
			later := slices.ContainsFunc(rollback.Kept, func(kept v1alpha1.KeptField) bool { return kept.Later && kept.Object == change.Object })
			if later && !slices.Contains(objects, change.Object) {
				objects = append(objects, change.Object)
			}
		}
	}
	return objects
}

// undoneObjects is the record of a run of which some objects are put back, as far as
// they were written in a phase.
func undoneObjects(record v1alpha1.MigrationRecord, put func(v1alpha1.Phase, v1alpha1.ObjectReference) bool) v1alpha1.MigrationRecord {
	record.Steps = slices.Clone(record.Steps)
	for i, planned := range record.Plan.Steps {
		undone := slices.DeleteFunc(left(record, i), func(change v1alpha1.Change) bool { return !put(planned.Phase, change.Object) })
		if len(undone) == 0 {
			continue
		}
		step := &record.Steps[i]
		step.Undone = slices.Clone(step.Undone)
		for _, change := range undone {
			step.Undone = append(step.Undone, change.Object)
		}
		if len(left(record, i)) == 0 {
			step.State = v1alpha1.StepUndone
		}
	}
	if !holdsChange(record, func(v1alpha1.Phase) bool { return true }) {
		record.State, record.Remains = v1alpha1.RunRolledBack, nil
	}
	return record
}

// separable wants no field to be written in a phase that is kept after it was in one
// that is undone: what it would have to become, nobody has ever written.
func separable(records []v1alpha1.MigrationRecord, to v1alpha1.Phase) error {
	if to == "" {
		return nil
	}
	type field struct {
		object v1alpha1.ObjectReference
		path   string
	}
	if workloads := evictedBy(to, records); len(workloads) > 0 && !isAfter(v1alpha1.PhaseEnableAmbient, to) {
		return fmt.Errorf("pods of %s are in ambient mode by the labels of their namespace, which phase %s keeps, so that they cannot go back: roll back to a phase before %s",
			shortName(workloads[0]), to, v1alpha1.PhaseEnableAmbient)
	}
	undone := map[field]v1alpha1.Phase{}
	for _, record := range slices.Backward(records) {
		for i, step := range record.Plan.Steps {
			for _, change := range left(record, i) {
				for _, one := range change.Fields {
					at := field{change.Object, one.Path}
					if isAfter(step.Phase, to) {
						undone[at] = step.Phase
						continue
					}
					if later, written := undone[at]; written {
						return fmt.Errorf("%s of %s was written in phase %s, and by run %s again in phase %s, so that the two cannot be told apart: roll back whole runs, newest first",
							one.Path, change.Object, later, record.ID, step.Phase)
					}
				}
			}
		}
	}
	return nil
}
