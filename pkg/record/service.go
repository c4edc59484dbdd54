package record

import (
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
)

// Where a ConfigMap says what of a record tells which Services are off their waypoint.
const (
	serviceKey  = "service"
	takenOffKey = "takenOff"
)

// outlineOf is a record as far as its ConfigMap says it outside the record itself.
func outlineOf(configMap *corev1.ConfigMap) v1alpha1.MigrationRecord {
	run := v1alpha1.MigrationRecord{
		ID:        strings.TrimPrefix(configMap.Name, namePrefix),
		Operation: v1alpha1.Operation(configMap.Data["operation"]), State: v1alpha1.RunState(configMap.Data["state"]),
	}
	if run.Operation == v1alpha1.OperationRollback {
		run.Plan.Service = configMap.Data[serviceKey]
		return run
	}
	run.Plan.Options = &v1alpha1.PlanOptions{Service: configMap.Data[serviceKey]}
	if names := configMap.Data[takenOffKey]; names != "" {
		run.Plan.Options.TakenOff = strings.Split(names, ",")
	}
	return run
}

// TakenOff are the Services of a namespace, by name, that rollbacks have taken off
// their waypoint although its enrolment holds, and that no run has given one since.
// Records are those of the namespace, newest first.
func TakenOff(records []v1alpha1.MigrationRecord) []string {
	var off []string
	decided := map[string]bool{}
	for _, run := range records {
		name := strings.TrimPrefix(run.Service(), "service/")
		switch {
		case name != "" && !decided[name]:
			// What was given by a run that is undone is not given.
			if open(run) {
				decided[name] = true
			} else if run.Operation == v1alpha1.OperationRollback {
				decided[name] = true
				off = append(off, name)
			}
		case name == "" && run.Operation == v1alpha1.OperationEnroll && open(run):
			for _, still := range takenOffIn(run) {
				if !decided[still] {
					off = append(off, still)
				}
			}
			slices.Sort(off)
			return off
		}
	}
	// No enrolment of the namespace holds.
	return nil
}

// Continued is the run that --resume goes on with, given the records of a namespace
// whose newest run has ended, newest first: the newest enrolment of the namespace where
// those made since were for single Services and have ended well, and otherwise the
// newest of these. It is false where there is none.
func Continued(records []v1alpha1.MigrationRecord) (v1alpha1.MigrationRecord, bool) {
	var single *v1alpha1.MigrationRecord
	off := map[string]bool{}
	for i, run := range records {
		off[run.Service()] = off[run.Service()] || run.Plan.Service != ""
		switch {
		case run.Service() == "" && (!open(run) || run.Operation != v1alpha1.OperationEnroll), off[run.Service()]:
			continue
		case run.Service() == "" || open(run) && run.State != v1alpha1.RunSucceeded:
			return run, true
		case open(run) && single == nil:
			single = &records[i]
		}
	}
	if single == nil {
		return v1alpha1.MigrationRecord{}, false
	}
	return *single, true
}

// Whole is the plan of an enrolment of a namespace with the options that it would be
// made with now: what has become of single Services since is part of them. Records are
// those of the namespace, newest first.
func Whole(records []v1alpha1.MigrationRecord, of v1alpha1.MigrationRecord) v1alpha1.MigrationPlan {
	planned := of.Plan
	if planned.Options == nil || planned.Options.Service != "" {
		return planned
	}
	options := *planned.Options
	options.TakenOff = TakenOff(records)
	options.WaypointAdd, options.WaypointSkip = slices.Clone(options.WaypointAdd), slices.Clone(options.WaypointSkip)
	for _, run := range records {
		if run.ID == of.ID {
			break
		}
		name := strings.TrimPrefix(run.Service(), "service/")
		if name == "" || !open(run) || slices.Contains(options.TakenOff, name) {
			continue
		}
		given := func(one string) bool { return one == name }
		options.WaypointSkip = slices.DeleteFunc(options.WaypointSkip, given)
		if !slices.ContainsFunc(options.WaypointAdd, given) {
			options.WaypointAdd = append(options.WaypointAdd, name)
		}
	}
	for _, name := range options.TakenOff {
		options.WaypointAdd = slices.DeleteFunc(options.WaypointAdd, func(one string) bool { return one == name })
		options.WaypointSkip = slices.DeleteFunc(options.WaypointSkip, func(one string) bool { return one == name })
	}
	planned.Options = &options
	return planned
}

func takenOffIn(run v1alpha1.MigrationRecord) []string {
	if run.Plan.Options == nil {
		return nil
	}
	return run.Plan.Options.TakenOff
}
