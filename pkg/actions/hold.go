package actions

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"istio.io/api/label"
)

// holding is what stands in for sidecars, as the steps so far have left it.
type holding struct {
	v1alpha1.Handover
	state *plan.Projection
}

// hold starts from the mesh that a plan was made for. It is nil where the plan hands
// nothing over.
func hold(planned v1alpha1.MigrationPlan, content mesh.Content) (*holding, error) {
	if planned.Handover == nil {
		return nil, nil
	}
	snapshot, err := mesh.NewSnapshot(content)
	if err != nil {
		return nil, err
	}
	return &holding{Handover: *planned.Handover, state: plan.NewProjection(snapshot)}, nil
}

// note takes in what a step has changed.
func (h *holding) note(changes []v1alpha1.Change) error {
	if h == nil {
		return nil
	}
	for _, change := range changes {
		if change.Object.Kind == mesh.KindPod {
			// Pods come and go, and nothing is handed over to them.
			continue
		}
		if _, _, err := h.state.Apply(change); err != nil {
			return err
		}
		h.hold(change)
	}
	return nil
}

// hold takes in what a step has made beside what was handed over, and leaves out what
// one has deleted, since something else stands in for it.
func (h *holding) hold(change v1alpha1.Change) {
	is := func(object v1alpha1.ObjectReference) bool { return object.Unversioned() == change.Object.Unversioned() }
	policy := change.Object.Kind == mesh.KindAuthorizationPolicy || change.Object.Kind == mesh.KindRequestAuthentication
	switch {
	case change.Delete:
		h.Objects = slices.DeleteFunc(slices.Clone(h.Objects), is)
		h.Policies = slices.DeleteFunc(slices.Clone(h.Policies), func(known v1alpha1.KnownPolicy) bool { return is(known.Object) })
	case change.Create != nil && policy && !slices.ContainsFunc(h.Objects, is):
		h.Objects = append(slices.Clone(h.Objects), change.Object)
	}
}

// errNotHeld is why a run ends before a step although its time is not over: what is
// lost does not come back by itself.
var errNotHeld = errors.New("what was handed over does not hold")

// require waits until what a step requires holds, which includes what the steps before
// have written. It fails before anything of the step is written.
func (r *Runner) require(ctx context.Context, step v1alpha1.Step) error {
	if step.Requires == "" {
		return r.stays(ctx, step)
	}
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	err := r.wait(ctx, step, v1alpha1.Gate{Kind: step.Requires})
	if gate := (*GateError)(nil); errors.As(err, &gate) {
		gate.Before = true
		if errors.Is(gate.Cause, errGivenUp) {
			gate.Cause = errNotHeld
		}
	}
	return err
}

// lookHandover: what stands in for sidecars is as the steps have left it, and does
// its work. What somebody has taken away does not come back by itself; what is
// starting up does.
func (r *Runner) lookHandover(_ context.Context, snapshot *mesh.Snapshot, _ v1alpha1.Gate) (verdict, error) {
	namespace, err := r.namespace(snapshot)
	if err != nil || r.holding == nil {
		return verdict{}, err
	}
	lost, err := r.holding.lost(checks.Subject{Snapshot: snapshot, Namespace: namespace})
	if err != nil || len(lost) > 0 {
		return verdict{missing: lost, failed: true}, err
	}
	missing := r.holding.unready(snapshot)
	if r.holding.Sidecars {
		missing = append(missing, withoutTunnel(snapshot.Pods(namespace.Name))...)
	}
	return verdict{missing: missing}, nil
}

// lost is what somebody has taken away, changed, or added to it.
func (h *holding) lost(subject checks.Subject) ([]string, error) {
	var lost []string
	for _, waypoint := range h.Waypoints {
		if _, found := subject.Snapshot.Gateway(waypoint.Namespace, waypoint.Name); !found {
			lost = append(lost, waypoint.String()+" is gone: somebody has deleted the waypoint of "+h.behind(waypoint))
		}
	}
	for _, service := range h.Services {
		text, err := h.diverted(subject.Snapshot, service)
		if err != nil {
			return nil, err
		}
		if text != "" {
			lost = append(lost, service.Object.String()+" "+text)
		}
	}
	drifts, err := h.drifts(subject.Snapshot)
	if err != nil {
		return nil, err
	}
	for _, drift := range drifts {
		if drift.Object.Kind != mesh.KindGateway || !drift.Gone {
			lost = append(lost, drift.Object.String()+" "+drift.Text())
		}
	}
	policies, err := h.policies(subject)
	return append(lost, policies...), err
}

// behind names the services that go through a waypoint, or the pods where it is for
// these.
func (h *holding) behind(waypoint v1alpha1.ObjectReference) string {
	var names []string
	for _, service := range h.Services {
		if service.Waypoint == waypoint.Namespace+"/"+waypoint.Name {
			names = append(names, service.Object.String())
		}
	}
	if len(names) == 0 {
		return "the addresses of pods that name it"
	}
	return summary(names)
}

// diverted says how a service does not go where it is to go any more: by the labels
// that are its own or its namespace's.
func (h *holding) diverted(snapshot *mesh.Snapshot, service v1alpha1.FrontedService) (string, error) {
	object, found := snapshot.Object(service.Object)
	if !found {
		return "is gone: somebody has deleted it", nil
	}
	in, name, named := waypointNamed(snapshot, service.Object, object)
	switch {
	case !named:
		return fmt.Sprintf("names no waypoint: its label %s is to name %s, and somebody has changed it", label.IoIstioUseWaypoint.Name, service.Waypoint), nil
	case in+"/"+name != service.Waypoint:
		return fmt.Sprintf("names waypoint %s/%s by its label %s, and is to name %s: somebody has changed it", in, name, label.IoIstioUseWaypoint.Name, service.Waypoint), nil
	}
	wanted, err := h.state.Object(service.Object)
	if err != nil {
		return "", err
	}
	ingress := label.IoIstioIngressUseWaypoint.Name
	if now, was := labelsOf(object)[ingress], labelsOf(wanted)[ingress]; now != was {
		return fmt.Sprintf("has label %s %q, and is to have %q: somebody has changed it", ingress, now, was), nil
	}
	return "", nil
}

// drifts are the objects of the handover that are not as the steps have left them.
func (h *holding) drifts(snapshot *mesh.Snapshot) ([]checks.Drift, error) {
	var drifts []checks.Drift
	for _, reference := range h.Objects {
		wanted, err := h.state.Object(reference)
		if err != nil {
			return nil, err
		}
		live, _ := snapshot.Object(reference)
		if drift := plan.Drift(reference, wanted, live); drift != nil {
			drifts = append(drifts, *drift)
		}
	}
	return drifts, nil
}

// policies are those that reach pods here and that are not what the plan was made
// with: made since, changed or deleted.
func (h *holding) policies(subject checks.Subject) ([]string, error) {
	var lost []string
	known := map[v1alpha1.ObjectReference]bool{}
	for _, object := range h.Objects {
		known[object.Unversioned()] = true
	}
	for _, policy := range h.Policies {
		known[policy.Object.Unversioned()] = true
		was, err := h.state.Object(policy.Object)
		if err != nil {
			return nil, err
		}
		live, found := subject.Snapshot.Object(policy.Object)
		reaches := checks.Reaches(subject, h.Handover, was) || found && checks.Reaches(subject, h.Handover, live)
		if drift := plan.Drift(policy.Object, was, live); drift != nil && reaches {
			lost = append(lost, policy.Object.String()+" "+drift.Text()+" since the plan was made")
		}
	}
	for _, policy := range checks.PoliciesIn(subject.Snapshot, h.Lists) {
		live, _ := subject.Snapshot.Object(policy)
		if !known[policy.Unversioned()] && checks.Reaches(subject, h.Handover, live) {
			lost = append(lost, policy.String()+" has been made since the plan was: nothing that stands in for sidecars enforces it yet")
		}
	}
	return lost, nil
}

// unready is what is there and does not do its work yet, or not for the moment.
func (h *holding) unready(snapshot *mesh.Snapshot) []string {
	var missing []string
	for _, waypoint := range h.Waypoints {
		gateway, _ := snapshot.Gateway(waypoint.Namespace, waypoint.Name)
		if text := unprogrammed(gateway); text != "" {
			missing = append(missing, waypoint.String()+" "+text)
		} else if snapshot.WaypointState(gateway).ReadyEndpoints == 0 {
			missing = append(missing, waypoint.String()+" has no ready endpoint: calls to "+h.behind(waypoint)+" fail")
		}
	}
	bound := map[v1alpha1.ObjectReference]bool{}
	for _, service := range h.Services {
		if !service.Bound {
			continue
		}
		bound[service.Object.Unversioned()] = true
		object, _ := snapshot.Object(service.Object)
		if text := unbound(snapshot, service.Object, object); text != "" {
			missing = append(missing, service.Object.String()+" "+text)
		}
	}
	for _, reference := range h.Objects {
		object, _ := snapshot.Object(reference)
		behindBound := !slices.ContainsFunc(mesh.TargetsIn(object), func(target mesh.Target) bool {
			return !bound[v1alpha1.ObjectReference{Kind: target.Kind, Namespace: reference.Namespace, Name: target.Name}]
		})
		if text := checks.Unaccepted(snapshot, reference, object, behindBound); text != "" {
			missing = append(missing, reference.String()+" "+text)
		}
	}
	return missing
}

// handed is what checks of verify need to know of what the run has handed over.
func (r *Runner) handed(snapshot *mesh.Snapshot) (*checks.Handed, error) {
	handed := &checks.Handed{}
	if r.holding == nil {
		return handed, nil
	}
	var err error
	if handed.Drifts, err = r.holding.drifts(snapshot); err != nil {
		return nil, err
	}
	handed.Fronted = r.holding.Services
	handed.Judged = slices.Clone(r.holding.Objects)
	for _, policy := range r.holding.Policies {
		handed.Judged = append(handed.Judged, policy.Object)
	}
	return handed, nil
}
