package checks

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func hostNetwork() Check {
	return Check{
		ID: "host-network", Category: CategoryWorkloads, Severity: v1alpha1.SeverityWarning,
		About: "Workloads and pods of the namespace that use the network of their node.",
		Why: "Pods on the host's network are never captured, as they are never injected (istio cni/pkg/util/enablement_selector.go and pkg/kube/inject/inject.go): " +
			"they stay outside the mesh, call in plaintext without an identity, and are refused where mTLS is STRICT. Nothing changes for them; that the namespace is " +
			"called ambient does not make them so.",
		Needs:  workloadKinds(),
		Passed: "no pod uses its node's network",
		Run: func(subject Subject) []Finding {
			const message = "it uses the node's network, so it stays outside the mesh"
			var findings []Finding
			named := map[types.UID]bool{}
			for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
				if !workload.Template.Spec.HostNetwork {
					continue
				}
				markMoved(named, subject.Snapshot.PodsOf(workload))
				findings = append(findings, Finding{
					Status: v1alpha1.StatusWarn, Object: reference(workload.Reference), Field: templateField(workload, "spec.hostNetwork"), Message: message,
				})
			}
			for _, pod := range subject.Snapshot.Pods(subject.Namespace.Name) {
				if pod.HostNetwork && !named[pod.UID] {
					findings = append(findings, Finding{Status: v1alpha1.StatusWarn, Object: reference(pod.Reference()), Field: "spec.hostNetwork", Message: message})
				}
			}
			return findings
		},
	}
}

func udpPorts() Check {
	return Check{
		ID: "udp-ports", Category: CategoryWorkloads, Severity: v1alpha1.SeverityWarning,
		About: "Ports of moved workloads, and of their Services, that speak UDP or SCTP.",
		Why: "ztunnel carries TCP (istio cni/pkg/iptables/iptables.go redirects nothing else, queries to DNS aside), as sidecars do: UDP and SCTP go from pod to pod in plaintext, and no " +
			"policy of the mesh applies to them. This is as it was; it is said because a STRICT namespace looks closed.",
		Needs:  moveNeeds(mesh.KindService),
		Passed: "nothing here speaks UDP or SCTP",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			moved := movedWorkloads(subject)
			served := map[types.UID]bool{}
			for _, service := range subject.Snapshot.Services(subject.Namespace.Name) {
				var ports []string
				for _, port := range service.Spec.Ports {
					if port.Protocol == corev1.ProtocolUDP || port.Protocol == corev1.ProtocolSCTP {
						ports = append(ports, fmt.Sprintf("%d/%s", port.Port, port.Protocol))
					}
				}
				selected := slices.DeleteFunc(slices.Clone(moved), func(workload mesh.Workload) bool {
					return len(service.Spec.Selector) == 0 || !mesh.SelectsLabels(service.Spec.Selector, workload.Template.Labels)
				})
				if len(ports) == 0 || len(selected) == 0 {
					continue
				}
				for _, workload := range selected {
					served[workload.UID] = true
				}
				findings = append(findings, udpFinding(reference(mesh.ServiceReference(service.Namespace, service.Name)), "spec.ports[].protocol", ports))
			}
			for _, workload := range moved {
				var ports []string
				for _, port := range mesh.PodPorts(workload.Template.Spec) {
					if port.Protocol == corev1.ProtocolUDP || port.Protocol == corev1.ProtocolSCTP {
						ports = append(ports, fmt.Sprintf("%d/%s", port.ContainerPort, port.Protocol))
					}
				}
				if len(ports) > 0 && !served[workload.UID] {
					findings = append(findings, udpFinding(reference(workload.Reference), templateField(workload, "spec.containers[].ports[].protocol"), ports))
				}
			}
			return findings
		},
	}
}

func udpFinding(object *v1alpha1.ObjectReference, field string, ports []string) Finding {
	return Finding{
		Status: v1alpha1.StatusWarn, Object: object, Field: field,
		Message: "traffic to " + some(ports) + " goes past the mesh in ambient mode too: no mTLS, no policy",
		Remedy:  "guard it by a NetworkPolicy",
	}
}

func headlessServices() Check {
	return Check{
		ID: "headless-services", Category: CategoryWorkloads, Severity: v1alpha1.SeverityWarning,
		About: "Headless Services whose pods lose their sidecars, besides those that headless-strict refuses.",
		Why: "Callers of a headless Service address its pods. ztunnel takes such a call for one to the pod, so a waypoint for services never sees it: that needs a waypoint of the " +
			"workloads (istio documentation, Configure waypoint proxies, waypoint traffic types), which the plan makes where policies need it. Sidecars pass it on to the address that was resolved, in plaintext " +
			"where the pod is ambient (istio pilot/pkg/networking/core/cluster.go): their identity is lost on the way, and policies that name callers refuse them.",
		Needs:  append(rootNamespaces(mesh.KindService, mesh.KindPeerAuthentication), moveNeeds()...),
		Passed: "no headless Service has pods that are moved",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, service := range headless(subject) {
				var names []string
				strict := false
				for _, workload := range movedWorkloads(subject) {
					if mesh.SelectsLabels(service.Spec.Selector, workload.Template.Labels) {
						names = append(names, workload.Reference.Kind+" "+workload.Reference.Name)
						strict = strict || subject.Snapshot.Strict(subject.Namespace.Name, workload.Template.Labels)
					}
				}
				if len(names) == 0 || strict {
					continue
				}
				object := reference(mesh.ServiceReference(service.Namespace, service.Name))
				finding := Finding{
					Status: v1alpha1.StatusWarn, Object: object, Field: "spec.clusterIP",
					Message: fmt.Sprintf("calls by this headless Service reach %s directly: past a waypoint for services, and in plaintext from callers with sidecars", some(names)),
					Remedy:  "move its callers first; " + giveWaypoint(*object) + " of its pods' own",
				}
				if subject.direct(*object) {
					finding.Message = fmt.Sprintf("callers with sidecars reach %s directly by this headless Service: past the waypoint of its pods, and in plaintext", some(names))
					finding.Remedy = "move its callers first"
				}
				findings = append(findings, finding)
			}
			return findings
		},
	}
}

// headless are the headless Services of the namespace at hand that select pods.
func headless(subject Subject) []corev1.Service {
	return slices.DeleteFunc(subject.Snapshot.Services(subject.Namespace.Name), func(service corev1.Service) bool {
		return !mesh.Headless(service) || len(service.Spec.Selector) == 0
	})
}
