package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
)

// sidecarChecks are about the sidecars that are there.
func sidecarChecks() []Check {
	return []Check{
		sidecarHBONE(), kubeInjected(), grpcAgents(), leftoverSidecars(), sidecarAnnotations(), injectionTemplates(),
	}
}

// sidecarHBONE is about every sidecar of the mesh: an ambient pod calls by
// HBONE whatever carries the tunnel label, and a STRICT sidecar without it
// resets the plaintext that ztunnel then falls back to.
func sidecarHBONE() Check {
	return Check{
		ID: IDSidecarHBONE, Category: CategorySidecars, Severity: v1alpha1.SeverityError,
		About: "Looks for sidecars anywhere in the mesh that lack the label by which ztunnel knows that they accept HBONE.",
		Why: "An ambient pod calls a sidecar by HBONE only if the sidecar's pod carries networking.istio.io/tunnel=http, which the injector " +
			"writes once the mesh has the ambient profile (istio injection-template.yaml). It falls back to plaintext otherwise, and a sidecar " +
			"under STRICT resets that. Any namespace may be called, so the whole mesh counts.",
		Needs:  []string{mesh.PodsMeshWide, mesh.KindPod, mesh.IstiodDeployments, mesh.SidecarsWithoutTunnel},
		Passed: "every sidecar of the mesh accepts HBONE",
		Run: func(subject Subject) []Finding {
			type group struct{ namespace, cause string }
			pods := map[group][]string{}
			var groups []group
			for _, pod := range subject.Snapshot.AllPods() {
				if !LacksTunnel(pod) || subject.refreshes(pod) {
					continue
				}
				of := group{pod.Namespace, tunnelless(subject, pod)}
				if len(pods[of]) == 0 {
					groups = append(groups, of)
				}
				pods[of] = append(pods[of], pod.Name)
			}
			var findings []Finding
			for _, of := range groups {
				message, remedy := explainTunnelless(of.cause, pods[of])
				status := v1alpha1.StatusFail
				if subject.needsNoTunnel(of.namespace) {
					status = v1alpha1.StatusWarn
				}
				findings = append(findings, Finding{
					Status: status,
					Object: &v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: of.namespace},
					Field:  "label " + mesh.TunnelLabel + " of its pods", Message: message, Remedy: fmt.Sprintf(remedy, of.namespace),
				})
			}
			return findings
		},
	}
}

// Why a sidecar may lack its tunnel label.
const (
	tunnelOld      = "old"
	tunnelOwnLabel = "own label"
	tunnelTemplate = "template"
)

// tunnelless says why the sidecar of a pod lacks the tunnel label. The injector
// writes it, unless the pod has one of its own, where the proxy is configured
// with ISTIO_META_ENABLE_HBONE (istio injection-template.yaml). The proxy's
// environment is known of pods in the namespace at hand and of those that have
// the injector's other label.
func tunnelless(subject Subject, pod mesh.Pod) string {
	whole := pod.Namespace == subject.Namespace.Name || pod.Labels[label.SecurityTlsMode.Name] != ""
	switch {
	case pod.Labels[mesh.TunnelLabel] != "":
		return tunnelOwnLabel
	case whole && pod.ProxyEnvironment["ISTIO_META_ENABLE_HBONE"] == "true":
		return tunnelTemplate
	default:
		return tunnelOld
	}
}

func explainTunnelless(cause string, pods []string) (message, remedy string) {
	of := count(len(pods), "pod")
	switch cause {
	case tunnelOwnLabel:
		return fmt.Sprintf("the sidecars of %s are hidden by a label of the pods' own with another value than %s, so ambient pods could not call them: %s",
				of, mesh.TunnelHTTP, some(pods)),
			"take label " + mesh.TunnelLabel + " off the templates in namespace %s"
	case tunnelTemplate:
		return fmt.Sprintf("the sidecars of %s accept HBONE, but their injection template does not write the label, so ambient pods could not call them: %s",
				of, some(pods)),
			"bring the sidecar template in ConfigMap istio-sidecar-injector up to date, then kubectl -n %s rollout restart what runs them"
	default:
		return fmt.Sprintf("the sidecars of %s predate HBONE, so ambient pods could not call them: %s", of, some(pods)),
			"with the ambient profile installed, kubectl ambient enroll -n %[1]s --until refresh-sidecars, or kubectl -n %[1]s rollout restart what runs them"
	}
}

func kubeInjected() Check {
	return Check{
		ID: "kube-injected", Category: CategorySidecars, Severity: v1alpha1.SeverityError,
		About: "Looks for pod templates that hold a sidecar themselves, as istioctl kube-inject writes it.",
		Why: "Such a sidecar comes from the template and not from the injector, so that pods made without injection still have it, and " +
			"istio-cni leaves them out of ambient mode (istio cni/pkg/util, podutil.go).",
		Needs:  workloadKinds(),
		Passed: "no template carries a sidecar of its own",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
				if !workload.CarriesProxy() {
					continue
				}
				findings = append(findings, Finding{
					Status: v1alpha1.StatusFail, Object: reference(workload.Reference), Field: templateField(workload, proxyList(workload)),
					Message: "the template itself holds an istio-proxy container, so a restart does not remove the sidecar",
					Remedy:  "deploy it again from the manifest that istioctl kube-inject was given",
				})
			}
			return findings
		},
	}
}

// rootNamespaces are what the mesh's root namespaces are told by.
func rootNamespaces(more ...string) []string {
	return append([]string{mesh.IstiodDeployments, mesh.IstioConfigMaps}, more...)
}

// workloadKinds are the kinds that hold pod templates.
func workloadKinds() []string {
	return []string{
		mesh.KindDeployment, mesh.KindStatefulSet, mesh.KindDaemonSet, mesh.KindReplicaSet, mesh.KindCronJob, mesh.KindJob, "Pod",
	}
}

// proxyList is the list of the pod's spec that holds its proxy.
func proxyList(workload mesh.Workload) string {
	for _, container := range workload.Template.Spec.InitContainers {
		if container.Name == mesh.ProxyContainer {
			return "spec.initContainers"
		}
	}
	return "spec.containers"
}

// templateField is the path of a field of a workload's pod template.
func templateField(workload mesh.Workload, field string) string {
	return strings.ReplaceAll(strings.TrimPrefix(workload.TemplatePath, "/"), "/", ".") + "." + field
}

// grpcAgents is about applications that speak xDS themselves. In the namespace
// at hand they would lose the agent that brings them certificates; elsewhere
// ambient pods reach them in plaintext, since they have no tunnel.
func grpcAgents() Check {
	return Check{
		ID: "grpc-agents", Category: CategorySidecars, Severity: v1alpha1.SeverityError,
		About: "Looks for gRPC applications that speak xDS themselves, by the injection templates that they name.",
		Why: "The templates grpc-agent and grpc-simple bring such an application its bootstrap configuration, the first also its certificates " +
			"(istio files/grpc-agent.yaml, grpc-simple.yaml). Without injection it has neither. Ambient pods call it in plaintext, since it " +
			"accepts no HBONE.",
		Needs: append(workloadKinds(), mesh.PodsMeshWide), Passed: "no proxyless gRPC application is concerned",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
				if lacks := speaksXDS(workload); lacks != "" {
					findings = append(findings, Finding{
						Status: v1alpha1.StatusFail, Object: reference(workload.Reference), Field: templateField(workload, "metadata.annotations"),
						Message: "its pods speak xDS themselves and need the " + lacks + " that is injected", Remedy: later,
					})
				}
			}
			var elsewhere []string
			for _, pod := range subject.Snapshot.AllPods() {
				if pod.IsAgent() && pod.Namespace != subject.Namespace.Name {
					elsewhere = append(elsewhere, pod.Namespace+"/"+pod.Name)
				}
			}
			if len(elsewhere) > 0 {
				findings = append(findings, Finding{
					Status:  v1alpha1.StatusWarn,
					Message: "ambient pods call proxyless gRPC applications in plaintext, which these refuse where they want mTLS: " + some(elsewhere),
				})
			}
			return findings
		},
	}
}

// speaksXDS returns what the pods of a proxyless gRPC application get by
// injection; nothing where a workload is none.
func speaksXDS(workload mesh.Workload) string {
	switch {
	case workload.IsAgent():
		return "agent"
	case slices.Contains(mesh.TemplateNames(workload.Template.Annotations), "grpc-simple"):
		return "bootstrap file"
	default:
		return ""
	}
}

// leftoverSidecars are those that nothing asks for any more: the injection label
// went before the pods were restarted. A rollback cannot bring them back.
func leftoverSidecars() Check {
	return Check{
		ID: "leftover-sidecars", Category: CategorySidecars, Severity: v1alpha1.SeverityWarning,
		About: "Looks for sidecars that would not be injected again.",
		Why: "A rollback puts back what was there, and that is templates and labels that no longer ask for a sidecar: the pods would come up " +
			"without one, in neither mode.",
		Needs:  append(workloadKinds(), "MutatingWebhookConfiguration", mesh.IstioConfigMaps),
		Passed: "every sidecar would come back by a rollback",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
				if subject.Snapshot.RoleOf(workload, subject.Namespace) != mesh.RoleMove ||
					workload.Injected(subject.Snapshot.Injectors(), subject.Namespace.Labels) {
					continue
				}
				findings = append(findings, Finding{
					Status: v1alpha1.StatusWarn, Object: reference(workload.Reference),
					Message: "its pods have sidecars that nothing asks for any more: any restart takes them, and a rollback does not bring them back",
					Remedy:  "put the namespace's injection label back first, if you want to be able to roll back",
				})
			}
			return findings
		},
	}
}
