package access

import (
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	securityv1beta1 "istio.io/api/security/v1beta1"
)

// ztunnel is what ztunnel enforces on a pod: DENY, then ALLOW (ztunnel
// src/state.rs, assert_rbac).
type ztunnel struct {
	deny, allow []*policy
	allowing    []v1alpha1.ObjectReference
}

// add takes a policy in. Those of other actions, and those on dry run, are not
// sent (istio pilot/pkg/serviceregistry/ambient/authorization.go,
// convertAuthorizationPolicy).
func (z *ztunnel) add(compiled *policy) {
	switch {
	case compiled.dryRun:
	case compiled.action == securityv1beta1.AuthorizationPolicy_DENY:
		z.deny = append(z.deny, compiled)
	case compiled.action == securityv1beta1.AuthorizationPolicy_ALLOW:
		z.allow = append(z.allow, compiled)
		z.allowing = append(z.allowing, compiled.reference...)
	}
}

func (z *ztunnel) decide(f *facts) Decision {
	if matching := matching(z.deny, f, formAmbient); matching != nil {
		return Decision{Outcome: Denied, Point: AtZtunnel, Policies: matching, Reason: reasonDeny}
	}
	for _, policy := range z.allow {
		if policy.matches(f, formAmbient) {
			return allowed
		}
	}
	if len(z.allow) > 0 {
		return Decision{Outcome: Denied, Point: AtZtunnel, Policies: z.allowing, Reason: reasonNoAllow}
	}
	return allowed
}
