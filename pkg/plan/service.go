package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
)

// ServiceNamed reads the name of a single Service as kubectl takes it, TYPE/NAME, and
// writes it as plans do: service/cart. It is false where another type is named.
func ServiceNamed(text string) (string, bool, error) {
	kind, name, _ := strings.Cut(text, "/")
	switch strings.ToLower(kind) {
	case "service", "services", "svc":
	default:
		return "", false, nil
	}
	if name == "" || strings.Contains(name, "/") {
		return "", true, fmt.Errorf("%q names no Service: write service/NAME", text)
	}
	return shortName(serviceIn("", name)), true, nil
}

// serviceIn is a Service of a namespace.
func serviceIn(namespace, name string) v1alpha1.ObjectReference {
	return mesh.ServiceReference(namespace, name)
}

// serviceOf is the Service that a plan's name for it means.
func serviceOf(namespace, named string) v1alpha1.ObjectReference {
	_, name, _ := strings.Cut(named, "/")
	return serviceIn(namespace, name)
}

// forService are the options with what gives a single Service a waypoint.
func (o Options) forService() (Options, error) {
	if o.Service == "" {
		return o, nil
	}
	against := ""
	switch {
	case o.Workload != "":
		against = "a workload is moved alone, or a Service gets a waypoint: name one of them"
	case o.Simplify:
		against = "a Service alone gets a waypoint: nothing of the namespace can be simplified by that"
	case o.Translation.Scope == translate.ScopeNamespace:
		against = "a Service alone gets a waypoint: its namespace cannot name it"
	case len(o.Translation.Skip)+len(o.Translation.Add) > 0:
		against = "a Service alone gets a waypoint: none else can be skipped or added"
	case len(o.Include) > 0:
		against = "a Service alone gets a waypoint, and no caller leaves its sidecar: no other namespace has to be written"
	}
	if against != "" {
		return o, &translate.OptionError{Text: against}
	}
	o.Translation.Only, o.Translation.TakenOff = serviceOf("", o.Service).Name, nil
	return o, nil
}

// settlesLater says whether an object that is to hold without sidecars does so in a
// step of its own: a rollback has to know that it is to be taken back before any
// sidecar is there again.
func (e enrolment) settlesLater(object translate.Object) bool {
	_, there := e.state.find(object.Reference)
	return e.options.Service != "" && !there
}

// settleAtOnce lets the policies of a single Service hold without sidecars where none
// is left to be moved.
func (e enrolment) settleAtOnce() ([]v1alpha1.Step, error) {
	if e.moving() {
		return nil, nil
	}
	return e.settlePolicies()
}

// standing is what a plan for a single Service ends with: it is bound to its waypoint,
// and so are its policies.
func (e enrolment) standing() (summary string, gate v1alpha1.Gate) {
	service := serviceOf(e.namespace.Name, e.options.Service)
	return "verify that calls to " + e.options.Service + " go through its waypoint", v1alpha1.Gate{
		Kind: v1alpha1.GateWaypointsBound, Objects: append([]v1alpha1.ObjectReference{service}, judged(attachedTo(e.translation.Before, service))...),
	}
}

// leavesBehind says whether a gate that does not hold counts although nothing is to be
// done.
func (e enrolment) leavesBehind(gate v1alpha1.CheckResult) bool {
	if e.options.Service != "" {
		return checks.AboutWaypoint(gate.ID)
	}
	if e.onlyRefreshes() {
		return gate.ID == checks.IDSidecarHBONE
	}
	return checks.LeavesBehind(gate.ID)
}

// concerning are the results of gates without those about waypoints of others than a
// single Service that gets one, or about workloads that are not restarted where some
// get newer sidecars and nothing else is done.
func (e enrolment) concerning(gates []v1alpha1.CheckResult, steps []v1alpha1.Step) []v1alpha1.CheckResult {
	if e.onlyRefreshes() {
		restarted := refreshed(steps)
		return slices.DeleteFunc(gates, func(gate v1alpha1.CheckResult) bool {
			return gate.Category == checks.CategoryWorkloads && gate.Object != nil && !slices.Contains(restarted, *gate.Object)
		})
	}
	if e.options.Service == "" {
		return gates
	}
	service := serviceOf(e.namespace.Name, e.options.Service)
	return slices.DeleteFunc(gates, func(gate v1alpha1.CheckResult) bool {
		if gate.Object == nil || !checks.AboutWaypoint(gate.ID) || *gate.Object == service {
			return false
		}
		return !slices.ContainsFunc(e.translation.Services, func(one translate.ServiceWaypoint) bool {
			return gate.Object.Kind == mesh.KindGateway && gate.Object.Namespace == one.WaypointNamespace && gate.Object.Name == one.WaypointName
		})
	})
}
