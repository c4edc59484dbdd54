package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// spire: ztunnel asks a CA for the certificates of the pods on its node. SPIRE
// gives certificates to the process that asks, and Istio's ztunnel does not ask
// it.
func spire() Check {
	return Check{
		ID: "spire", Category: CategoryPrerequisites, Severity: v1alpha1.SeverityError,
		About: "Whether SPIRE gives sidecars or ztunnel their certificates.",
		Why: "Istio's ztunnel takes certificates from istiod's CA or another that speaks its protocol, not from SPIRE's agent (istio/ztunnel src/identity; the work on it, istio/ztunnel pull requests 1676 and 1936, is not merged). " +
			"Pods that leave their sidecars would change to identities from another CA, which the peers that still have SPIRE's do not trust.",
		Needs: append(workloadKinds(), mesh.PodsMeshWide, mesh.IstioConfigMaps, mesh.KindMutatingWebhookConfiguration), Passed: "no proxy takes its certificates from SPIRE",
		Run: func(subject Subject) []Finding {
			findings := slices.Concat(spireByDefault(subject), spireWorkloads(subject), spireZtunnel(subject), spireElsewhere(subject))
			if len(findings) > 0 {
				return findings
			}
			return spireAgents(subject)
		},
	}
}

const spireRemedy = "leave the namespace on sidecars, or let istiod's CA issue its certificates first"

func spireByDefault(subject Subject) []Finding {
	var findings []Finding
	for _, configMap := range subject.Snapshot.SPIREByDefault() {
		findings = append(findings, Finding{
			Status: v1alpha1.StatusFail,
			Object: &v1alpha1.ObjectReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: configMap.Namespace, Name: configMap.Name},
			Field:  "data.config", Message: "the default injection template gives every sidecar its certificates from SPIRE, which ztunnel cannot use",
			Remedy: spireRemedy,
		})
	}
	return findings
}

func spireWorkloads(subject Subject) []Finding {
	var findings []Finding
	seen := map[types.UID]bool{}
	for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
		pods := subject.Snapshot.PodsOf(workload)
		markMoved(seen, pods)
		if subject.Snapshot.RoleOf(workload, subject.Namespace) != mesh.RoleMove {
			// It keeps its proxy, or has none.
			continue
		}
		use := mesh.SPIREOf(workload.Template.Annotations, workload.Template.Spec)
		for _, pod := range pods {
			if pod.SPIRE() == mesh.SPIREProxy {
				use = mesh.SPIREProxy
			}
		}
		if finding := spireFinding(use); finding != nil {
			finding.Object, finding.Field = reference(workload.Reference), templateField(workload, "spec.volumes")
			findings = append(findings, *finding)
		}
	}
	for _, pod := range subject.Snapshot.Pods(subject.Namespace.Name) {
		if seen[pod.UID] || !pod.HasSidecar() {
			continue
		}
		if finding := spireFinding(pod.SPIRE()); finding != nil {
			finding.Object, finding.Field = reference(pod.Reference()), "spec.volumes"
			findings = append(findings, *finding)
		}
	}
	return findings
}

func spireFinding(use mesh.SPIREUse) *Finding {
	switch use {
	case mesh.SPIREProxy:
		return &Finding{
			Status: v1alpha1.StatusFail, Message: "its sidecars take their certificates from SPIRE, which ztunnel cannot use",
			Remedy: spireRemedy,
		}
	case mesh.SPIREApplication:
		return &Finding{
			Status:  v1alpha1.StatusWarn,
			Message: "the application itself has SPIRE's socket: it keeps that identity, beside the one that ztunnel gets from Istio's CA",
		}
	case mesh.SPIRENone:
	}
	return nil
}

// spireZtunnel: a vendor's ztunnel may know SPIRE. Istio's own does not.
func spireZtunnel(subject Subject) []Finding {
	ztunnel, found := subject.Snapshot.Ztunnel()
	if !found {
		return nil
	}
	template := ztunnel.Spec.Template
	asks := mesh.SPIREOf(template.Annotations, template.Spec) != mesh.SPIRENone
	image := ""
	for _, container := range template.Spec.Containers {
		image = container.Image
		for _, variable := range container.Env {
			asks = asks || strings.HasPrefix(variable.Name, "SPIRE_") || variable.Name == "CA_ADDRESS" && strings.Contains(variable.Value, "spire")
		}
	}
	if !asks {
		return nil
	}
	finding := Finding{
		Status: v1alpha1.StatusFail, Object: daemonSetReference(ztunnel), Field: "spec.template.spec",
		Message: "ztunnel is told to take certificates from SPIRE, which Istio's ztunnel cannot",
		Remedy:  "install ztunnel with istiod as its CA",
	}
	if version, err := imageRelease(image); err == nil && version.vendors() {
		finding.Status = v1alpha1.StatusWarn
		finding.Message = fmt.Sprintf("ztunnel takes certificates from SPIRE, which Istio's own cannot: whether this vendor's build %s can is not known here", version)
		finding.Remedy = "see the vendor's documentation"
	}
	return []Finding{finding}
}

// spireElsewhere: this namespace's identities do not change, but who has
// SPIRE's must trust them already.
func spireElsewhere(subject Subject) []Finding {
	var names []string
	for _, pod := range subject.Snapshot.AllPods() {
		// Metadata is all that is known of pods elsewhere.
		if pod.Namespace != subject.Namespace.Name && mesh.SPIREOf(pod.Annotations, corev1.PodSpec{}) == mesh.SPIREProxy {
			names = append(names, pod.Namespace+"/"+pod.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return []Finding{{
		Status: v1alpha1.StatusWarn,
		Message: fmt.Sprintf("the proxies of %s elsewhere take their certificates from SPIRE: ztunnel's must chain to a root that they trust (%s)",
			count(len(names), "pod"), some(names)),
		Remedy: "see that SPIRE's upstream authority and Istio's CA share a root",
	}}
}

func spireAgents(subject Subject) []Finding {
	var findings []Finding
	for _, set := range subject.Snapshot.DaemonSets() {
		if strings.Contains(set.Name, "spire-agent") || set.Spec.Template.Labels["app.kubernetes.io/name"] == "spire-agent" {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusWarn, Object: daemonSetReference(set),
				Message: "SPIRE runs in the cluster; no proxy that could be seen takes its certificates from it",
				Remedy:  "see that no sidecar of the mesh does",
			})
		}
	}
	return findings
}
