package translate

import (
	"cmp"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
)

// pods are pods, or a template of pods, that are alike.
type pods struct {
	// name is what messages call them.
	name string
	// workload is the one whose template or pods they are, which selects them by these
	// labels for good; both are empty for pods that nothing known controls. Template is
	// true for its template.
	workload    v1alpha1.ObjectReference
	matchLabels map[string]string
	template    bool
	labels      map[string]string
	// ports are the named ports of the containers.
	ports map[string]uint32
	// proxy is true for gateways, which are proxies themselves.
	proxy bool
	// enforces is true for pods that have a proxy which enforces what selects them
	// when all others have moved: gateways, agents and pods that keep a sidecar. Those
	// that opted out of both modes enforce nothing.
	enforces bool
	// moves is true for pods that lose their sidecar, or have lost it.
	moves bool
	// joined is true for pods of a workload that is in ambient mode because its namespace
	// is, and that nobody has taken a sidecar from.
	joined bool
	// stays is true for pods that ztunnel will not capture.
	stays bool
	// machine is true for virtual machines, which are no pods.
	machine bool
}

// podsOf are the pods of a namespace and the templates that make them, and the
// virtual machines that take part like pods that stay on their sidecars.
func podsOf(snapshot *mesh.Snapshot, namespace mesh.Namespace) []pods {
	var all []pods
	known := map[string]pods{}
	for _, workload := range snapshot.Workloads(namespace.Name) {
		// Waypoints are none that a policy selects (istio
		// pilot/pkg/model/policyattachment.go).
		if mesh.IsWaypointPod(workload.Template.Labels) {
			continue
		}
		one := ofWorkload(snapshot, namespace, workload)
		all = append(all, one)
		for _, pod := range snapshot.PodsOf(workload) {
			known[pod.Name] = one
		}
	}
	for _, pod := range snapshot.Pods(namespace.Name) {
		if !pod.Live() || mesh.IsWaypointPod(pod.Labels) {
			continue
		}
		one, controlled := known[pod.Name]
		if !controlled {
			one = ofBarePod(pod)
		}
		one.name = "Pod " + pod.Name
		one.labels, one.proxy, one.template = pod.Labels, one.proxy || pod.IsGateway(), false
		one.enforces = one.enforces || one.proxy || pod.HasSidecar() && !one.moves
		all = append(all, one)
	}
	return append(all, machinesOf(snapshot, namespace)...)
}

func ofWorkload(snapshot *mesh.Snapshot, namespace mesh.Namespace, workload mesh.Workload) pods {
	labels := workload.Template.Labels
	role := snapshot.RoleOf(workload, namespace)
	none := labels[label.IoIstioDataplaneMode.Name] == mesh.DataplaneNone
	optedOut := mesh.OptedOut(labels, workload.Template.Annotations)
	mode := cmp.Or(labels[label.IoIstioDataplaneMode.Name], namespace.Labels[label.IoIstioDataplaneMode.Name])
	left := optedOut && mode == mesh.DataplaneAmbient
	one := pods{
		name: workload.Reference.Kind + " " + workload.Reference.Name, workload: workload.Reference, template: true,
		labels: labels, ports: namedPorts(workload.Template.Spec), proxy: workload.IsGateway(),
		moves:    role == mesh.RoleMove || left && !workload.IsGateway(),
		stays:    role == mesh.RolePin || none || workload.Template.Spec.HostNetwork || workload.CarriesProxy() || workload.IsAgent(),
		enforces: workload.IsGateway() || workload.CarriesProxy() || workload.IsAgent() || none && role == mesh.RoleMove,
	}
	one.joined = !one.moves && !one.stays && !one.proxy && role == mesh.RoleStay &&
		labels[label.IoIstioDataplaneMode.Name] == "" && mode == mesh.DataplaneAmbient
	if workload.Selector != nil {
		one.matchLabels = workload.Selector.MatchLabels
	}
	return one
}

func ofBarePod(pod mesh.Pod) pods {
	var read corev1.Pod
	one := pods{stays: pod.HasSidecar() || pod.HostNetwork || mesh.OptedOut(pod.Labels, pod.Annotations)}
	if err := mesh.Decode(pod.Object, &read); err == nil {
		one.ports = namedPorts(read.Spec)
	}
	return one
}

func namedPorts(spec corev1.PodSpec) map[string]uint32 {
	ports := map[string]uint32{}
	for _, container := range slices.Concat(spec.Containers, spec.InitContainers) {
		for _, port := range container.Ports {
			if port.Name != "" {
				ports[port.Name] = mesh.PortNumber(port.ContainerPort)
			}
		}
	}
	return ports
}

// selectsAny says whether required labels select any of some pods.
func selectsAny(required map[string]string, all []pods) bool {
	return slices.ContainsFunc(all, func(one pods) bool { return mesh.SelectsLabels(required, one.labels) })
}
