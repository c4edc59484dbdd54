package plan

import (
	"maps"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
)

// reliesOn are the phases whose steps leave pods to what was handed over: from them
// on it is all that enforces what sidecars did.
func reliesOn(phase v1alpha1.Phase) bool {
	return Span{From: v1alpha1.PhaseEnableAmbient}.Holds(phase)
}

// rely lets each step that leaves pods to what was handed over look at it again
// before it changes anything: between two restarts of a long run, somebody may have
// taken it away.
func (e enrolment) rely(planned *v1alpha1.MigrationPlan) error {
	var err error
	if planned.Handover, err = e.relied(planned.Steps); err != nil {
		return err
	}
	planned.Handover.Sidecars = len(refreshed(planned.Steps)) > 0
	for i := range planned.Steps {
		step := &planned.Steps[i]
		if planned.Handover.Sidecars && step.Phase == v1alpha1.PhaseActivateWaypoints {
			// Waypoints call sidecars by HBONE, too.
			step.Requires = v1alpha1.GateSidecarsHBONE
		}
		if reliesOn(step.Phase) && (len(step.Changes) > 0 || step.Gate.Evicts || step.Phase == v1alpha1.PhaseVerify) {
			step.Requires = v1alpha1.GateHandoverHolds
		}
	}
	return nil
}

// relied is what stands in for sidecars once the steps that hand it over are done,
// be it by this plan or by runs before.
func (e enrolment) relied(steps []v1alpha1.Step) (*v1alpha1.Handover, error) {
	state := NewProjection(e.snapshot)
	for _, step := range steps {
		if reliesOn(step.Phase) {
			continue
		}
		for _, change := range step.Changes {
			if _, _, err := state.Apply(change); err != nil {
				return nil, err
			}
		}
	}
	relied := &v1alpha1.Handover{}
	for _, one := range append([]handover{e.handover}, e.others...) {
		e.relyOnServices(relied, one)
		for _, direct := range one.translation.Direct {
			relied.Waypoints = append(relied.Waypoints, direct.Reference())
		}
		for _, object := range one.translation.Before {
			// What somebody else has in its place, a gate names.
			if there, found := state.find(object.Reference); found && Ours(there) {
				relied.Objects = append(relied.Objects, object.Reference)
			}
		}
		for _, object := range one.translation.Amended {
			relied.Objects = append(relied.Objects, object.Reference)
		}
	}
	for _, waypoint := range relied.Waypoints {
		if there, found := state.find(waypoint); found && Ours(there) {
			relied.Objects = append(relied.Objects, waypoint)
		}
	}
	relied.Lists = e.policyLists()
	for _, reference := range checks.PoliciesIn(e.snapshot, relied.Lists) {
		if slices.ContainsFunc(relied.Objects, func(object v1alpha1.ObjectReference) bool { return object.Unversioned() == reference.Unversioned() }) {
			continue
		}
		object, found := state.find(reference)
		if !found {
			continue
		}
		hash, err := Hash(sayings(object))
		if err != nil {
			return nil, err
		}
		relied.Policies = append(relied.Policies, v1alpha1.KnownPolicy{Object: reference, Hash: hash})
	}
	return relied, nil
}

// relyOnServices adds the services that go through a waypoint which takes traffic,
// or will. That one of them does not was accepted where it is so today.
func (e enrolment) relyOnServices(relied *v1alpha1.Handover, one handover) {
	for _, service := range one.translation.Services {
		if service.WaypointName == "" {
			continue
		}
		waypoint := v1alpha1.ObjectReference{
			APIVersion: gatewayVersion, Kind: mesh.KindGateway, Namespace: service.WaypointNamespace, Name: service.WaypointName,
		}
		if !e.takesTraffic(one, waypoint) {
			continue
		}
		if !slices.Contains(relied.Waypoints, waypoint) {
			relied.Waypoints = append(relied.Waypoints, waypoint)
		}
		object, _ := e.snapshot.Object(service.Need.Service)
		_, named := service.Labels[label.IoIstioUseWaypoint.Name]
		after := maps.Clone(service.Need.Labels)
		if after == nil {
			after = map[string]string{}
		}
		maps.Copy(after, service.Labels)
		relied.Services = append(relied.Services, v1alpha1.FrontedService{
			Object: service.Need.Service, Waypoint: waypoint.Namespace + "/" + waypoint.Name,
			// Of headless Services and the like istiod says nothing.
			Bound:   named || len(one.translation.NamespaceLabels) > 0 || checks.ConditionOf(object, checks.ConditionWaypointBound) != nil,
			Ingress: mesh.IngressUsesWaypoint(after, one.of.Labels),
		})
	}
}

// takesTraffic says whether the plan deploys a waypoint or waits for it, or it is
// ready.
func (e enrolment) takesTraffic(one handover, waypoint v1alpha1.ObjectReference) bool {
	if own := one.translation.Waypoint; own != nil && own.Namespace == waypoint.Namespace && own.Name == waypoint.Name {
		return true
	}
	gateway, found := e.snapshot.Gateway(waypoint.Namespace, waypoint.Name)
	state := e.snapshot.WaypointState(gateway)
	return found && state.Programmed && state.ReadyEndpoints > 0
}

// policyLists are where policies are that decide calls to the namespace's pods. A
// kind that is not installed has none.
func (e enrolment) policyLists() []v1alpha1.ObjectList {
	namespaces := []string{e.namespace.Name}
	for _, root := range e.snapshot.RootNamespaces() {
		if !slices.Contains(namespaces, root) {
			namespaces = append(namespaces, root)
		}
	}
	var lists []v1alpha1.ObjectList
	for _, kind := range []string{mesh.KindAuthorizationPolicy, mesh.KindPeerAuthentication, mesh.KindRequestAuthentication} {
		if e.snapshot.Coverage(kind, e.namespace.Name).State != mesh.CoverageRead {
			continue
		}
		for _, namespace := range namespaces {
			lists = append(lists, v1alpha1.ObjectList{APIVersion: "security.istio.io/v1", Kind: kind, Namespace: namespace})
		}
	}
	return lists
}
