package checks

import (
	"fmt"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// RollbackGates are the checks that must hold before a namespace is put back
// on sidecars. Workloads are those to be put back, with their former
// templates; the subject's namespace has its former labels.
func RollbackGates(workloads []mesh.Workload) []Check {
	return []Check{namespaceTerminating(), istioInstalled(), injectorPresent(workloads)}
}

// injectorPresent: a revision can be uninstalled while a namespace is in
// ambient mode. Its pods would then come back without any proxy.
func injectorPresent(workloads []mesh.Workload) Check {
	return Check{
		ID: "injector-present", Category: CategoryPrerequisites, Severity: v1alpha1.SeverityError,
		Needs: []string{"MutatingWebhookConfiguration"}, Passed: "the injector that gave the sidecars is still there",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, workload := range workloads {
				if workload.Injected(subject.Snapshot.Injectors(), subject.Namespace.Labels) {
					continue
				}
				findings = append(findings, Finding{
					Status: v1alpha1.StatusFail, Object: reference(workload.Reference),
					Message: fmt.Sprintf("no injection webhook would give its pods a sidecar again (injection: %s)",
						describeInjection(subject.Snapshot, subject.Namespace)),
					Remedy: "install the revision again, or change the label to one that is installed",
				})
			}
			return findings
		},
	}
}

func describeInjection(snapshot *mesh.Snapshot, namespace mesh.Namespace) string {
	if injection := snapshot.InjectionOf(namespace); injection != "" {
		return injection
	}
	return "none"
}
