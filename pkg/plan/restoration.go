package plan

import (
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
)

// RestorationOf is what there is to be again once the runs of some records, given
// newest first, are undone.
func RestorationOf(namespace string, records []v1alpha1.MigrationRecord) (v1alpha1.Restoration, error) {
	since := oldest(records)
	restoration := v1alpha1.Restoration{Since: &since}
	written, created, err := writtenBy(records)
	if err != nil {
		return restoration, err
	}
	mode := Pointer("/metadata/labels", label.IoIstioDataplaneMode.Name)
	refused := Pointer("/metadata/labels", label.SidecarInject.Name)
	for _, field := range written {
		switch {
		case field.object.Kind == mesh.KindNamespace && field.object.Name == namespace && field.path == mode:
			restoration.Unlabelled = field.before != mesh.DataplaneAmbient
		case field.phase == v1alpha1.PhaseRestartWorkloads && strings.HasSuffix(field.path, refused) && field.object.Kind != mesh.KindCronJob:
			// It is the label by which a workload loses its sidecars.
			restoration.Workloads = append(restoration.Workloads, field.object)
		}
	}
	for _, workload := range evictedBy("", records) {
		if !slices.Contains(restoration.Workloads, workload) {
			restoration.Workloads = append(restoration.Workloads, workload)
			restoration.Evicted = append(restoration.Evicted, workload)
		}
	}
	for _, one := range created {
		restoration.Created = append(restoration.Created, one.object)
	}
	return restoration, nil
}

// unrecordedRestoration is what a rollback without a record puts back, by its own steps.
func unrecordedRestoration(planned v1alpha1.MigrationPlan) v1alpha1.Restoration {
	var restoration v1alpha1.Restoration
	for _, step := range planned.Steps {
		for _, change := range step.Changes {
			switch {
			case step.Phase == v1alpha1.PhaseDisableAmbient:
				restoration.Unlabelled = true
			case step.Phase == v1alpha1.PhaseRestoreWorkloads && change.Object.Kind != mesh.KindCronJob:
				restoration.Workloads = append(restoration.Workloads, change.Object)
			}
		}
	}
	return restoration
}

// Concluding adds to the rollback of all that the records of a namespace hold, or to
// one without a record, the step that looks at what it has come to. One that changes
// nothing is left as it is, and so is one that only takes leftovers away, or what other
// namespaces relied on: no pod gets its sidecar back by that.
func Concluding(planned *v1alpha1.MigrationPlan, records []v1alpha1.MigrationRecord) error {
	if len(planned.Steps) == 0 {
		return nil
	}
	restoration := unrecordedRestoration(*planned)
	switch {
	case planned.Unrecorded && !restoration.Unlabelled && len(restoration.Workloads) == 0 && !Replaces(planned):
		return nil
	case !planned.Unrecorded && len(unreturned(records)) == 0:
		return nil
	case !planned.Unrecorded:
		var err error
		if restoration, err = RestorationOf(planned.Namespace, unreturned(records)); err != nil {
			return err
		}
	}
	planned.Steps = append(planned.Steps, v1alpha1.Step{
		ID: string(v1alpha1.PhaseVerify), Phase: v1alpha1.PhaseVerify,
		Summary: "verify that the sidecars are back and nothing is captured",
		Gate:    v1alpha1.Gate{Kind: v1alpha1.GateRestored, Restoration: &restoration},
	})
	return nil
}

// Returned is what the rollbacks that are the newest records of a namespace are to have
// put back, given all of them, newest first. It is nil where a run is not undone, or
// where what is undone had not moved the namespace.
func Returned(namespace string, records []v1alpha1.MigrationRecord) (*checks.Returned, error) {
	open := func(record v1alpha1.MigrationRecord) bool {
		return record.Operation != v1alpha1.OperationRollback && record.State != v1alpha1.RunRolledBack
	}
	if len(records) == 0 || slices.ContainsFunc(records, open) {
		return nil, nil
	}
	if newest := records[0]; newest.Plan.Unrecorded {
		return whereMoved(checks.Returned{Restoration: unrecordedRestoration(newest.Plan), Kept: newest.Plan.Kept}), nil
	}
	var returned checks.Returned
	var undone []string
	var before []v1alpha1.KeptField
	newest := true
	for _, record := range records {
		switch {
		case record.Operation != v1alpha1.OperationRollback:
			newest = false
		case newest:
			undone = append(undone, record.Plan.Undoes...)
			returned.Kept = append(returned.Kept, record.Plan.Kept...)
		default:
			before = append(before, record.Plan.Kept...)
		}
	}
	of := slices.DeleteFunc(slices.Clone(records), func(record v1alpha1.MigrationRecord) bool {
		return record.Operation == v1alpha1.OperationRollback || len(undone) > 0 && !slices.Contains(undone, record.ID)
	})
	for i := range of {
		// What it looks at is the whole run, not what remains of it elsewhere.
		of[i].Remains = nil
	}
	var err error
	returned.Restoration, err = RestorationOf(namespace, of)
	for _, kept := range before {
		// A workload that was left alone then has been moved, and put back, since.
		if !slices.Contains(returned.Workloads, kept.Object) {
			returned.Kept = append(returned.Kept, kept)
		}
	}
	return whereMoved(returned), err
}

// whereMoved leaves out what had moved nothing: a single Service that was given a waypoint.
func whereMoved(returned checks.Returned) *checks.Returned {
	if len(returned.Workloads) == 0 && !returned.Unlabelled {
		return nil
	}
	return &returned
}
