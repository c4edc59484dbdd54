package plan

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
)

// joins is the waypoint that the pods of a workload have to name, and do not yet.
// Only the template names it, so that no pod with a sidecar ever does: ztunnel would
// send calls to such a pod through the waypoint, too.
func (e enrolment) joins(workload mesh.Workload) (translate.WorkloadWaypoint, bool) {
	for _, direct := range e.translation.Direct {
		if !slices.Contains(direct.Workloads, workload.Reference) {
			continue
		}
		for name, value := range direct.Labels {
			if workload.Template.Labels[name] != value {
				return direct, true
			}
		}
	}
	return translate.WorkloadWaypoint{}, false
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
	selector, _ := Lookup(object.Content, "/spec/selector/matchLabels").(map[string]any)
	if object.Reference.Kind != mesh.KindAuthorizationPolicy || Lookup(object.Content, "/spec/action") != "DENY" || len(mesh.TargetsIn(object.Content)) > 0 {
		return false
	}
	if _, there := e.state.find(object.Reference); there {
		return false
	}
	joining := false
	for _, workload := range e.snapshot.Workloads(e.namespace.Name) {
		if !selects(selector, workload.Template.Labels) {
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

func selects(selector map[string]any, labels map[string]string) bool {
	for name, value := range selector {
		if of, set := labels[name]; !set || of != value {
			return false
		}
	}
	return true
}
