package mesh

import (
	"slices"

	securityv1beta1 "istio.io/api/security/v1beta1"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// Strict says whether pods with these labels accept mTLS only. The narrowest
// PeerAuthentication decides, workload before namespace before mesh, the oldest
// of several alike; UNSET leaves it to the next (istio
// pilot/pkg/model/authentication.go). Ports with a mode of their own are not
// looked at.
func (s *Snapshot) Strict(namespace string, podLabels map[string]string) bool {
	roots := s.RootNamespaces()
	var byReach [3][]*clientsecurityv1.PeerAuthentication
	for _, policy := range s.peerAuthentications {
		selector := policy.Spec.GetSelector().GetMatchLabels()
		switch {
		case policy.Namespace == namespace && len(selector) > 0 && SelectsLabels(selector, podLabels):
			byReach[0] = append(byReach[0], policy)
		case policy.Namespace == namespace && len(selector) == 0:
			byReach[1] = append(byReach[1], policy)
		case slices.Contains(roots, policy.Namespace) && len(selector) == 0:
			byReach[2] = append(byReach[2], policy)
		}
	}
	for _, policies := range byReach {
		slices.SortStableFunc(policies, func(a, b *clientsecurityv1.PeerAuthentication) int {
			return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
		})
		if len(policies) == 0 {
			continue
		}
		if mode := policies[0].Spec.GetMtls().GetMode(); mode != securityv1beta1.PeerAuthentication_MutualTLS_UNSET {
			return mode == securityv1beta1.PeerAuthentication_MutualTLS_STRICT
		}
	}
	return false
}
