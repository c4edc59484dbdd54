package v1alpha1

import "time"

// BaselineVersion is that of the baselines that are written now. One of another
// version is not compared with.
const BaselineVersion = 1

// Baseline is a namespace as it was before an enrolment changed anything: what verify
// compares it with afterwards. It holds no Secrets, and of other objects what a
// MeshSnapshot holds.
type Baseline struct {
	Version int       `json:"version"`
	Taken   time.Time `json:"taken"`
	// Workloads are those of the namespace that say how many pods they want.
	Workloads []WorkloadBaseline `json:"workloads,omitempty"`
	// Services are those with a selector.
	Services []ServiceBaseline `json:"services,omitempty"`
	// Strict are the workloads that refused callers without mTLS on any port.
	Strict []StrictBaseline `json:"strict,omitempty"`
	// Mesh holds the objects that decide how calls of the namespace are routed and
	// admitted, and of pods that are alike one.
	Mesh MeshSnapshot `json:"mesh"`
	// Ztunnels are what the ztunnels of the mesh had counted, by node; ZtunnelProblem
	// says why none was asked.
	Ztunnels       map[string]ZtunnelBaseline `json:"ztunnels,omitempty"`
	ZtunnelProblem string                     `json:"ztunnelProblem,omitempty"`
	// Resources are what the namespace's sidecars took; nil where nobody asked.
	Resources *ProxyResources `json:"resources,omitempty"`
	// Standing is what verify would have failed on, of what no enrolment has made.
	// Earlier versions leave it out.
	Standing []StandingFinding `json:"standing,omitempty"`
}

// StandingFinding is what a check found: it is the same as another that is about the same
// field of the same object.
type StandingFinding struct {
	ID     string           `json:"id"`
	Object *ObjectReference `json:"object,omitempty"`
	Field  string           `json:"field,omitempty"`
	// Unknown is true where it could not be seen.
	Unknown bool `json:"unknown,omitempty"`
}

// WorkloadBaseline is how a workload ran.
type WorkloadBaseline struct {
	Object ObjectReference `json:"object"`
	// Replicas is how many pods it wanted, Pods how many there were, and Ready how many
	// of these were ready.
	Replicas int32 `json:"replicas"`
	Pods     int   `json:"pods"`
	Ready    int   `json:"ready"`
	// Restarts are those of the containers of its pods, added up.
	Restarts int32 `json:"restarts,omitempty"`
	// Troubled are the containers that were not ready in some pod, or did not come up
	// there. Earlier versions leave them out.
	Troubled []string `json:"troubled,omitempty"`
}

// ServiceBaseline is what stood behind a Service.
type ServiceBaseline struct {
	Name string `json:"name"`
	// Ready are the ready pods that it selected, but for those of Jobs, which earlier
	// versions counted.
	Ready int `json:"ready"`
}

// StrictBaseline is where a workload refused callers without mTLS.
type StrictBaseline struct {
	Workload ObjectReference `json:"workload"`
	// All is true where it did on every port that Open does not name; otherwise it did
	// on Ports.
	All   bool     `json:"all,omitempty"`
	Open  []uint32 `json:"open,omitempty"`
	Ports []uint32 `json:"ports,omitempty"`
	// By is the PeerAuthentication that said so.
	By *ObjectReference `json:"by,omitempty"`
}

// ZtunnelBaseline is what one ztunnel had counted.
type ZtunnelBaseline struct {
	// Instance tells it from the one that its pod ran before, or runs afterwards.
	Instance string `json:"instance"`
	// Connections are by workload of the namespace.
	Connections map[string]Connections `json:"connections,omitempty"`
	// Problem says why it could not be asked.
	Problem string `json:"problem,omitempty"`
}

// Connections counts connections of a workload.
type Connections struct {
	Inbound  int64 `json:"inbound,omitempty"`
	Outbound int64 `json:"outbound,omitempty"`
	// Plaintext are those of the inbound ones that were not encrypted by the mesh and
	// not refused.
	Plaintext int64 `json:"plaintext,omitempty"`
}

// ProxyResources are what some proxies take.
type ProxyResources struct {
	// Proxies is how many there are; a share of one that serves others, too, counts as
	// one.
	Proxies int `json:"proxies"`
	// MilliCPU and Memory, in bytes, are what they use, as the metrics API has it; nil
	// where Unknown says why that is not known.
	MilliCPU *int64 `json:"milliCPU,omitempty"`
	Memory   *int64 `json:"memory,omitempty"`
	// RequestedMilliCPU and RequestedMemory are what is reserved for them.
	RequestedMilliCPU int64  `json:"requestedMilliCPU"`
	RequestedMemory   int64  `json:"requestedMemory"`
	Unknown           string `json:"unknown,omitempty"`
}

// ResourceReport is what the proxies of a namespace take.
type ResourceReport struct {
	// Before is what the sidecars took before the namespace was enrolled; nil where no
	// record says so.
	Before *ProxyResources `json:"before,omitempty"`
	// Sidecars, Ztunnel and Waypoints are what there is now. Of a ztunnel the share
	// counts that the namespace's pods have among those that it has captured.
	Sidecars  *ProxyResources `json:"sidecars,omitempty"`
	Ztunnel   *ProxyResources `json:"ztunnel,omitempty"`
	Waypoints *ProxyResources `json:"waypoints,omitempty"`
}
