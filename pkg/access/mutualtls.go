package access

import (
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	securityv1beta1 "istio.io/api/security/v1beta1"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// mutualTLS is what PeerAuthentications say of a server: which ports refuse
// plaintext, and to which of them sidecars and gateways send no mTLS.
type mutualTLS struct {
	refuses mesh.MutualTLS
	// disabled is true where ports that disabledPorts does not name take no mTLS.
	disabled      bool
	disabledPorts map[uint32]bool
	// disabledNamespace is true where the namespace takes none: clients then send
	// none, whatever a single pod says (istio pilot/pkg/model/push_context.go,
	// BestEffortInferServiceMTLSMode).
	disabledNamespace bool
	// deciding names the PeerAuthentication that decides, if any, as a list of one.
	deciding []v1alpha1.ObjectReference
}

func mutualTLSOf(snapshot *mesh.Snapshot, server *Server) mutualTLS {
	namespace, labels := server.Workload.Namespace, server.Labels
	levels := snapshot.PeerLevelsOf(namespace, labels)
	made := mutualTLS{disabledPorts: map[uint32]bool{}}
	switch server.Mode {
	case ModeAmbient:
		made.refuses = snapshot.AmbientMutualTLS(namespace, labels)
	case ModeSidecar:
		made.refuses = snapshot.SidecarMutualTLS(namespace, labels)
	case ModeGateway, ModeOutside:
		// PeerAuthentications are for what is captured.
	}
	for _, policy := range []*clientsecurityv1.PeerAuthentication{levels.Mesh, levels.Namespace, levels.Workload} {
		if policy == nil {
			continue
		}
		if mode := policy.Spec.GetMtls().GetMode(); mode != securityv1beta1.PeerAuthentication_MutualTLS_UNSET {
			made.disabled = mode == securityv1beta1.PeerAuthentication_MutualTLS_DISABLE
			if policy != levels.Workload {
				made.disabledNamespace = made.disabled
			}
		}
		if policy.Spec.GetMtls().GetMode() != securityv1beta1.PeerAuthentication_MutualTLS_UNSET || len(policy.Spec.GetPortLevelMtls()) > 0 && policy == levels.Workload {
			made.deciding = []v1alpha1.ObjectReference{mesh.SecurityReference(mesh.KindPeerAuthentication, policy.Namespace, policy.Name)}
		}
	}
	if levels.Workload == nil {
		return made
	}
	for port, mtls := range levels.Workload.Spec.GetPortLevelMtls() {
		if mode := mtls.GetMode(); mode != securityv1beta1.PeerAuthentication_MutualTLS_UNSET {
			made.disabledPorts[port] = mode == securityv1beta1.PeerAuthentication_MutualTLS_DISABLE
		}
	}
	return made
}

// takes says whether sidecars and gateways may send mTLS to a port.
func (m *mutualTLS) takes(port uint32) bool {
	if m.disabledNamespace {
		return false
	}
	if disabled, named := m.disabledPorts[port]; named {
		return !disabled
	}
	return !m.disabled
}
