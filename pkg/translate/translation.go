package translate

import (
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// Translation is what carries a namespace's sidecar configuration over to ambient
// mode.
type Translation struct {
	// Waypoint is the one that services are to use; nil where none needs one.
	Waypoint *Waypoint
	// Services are those that a waypoint stands in front of once the namespace is
	// moved, by kind and name: those that use one already included.
	Services []ServiceWaypoint
	// Direct are the waypoints for calls to the own addresses of pods behind headless
	// Services, by name.
	Direct []WorkloadWaypoint
	// NamespaceLabels are those that the namespace gets where it names the
	// waypoint.
	NamespaceLabels map[string]string
	// Before are the objects that have to be there before a waypoint takes traffic.
	Before []Object
	// Amended are policies of others that need a change before a waypoint takes
	// traffic, as they are to be.
	Amended []Object
	// After are objects of Before as they are to be once no sidecar of the
	// namespace is left.
	After []Object
	// Carried are the objects whose effect the waypoint takes over.
	Carried map[v1alpha1.ObjectReference]bool
	// Losses are effects that end, Problems what cannot be done.
	Losses   []Loss
	Problems []Problem
	// Machines are the virtual machines that a waypoint calls and that decide by
	// policies.
	Machines []MachineBehind
}

// Waypoint is a waypoint that is to be used.
type Waypoint struct {
	Namespace, Name string
	// Objects are what makes it; empty where it exists already.
	Objects []Object
}

// ServiceWaypoint is a service and the waypoint in front of it.
type ServiceWaypoint struct {
	Need mesh.ServiceNeed
	// Waypoint is the waypoint's namespace and name.
	WaypointNamespace, WaypointName string
	// Labels are those that the service gets; empty where it needs none. A nil
	// value takes one away.
	Labels map[string]string
}

// WorkloadWaypoint is a waypoint that pods name themselves.
type WorkloadWaypoint struct {
	Waypoint
	// Services are the headless Services whose pods they are.
	Services []v1alpha1.ObjectReference
	// Workloads are those whose template gets Labels, which name the waypoint.
	Workloads []v1alpha1.ObjectReference
	Labels    map[string]string
}

// Reference names the waypoint's Gateway.
func (w Waypoint) Reference() v1alpha1.ObjectReference { return gatewayReference(w.Namespace, w.Name) }

// Object is an object that is to be.
type Object struct {
	Reference v1alpha1.ObjectReference
	Content   map[string]any
	// Origin is the object whose effect it carries over; the zero reference where
	// there is no single one.
	Origin v1alpha1.ObjectReference
	// Service is what it is attached to, a Service or a waypoint for pods; the zero
	// reference where it is not for a single one.
	Service v1alpha1.ObjectReference
	// Guard is true where it is about calls past the waypoint. It must not be there
	// before calls go through the waypoint: those of callers in ambient mode would be
	// direct until then.
	Guard bool
	// Why says it in a few words.
	Why string
}

// Loss is an effect that ends with the sidecars.
type Loss struct {
	Object v1alpha1.ObjectReference
	Field  string
	// Service is whom it concerns; the zero reference where it is not one.
	Service v1alpha1.ObjectReference
	Message string
	// Security is true where something was refused or checked.
	Security bool
	// Remedy is what keeps it; empty where a waypoint for the service would.
	Remedy string
}

// Problem is something that cannot be carried over as it should, and blocks.
type Problem struct {
	Object  v1alpha1.ObjectReference
	Field   string
	Message string
	Remedy  string
}
