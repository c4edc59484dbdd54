package checks

import (
	"fmt"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
)

// RollbackGates are the checks that must hold before a namespace is put back
// on sidecars. Workloads are those to be put back, with their former
// templates, restarted those that this restarts, what was kept out included, and
// evicted those whose pods are evicted, since no template brings their sidecars;
// the subject's namespace has its former labels.
func RollbackGates(workloads, restarted, evicted []mesh.Workload) []Check {
	return []Check{
		namespaceTerminating(), istioInstalled(), injectorPresent(workloads),
		availability(func(Subject) ([]mesh.Workload, []mesh.Workload) { return restarted, evicted }),
		callsCompared(), callsNewlyAllowed(), callsNewlyProven(), callsNewlyDenied(), staleEndpointsBack(workloads),
	}
}

// injectorPresent: a revision can be uninstalled while a namespace is in
// ambient mode. Its pods would then come back without any proxy.
func injectorPresent(workloads []mesh.Workload) Check {
	return Check{
		ID: "injector-present", Category: CategoryPrerequisites, Severity: v1alpha1.SeverityError,
		About: "Whether the injection webhook that gave the pods their sidecars is still there to give them again.",
		Why:   "A revision can be uninstalled while its namespaces are in ambient mode. A rollback would then bring up pods without any proxy: no mTLS, and no policy.",
		Needs: []string{"MutatingWebhookConfiguration"}, Passed: "the injector that gave the sidecars is still there",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, workload := range workloads {
				if workload.Injected(subject.Snapshot.Injectors(), subject.Namespace.Labels) {
					continue
				}
				if !asksForSidecar(workload, subject.Namespace) {
					findings = append(findings, Finding{
						Status: v1alpha1.StatusWarn, Object: reference(workload.Reference),
						Message: "its pods come back without sidecars: nothing asked for them any more before the namespace was enrolled",
					})
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

// asksForSidecar says whether labels or annotations ask for injection, whoever
// would answer.
func asksForSidecar(workload mesh.Workload, namespace mesh.Namespace) bool {
	template := workload.Template
	if mesh.OptedOut(template.Labels, template.Annotations) {
		return false
	}
	return namespace.Labels[mesh.NamespaceInjectionLabel] == mesh.InjectionEnabled || namespace.Labels[label.IoIstioRev.Name] != "" ||
		template.Labels[label.SidecarInject.Name] == "true" || template.Labels[label.IoIstioRev.Name] != ""
}

func describeInjection(snapshot *mesh.Snapshot, namespace mesh.Namespace) string {
	if injection := snapshot.InjectionOf(namespace); injection != "" {
		return injection
	}
	return "none"
}
