package mesh

import "k8s.io/apimachinery/pkg/types"

// Evidence is what the data plane itself says, node by node.
type Evidence struct {
	// Nodes is by node name. A node that was not asked is not in it.
	Nodes map[string]NodeEvidence
}

// NodeEvidence is what the ztunnel of one node says.
type NodeEvidence struct {
	// Ztunnel is the name of the pod that was asked; empty where the node has
	// no ready ztunnel.
	Ztunnel string
	// Problem says why the node could not be asked, and is empty where it was.
	Problem string
	// Captured holds the pods that ztunnel proxies on this node, by UID.
	Captured map[types.UID]CaptureState
	// Workloads holds what this ztunnel knows of the mesh's pods, by
	// "namespace/name".
	Workloads map[string]ZtunnelWorkload
	// Policies holds the authorization policies that this ztunnel has received,
	// "namespace/name". It passes over one that a workload names and that it lacks
	// (ztunnel src/state.rs, assert_rbac).
	Policies map[string]bool
}

// CaptureState is ztunnel's word on a pod of its own node.
type CaptureState string

// Pending pods were announced by istio-cni, but their proxy does not run yet:
// their traffic goes nowhere, or past ztunnel.
const (
	CaptureUp      CaptureState = "Up"
	CapturePending CaptureState = "Pending"
)

// ZtunnelWorkload is a workload as istiod described it to ztunnel.
type ZtunnelWorkload struct {
	// Protocol is how ztunnel reaches the workload: HBONE or TCP.
	Protocol string
	// NativeTunnel is true where the workload terminates HBONE itself: a
	// sidecar or a gateway, not an ambient pod.
	NativeTunnel bool
	// Policies are the authorization policies bound to it, "namespace/name".
	Policies []string
	// Waypoint is the workload's own waypoint, empty if it has none.
	Waypoint string
}

// ProtocolHBONE is the tunnel that ambient pods and HBONE-capable sidecars
// are reached by.
const ProtocolHBONE = "HBONE"
