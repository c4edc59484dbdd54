package checks

import (
	"fmt"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	securityv1beta1 "istio.io/api/security/v1beta1"
)

// unguarded are the workloads that have come since the enrolment, that a policy about
// requests selects, and that none of its guards does, where runs have made any: in a
// namespace with proxies of its own a guard is for the pods of one workload. Those that
// were there have been judged with the policy.
func unguarded(subject Subject, one selecting) []Finding {
	guards := guardsOf(subject, one.object)
	if len(guards) == 0 || subject.Past == nil {
		return nil
	}
	meant := capturing(subject)
	var findings []Finding
	for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
		if _, was := subject.Past.Snapshot.Workload(workload.Reference); was {
			continue
		}
		for _, pod := range subject.Snapshot.PodsOf(workload) {
			if !meant(pod) || !mesh.SelectsLabels(one.selector, pod.Labels) || selectsAnyOf(guards, pod) {
				continue
			}
			findings = append(findings, Finding{
				Status: v1alpha1.StatusFail, Object: reference(workload.Reference), Field: templateField(workload, "metadata.labels"),
				Message: fmt.Sprintf("it has come since the enrolment, and no guard of %s selects its pods: direct calls that the policy refuses by HTTP are let in", one.object),
				Remedy:  enrollAgain(subject),
			})
			break
		}
	}
	return findings
}

// guardsOf are the selectors of what runs have made of a policy to refuse direct calls.
func guardsOf(subject Subject, origin v1alpha1.ObjectReference) []map[string]string {
	var guards []map[string]string
	for _, policy := range subject.Snapshot.AuthorizationPolicies() {
		made := policy.Labels[v1alpha1.OriginLabel] != "" && policy.Annotations[v1alpha1.OriginLabel] == origin.String()
		if made && policy.Namespace == subject.Namespace.Name && len(mesh.TargetsOf(&policy.Spec)) == 0 && policy.Spec.GetAction() == securityv1beta1.AuthorizationPolicy_DENY {
			guards = append(guards, policy.Spec.GetSelector().GetMatchLabels())
		}
	}
	return guards
}

func selectsAnyOf(selectors []map[string]string, pod mesh.Pod) bool {
	for _, selector := range selectors {
		if mesh.SelectsLabels(selector, pod.Labels) {
			return true
		}
	}
	return false
}
