package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// notInstalled skips a check about a part that another check misses already.
func notInstalled(name string) []Finding {
	return []Finding{{Status: v1alpha1.StatusSkip, Message: name + " is not installed"}}
}

// ztunnelContainer is ztunnel's container in its template.
func ztunnelContainer(ztunnel appsv1.DaemonSet) (int, corev1.Container) {
	for i, container := range ztunnel.Spec.Template.Spec.Containers {
		if container.Name == mesh.ProxyContainer {
			return i, container
		}
	}
	return 0, corev1.Container{}
}

// The rule of thumb for ztunnel's memory. Its chart asks for 512 MiB and calls
// that enough for a cluster of 200000 pods or for 100000 open connections, so
// about 2.7 KiB a pod of the mesh and 5.4 KiB a connection; Istio's performance
// page measures 12 MB at 1000 requests a second. A pod of the node is counted with
// as many connections as fit a mebibyte, about 190.
const (
	ztunnelBase        = 16 << 20
	ztunnelPerNodePod  = 1 << 20
	ztunnelPerMeshPod  = 512 << 20 / 200000
	podsPerNodeDefault = 110
)

func ztunnelResources() Check {
	return Check{
		ID: "ztunnel-resources", Category: CategoryComponents, Severity: v1alpha1.SeverityWarning,
		About: "ztunnel's requests and limits, against the pods that a node may run.",
		Why: "All traffic of a node's ambient pods goes through its one ztunnel. A CPU limit slows every pod of the node at once; where its memory ends, ztunnel is killed and all their connections break; " +
			"without a memory request it is among the first to be evicted. How much it needs is a rule of thumb: 16 MiB, 1 MiB for each pod that fits the node, and 2.7 KiB for each pod of the mesh, " +
			"from the figures in its chart (istio manifests/charts/ztunnel/values.yaml) and in Istio's documentation (istio.io, Performance and Scalability).",
		Needs:  []string{mesh.KindDaemonSet, mesh.KindNode, mesh.PodsMeshWide},
		Passed: "ztunnel has requests, no CPU limit, and memory for the pods of a node",
		Run: func(subject Subject) []Finding {
			ztunnel, found := subject.Snapshot.Ztunnel()
			if !found {
				return notInstalled("ztunnel")
			}
			i, container := ztunnelContainer(ztunnel)
			field := fmt.Sprintf("spec.template.spec.containers[%d].resources", i)
			findings := slices.Concat(memoryFindings(subject.Snapshot, container.Resources, field), processorFindings(container.Resources, field))
			for i := range findings {
				findings[i].Object = daemonSetReference(ztunnel)
			}
			return findings
		},
	}
}

func memoryFindings(snapshot *mesh.Snapshot, resources corev1.ResourceRequirements, field string) []Finding {
	var findings []Finding
	// A limit is the request, too, where that is not set.
	if resources.Requests.Memory().IsZero() && resources.Limits.Memory().IsZero() {
		findings = append(findings, Finding{
			Status: v1alpha1.StatusWarn, Field: field + ".requests.memory",
			Message: "ztunnel requests no memory, so a node that runs short of it may evict it, and with it the traffic of its pods",
			Remedy:  "set resources.requests in the values of the ztunnel chart, whose own are cpu=200m and memory=512Mi",
		})
	}
	limit := resources.Limits.Memory()
	pods := podsPerNode(snapshot)
	needs := ztunnelBase + ztunnelPerNodePod*pods + ztunnelPerMeshPod*int64(len(snapshot.AllPods()))
	if !limit.IsZero() && limit.Value() < needs {
		findings = append(findings, Finding{
			Status: v1alpha1.StatusWarn, Field: field + ".limits.memory",
			Message: fmt.Sprintf("ztunnel may use %s of memory; by a rule of thumb %s are needed for the %d pods that fit a node", limit, mebibytes(needs), pods),
			Remedy:  "raise resources.limits.memory in the values of the ztunnel chart, or leave it out as the chart does",
		})
	}
	return findings
}

func processorFindings(resources corev1.ResourceRequirements, field string) []Finding {
	limit := resources.Limits.Cpu()
	if limit.IsZero() {
		return nil
	}
	return []Finding{{
		Status: v1alpha1.StatusWarn, Field: field + ".limits.cpu",
		Message: fmt.Sprintf("ztunnel is limited to %s CPU: once it is throttled, so is all traffic of its node's ambient pods", limit),
		Remedy:  "leave out resources.limits.cpu in the values of the ztunnel chart, and set a request",
	}}
}

// podsPerNode is how many pods fit the largest node.
func podsPerNode(snapshot *mesh.Snapshot) int64 {
	most := int64(0)
	for _, node := range snapshot.Nodes() {
		most = max(most, node.Status.Allocatable.Pods().Value())
	}
	if most == 0 {
		return podsPerNodeDefault
	}
	return most
}

func mebibytes(bytes int64) string {
	const mebibyte = 1 << 20
	return resource.NewQuantity((bytes+mebibyte-1)/mebibyte*mebibyte, resource.BinarySI).String()
}

// trustedNodeAccounts: ztunnel asks for certificates in the name of the pods on
// its node, which istiod's CA lets only accounts do that it was told of. The
// default of the variable is none; the chart names the account that ztunnel
// has beside istiod.
func trustedNodeAccounts() Check {
	const variable = "CA_TRUSTED_NODE_ACCOUNTS"
	return Check{
		ID: "trusted-node-accounts", Category: CategoryComponents, Severity: v1alpha1.SeverityError,
		About: "Whether every istiod lets ztunnel's service account ask for certificates of the pods on its node.",
		Why: "ztunnel has no certificates of its own: it asks for those of the pods that it serves. istiod refuses that to accounts that are not in CA_TRUSTED_NODE_ACCOUNTS, an exact list that is empty by default " +
			"(istio security/pkg/server/ca/node_auth.go, pilot/pkg/features/security.go); the istiod chart fills it for a ztunnel beside istiod only. " +
			"Without certificates every connection of an ambient pod fails.",
		Needs:  []string{mesh.IstiodDeployments, mesh.KindDaemonSet},
		Passed: "every istiod gives ztunnel the certificates of its pods",
		Run: func(subject Subject) []Finding {
			ztunnel, found := subject.Snapshot.Ztunnel()
			if !found {
				return notInstalled("ztunnel")
			}
			account := ztunnel.Namespace + "/" + ztunnel.Spec.Template.Spec.ServiceAccountName
			address, state := mesh.Setting(ztunnel.Spec.Template, "CA_ADDRESS")
			revision, byIstiod := revisionAt(address)
			if state == mesh.SettingSet && !byIstiod {
				return []Finding{{
					Status: v1alpha1.StatusWarn, Object: daemonSetReference(ztunnel), Field: environmentField("CA_ADDRESS"),
					Message: fmt.Sprintf("ztunnel takes certificates from %s: whether that gives %s those of its pods cannot be seen", address, account),
					Remedy:  "see that the CA trusts " + account + " as a node's account",
				}}
			}
			var findings []Finding
			for _, istiod := range subject.Snapshot.Istiods() {
				value, state := mesh.Setting(istiod.Spec.Template, variable)
				finding := Finding{Object: deploymentReference(istiod), Field: environmentField(variable)}
				switch {
				case state == mesh.SettingHidden:
					finding.Status = v1alpha1.StatusUnknown
					finding.Message = fmt.Sprintf("whether revision %s gives ztunnel certificates cannot be seen: %s does not come from the Deployment itself",
						mesh.RevisionOf(istiod), variable)
					finding.Remedy = "write " + variable + "=" + account + " into the Deployment's own environment"
				case slices.Contains(strings.Split(value, ","), account):
					continue
				default:
					finding.Status = v1alpha1.StatusFail
					finding.Message = fmt.Sprintf("revision %s does not give ztunnel certificates of its pods: %s is not in %s, which is %q",
						mesh.RevisionOf(istiod), account, variable, value)
					finding.Remedy = trustRemedy(subject.Snapshot, istiod, ztunnel)
				}
				if asksAnother(subject.Snapshot, revision, istiod) {
					finding.Status = v1alpha1.StatusWarn
				}
				findings = append(findings, finding)
			}
			return findings
		},
	}
}

// asksAnother says whether ztunnel is known to ask an istiod of another revision
// for certificates, which this one would refuse it after an upgrade only.
func asksAnother(snapshot *mesh.Snapshot, revision string, istiod appsv1.Deployment) bool {
	return mesh.RevisionOf(istiod) != revision &&
		slices.ContainsFunc(snapshot.Istiods(), func(other appsv1.Deployment) bool { return mesh.RevisionOf(other) == revision })
}

// trustRemedy names the values of the istiod chart, which istioctl and the Sail
// operator know under pilot.
func trustRemedy(snapshot *mesh.Snapshot, istiod appsv1.Deployment, ztunnel appsv1.DaemonSet) string {
	namespace, name := "trustedZtunnelNamespace="+ztunnel.Namespace, "trustedZtunnelName="+ztunnel.Spec.Template.Spec.ServiceAccountName
	helm := helmCommand(snapshot, partIstiod, istiod) + " --set " + namespace + " --set " + name
	values := "values.pilot." + namespace + " and values.pilot." + name
	switch mesh.InstallationOf(istiod.ObjectMeta).Installer {
	case mesh.InstallerHelm:
		return helm
	case mesh.InstallerIstioctl:
		return "istioctl install as before, with --set for " + values
	case mesh.InstallerSail:
		return "set spec." + values + " in the Sail operator's Istio"
	case mesh.InstallerUnknown:
	}
	return "installed with Helm: " + helm + "; installed with istioctl: install as before, with --set for " + values
}
