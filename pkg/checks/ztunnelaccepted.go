package checks

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	istiosecurityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// ztunnelAccepted reads what istiod says of policies that are for ztunnel. That a
// policy is accepted does not mean that it is enforced as it is written: of one about
// requests the condition is True, and its message says what is left out. What that
// comes to, the message does not tell for each DENY, so that it is told by the policy
// itself where it is about requests.
func ztunnelAccepted() Check {
	return Check{
		ID: "ztunnel-accepted", Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		About: "Whether istiod says of every AuthorizationPolicy that ztunnel is to enforce for pods of this namespace that ztunnel does, as it is written.",
		Why: "istiod writes the condition ZtunnelAccepted. It is True with the reason UnsupportedValue for a policy that ztunnel enforces in part only: its message " +
			"names what is left out, and says of a DENY that it refuses more than it is meant to, which is not so of one that is left with nothing to match (istio " +
			"pilot/pkg/serviceregistry/ambient/authorization.go, convertAuthorizationPolicy; ztunnel src/rbac.rs). Policies about requests are the matter of " +
			"layer7-enforced. That a policy was taken up as it is now, the condition's generation says.",
		Needs:  rootNamespaces(append(waypointSources(), mesh.KindAuthorizationPolicy)...),
		Passed: "ztunnel enforces every policy about connections as it is written",
		Run: func(subject Subject) []Finding {
			pods := expected(subject)
			var findings []Finding
			for _, policy := range subject.Snapshot.AuthorizationPolicies() {
				here := policy.Namespace == subject.Namespace.Name || slices.Contains(subject.Snapshot.RootNamespaces(), policy.Namespace)
				selects := func(pod mesh.Pod) bool {
					return mesh.SelectsLabels(policy.Spec.GetSelector().GetMatchLabels(), pod.Labels)
				}
				if !here || len(mesh.TargetsOf(&policy.Spec)) > 0 || !slices.ContainsFunc(pods, selects) {
					continue
				}
				if text := atZtunnel(subject, policy); text != "" {
					findings = append(findings, Finding{
						Status: v1alpha1.StatusFail, Object: securityReference(policy, mesh.KindAuthorizationPolicy),
						Field: "status.conditions[" + ConditionZtunnelAccepted + "]", Message: "it " + text,
						Remedy: "correct what the message names; if the policy is as it should be, look at the log of istiod",
					})
				}
			}
			return findings
		},
	}
}

// atZtunnel says how ztunnel does not enforce a policy that has no targets.
func atZtunnel(subject Subject, policy *istiosecurityv1.AuthorizationPolicy) string {
	object := *securityReference(policy, mesh.KindAuthorizationPolicy)
	// It was read together with the typed one.
	whole, _ := subject.Snapshot.Object(object)
	if beyondZtunnel(whole) {
		return ""
	}
	if text := refusedByZtunnel(whole); text != "" {
		return text
	}
	condition := ConditionOf(whole, ConditionZtunnelAccepted)
	if condition.Reason == reasonAccepted || len(mesh.Layer7Fields(&policy.Spec)) > 0 {
		return ""
	}
	return "is enforced by ztunnel in part only: " + Saying(*condition)
}
