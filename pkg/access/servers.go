package access

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/annotation"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// addNamespace adds the servers of a namespace.
func (b *building) addNamespace(name string) {
	namespace, found := b.snapshot.Namespace(name)
	if !found {
		return
	}
	group := grouping{building: b, namespace: namespace, byKey: map[string]*Server{}}
	counted := map[string]bool{}
	for _, workload := range b.snapshot.Workloads(name) {
		pods := b.snapshot.PodsOf(workload)
		progress := b.progress(workload.Reference)
		for _, pod := range pods {
			counted[pod.Name] = true
			b.workloadOf[types.NamespacedName{Namespace: name, Name: pod.Name}] = workload.Reference
			if progress != ProgressAfter {
				group.addPod(workload.Reference, pod)
			}
		}
		if len(pods) == 0 || progress != ProgressNone {
			group.addTemplate(workload)
		}
	}
	for _, pod := range b.snapshot.Pods(name) {
		if !counted[pod.Name] {
			b.workloadOf[types.NamespacedName{Namespace: name, Name: pod.Name}] = b.ownerOf(pod)
			group.addPod(b.ownerOf(pod), pod)
		}
	}
	b.state.Servers = append(b.state.Servers, group.servers...)
}

// progress finds a workload whichever version of its kind names it.
func (b *building) progress(workload v1alpha1.ObjectReference) Progress {
	if progress, moved := b.overlay.Moved[workload]; moved {
		return progress
	}
	for reference, progress := range b.overlay.Moved {
		reference.APIVersion = workload.APIVersion
		if reference == workload {
			return progress
		}
	}
	return ProgressNone
}

// ownerOf names what runs a pod of no workload that is known: some other
// controller, or nothing.
func (b *building) ownerOf(pod mesh.Pod) v1alpha1.ObjectReference {
	if owner, owned := b.snapshot.OwnerOf(pod); owned {
		return v1alpha1.ObjectReference{APIVersion: owner.APIVersion, Kind: owner.Kind, Namespace: pod.Namespace, Name: owner.Name}
	}
	return v1alpha1.ObjectReference{APIVersion: "v1", Kind: mesh.KindPod, Namespace: pod.Namespace, Name: pod.Name}
}

// grouping puts alike pods together.
type grouping struct {
	*building
	namespace mesh.Namespace
	servers   []*Server
	byKey     map[string]*Server
}

// addPod adds a live pod. Waypoints are no servers.
func (g *grouping) addPod(workload v1alpha1.ObjectReference, pod mesh.Pod) {
	if g.isWaypoint(pod.Labels) {
		return
	}
	server := &Server{
		Workload: workload, Labels: g.telling(pod.Labels), Mode: g.modeOf(pod), Tunnels: pod.Tunnels(),
		Identity: g.identity(pod.ServiceAccount), Addresses: parseAddresses(pod.Addresses), capture: pod.InboundCapture(),
	}
	g.putOnSidecar(server)
	if added := g.add(server); added != nil {
		added.declare(portsOf(pod.Object))
	}
}

// modeOf says how a live pod takes part: one that istio-cni's rule captures is
// ambient, whether it has come to it yet or not.
func (g *grouping) modeOf(pod mesh.Pod) Mode {
	switch {
	case pod.HasSidecar():
		return ModeSidecar
	case pod.IsGateway():
		return ModeGateway
	case g.rule.Captures(pod, g.namespace.Labels):
		return ModeAmbient
	default:
		return ModeOutside
	}
}

// addTemplate adds what a pod made from a workload's template would be.
func (g *grouping) addTemplate(workload mesh.Workload) {
	template := workload.Template
	if g.isWaypoint(template.Labels) {
		return
	}
	pod := mesh.Pod{Namespace: g.namespace.Name, Labels: template.Labels, Annotations: template.Annotations, HostNetwork: template.Spec.HostNetwork}
	server := &Server{Workload: workload.Reference, Labels: maps.Clone(template.Labels), Identity: g.identity(template.Spec.ServiceAccountName)}
	if server.Labels == nil {
		server.Labels = map[string]string{}
	}
	injector, injected := g.snapshot.Injectors().Injecting(g.namespace.Labels, template.Labels, template.Annotations, template.Spec.HostNetwork)
	switch {
	case workload.IsGateway():
		server.Mode = ModeGateway
		if injected {
			canonical(server.Labels, workload.Reference.Name)
		}
	case workload.CarriesProxy():
		server.Mode = ModeSidecar
	case injected:
		server.Mode = ModeSidecar
		canonical(server.Labels, workload.Reference.Name)
		if !workload.IsAgent() {
			setDefault(server.Labels, labelTLSMode, tlsModeIstio)
			if AcceptHBONE(g.snapshot, injector.Revision, template.Annotations) {
				setDefault(server.Labels, mesh.TunnelLabel, mesh.TunnelHTTP)
			}
		}
	case g.rule.Captures(pod, g.namespace.Labels):
		server.Mode = ModeAmbient
	default:
		server.Mode = ModeOutside
	}
	server.Labels = g.telling(server.Labels)
	server.Tunnels = server.Labels[mesh.TunnelLabel] == mesh.TunnelHTTP
	server.capture = g.captures.Of(injector.Revision, template.Annotations)
	g.putOnSidecar(server)
	if added := g.add(server); added != nil {
		for _, container := range template.Spec.Containers {
			added.declare(container.Ports)
		}
	}
}

// putOnSidecar makes a server that ztunnel captures what it would be with a sidecar
// that accepts HBONE, where the overlay wants that.
func (g *grouping) putOnSidecar(server *Server) {
	if !g.overlay.AllSidecars || server.Mode != ModeAmbient {
		return
	}
	if server.Labels == nil {
		server.Labels = map[string]string{}
	}
	canonical(server.Labels, server.Workload.Name)
	setDefault(server.Labels, labelTLSMode, tlsModeIstio)
	server.Mode, server.Tunnels = ModeSidecar, true
}

// canonical sets the labels that every injected pod gets (istio
// manifests/charts/istio-control/istio-discovery/files/injection-template.yaml).
func canonical(labels map[string]string, name string) {
	setDefault(labels, "service.istio.io/canonical-name", cmp.Or(labels["app.kubernetes.io/name"], labels["app"], name))
	setDefault(labels, "service.istio.io/canonical-revision", cmp.Or(labels["app.kubernetes.io/version"], labels["version"], "latest"))
}

func setDefault(labels map[string]string, key, value string) {
	labels[key] = cmp.Or(labels[key], value)
}

// variableHBONE makes a sidecar accept HBONE, and the injector say so.
const variableHBONE = "ISTIO_META_ENABLE_HBONE"

// AcceptHBONE says whether sidecars that a revision injects now accept HBONE, unless the
// pod's own configuration says otherwise.
func AcceptHBONE(snapshot *mesh.Snapshot, revision string, annotations map[string]string) bool {
	var own struct {
		ProxyMetadata map[string]any `json:"proxyMetadata"`
	}
	if err := yaml.Unmarshal([]byte(annotations[annotation.ProxyConfig.Name]), &own); err == nil {
		if value, set := own.ProxyMetadata[variableHBONE]; set {
			return value == "true"
		}
	}
	enabled := false
	for _, configuration := range snapshot.Configurations() {
		says := configuration.DefaultConfig.ProxyMetadata[variableHBONE] == "true"
		if configuration.Revision == revision {
			return says
		}
		enabled = enabled || says
	}
	return enabled
}

// isWaypoint says whether labels are those of a waypoint's pods.
func (g *grouping) isWaypoint(labels map[string]string) bool {
	if mesh.IsWaypointPod(labels) {
		return true
	}
	name := labels[label.IoK8sNetworkingGatewayGatewayName.Name]
	if name == "" {
		return false
	}
	gateway, found := g.snapshot.Gateway(g.namespace.Name, name)
	return found && g.snapshot.IsWaypoint(gateway)
}

func (g *grouping) identity(serviceAccount string) Identity {
	return Identity{TrustDomain: g.domains[0], Namespace: g.namespace.Name, ServiceAccount: cmp.Or(serviceAccount, "default")}
}

// telling leaves out the labels that only tell the pods of a workload apart.
func (g *grouping) telling(labels map[string]string) map[string]string {
	kept := maps.Clone(labels)
	maps.DeleteFunc(kept, func(key, _ string) bool { return volatileLabels[key] && !g.keys[key] })
	return kept
}

// add puts a server to those that it is like, or beside them, in which case it
// returns it.
func (g *grouping) add(server *Server) *Server {
	key := g.key(server)
	if known, met := g.byKey[key]; met {
		known.Addresses = append(known.Addresses, server.Addresses...)
		return nil
	}
	if gateway, found := g.snapshot.WorkloadWaypointOf(server.Labels, g.namespace); found {
		server.UseWaypoint = g.waypoint(gateway)
	}
	server.NamedPorts = map[string]uint32{}
	g.byKey[key] = server
	g.servers = append(g.servers, server)
	return server
}

// declare takes in the ports of a container.
func (s *Server) declare(ports []corev1.ContainerPort) {
	for _, port := range ports {
		if port.Protocol == corev1.ProtocolUDP {
			continue
		}
		number := mesh.PortNumber(port.ContainerPort)
		s.Ports = append(s.Ports, number)
		if port.Name != "" {
			s.NamedPorts[port.Name] = number
		}
	}
}

func (g *grouping) key(server *Server) string {
	parts := []string{server.Workload.Kind, server.Workload.Name, string(server.Mode), server.Identity.ServiceAccount, fmt.Sprint(server.capture)}
	if g.byAddress {
		for _, address := range server.Addresses {
			parts = append(parts, address.String())
		}
	}
	for _, key := range slices.Sorted(maps.Keys(server.Labels)) {
		parts = append(parts, key+"="+server.Labels[key])
	}
	return strings.Join(parts, "\n")
}

// portsOf reads the ports of all containers of a pod that was read whole.
func portsOf(object mesh.Object) []corev1.ContainerPort {
	containers, _, err := unstructured.NestedSlice(object, "spec", "containers")
	if err != nil {
		return nil
	}
	var ports []corev1.ContainerPort
	for _, item := range containers {
		container, _ := item.(map[string]any)
		var read struct {
			Ports []corev1.ContainerPort `json:"ports"`
		}
		if err := mesh.Decode(map[string]any{"ports": container["ports"]}, &read); err == nil {
			ports = append(ports, read.Ports...)
		}
	}
	return ports
}
