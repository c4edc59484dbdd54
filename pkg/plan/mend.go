package plan

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	"istio.io/api/label"
)

// mended is the ID of the last step that makes again what runs before have handed
// over and somebody has taken away since; empty where nothing of the kind is done.
// That a run has handed something over is told by what is left of it, in a namespace
// that is in ambient mode already.
func (e enrolment) mended(steps []v1alpha1.Step) string {
	handed := e.namespace.Labels[label.IoIstioDataplaneMode.Name] == mesh.DataplaneAmbient &&
		slices.ContainsFunc(e.translation.Before, func(object translate.Object) bool {
			there, found := e.snapshot.Object(object.Reference)
			return found && Ours(there)
		})
	last := ""
	for _, step := range steps {
		if handed && (Span{Until: v1alpha1.PhaseActivateWaypoints}).Holds(step.Phase) && step.Phase != v1alpha1.PhasePin {
			last = step.ID
		}
	}
	return last
}

// stageAfter is the place of the mesh as a step leaves it.
func stageAfter(stages []compare.Stage, step string) int {
	last := 0
	for i, stage := range stages {
		if stage.Step == step {
			last = i
		}
	}
	return last
}

// report compares how the steps decide calls with how they are decided today. Where
// steps make again what was handed over, today is what somebody has broken, and
// nothing to go by: the steps after them are compared with how calls are decided once
// that is done; on the way there, what is decided as at either end is expected; and
// what differs for good is told apart.
func (e enrolment) report(namespaces []string, steps []v1alpha1.Step, mended string) (*v1alpha1.AccessReport, error) {
	options := comparing(e.snapshot, namespaces)
	stages, err := stagesOf(e.snapshot, namespaces, steps, false)
	if err != nil {
		return nil, err
	}
	if mended == "" {
		return reportOf(stages, options), nil
	}
	at := stageAfter(stages, mended)
	mending := reportOf(stages[:at+1], options)
	made := reportOf(stages[at:], options)
	options.BothEnds = true
	onTheWay := reportOf(stages[:at+1], options)
	for _, change := range mending.Changes {
		if change.Until == "" {
			change.Repairs = true
			made.Changes = append(made.Changes, change)
		}
	}
	made.Changes = append(made.Changes, onTheWay.Changes...)
	made.Compared += mending.Compared
	made.Incomplete = slices.Compact(slices.Sorted(slices.Values(slices.Concat(made.Incomplete, mending.Incomplete))))
	return made, nil
}
