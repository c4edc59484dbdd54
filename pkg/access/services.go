package access

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/annotation"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// addServices adds the Services and ServiceEntries in front of any of the servers,
// the oldest first, and those of the same second by their host names, as istiod has
// them (istio pilot/pkg/model/context.go, SetServiceTargets): in these a dot follows
// the name, which comes after a hyphen.
func (b *building) addServices(namespaces []string) {
	links := b.written()
	within := slices.Clone(namespaces)
	for reference := range links {
		within = append(within, reference.Namespace)
	}
	slices.Sort(within)
	for _, namespace := range slices.Compact(within) {
		objects := b.snapshot.Services(namespace)
		for i := range objects {
			if objects[i].Spec.Type == corev1.ServiceTypeExternalName {
				continue
			}
			service := serviceOf(&objects[i])
			service.written = links[service.Reference]
			b.addService(service)
		}
	}
	for _, entry := range b.snapshot.ServiceEntries() {
		if slices.Contains(namespaces, entry.Namespace) {
			b.addService(entryOf(entry))
		}
	}
	slices.SortStableFunc(b.state.Services, func(a, b *Service) int {
		return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Reference.Name, b.Reference.Name))
	})
}

func (b *building) addService(service *Service) {
	namespace, found := b.snapshot.Namespace(service.Reference.Namespace)
	if !found || !slices.ContainsFunc(b.state.Servers, service.Selects) {
		return
	}
	if gateway, found := b.snapshot.WaypointOf(service.Labels, namespace); found {
		service.Waypoint = b.waypoint(gateway)
	}
	service.IngressUsesWaypoint = mesh.IngressUsesWaypoint(service.Labels, namespace.Labels)
	b.state.Services = append(b.state.Services, service)
}

func serviceOf(object *corev1.Service) *Service {
	service := &Service{
		Reference: mesh.ServiceReference(object.Namespace, object.Name), Host: object.Name + "." + object.Namespace + ".svc.cluster.local",
		created: object.CreationTimestamp.Time,
		Labels:  object.Labels, Selector: object.Spec.Selector, selector: selectorOf(object.Spec.Selector), Headless: mesh.Headless(*object),
	}
	if !service.Headless {
		service.Addresses = parseAddresses(append([]string{object.Spec.ClusterIP}, object.Spec.ClusterIPs...))
		slices.SortFunc(service.Addresses, netip.Addr.Compare)
		service.Addresses = slices.Compact(service.Addresses)
	}
	for _, port := range object.Spec.Ports {
		service.Ports = append(service.Ports, servicePortOf(port))
	}
	return service
}

func servicePortOf(port corev1.ServicePort) ServicePort {
	protocol, tls := mesh.PortProtocol(port)
	made := ServicePort{Name: port.Name, Port: mesh.PortNumber(port.Port), Target: mesh.PortNumber(port.Port), Protocol: protocol, TLS: tls}
	switch {
	case port.TargetPort.StrVal != "":
		made.Target, made.TargetName = 0, port.TargetPort.StrVal
	case port.TargetPort.IntVal != 0:
		made.Target = mesh.PortNumber(port.TargetPort.IntVal)
	}
	return made
}

// waypoint returns a Gateway as a waypoint, if it is ready: istiod takes one into
// account once it has an address (istio ambient/waypoints.go).
func (b *building) waypoint(gateway gatewayv1.Gateway) *Waypoint {
	name := types.NamespacedName{Namespace: gateway.Namespace, Name: gateway.Name}
	ready, said := b.overlay.Ready[name]
	if !said {
		ready = len(gateway.Status.Addresses) > 0
	}
	if !ready || b.overlay.AllSidecars {
		return nil
	}
	if known, met := b.waypoints[name]; met {
		return known
	}
	made := &Waypoint{
		Namespace: gateway.Namespace, Name: gateway.Name, Class: string(gateway.Spec.GatewayClassName),
		Identity: Identity{
			TrustDomain: b.domains[0], Namespace: gateway.Namespace,
			ServiceAccount: cmp.Or(gateway.Annotations[annotation.GatewayServiceAccount.Name], gateway.Name),
		},
	}
	for _, pod := range b.snapshot.Pods(gateway.Namespace) {
		if pod.Labels[label.IoK8sNetworkingGatewayGatewayName.Name] != gateway.Name || !pod.Detailed {
			continue
		}
		made.Addresses = append(made.Addresses, parseAddresses(pod.Addresses)...)
		made.Identity.ServiceAccount = cmp.Or(pod.ServiceAccount, made.Identity.ServiceAccount)
	}
	b.waypoints[name] = made
	return made
}
