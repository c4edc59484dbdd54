package checks

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// discoverySelectors: istiod tells ztunnel of the namespaces that it looks at. Of
// several control planes with selectors of their own, the one that counts is that
// which ztunnel is connected to.
func discoverySelectors() Check {
	return Check{
		ID: "discovery-selectors", Category: CategoryPrerequisites, Severity: v1alpha1.SeverityError,
		About: "Whether the discoverySelectors of the mesh configuration select the namespace.",
		Why: "Where there are any, istiod looks only at namespaces whose labels one of them selects (istio pkg/kube/namespace/filter.go). " +
			"ztunnel is not told of the pods and policies of others: their pods would have neither mTLS nor policies.",
		Needs: []string{mesh.IstiodDeployments, mesh.IstioConfigMaps, mesh.ZtunnelPods, "Namespace"}, Passed: "istiod looks at the namespace",
		Run: func(subject Subject) []Finding {
			configurations := subject.Snapshot.Configurations()
			serving := servingZtunnel(subject.Snapshot, configurations)
			var findings []Finding
			for _, configuration := range configurations {
				finding := discoveryFinding(configuration, subject.Namespace)
				if finding == nil {
					continue
				}
				if finding.Status == v1alpha1.StatusFail && !serving[configuration.Revision] {
					finding.Status = v1alpha1.StatusWarn
				}
				findings = append(findings, *finding)
			}
			return findings
		},
	}
}

// servingZtunnel are the revisions that ztunnel is connected to, or may be where
// its environment does not say.
func servingZtunnel(snapshot *mesh.Snapshot, configurations []mesh.Configuration) map[string]bool {
	serving, all := map[string]bool{}, map[string]bool{}
	for _, configuration := range configurations {
		all[configuration.Revision] = true
	}
	for _, pod := range snapshot.ZtunnelPods() {
		if revision, known := revisionAt(pod.ProxyEnvironment["XDS_ADDRESS"]); known && all[revision] {
			serving[revision] = true
		}
	}
	if len(serving) == 0 {
		return all
	}
	return serving
}

func discoveryFinding(configuration mesh.Configuration, namespace mesh.Namespace) *Finding {
	selectors := configuration.DiscoverySelectors
	finding := Finding{
		Status: v1alpha1.StatusFail, Object: reference(configuration.ConfigMap), Field: "data.mesh (discoverySelectors)",
		Message: fmt.Sprintf("no selector matches the labels of namespace %s: istiod of revision %s ignores it", namespace.Name, configuration.Revision),
		Remedy:  "kubectl label namespace " + namespace.Name + " with what a selector asks for, or add a selector",
	}
	for i := range selectors {
		if _, err := metav1.LabelSelectorAsSelector(&selectors[i]); err != nil {
			// istiod heeds none of them then, or goes on with those that it knew before.
			finding.Status = v1alpha1.StatusUnknown
			finding.Message = fmt.Sprintf("whether istiod of revision %s looks at the namespace cannot be told: selector %d is not valid: %v", configuration.Revision, i, err)
			finding.Remedy = "correct the selector"
			return &finding
		}
	}
	selected := slices.ContainsFunc(selectors, func(selector metav1.LabelSelector) bool { return matches(&selector, namespace.Labels) })
	if len(selectors) == 0 || selected {
		return nil
	}
	return &finding
}
