package plan

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// noteRemedies says of calls to what a plan moves what can be done about each that comes
// to be decided differently. Final is the mesh after the last step, whose waypoints callers
// can be sent through; nil where the plan takes waypoints away.
func noteRemedies(changes []v1alpha1.CallChange, final *access.State) {
	for i, change := range changes {
		switch {
		case change.Remedy != "":
		case change.Effect == v1alpha1.CallNewlyDenied:
			changes[i].Remedy = deniedRemedy(change, final)
		default:
			changes[i].Remedy = allowedRemedy(change)
		}
	}
}

// allowedRemedy says what has a call refused as before that a step lets in.
func allowedRemedy(change v1alpha1.CallChange) string {
	var remedy string
	switch {
	case change.Effect == v1alpha1.CallNewlyProven:
		return "if it is not meant, have the policies that admit who makes it leave it out"
	case !change.Direct:
		remedy = "have a policy at the waypoint refuse it"
	case change.Before.Reason == access.ReasonPlaintext:
		remedy = "have a policy that selects the pods ask for an identity"
	default:
		remedy = "have a policy that selects the pods refuse it by identity, address or port"
	}
	if change.Until != "" {
		remedy += "; it ends with step " + change.Until
	}
	return remedy
}

// deniedRemedy says what has a call go on that a step refuses. Who can be sent through a
// waypoint is told so: a policy for ztunnel, or for a sidecar that is passed by no more,
// admits requests that nobody reads.
func deniedRemedy(change v1alpha1.CallChange, final *access.State) string {
	switch {
	case change.Until != "":
		return "it ends with step " + change.Until
	case change.After.Point == string(access.AtWaypoint):
		return "have the policies at the waypoint admit it"
	case !change.Direct:
		return "have the policies that select the pods admit the waypoint"
	}
	if change.After.Point == string(access.AtZtunnel) && final != nil {
		if remedy := waypointRemedy(change, final); remedy != "" {
			return remedy
		}
	}
	switch change.After.Reason {
	case access.ReasonPlaintext:
		return "bring the caller into the mesh, or have the PeerAuthentication take plaintext"
	case access.ReasonDeny:
		return "have the policies of the pods leave it out by identity, address or port"
	}
	if change.Caller.Mode == string(access.ModeOutside) {
		return "have a policy that selects the pods admit it by address and port"
	}
	return "have a policy that selects the pods admit it by identity, address and port"
}

// waypointRemedy says how a call that goes straight to an ambient pod comes to go through
// the waypoint of a Service; it is empty where there is none in front of what is called.
func waypointRemedy(change v1alpha1.CallChange, final *access.State) string {
	name := frontedService(change, final)
	if name == "" {
		return ""
	}
	dialled := change.Service != nil && change.Service.Name == name
	switch access.Mode(change.Caller.Mode) {
	case access.ModeOutside:
		return "bring the caller into ambient mode, and have it call Service " + name
	case access.ModeGateway:
		if dialled {
			return "label Service " + name + " with istio.io/ingress-use-waypoint=true"
		}
	case access.ModeSidecar:
		if dialled {
			return "move the callers with sidecars first: they pass by waypoints"
		}
		return "move the callers first, and have them call Service " + name + ", not pods"
	case access.ModeAmbient:
		if !dialled {
			return "call Service " + name + ", not the pod's address"
		}
	}
	return ""
}

// frontedService is the Service with a waypoint that a call is for: the one that it dials,
// or else one that leads to the same port of the pod.
func frontedService(change v1alpha1.CallChange, final *access.State) string {
	for _, server := range final.Servers {
		if server.Workload != change.Server {
			continue
		}
		services := slices.DeleteFunc(server.Services(), func(service *access.Service) bool {
			return service.Waypoint == nil || service.Headless || service.Reference.Kind != mesh.KindService
		})
		for _, service := range services {
			if change.Service != nil && service.Reference.Namespace == change.Service.Namespace && service.Reference.Name == change.Service.Name {
				return service.Name()
			}
		}
		if change.Service != nil {
			continue
		}
		for _, service := range services {
			if slices.ContainsFunc(service.Ports, func(port access.ServicePort) bool { return server.PodPort(service, port.Port) == change.Port }) && !change.AnyOther {
				return service.Name()
			}
		}
	}
	return ""
}
