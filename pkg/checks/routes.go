package checks

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	clientnetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// routeKinds are the kinds of Gateway API routes.
func routeKinds() []string {
	return []string{mesh.KindHTTPRoute, mesh.KindGRPCRoute, mesh.KindTCPRoute, mesh.KindTLSRoute}
}

// routeConflicts is about services that both APIs route.
func routeConflicts() Check {
	return Check{
		ID: "route-conflicts", Category: CategoryRouting, Severity: v1alpha1.SeverityError,
		About: "Looks for services of this namespace that a VirtualService for the mesh and a Gateway API route are both about.",
		Why: "Sidecars follow the Gateway API route alone. A waypoint takes the routes of both, one list after the other, in an order that " +
			"nothing promises (istio pilot/pkg/networking/core/listener_waypoint.go, buildWaypointInboundHTTPRouteConfig; docs: Migrate " +
			"policies). What holds for the service once it has a waypoint cannot be told, so that it blocks. Only rules of the service's " +
			"namespace, and VirtualServices of its waypoint's, meet at a waypoint.",
		Needs: append([]string{
			mesh.KindService, mesh.KindVirtualService, "Namespace", mesh.KindGateway, mesh.KindGatewayClass,
		}, routeKinds()...),
		Passed: "no service is routed by a VirtualService and a Gateway API route at once",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, service := range subject.Snapshot.Services(subject.Namespace.Name) {
				waypoint, _ := subject.Snapshot.WaypointOf(service.Labels, subject.Namespace)
				for _, virtualService := range subject.Snapshot.VirtualServices() {
					if virtualService.Namespace != service.Namespace && virtualService.Namespace != waypoint.Namespace ||
						!mesh.BindsMesh(&virtualService.Spec) || !concerns(virtualService.Spec.GetHosts(), virtualService.Namespace, []string{service.Name}, subject) {
						continue
					}
					route, found := rival(subject, service.Name, &virtualService.Spec)
					if !found {
						continue
					}
					findings = append(findings, Finding{
						Status: v1alpha1.StatusFail, Object: istioReference(networkingVersion, mesh.KindVirtualService, virtualService), Field: "spec.hosts",
						Message: fmt.Sprintf("%s routes Service %s, too: sidecars follow that alone, and a waypoint both in no order that is promised", route, service.Name),
						Remedy:  "take the service out of one of them",
					})
				}
			}
			return findings
		},
	}
}

// rival is a route with the service for its parent that is about the same
// protocol as a VirtualService.
func rival(subject Subject, service string, spec *networkingv1alpha3.VirtualService) (v1alpha1.ObjectReference, bool) {
	for _, route := range subject.Snapshot.Routes() {
		same := false
		switch route.Reference.Kind {
		case mesh.KindHTTPRoute, mesh.KindGRPCRoute:
			same = len(spec.GetHttp()) > 0
		case mesh.KindTCPRoute:
			same = len(spec.GetTcp()) > 0
		case mesh.KindTLSRoute:
			same = len(spec.GetTls()) > 0
		}
		if same && route.Reference.Namespace == subject.Namespace.Name && slices.ContainsFunc(route.Parents, func(parent gatewayv1.ParentReference) bool {
			namespace, is := route.ServiceNamespace(parent)
			return is && namespace == subject.Namespace.Name && string(parent.Name) == service
		}) {
			return route.Reference, true
		}
	}
	return v1alpha1.ObjectReference{}, false
}

// routeTargets is about rules that name services that are not there. Before an enrolment
// nobody else says so.
func routeTargets() Check {
	return routeTargetsBut(func(mesh.Route) bool { return false })
}

// unsaidTargets is routeTargets without the routes of which istiod says so, which
// routes-accepted repeats.
func unsaidTargets() Check { return routeTargetsBut(saysMissing) }

func routeTargetsBut(passedOver func(mesh.Route) bool) Check {
	return Check{
		ID: "route-targets", Category: CategoryRouting, Severity: v1alpha1.SeverityWarning,
		About: "Looks for routes and DestinationRules of this namespace that name services which are not there.",
		Why: "Sidecars answer calls that such a route takes with an error, and so does a waypoint; without one ambient callers go past the route " +
			"and may get an answer. Nothing that works today breaks, so that it is announced. A short name means a service of the rule's own " +
			"namespace, and a name with a dot is taken for a full one (istio pilot/pkg/model/config.go, ResolveShortnameToFQDN). Services of other " +
			"clusters are not known here.",
		Needs: append([]string{
			mesh.KindService, mesh.KindServiceEntry, mesh.KindVirtualService, mesh.KindDestinationRule,
		}, routeKinds()...),
		Passed: "every service that a routing rule of the namespace names is there",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			say := func(object *v1alpha1.ObjectReference, field, message string) {
				findings = append(findings, Finding{
					Status: v1alpha1.StatusWarn, Object: object, Field: field, Message: message, Remedy: "correct the name, or delete the rule",
				})
			}
			for _, virtualService := range subject.Snapshot.VirtualServices() {
				if virtualService.Namespace != subject.Namespace.Name {
					continue
				}
				object := istioReference(networkingVersion, mesh.KindVirtualService, virtualService)
				for _, destination := range destinationsOf(&virtualService.Spec) {
					if !resolves(subject, destination.host) {
						say(object, destination.field, "no Service or ServiceEntry is called "+destination.host)
					}
				}
				for i, http := range virtualService.Spec.GetHttp() {
					if delegate := http.GetDelegate(); delegate != nil && !delegates(subject, delegate) {
						say(object, fmt.Sprintf("spec.http[%d].delegate", i), "there is no VirtualService "+delegate.GetNamespace()+"/"+delegate.GetName())
					}
				}
			}
			for _, rule := range subject.Snapshot.DestinationRules() {
				if rule.Namespace == subject.Namespace.Name && !resolves(subject, rule.Spec.GetHost()) {
					say(istioReference(networkingVersion, mesh.KindDestinationRule, rule), "spec.host", "no Service or ServiceEntry is called "+rule.Spec.GetHost())
				}
			}
			for _, route := range subject.Snapshot.Routes() {
				if route.Reference.Namespace != subject.Namespace.Name || passedOver(route) {
					continue
				}
				for _, missing := range missingServices(subject, route) {
					say(reference(route.Reference), missing.field, "there is no Service "+missing.host)
				}
				for _, missing := range missingHosts(subject, route) {
					say(reference(route.Reference), missing.field, "no Service or ServiceEntry is called "+missing.host)
				}
			}
			return findings
		},
	}
}

// named is a host at a field.
type named struct{ field, host string }

// destinationsOf are the hosts that a VirtualService sends traffic to.
func destinationsOf(spec *networkingv1alpha3.VirtualService) []named {
	var destinations []named
	add := func(destination *networkingv1alpha3.Destination, format string, arguments ...any) {
		if destination != nil {
			destinations = append(destinations, named{fmt.Sprintf(format, arguments...) + ".host", destination.GetHost()})
		}
	}
	for i, http := range spec.GetHttp() {
		for j, route := range http.GetRoute() {
			add(route.GetDestination(), "spec.http[%d].route[%d].destination", i, j)
		}
		add(http.GetMirror(), "spec.http[%d].mirror", i)
		for j, mirror := range http.GetMirrors() {
			add(mirror.GetDestination(), "spec.http[%d].mirrors[%d].destination", i, j)
		}
	}
	for i, tcp := range spec.GetTcp() {
		for j, route := range tcp.GetRoute() {
			add(route.GetDestination(), "spec.tcp[%d].route[%d].destination", i, j)
		}
	}
	for i, tls := range spec.GetTls() {
		for j, route := range tls.GetRoute() {
			add(route.GetDestination(), "spec.tls[%d].route[%d].destination", i, j)
		}
	}
	return destinations
}

func delegates(subject Subject, delegate *networkingv1alpha3.Delegate) bool {
	namespace := cmp.Or(delegate.GetNamespace(), subject.Namespace.Name)
	return slices.ContainsFunc(subject.Snapshot.VirtualServices(), func(virtualService *clientnetworkingv1.VirtualService) bool {
		return virtualService.Namespace == namespace && virtualService.Name == delegate.GetName()
	})
}

// resolves says whether a host that is written in the namespace at hand names a
// Service or ServiceEntry. An address names nothing and needs nothing.
func resolves(subject Subject, host string) bool {
	if net.ParseIP(host) != nil {
		return true
	}
	full := host
	if host != "" && !strings.Contains(host, ".") && !strings.HasPrefix(host, "*") {
		full = host + "." + subject.Namespace.Name + ".svc.cluster.local"
	}
	return isCalled(subject, full)
}

// isCalled says whether a Service or ServiceEntry has a full host name.
func isCalled(subject Subject, full string) bool {
	for _, service := range subject.Snapshot.AllServices() {
		name := service.Name + "." + service.Namespace + ".svc."
		if strings.HasPrefix(full, name) || strings.HasPrefix(full, "*") && strings.HasSuffix(name+"cluster.local", full[1:]) {
			return true
		}
	}
	for _, entry := range subject.Snapshot.ServiceEntries() {
		if slices.ContainsFunc(entry.Spec.GetHosts(), func(own string) bool { return mesh.HostsMatch(own, full) }) {
			return true
		}
	}
	return false
}

// missingServices are the Services that a route has for parents or backends and
// that are not there.
func missingServices(subject Subject, route mesh.Route) []named {
	exists := func(namespace, name string) bool {
		for _, service := range subject.Snapshot.Services(namespace) {
			if service.Name == name {
				return true
			}
		}
		return false
	}
	var missing []named
	for i, parent := range route.Parents {
		if namespace, is := route.ServiceNamespace(parent); is && !exists(namespace, string(parent.Name)) {
			missing = append(missing, named{fmt.Sprintf("spec.parentRefs[%d]", i), namespace + "/" + string(parent.Name)})
		}
	}
	for _, backend := range route.Backends {
		if backend.Kind != nil && *backend.Kind != mesh.KindService || backend.Group != nil && *backend.Group != "" && *backend.Group != "core" {
			continue
		}
		namespace := route.Reference.Namespace
		if backend.Namespace != nil {
			namespace = string(*backend.Namespace)
		}
		if !exists(namespace, string(backend.Name)) {
			missing = append(missing, named{"spec.rules[].backendRefs[" + string(backend.Name) + "]", namespace + "/" + string(backend.Name)})
		}
	}
	return missing
}

// missingHosts are the hosts of a route's backends that nothing bears: host names, which
// istiod takes as they are, and ServiceImports, for which it wants a Service of the same
// name (istio pilot/pkg/config/kube/gateway/conversion.go, buildDestination).
func missingHosts(subject Subject, route mesh.Route) []named {
	var missing []named
	for _, backend := range route.Backends {
		if backend.Kind == nil || *backend.Kind == mesh.KindService {
			continue
		}
		if host, known := route.BackendHost(backend); known && !isCalled(subject, host) {
			missing = append(missing, named{"spec.rules[].backendRefs[" + string(backend.Name) + "]", host})
		}
	}
	return missing
}
