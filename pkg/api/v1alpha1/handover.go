package v1alpha1

// Handover is what stands in for the sidecars of a namespace.
type Handover struct {
	// Waypoints are the Gateways that services go through, or calls to the addresses
	// of pods, and that took traffic when the plan was made or are deployed by it.
	Waypoints []ObjectReference `json:"waypoints,omitempty"`
	// Services are the Services and ServiceEntries that go through one of them.
	Services []FrontedService `json:"services,omitempty"`
	// Objects are those that the plan's steps, or those of runs before, have
	// created or amended.
	Objects []ObjectReference `json:"objects,omitempty"`
	// Policies are all the others of Lists that there were when the plan was made.
	Policies []KnownPolicy `json:"policies,omitempty"`
	// Sidecars is true where the plan itself sees to it that the sidecars of the
	// namespace accept HBONE, by which pods in ambient mode and waypoints call them.
	Sidecars bool `json:"sidecars,omitempty"`
	// Lists are where policies are that decide calls to the namespace's pods.
	Lists []ObjectList `json:"lists,omitempty"`
}

// FrontedService is a service that goes through a waypoint.
type FrontedService struct {
	Object ObjectReference `json:"object"`
	// Waypoint is the namespace and name of the waypoint.
	Waypoint string `json:"waypoint"`
	// Bound is true where istiod says of the service what it is bound to.
	Bound bool `json:"bound"`
	// Ingress is true where gateways are to go through the waypoint as well.
	Ingress bool `json:"ingress,omitempty"`
}

// KnownPolicy is a policy that a plan was made with.
type KnownPolicy struct {
	Object ObjectReference `json:"object"`
	// Hash is that of what the policy says: its spec, and whether it is a dry run.
	Hash string `json:"hash"`
}

// ObjectList is all objects of a kind in a namespace.
type ObjectList struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace"`
}
