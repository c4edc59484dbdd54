package checks

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// pluginPolicyKinds are the definitions of the policies of network plugins: those
// of Cilium, Calico, Antrea and of the Kubernetes project's network policy API.
var pluginPolicyKinds = []string{
	"ciliumnetworkpolicies.cilium.io", "ciliumclusterwidenetworkpolicies.cilium.io",
	"networkpolicies.crd.projectcalico.org", "globalnetworkpolicies.crd.projectcalico.org",
	"networkpolicies.projectcalico.org", "globalnetworkpolicies.projectcalico.org",
	"networkpolicies.crd.antrea.io", "clusternetworkpolicies.crd.antrea.io",
	"adminnetworkpolicies.policy.networking.k8s.io", "baselineadminnetworkpolicies.policy.networking.k8s.io",
	"clusternetworkpolicies.policy.networking.k8s.io",
}

func pluginPolicies() Check {
	return Check{
		ID: "plugin-policies", Category: CategoryNetwork, Severity: v1alpha1.SeverityWarning,
		About: "Whether the network plugin has kinds of policies of its own: their CustomResourceDefinitions are installed.",
		Why: "Such policies are enforced outside the pod as NetworkPolicies are, where only port 15008 is seen of the mesh's traffic (istio documentation, Ambient and Kubernetes NetworkPolicy). " +
			"They are not evaluated here: one that admits only the application's port cuts ambient pods off.",
		Needs:  []string{mesh.CustomResourceDefinitions},
		Passed: "there are no kinds of network policies besides NetworkPolicy",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, definition := range subject.Snapshot.Definitions() {
				if !slices.Contains(pluginPolicyKinds, definition.Name) {
					continue
				}
				findings = append(findings, Finding{
					Status:  v1alpha1.StatusWarn,
					Object:  &v1alpha1.ObjectReference{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition", Name: definition.Name},
					Message: fmt.Sprintf("policies of this kind are not evaluated: those that apply to pods of the mesh must admit port %d", portHBONE),
					Remedy:  "kubectl get " + definition.Name + " --all-namespaces shows them",
				})
			}
			return findings
		},
	}
}
