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
			change.Repairs = e.handedBefore(change.Service)
			made.Changes = append(made.Changes, change)
		}
	}
	made.Changes = append(made.Changes, onTheWay.Changes...)
	made.Compared += mending.Compared
	made.Incomplete = slices.Compact(slices.Sorted(slices.Values(slices.Concat(made.Incomplete, mending.Incomplete))))
	return made, nil
}

// handedBefore says whether a service that a waypoint is to stand in front of was
// behind it already, as its own labels tell, or what is left of its policies at the
// waypoint. The label of its namespace holds for what comes later as well, and tells
// it only where policies do so, too. What no run has handed over is no repair: calls
// to it are compared with today.
func (e enrolment) handedBefore(service *v1alpha1.ObjectReference) bool {
	if service == nil {
		return true
	}
	for _, one := range e.translation.Services {
		if one.Need.Service == *service && one.WaypointName != "" {
			_, _, named := mesh.NamedWaypoint(one.Need.Labels, mesh.Namespace{Name: e.namespace.Name})
			_, _, byNamespace := mesh.NamedWaypoint(one.Need.Labels, e.namespace)
			return named || e.anyLeft(*service) || byNamespace && e.anyForAll()
		}
	}
	for _, direct := range e.translation.Direct {
		if slices.Contains(direct.Services, *service) {
			return e.anyLeft(direct.Reference()) || slices.ContainsFunc(direct.Workloads, e.named)
		}
	}
	return true
}

// anyLeft says whether anything that runs have attached to a service, or to a waypoint
// of pods, is there.
func (e enrolment) anyLeft(to v1alpha1.ObjectReference) bool {
	return slices.ContainsFunc(attachedTo(e.translation.Before, to), func(object translate.Object) bool {
		there, found := e.snapshot.Object(object.Reference)
		return found && Ours(there)
	})
}

// anyForAll says whether anything is there that runs have attached to the waypoint for
// all services behind it.
func (e enrolment) anyForAll() bool {
	return slices.ContainsFunc(attachedTo(e.translation.Before, v1alpha1.ObjectReference{}), func(object translate.Object) bool {
		there, found := e.snapshot.Object(object.Reference)
		return found && Ours(there) && len(mesh.TargetsIn(there)) > 0
	})
}

// named says whether the template of a workload names a waypoint.
func (e enrolment) named(reference v1alpha1.ObjectReference) bool {
	workload, found := e.snapshot.Workload(reference)
	return found && workload.Template.Labels[label.IoIstioUseWaypoint.Name] != ""
}
