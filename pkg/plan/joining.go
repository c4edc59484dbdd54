package plan

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// joins is the waypoint that the pods of a workload have to name, and do not yet.
// Only the template names it, so that no pod with a sidecar ever does: ztunnel would
// send calls to such a pod through the waypoint, too.
func (e enrolment) joins(workload mesh.Workload) (translate.WorkloadWaypoint, bool) {
	direct, has := e.direct(workload)
	for name, value := range direct.Labels {
		if workload.Template.Labels[name] != value {
			return direct, has
		}
	}
	return direct, false
}

// direct is the waypoint for calls to the addresses of a workload's pods.
func (e enrolment) direct(workload mesh.Workload) (translate.WorkloadWaypoint, bool) {
	i := slices.IndexFunc(e.translation.Direct, func(direct translate.WorkloadWaypoint) bool {
		return slices.Contains(direct.Workloads, workload.Reference)
	})
	if i < 0 {
		return translate.WorkloadWaypoint{}, false
	}
	return e.translation.Direct[i], true
}

// captured waits for a workload's pods to be in ambient mode, and for ztunnel to go
// through the waypoint that they name, if any.
func (e enrolment) captured(workload mesh.Workload) v1alpha1.Gate {
	gate := v1alpha1.Gate{Kind: v1alpha1.GateCaptured, Workloads: []v1alpha1.ObjectReference{workload.Reference}, Replaces: workload.ByHand()}
	gate.Cordon = e.options.Cordon && cordons(workload)
	if direct, has := e.direct(workload); has {
		gate.Objects = []v1alpha1.ObjectReference{direct.Reference()}
	}
	return gate
}

// untilJoined parts what refuses direct calls to pods that have been in ambient mode
// all along from the rest: it has to wait until they name their waypoint, or nobody
// could call them in the meantime. It waits for none that are moved, which must not
// be without it.
func (e enrolment) untilJoined(h handover, objects []translate.Object) (now, later []translate.Object) {
	if h.prefix != "" {
		return objects, nil
	}
	for _, object := range objects {
		if e.onlyJoining(object) {
			later = append(later, object)
		} else {
			now = append(now, object)
		}
	}
	return now, later
}

// onlyJoining says whether a DENY policy with a selector is about workloads that
// only come to name their waypoint.
func (e enrolment) onlyJoining(object translate.Object) bool {
	// It is what a translation wrote: labels, or none.
	selector, _, _ := unstructured.NestedStringMap(object.Content, "spec", "selector", "matchLabels")
	if object.Reference.Kind != mesh.KindAuthorizationPolicy || Lookup(object.Content, "/spec/action") != "DENY" || len(mesh.TargetsIn(object.Content)) > 0 {
		return false
	}
	if _, there := e.state.find(object.Reference); there {
		return false
	}
	joining := false
	for _, workload := range e.snapshot.Workloads(e.namespace.Name) {
		if !mesh.SelectsLabels(selector, workload.Template.Labels) {
			continue
		}
		_, joins := e.joins(workload)
		if moves := e.snapshot.RoleOf(workload, e.namespace) == mesh.RoleMove; moves || !joins {
			return false
		}
		joining = true
	}
	return joining
}
