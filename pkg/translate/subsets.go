package translate

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	clientnetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// subsetsOfGateways are the subsets that VirtualServices of gateways choose of the
// services to which gateways begin to send through the waypoint: whichever subset a
// route names, the gateway's endpoints are then the waypoint's (istio
// pilot/pkg/xds/endpoints/endpoint_builder.go, findServiceWaypoint, which comes
// before the subset's labels are looked at). Routes of Gateway API have no subsets.
func (t *translator) subsetsOfGateways() {
	for _, placed := range t.translation.Services {
		if placed.WaypointName == "" || placed.Labels[label.IoIstioIngressUseWaypoint.Name] != "true" {
			continue
		}
		for _, virtualService := range t.snapshot.VirtualServices() {
			if slices.ContainsFunc(virtualService.Spec.GetGateways(), func(gateway string) bool { return gateway != mesh.MeshGateway }) {
				t.subsetsOf(virtualService, placed.Need.Service)
			}
		}
	}
}

func (t *translator) subsetsOf(virtualService *clientnetworkingv1.VirtualService, service v1alpha1.ObjectReference) {
	spec := &virtualService.Spec
	lose := func(field string, destination *networkingv1alpha3.Destination) {
		if destination.GetSubset() == "" || !t.isHostOf(destination.GetHost(), virtualService.Namespace, service) {
			return
		}
		t.translation.Losses = append(t.translation.Losses, Loss{
			Object: v1alpha1.ObjectReference{APIVersion: networkingVersion, Kind: mesh.KindVirtualService, Namespace: virtualService.Namespace, Name: virtualService.Name},
			Field:  field + ".subset", Service: service,
			Message: fmt.Sprintf("the gateway no longer chooses subset %s, the waypoint decides: it follows routes that are bound to %s and name the service's own host",
				destination.GetSubset(), mesh.MeshGateway),
		})
	}
	followed := mesh.BindsMesh(spec) && t.heeded(virtualService.Namespace) && slices.ContainsFunc(spec.GetHosts(), func(host string) bool {
		return t.isHostOf(host, virtualService.Namespace, service)
	})
	for i, http := range spec.GetHttp() {
		if followed && ofMesh(http) {
			continue
		}
		for j, route := range http.GetRoute() {
			lose(fmt.Sprintf("spec.http[%d].route[%d].destination", i, j), route.GetDestination())
		}
		lose(fmt.Sprintf("spec.http[%d].mirror", i), http.GetMirror())
		for j, mirror := range http.GetMirrors() {
			lose(fmt.Sprintf("spec.http[%d].mirrors[%d].destination", i, j), mirror.GetDestination())
		}
	}
	if followed {
		return
	}
	for i, tcp := range spec.GetTcp() {
		for j, route := range tcp.GetRoute() {
			lose(fmt.Sprintf("spec.tcp[%d].route[%d].destination", i, j), route.GetDestination())
		}
	}
	for i, tls := range spec.GetTls() {
		for j, route := range tls.GetRoute() {
			lose(fmt.Sprintf("spec.tls[%d].route[%d].destination", i, j), route.GetDestination())
		}
	}
}

// ofMesh says whether a route of a VirtualService that binds the mesh is for it.
func ofMesh(http *networkingv1alpha3.HTTPRoute) bool {
	return len(http.GetMatch()) == 0 || slices.ContainsFunc(http.GetMatch(), func(match *networkingv1alpha3.HTTPMatchRequest) bool {
		return len(match.GetGateways()) == 0 || slices.Contains(match.GetGateways(), mesh.MeshGateway)
	})
}

// isHostOf says whether a host, written in a namespace, means a service.
func (t *translator) isHostOf(host, written string, service v1alpha1.ObjectReference) bool {
	if service.Kind == mesh.KindService {
		return mesh.HostMeans(host, written, service.Name, service.Namespace)
	}
	for _, entry := range t.snapshot.ServiceEntries() {
		if entry.Namespace == service.Namespace && entry.Name == service.Name {
			return slices.ContainsFunc(entry.Spec.GetHosts(), func(own string) bool { return mesh.HostsMatch(host, own) })
		}
	}
	return false
}
