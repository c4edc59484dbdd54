package translate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	clientnetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// rerouted adds the VirtualServices that waypoints follow. A route of Gateway API may
// stand in for one: a waypoint takes the rules of both, one list after the other in an
// order that nothing promises (istio pilot/pkg/networking/core/listener_waypoint.go,
// buildWaypointInboundHTTPRouteConfig), so that one of two that say the same can go, and
// of two that do not neither can.
func (s *superseding) rerouted() {
	for _, virtualService := range s.snapshot.VirtualServices() {
		reference := virtualServiceReference(virtualService)
		if virtualService.Namespace != s.namespace.Name || !s.translation.Carried[reference] {
			continue
		}
		one := Superseded{Object: reference}
		var err error
		if unread := s.snapshot.Unread(s.namespace.Name, mesh.KindVirtualService, mesh.KindHTTPRoute, mesh.KindGRPCRoute, mesh.KindTCPRoute, mesh.KindTLSRoute); unread != "" {
			one.Kept = "waypoints follow it, and whether a route of Gateway API stands in for it cannot be told without " + unread
			s.found = append(s.found, one)
			continue
		}
		if one.Routes, err = s.standIns(virtualService); err != nil {
			one.Routes, one.Kept = nil, err.Error()
		}
		s.found = append(s.found, one)
	}
}

// standIns are the routes that say what a VirtualService does, for every Service that
// it is about. The error says why it has to stay.
func (s *superseding) standIns(virtualService *clientnetworkingv1.VirtualService) ([]v1alpha1.ObjectReference, error) {
	spec := &virtualService.Spec
	var routes []v1alpha1.ObjectReference
	for _, host := range spec.GetHosts() {
		service, found := s.serviceOf(host)
		if !found {
			return nil, fmt.Errorf("waypoints follow it, and its host %s is not that of one Service of the namespace, which a route of Gateway API could be for", host)
		}
		route, err := s.routeOf(service)
		if err != nil {
			return nil, err
		}
		if err := s.standsIn(virtualService, service, route); err != nil {
			return nil, fmt.Errorf("waypoints follow it, and %s %s, which is for Service %s, too, cannot stand in for it: %w", route.Reference.Kind, route.Reference.Name, service.Name, err)
		}
		routes = append(routes, route.Reference)
	}
	return routes, nil
}

// serviceOf is the Service of the namespace that a host, written in it, means.
func (s *superseding) serviceOf(host string) (corev1.Service, bool) {
	for _, service := range s.snapshot.Services(s.namespace.Name) {
		if namesOne(host) && mesh.HostMeans(host, s.namespace.Name, service.Name, service.Namespace) {
			return service, true
		}
	}
	return corev1.Service{}, false
}

// namesOne says whether Istio takes a host for the name of a single Service: one with a
// dot is a full name to it (istio pilot/pkg/model/config.go, ResolveShortnameToFQDN).
func namesOne(host string) bool {
	return !strings.HasPrefix(host, "*") && (!strings.Contains(host, ".") || strings.Contains(host, ".svc."))
}

// routeOf is the only route that is for a Service.
func (s *superseding) routeOf(service corev1.Service) (mesh.Route, error) {
	var found []mesh.Route
	for _, route := range s.snapshot.Routes() {
		if routesFor(route, mesh.ServiceReference(service.Namespace, service.Name)) {
			found = append(found, route)
		}
	}
	switch len(found) {
	case 0:
		return mesh.Route{}, fmt.Errorf("waypoints follow it, and no route of Gateway API stands in for it")
	case 1:
		return found[0], nil
	default:
		return mesh.Route{}, fmt.Errorf("waypoints follow it, and several routes of Gateway API are for Service %s: which is taken first cannot be told", service.Name)
	}
}

// standsIn says why a route does not do for a Service what a VirtualService does.
func (s *superseding) standsIn(virtualService *clientnetworkingv1.VirtualService, service corev1.Service, route mesh.Route) error {
	spec := &virtualService.Spec
	if route.Reference.Kind != mesh.KindHTTPRoute {
		return fmt.Errorf("only HTTP routes can be compared")
	}
	if err := s.inForce(service, route); err != nil {
		return err
	}
	// Rules for gateways go on there, and of a second VirtualService for the Service the
	// rules behind this one's would come to be tried.
	if other := setBesides(spec, "hosts", "gateways", "http", "exportTo"); other != "" {
		return unlike("spec." + other)
	}
	if slices.ContainsFunc(spec.GetGateways(), func(gateway string) bool { return gateway != mesh.MeshGateway }) {
		return fmt.Errorf("spec.gateways names gateways, which do not follow a route of a Service")
	}
	if slices.ContainsFunc(spec.GetExportTo(), func(to string) bool { return to != "*" && to != "." }) {
		return unlike("spec.exportTo")
	}
	for _, other := range s.snapshot.VirtualServices() {
		if other != virtualService && mesh.BindsMesh(&other.Spec) && slices.ContainsFunc(other.Spec.GetHosts(), func(host string) bool {
			return mesh.HostMeans(host, other.Namespace, service.Name, service.Namespace)
		}) {
			return fmt.Errorf("VirtualService %s/%s routes that Service as well", other.Namespace, other.Name)
		}
	}
	return s.sayTheSame(spec, route)
}

// inForce says why a waypoint does not follow a route.
func (s *superseding) inForce(service corev1.Service, route mesh.Route) error {
	if !slices.ContainsFunc(s.translation.Services, func(placed ServiceWaypoint) bool {
		return placed.WaypointName != "" && placed.Need.Service == mesh.ServiceReference(service.Namespace, service.Name)
	}) {
		return fmt.Errorf("no waypoint stands before that Service")
	}
	if route.Reference.Namespace != service.Namespace {
		return fmt.Errorf("waypoints do not follow routes of other namespaces than the Service's")
	}
	for i, parent := range route.Parents {
		if !isParent(route, parent, mesh.ServiceReference(service.Namespace, service.Name)) {
			continue
		}
		if parent.Port != nil || parent.SectionName != nil {
			return fmt.Errorf("spec.parentRefs[%d] is for one port only", i)
		}
		status, _ := route.StatusAt(parent)
		for _, kind := range []gatewayv1.RouteConditionType{gatewayv1.RouteConditionAccepted, gatewayv1.RouteConditionResolvedRefs} {
			condition := meta.FindStatusCondition(status.Conditions, string(kind))
			if condition == nil || condition.ObservedGeneration != route.Generation || condition.Status != "True" {
				return fmt.Errorf("istiod does not say that it is %s as it is now", kind)
			}
		}
	}
	return nil
}

// sayTheSame says how the rules of a VirtualService and a route differ.
func (s *superseding) sayTheSame(spec *networkingv1alpha3.VirtualService, route mesh.Route) error {
	object, _ := s.snapshot.Object(route.Reference)
	said, err := json.Marshal(object["spec"])
	if err != nil {
		return err
	}
	var stated gatewayv1.HTTPRouteSpec
	decoder := json.NewDecoder(bytes.NewReader(said))
	// What is not known says something that cannot be compared.
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&stated); err != nil {
		return fmt.Errorf("it is not understood in whole: %w", err)
	}
	does, err := ofRoute(stated, s.backend)
	if err != nil {
		return err
	}
	did, err := ofVirtualService(spec, s.destination)
	if err != nil {
		return err
	}
	did, does = reached(did), reached(does)
	for i, one := range did {
		switch {
		case i >= len(does):
			return fmt.Errorf("nothing in it says what %s does", one.field)
		case one.says() != does[i].says():
			return fmt.Errorf("%s is not what its %s says, which is tried at that place", one.field, does[i].field)
		}
	}
	if len(does) > len(did) {
		return fmt.Errorf("nothing in the VirtualService says what its %s does", does[len(did)].field)
	}
	return nil
}

// backend is the Service and port that a route sends to.
func (s *superseding) backend(field string, backend gatewayv1.BackendRef) (string, error) {
	if backend.Kind != nil && *backend.Kind != mesh.KindService || backend.Group != nil && *backend.Group != "" && *backend.Group != "core" || backend.Port == nil {
		return "", unlike(field)
	}
	namespace := s.namespace.Name
	if backend.Namespace != nil {
		namespace = string(*backend.Namespace)
	}
	return fmt.Sprintf("%s/%s:%d", namespace, backend.Name, *backend.Port), nil
}

// destination is the Service and port that a VirtualService sends to. What names a
// subset has no counterpart: a Service for its pods is another one, with ports, policies
// and a waypoint of its own.
func (s *superseding) destination(field string, destination *networkingv1alpha3.Destination) (string, error) {
	if destination.GetSubset() != "" {
		return "", unlike(field + ".subset")
	}
	host := destination.GetHost()
	var service *corev1.Service
	all := s.snapshot.AllServices()
	for i := range all {
		if namesOne(host) && mesh.HostMeans(host, s.namespace.Name, all[i].Name, all[i].Namespace) {
			service = &all[i]
		}
	}
	port := destination.GetPort().GetNumber()
	switch {
	case service == nil:
		return "", &unlikeError{field + ".host", "is not that of a Service"}
	case port == 0 && len(service.Spec.Ports) == 1:
		port = uint32(service.Spec.Ports[0].Port) //nolint:gosec // A port of a Service is between 1 and 65535.
	case port == 0:
		return "", &unlikeError{field, "has the port that was called, of several"}
	}
	return fmt.Sprintf("%s/%s:%d", service.Namespace, service.Name, port), nil
}

func virtualServiceReference(virtualService *clientnetworkingv1.VirtualService) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: networkingVersion, Kind: mesh.KindVirtualService, Namespace: virtualService.Namespace, Name: virtualService.Name}
}
