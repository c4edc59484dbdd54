package checks

import (
	"fmt"
	"maps"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// unguarded are the workloads that have come since the enrolment, that a policy about
// requests selects, and that none of its guards does, where runs have made any: in a
// namespace with proxies of its own a guard is for the pods of one workload. Those that
// were there have been judged with the policy.
func unguarded(subject Subject, one selecting) []Finding {
	guards := subject.Snapshot.GuardsOf(subject.Namespace.Name, one.object)
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
			if !meant(pod) || !mesh.SelectsLabels(one.selector, pod.Labels) || selectsAnyOf(guards, pod.Labels) {
				continue
			}
			findings = append(findings, Finding{
				Status: v1alpha1.StatusFail, Object: reference(workload.Reference), Field: templateField(workload, "metadata.labels"),
				Message: fmt.Sprintf("it has come since the enrolment, and no guard of %s selects its pods: direct calls that the policy refuses by HTTP are let in", one.object),
				Remedy:  guardRemedy(subject, guards, pod),
			})
			break
		}
	}
	return findings
}

// guardRemedy has pods guarded: by a label, where a guard is for all whose template
// refuses injection, since nothing else tells them from a proxy.
func guardRemedy(subject Subject, guards []*clientsecurityv1.AuthorizationPolicy, pod mesh.Pod) string {
	refusing := maps.Clone(pod.Labels)
	if refusing == nil {
		refusing = map[string]string{}
	}
	refusing[label.SidecarInject.Name] = "false"
	if selectsAnyOf(guards, refusing) {
		return fmt.Sprintf("label its template %s: \"false\", by which the guard selects pods", label.SidecarInject.Name)
	}
	return enrollAgain(subject)
}

func selectsAnyOf(guards []*clientsecurityv1.AuthorizationPolicy, labels map[string]string) bool {
	return slices.ContainsFunc(guards, func(guard *clientsecurityv1.AuthorizationPolicy) bool {
		return mesh.SelectsLabels(guard.Spec.GetSelector().GetMatchLabels(), labels)
	})
}
