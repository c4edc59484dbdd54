package mesh

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Evidence is what the data plane itself says, node by node.
type Evidence struct {
	// Nodes is by node name. A node that was not asked is not in it.
	Nodes map[string]NodeEvidence
	// Istiods are what the control planes that these ztunnels learn from mean them to
	// know, by NodeEvidence.XDSAddress. One that was not asked is not in it.
	Istiods map[string]IstiodEvidence
	// Taken is when the evidence was collected: what certificates are good for is a
	// question of time.
	Taken time.Time
}

// NodeEvidence is what the ztunnel of one node says.
type NodeEvidence struct {
	DataPlaneView
	// Ztunnel is the name of the pod that was asked, or that was to be; empty where the
	// node has none.
	Ztunnel string
	// Absent is true for a node on which no ztunnel runs, ready or not: it is known to
	// capture nothing. It goes with a Problem, since there is nobody to ask.
	Absent bool
	// Problem says why the node could not be asked, and is empty where it was.
	Problem string
	// XDSAddress is where this ztunnel learns of the mesh, and Cluster what it calls
	// its own cluster.
	XDSAddress, Cluster string
	// OnDemand is true for a ztunnel that asks for workloads and services only once
	// a connection needs them, so that it need not know all.
	OnDemand bool
	// Captured holds the pods that ztunnel proxies on this node, by UID.
	Captured map[types.UID]CaptureState
	// Certificates holds those of the workloads on this node, by SPIFFE identity.
	Certificates map[string]ZtunnelCertificate
	// Instance tells this ztunnel from the one that its pod was, or ran, before: what it
	// has counted is counted from its own start on.
	Instance string
	// Traffic holds the connections that it has carried, by "namespace/workload"; nil
	// where it was not asked. TrafficProblem says why it did not answer.
	Traffic        map[string]Traffic
	TrafficProblem string
	// AccessLogs are what its access log has of namespaces, by their names: of those that
	// it was asked for.
	AccessLogs map[string]AccessLog
}

// AccessLog counts the connections of a namespace's workloads that ztunnel has carried
// and that have ended, without an error, since some time.
type AccessLog struct {
	// Inbound connections were opened to them, Outbound by them.
	Inbound, Outbound int64
	// Gap says why there may have been some although none was found; empty where that is
	// known.
	Gap string
}

// Traffic counts the connections of a workload.
type Traffic struct {
	// Inbound connections were opened to it, Outbound by it.
	Inbound  int64 `json:"inbound,omitempty"`
	Outbound int64 `json:"outbound,omitempty"`
	// Plaintext are those of the inbound ones that were not encrypted by the mesh, and not
	// refused.
	Plaintext int64 `json:"plaintext,omitempty"`
}

// IstiodEvidence is what one istiod says of itself.
type IstiodEvidence struct {
	DataPlaneView
	// Istiod is the name of the pod that was asked.
	Istiod string
	// Problem says why it could not be asked, and is empty where it was.
	Problem string
	// Elsewhere is true for one that does not run in this cluster.
	Elsewhere bool
}

// DataPlaneView is the mesh as istiod describes it to ztunnels, seen from either end.
type DataPlaneView struct {
	// Workloads holds the mesh's pods, by "namespace/name".
	Workloads map[string]ZtunnelWorkload
	// Services holds services, by "namespace/hostname".
	Services map[string]ZtunnelService
	// Policies holds authorization policies by "namespace/name", each in a form that
	// is the same for policies that are. ztunnel passes over one that a workload names
	// and that it lacks (ztunnel src/state.rs, assert_rbac).
	Policies map[string]string
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
	// Addresses are its IP addresses, sorted.
	Addresses []string
	// Identity is its SPIFFE identity.
	Identity string
	// Policies are the authorization policies bound to it, "namespace/name",
	// sorted. Those that hold for a whole namespace or the mesh are not among them.
	Policies []string
	// Waypoint is the workload's own waypoint, empty if it has none.
	Waypoint string
}

// Equal says whether two descriptions say the same.
func (w ZtunnelWorkload) Equal(other ZtunnelWorkload) bool {
	return w.Protocol == other.Protocol && w.NativeTunnel == other.NativeTunnel && w.Identity == other.Identity && w.Waypoint == other.Waypoint &&
		slices.Equal(w.Addresses, other.Addresses) && slices.Equal(w.Policies, other.Policies)
}

// ZtunnelService is a service as istiod described it to ztunnel.
type ZtunnelService struct {
	// Addresses are its virtual IP addresses, "network/address", sorted.
	Addresses []string
	// Waypoint is the one that calls to it go through, empty if there is none:
	// "namespace/hostname" or "network/address".
	Waypoint string
}

// Equal says whether two descriptions say the same.
func (s ZtunnelService) Equal(other ZtunnelService) bool {
	return s.Waypoint == other.Waypoint && slices.Equal(s.Addresses, other.Addresses)
}

// ZtunnelCertificate is what ztunnel holds for an identity.
type ZtunnelCertificate struct {
	// State is "Available", or says what is the matter.
	State string
	// NotBefore and NotAfter bound the certificate itself, the first of its chain.
	// They are zero where there is none.
	NotBefore, NotAfter time.Time
}

// CertificateAvailable is the state of a certificate that ztunnel has got.
const CertificateAvailable = "Available"

// ProtocolHBONE is the tunnel that ambient pods and HBONE-capable sidecars
// are reached by.
const ProtocolHBONE = "HBONE"
