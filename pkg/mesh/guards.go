package mesh

import (
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	securityv1beta1 "istio.io/api/security/v1beta1"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// GuardsOf returns what runs have made of a policy in a namespace to refuse the direct
// calls that ztunnel cannot tell from those that the policy refuses.
func (s *Snapshot) GuardsOf(namespace string, origin v1alpha1.ObjectReference) []*clientsecurityv1.AuthorizationPolicy {
	var guards []*clientsecurityv1.AuthorizationPolicy
	for _, policy := range s.AuthorizationPolicies() {
		made := policy.Labels[v1alpha1.OriginLabel] != "" && policy.Annotations[v1alpha1.OriginLabel] == origin.String()
		if made && policy.Namespace == namespace && len(TargetsOf(&policy.Spec)) == 0 && policy.Spec.GetAction() == securityv1beta1.AuthorizationPolicy_DENY {
			guards = append(guards, policy)
		}
	}
	return guards
}
