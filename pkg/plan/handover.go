package plan

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
)

// handover is what a namespace's configuration becomes.
type handover struct {
	of          mesh.Namespace
	translation translate.Translation
	// prefix keeps the IDs of steps for other namespaces apart.
	prefix string
}

// handovers translates the namespace, and of others what its callers would miss.
func handovers(snapshot *mesh.Snapshot, namespace mesh.Namespace, options Options) (own handover, others []handover, err error) {
	own.of = namespace
	if own.translation, err = translate.Namespace(snapshot, namespace, options.Translation); err != nil {
		return own, nil, err
	}
	for _, name := range options.Include {
		other, found := snapshot.Namespace(name)
		if !found || name == namespace.Name {
			return own, nil, &translate.OptionError{Text: fmt.Sprintf("there is no other namespace %q to include", name)}
		}
		if slices.Contains(snapshot.RootNamespaces(), name) {
			return own, nil, &translate.OptionError{Text: fmt.Sprintf("namespace %q is Istio's own and cannot be included", name)}
		}
		translation, err := translate.Namespace(snapshot, other, translate.Options{
			RoutingOnly: true, Replicas: options.Translation.Replicas, Waypoint: options.Translation.Waypoint,
		})
		if err != nil {
			return own, nil, fmt.Errorf("namespace %s: %w", name, err)
		}
		others = append(others, handover{of: other, translation: translation, prefix: name + "/"})
	}
	return own, others, nil
}

// forEach makes the steps of the namespace and of the others.
func (e enrolment) forEach(part func(handover) ([]v1alpha1.Step, error)) func() ([]v1alpha1.Step, error) {
	return func() ([]v1alpha1.Step, error) {
		var steps []v1alpha1.Step
		for _, one := range append([]handover{e.handover}, e.others...) {
			added, err := part(one)
			if err != nil {
				return nil, err
			}
			steps = append(steps, added...)
		}
		return steps, nil
	}
}

// id is that of a step for an object, or for all that a phase does.
func (h handover) id(phase v1alpha1.Phase, of ...string) string {
	return strings.TrimSuffix(string(phase)+"/"+h.prefix+strings.Join(of, "/"), "/")
}

// name names an object in summaries: with its namespace where that is another one.
func (h handover) name(object v1alpha1.ObjectReference) string {
	if h.prefix == "" {
		return shortName(object)
	}
	return shortName(object) + h.elsewhere()
}

// names is some objects as summaries have them.
func (h handover) names(objects []v1alpha1.ObjectReference) string {
	var names []string
	for _, object := range objects {
		names = append(names, h.name(object))
	}
	return some(names)
}

// elsewhere says which namespace, where that is another one.
func (h handover) elsewhere() string {
	if h.prefix == "" {
		return ""
	}
	return " in namespace " + h.of.Name
}

// deployWaypoints makes the waypoint before anything names it: one that was never
// ready is passed by, policies and all.
func (e enrolment) deployWaypoints(h handover) ([]v1alpha1.Step, error) {
	var steps []v1alpha1.Step
	if waypoint := h.translation.Waypoint; waypoint != nil {
		added, err := e.deployWaypoint(*waypoint, v1alpha1.Step{
			ID: h.id(v1alpha1.PhaseDeployWaypoints), Notes: []string{"nothing goes through it yet"},
		})
		if err != nil {
			return nil, err
		}
		steps = append(steps, added...)
	}
	for _, direct := range h.translation.Direct {
		added, err := e.deployWaypoint(direct.Waypoint, v1alpha1.Step{
			ID:    h.id(v1alpha1.PhaseDeployWaypoints, direct.Name),
			Notes: []string{"for calls to the addresses of the pods of " + h.names(direct.Services) + "; nothing goes through it until they name it"},
		})
		if err != nil {
			return nil, err
		}
		steps = append(steps, added...)
	}
	return steps, nil
}

// deployWaypoint makes a waypoint in a step, or waits for it.
func (e enrolment) deployWaypoint(waypoint translate.Waypoint, step v1alpha1.Step) ([]v1alpha1.Step, error) {
	step.Phase, step.Summary = v1alpha1.PhaseDeployWaypoints, "deploy waypoint "+waypoint.Namespace+"/"+waypoint.Name
	step.Gate = v1alpha1.Gate{Kind: v1alpha1.GateWaypointsReady, Objects: []v1alpha1.ObjectReference{waypoint.Reference()}}
	if e.snapshot.WaypointUsed(waypoint.Namespace, waypoint.Name) {
		step.Notes = []string{"what names it already goes through it as soon as it is ready"}
	}
	if err := e.create(&step, waypoint.Objects); err != nil {
		return nil, err
	}
	if len(step.Changes) > 0 {
		return []v1alpha1.Step{step}, nil
	}
	gateway, found := e.snapshot.Gateway(waypoint.Namespace, waypoint.Name)
	if state := e.snapshot.WaypointState(gateway); found && (!state.Programmed || state.ReadyEndpoints == 0) {
		step.Summary, step.Notes = "wait for waypoint "+waypoint.Namespace+"/"+waypoint.Name, nil
		return []v1alpha1.Step{step}, nil
	}
	return nil, nil
}

const gatewayVersion = "gateway.networking.k8s.io/v1"

// create adds objects to a step. One whose name somebody else has taken, or that somebody
// has changed since a run made it, is left out: a gate names it, and blocks.
func (e enrolment) create(step *v1alpha1.Step, objects []translate.Object) error {
	for _, object := range objects {
		err := e.state.edited(object.Content, e.forms(object.Reference))
		if edited := (*EditedError)(nil); errors.As(err, &edited) {
			e.state.noteEdited(edited)
			continue
		}
		if err != nil {
			return err
		}
		err = e.state.creates(step, object.Content)
		if taken := (*TakenError)(nil); err != nil && !errors.As(err, &taken) {
			return err
		}
	}
	return nil
}

// migratePolicies attaches to each service what its waypoint has to enforce, and
// then lets the waypoint through where policies of pods would refuse it. Nothing of
// it has any effect while nothing goes through the waypoint; where something does
// already, tokens are checked for all before any policy that goes by them.
func (e enrolment) migratePolicies(h handover) ([]v1alpha1.Step, error) {
	objects := e.policies(h)
	whole := slices.DeleteFunc(attachedTo(objects, v1alpha1.ObjectReference{}), isGuard)
	isTokens := func(object translate.Object) bool { return object.Reference.Kind == mesh.KindRequestAuthentication }
	parts := []policyPart{{
		id: "tokens", summary: "check tokens at the waypoint" + h.elsewhere(),
		objects: slices.DeleteFunc(slices.Clone(whole), func(object translate.Object) bool { return !isTokens(object) }),
	}}
	for _, service := range h.translation.Services {
		parts = append(parts, policyPart{
			id: shortName(service.Need.Service), summary: "attach the policies of " + h.name(service.Need.Service) + " to its waypoint",
			objects: attachedTo(objects, service.Need.Service),
		})
	}
	for _, direct := range h.translation.Direct {
		parts = append(parts, policyPart{
			id: shortName(direct.Reference()), summary: "attach the policies of the pods of " + h.names(direct.Services) + " to their waypoint",
			objects: attachedTo(objects, direct.Reference()),
		})
	}
	rest := slices.DeleteFunc(whole, isTokens)
	parts = append(parts, policyPart{
		id: "waypoint", summary: "let the waypoint through" + h.elsewhere(), objects: rest, amended: h.translation.Amended,
		notes: reasonsOf(slices.Concat(rest, h.translation.Amended)),
	})
	var steps []v1alpha1.Step
	for _, part := range parts {
		step, err := e.policyStep(h, part)
		if err != nil {
			return nil, err
		}
		steps = appendStep(steps, step)
	}
	return steps, nil
}

// policyPart is what one step writes of the policies at waypoints, and amends of others.
type policyPart struct {
	id, summary      string
	objects, amended []translate.Object
	notes            []string
}

func (e enrolment) policyStep(h handover, part policyPart) (v1alpha1.Step, error) {
	step := v1alpha1.Step{ID: h.id(v1alpha1.PhaseMigratePolicies, part.id), Phase: v1alpha1.PhaseMigratePolicies, Summary: part.summary, Notes: part.notes}
	if err := e.create(&step, part.objects); err != nil {
		return step, err
	}
	for _, object := range part.amended {
		if err := e.state.changes(&step, object.Reference, []edit{{"/spec", object.Content["spec"]}}); err != nil {
			return step, err
		}
	}
	step.Gate = v1alpha1.Gate{Kind: v1alpha1.GatePoliciesAccepted, Objects: changedBy(step)}
	return step, nil
}

// policies are what the translation wants to be there: once nothing is left to be
// moved, as it is to be in the end. What an earlier run has left as it is to be while
// there are sidecars becomes so in the phase for that, by which a rollback knows that
// it has to be taken back first.
func (e enrolment) policies(h handover) []translate.Object {
	objects := slices.Clone(h.translation.Before)
	if h.prefix != "" || e.moving() {
		return objects
	}
	for i := range objects {
		for _, after := range h.translation.After {
			if after.Reference == objects[i].Reference && !e.state.holds(objects[i].Content) && !e.settlesLater(after) {
				objects[i] = after
			}
		}
	}
	return objects
}

// moving says whether any workload has still to be moved: has a sidecar, or will
// have. A pod that is not ready does not undo what was settled.
func (e enrolment) moving() bool {
	return slices.ContainsFunc(e.snapshot.Workloads(e.namespace.Name), func(workload mesh.Workload) bool {
		return e.snapshot.RoleOf(workload, e.namespace) == mesh.RoleMove ||
			e.unfinished(workload) && slices.ContainsFunc(e.snapshot.PodsOf(workload), mesh.Pod.HasSidecar)
	})
}

func attachedTo(objects []translate.Object, service v1alpha1.ObjectReference) []translate.Object {
	return slices.DeleteFunc(slices.Clone(objects), func(object translate.Object) bool { return object.Service != service })
}

// reasonsOf says once why each kind of object is there.
func reasonsOf(objects []translate.Object) []string {
	var reasons []string
	for _, object := range objects {
		reason := fmt.Sprintf("%s %s", object.Reference.Name, object.Why)
		if !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	return reasons
}

// activateWaypoints sends the traffic of ambient callers, and of gateways where
// requests are to be checked, through the waypoint.
func (e enrolment) activateWaypoints(h handover) ([]v1alpha1.Step, error) {
	var steps []v1alpha1.Step
	bound := v1alpha1.Gate{Kind: v1alpha1.GateWaypointsBound}
	for _, service := range h.translation.Services {
		reference := service.Need.Service
		step := v1alpha1.Step{
			ID: h.id(v1alpha1.PhaseActivateWaypoints, shortName(reference)), Phase: v1alpha1.PhaseActivateWaypoints,
			Summary: "send calls to " + h.name(reference) + " through its waypoint",
			Notes:   []string{"of callers in ambient mode: those with sidecars pass by waypoints"},
			Gate:    v1alpha1.Gate{Kind: v1alpha1.GateNone},
		}
		if service.WaypointName == "" {
			step.Summary, step.Notes = "keep "+h.name(reference)+" without a waypoint", nil
		}
		if err := e.state.changes(&step, reference, labelEdits(service.Labels)); err != nil {
			return nil, err
		}
		targets := append([]v1alpha1.ObjectReference{reference}, judged(attachedTo(h.translation.Before, reference))...)
		switch {
		case service.WaypointName == "":
		case len(h.translation.NamespaceLabels) > 0:
			bound.Objects = append(bound.Objects, targets...)
		default:
			step.Gate = v1alpha1.Gate{Kind: v1alpha1.GateWaypointsBound, Objects: targets}
		}
		steps = appendStep(steps, step)
	}
	step := v1alpha1.Step{
		ID: h.id(v1alpha1.PhaseActivateWaypoints), Phase: v1alpha1.PhaseActivateWaypoints, Gate: bound,
		Summary: "send calls to the services of namespace " + h.of.Name + " through its waypoint",
		Notes:   []string{"of callers in ambient mode: those with sidecars pass by waypoints"},
	}
	if err := e.state.changes(&step, h.of.Reference(), labelEdits(h.translation.NamespaceLabels)); err != nil {
		return nil, err
	}
	return appendStep(steps, step), nil
}

// guardDirectCalls comes when calls go through the waypoint, and before any pod is
// captured or loses its sidecar. In a namespace that is ambient already, pods are
// guarded from this step on: before it, calls that are to go through the waypoint
// are direct, and a guard that refuses direct calls would refuse them, one that
// allows by layer 4 would let them in.
func (e enrolment) guardDirectCalls() ([]v1alpha1.Step, error) {
	guards, _ := e.untilJoined(e.handover, e.policies(e.handover))
	guards = slices.DeleteFunc(guards, func(object translate.Object) bool { return !isGuard(object) })
	step := v1alpha1.Step{
		ID: e.id(v1alpha1.PhaseActivateWaypoints, "guards"), Phase: v1alpha1.PhaseActivateWaypoints,
		Summary: "decide direct calls by what ztunnel can tell",
		Notes:   reasonsOf(guards),
	}
	if err := e.create(&step, guards); err != nil {
		return nil, err
	}
	step.Gate = v1alpha1.Gate{Kind: v1alpha1.GatePoliciesAccepted, Objects: changedBy(step)}
	return appendStep(nil, step), nil
}

func isGuard(object translate.Object) bool { return object.Guard }

// judged are the objects of which istiod says whether they hold at a waypoint.
func judged(objects []translate.Object) []v1alpha1.ObjectReference {
	var all []v1alpha1.ObjectReference
	for _, object := range objects {
		if object.Reference.Kind == mesh.KindAuthorizationPolicy {
			all = append(all, object.Reference)
		}
	}
	return all
}

func labelEdits(labels map[string]string) []edit {
	var edits []edit
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		edits = append(edits, edit{Pointer("/metadata/labels", name), labels[name]})
	}
	return edits
}

// settlePolicies leaves no policy that depends on how a run has marked the pods that
// it moved.
func (e enrolment) settlePolicies() ([]v1alpha1.Step, error) {
	_, settled := e.untilJoined(e.handover, e.policies(e.handover))
	settled = slices.DeleteFunc(settled, func(object translate.Object) bool {
		return slices.ContainsFunc(e.translation.After, func(after translate.Object) bool { return after.Reference == object.Reference })
	})
	settled = append(settled, e.translation.After...)
	step := v1alpha1.Step{
		ID: string(v1alpha1.PhaseSettlePolicies), Phase: v1alpha1.PhaseSettlePolicies,
		Summary: "let the policies hold without sidecars",
		Notes:   reasonsOf(settled),
	}
	if err := e.create(&step, settled); err != nil {
		return nil, err
	}
	step.Gate = v1alpha1.Gate{Kind: v1alpha1.GatePoliciesAccepted, Objects: changedBy(step)}
	return appendStep(nil, step), nil
}
