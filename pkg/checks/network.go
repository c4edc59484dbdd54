package checks

import (
	"fmt"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// networkChecks are about the network beneath the mesh.
func networkChecks() []Check {
	return []Check{
		networkPolicies(), pluginPolicies(), networkPolicyProbes(), headlessStrict(), staleEndpoints(), podSecurity(), resourceQuota(),
	}
}

// portHBONE is where ambient pods, waypoints and sidecars that can receive the
// traffic of ambient mode.
const portHBONE = 15008

func matches(selector *metav1.LabelSelector, set map[string]string) bool {
	compiled, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && compiled.Matches(labels.Set(set))
}

// headlessStrict: a sidecar that calls a headless Service addresses the pod,
// not the Service, and cannot send HBONE; it falls back to plaintext, which a
// STRICT ambient pod refuses. Pods of one StatefulSet call each other so, too,
// while it is being restarted.
func headlessStrict() Check {
	return Check{
		ID: "headless-strict", Category: CategoryNetwork, Severity: v1alpha1.SeverityError,
		About: "Headless Services of the namespace whose pods lose their sidecars and accept mTLS only.",
		Why: "A sidecar that calls a headless Service passes the call on to the pod's address and sends no HBONE to it (istio " +
			"pilot/pkg/networking/core/cluster.go, original destination); towards a pod without a sidecar that is plaintext, which ztunnel refuses under STRICT. " +
			"Pods of one StatefulSet that call each other are cut off in the middle of their own restart.",
		Needs:  append(rootNamespaces("MutatingWebhookConfiguration", "Service", "PeerAuthentication"), workloadKinds()...),
		Passed: "no headless Service has pods that accept mTLS only",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, service := range headless(subject) {
				for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
					template := workload.Template
					if subject.Snapshot.RoleOf(workload, subject.Namespace) != mesh.RoleMove ||
						!mesh.SelectsLabels(service.Spec.Selector, template.Labels) ||
						!subject.Snapshot.Strict(subject.Namespace.Name, template.Labels) {
						continue
					}
					findings = append(findings, Finding{
						Status:  v1alpha1.StatusFail,
						Object:  reference(mesh.ServiceReference(service.Namespace, service.Name)),
						Field:   "spec.clusterIP",
						Message: fmt.Sprintf("callers that still have a sidecar could not reach %s by this headless Service: its pods accept mTLS only", workload.Reference),
						Remedy:  "set mTLS to PERMISSIVE for it until every caller is in ambient mode",
					})
				}
			}
			return findings
		},
	}
}
