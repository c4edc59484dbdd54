package checks

import (
	"fmt"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	securityv1beta1 "istio.io/api/security/v1beta1"
)

// policyAddresses is about what istiod's webhook refuses, and what is there all the
// same in a cluster without it, from before it, or in files.
func policyAddresses() Check {
	return Check{
		ID: "policy-addresses", Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		About: "Looks for AuthorizationPolicies that reach this namespace with what is neither an address nor a CIDR block where one belongs.",
		Why: "istiod's webhook refuses such a policy (istio pkg/config/validation/validation.go), and what is there without it means different " +
			"things in different places. For sidecars and waypoints istiod leaves out the whole rule of an ALLOW, and of any other action only " +
			"the value, so that the rule holds for more calls than it says (istio pilot/pkg/security/authz/model/model.go, checkError). For " +
			"ztunnel it leaves out the value whatever the action (istio pilot/pkg/serviceregistry/ambient/authorization.go, stringToIP), and a " +
			"source or condition of which nothing is left never matches there. A DENY of everybody in sidecars can so refuse nobody in ambient " +
			"mode, and an ALLOW of nobody admit somebody. Where the webhook is there it would refuse the copies for a waypoint as well, in " +
			"the middle of a run. A policy with targetRefs is enforced by waypoints alone, before the migration as after it, and is announced.",
		Needs:  append(rootNamespaces(mesh.KindAuthorizationPolicy), workloadKinds()...),
		Passed: "every address in an AuthorizationPolicy that applies here can be read",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, policy := range subject.Snapshot.AuthorizationPolicies() {
				if policy.Labels[v1alpha1.OriginLabel] != "" || !applies(subject, policy.Namespace, policy.Spec.GetSelector()) {
					// What an enrolment has made says what its origin says.
					continue
				}
				status := v1alpha1.StatusFail
				if attached(&policy.Spec) {
					status = v1alpha1.StatusWarn
				}
				for _, malformed := range mesh.MalformedBlocks(&policy.Spec) {
					findings = append(findings, Finding{
						Status: status, Object: securityReference(policy, mesh.KindAuthorizationPolicy), Field: malformed.Field,
						Message: fmt.Sprintf("%q is neither an address nor a CIDR block: %s", malformed.Value, withoutAddress(&policy.Spec)),
						Remedy:  "correct it, or take it out of the policy",
					})
				}
			}
			return findings
		},
	}
}

// withoutAddress says what istiod makes of a rule with an address that cannot be
// read. What has targetRefs is not sent to ztunnel, nor are AUDIT and CUSTOM.
func withoutAddress(spec *securityv1beta1.AuthorizationPolicy) string {
	const wider = "istiod leaves it out, so that in sidecars and at waypoints the rule "
	action, ztunnel := spec.GetAction(), !attached(spec)
	switch {
	case action == securityv1beta1.AuthorizationPolicy_ALLOW && ztunnel:
		return "for sidecars and waypoints istiod leaves out the whole rule, which allows nothing, while ztunnel is sent the rest of it, if that needs no HTTP"
	case action == securityv1beta1.AuthorizationPolicy_ALLOW:
		return "istiod leaves out the whole rule, which allows nothing"
	case action == securityv1beta1.AuthorizationPolicy_DENY && ztunnel:
		return wider + "refuses more calls than it says, and ztunnel passes over a source or condition with nothing else in it"
	case action == securityv1beta1.AuthorizationPolicy_DENY:
		return wider + "refuses more calls than it says"
	case action == securityv1beta1.AuthorizationPolicy_AUDIT:
		return wider + "reports more calls than it says"
	default:
		return wider + "asks its provider about more calls than it says"
	}
}
