package checks

import (
	"fmt"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// sidecarChecks are about the sidecars that are there.
func sidecarChecks() []Check {
	return []Check{
		sidecarHBONE(), kubeInjected(), grpcAgents(), leftoverSidecars(),
	}
}

// sidecarHBONE is about every sidecar of the mesh: an ambient pod calls by
// HBONE whatever carries the tunnel label, and a STRICT sidecar without it
// resets the plaintext that ztunnel then falls back to.
func sidecarHBONE() Check {
	return Check{
		ID: "sidecar-hbone", Category: CategorySidecars, Severity: v1alpha1.SeverityError,
		Needs: []string{mesh.PodsMeshWide, mesh.IstiodDeployments}, Passed: "every sidecar of the mesh accepts HBONE",
		Run: func(subject Subject) []Finding {
			byNamespace := map[string][]string{}
			var namespaces []string
			for _, pod := range subject.Snapshot.AllPods() {
				if !pod.HasSidecar() || pod.IsAgent() || pod.Tunnels() {
					continue
				}
				if len(byNamespace[pod.Namespace]) == 0 {
					namespaces = append(namespaces, pod.Namespace)
				}
				byNamespace[pod.Namespace] = append(byNamespace[pod.Namespace], pod.Name)
			}
			var findings []Finding
			for _, namespace := range namespaces {
				pods := byNamespace[namespace]
				findings = append(findings, Finding{
					Status: v1alpha1.StatusFail,
					Object: &v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: namespace},
					Field:  "label " + mesh.TunnelLabel + " of its pods",
					Message: fmt.Sprintf("the sidecars of %s predate HBONE, so ambient pods could not call them: %s",
						count(len(pods), "pod"), some(pods)),
					Remedy: "with the ambient profile installed, kubectl -n " + namespace + " rollout restart what runs them",
				})
			}
			return findings
		},
	}
}

func kubeInjected() Check {
	return Check{
		ID: "kube-injected", Category: CategorySidecars, Severity: v1alpha1.SeverityError,
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
		Needs: append(workloadKinds(), mesh.PodsMeshWide), Passed: "no proxyless gRPC application is concerned",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
				if workload.IsAgent() {
					findings = append(findings, Finding{
						Status: v1alpha1.StatusFail, Object: reference(workload.Reference), Field: templateField(workload, "metadata.annotations"),
						Message: "its pods speak xDS themselves and need the agent that is injected", Remedy: later,
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

// leftoverSidecars are those that nothing asks for any more: the injection label
// went before the pods were restarted. A rollback cannot bring them back.
func leftoverSidecars() Check {
	return Check{
		ID: "leftover-sidecars", Category: CategorySidecars, Severity: v1alpha1.SeverityWarning,
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
