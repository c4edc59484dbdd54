package checks

import (
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// routingChecks are about where calls go.
func routingChecks() []Check {
	return []Check{
		routingRules(), outboundRouting(), routeConflicts(), routeTargets(), serviceEntries(), sidecarResource(),
		waypointMissing(), waypointUnready(), waypointUnused(), waypointShape(), waypointNeeds(),
	}
}

const networkingVersion = "networking.istio.io/v1"

func routingRules() Check {
	return Check{
		ID: "routing-rules", Category: CategoryRouting, Severity: v1alpha1.SeverityError,
		About: "Looks for routes and traffic policies for the services of this namespace.",
		Why: "Routes, retries, timeouts, pools and load balancing are the work of the caller's sidecar, or of a waypoint (istio " +
			"pilot/pkg/networking/core/listener_waypoint.go, getVirtualServiceForWaypoint). ztunnel does none of it, so that calls of ambient pods " +
			"would go to any endpoint of the service.",
		Needs: []string{
			"VirtualService", "DestinationRule", "Service", mesh.KindServiceEntry, "HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute",
		},
		Passed: "every routing rule for services of this namespace is carried over to a waypoint",
		Run: func(subject Subject) []Finding {
			services := serviceNames(subject)
			needs := subject.Snapshot.WaypointNeeds(subject.Namespace)
			var findings []Finding
			refuse := func(object *v1alpha1.ObjectReference, field, message string) {
				if subject.carries(*object) {
					return
				}
				findings = append(findings, Finding{
					Status: v1alpha1.StatusFail, Object: object, Field: field, Message: message + concerned(needs, object), Remedy: later,
				})
			}
			for _, virtualService := range subject.Snapshot.VirtualServices() {
				own := virtualService.Namespace == subject.Namespace.Name
				if mesh.BindsMesh(&virtualService.Spec) && (own || concerns(virtualService.Spec.GetHosts(), virtualService.Namespace, services, subject)) {
					refuse(istioReference(networkingVersion, "VirtualService", virtualService), "spec.hosts",
						"its routes are lost without a waypoint")
				}
			}
			for _, rule := range subject.Snapshot.DestinationRules() {
				own := rule.Namespace == subject.Namespace.Name
				field := mesh.EffectiveField(&rule.Spec)
				if field != "" && (own || concerns([]string{rule.Spec.GetHost()}, rule.Namespace, services, subject)) {
					refuse(istioReference(networkingVersion, "DestinationRule", rule), field, "its traffic policy is lost without a waypoint")
				}
			}
			for _, route := range subject.Snapshot.Routes() {
				if routesServiceOf(route, subject.Namespace.Name) {
					refuse(reference(route.Reference), "spec.parentRefs", "its routes are lost without a waypoint")
				}
			}
			return findings
		},
	}
}

// outboundRouting is about rules for services elsewhere: the callers of this
// namespace lose them with their sidecars. Who calls what cannot be seen, so
// it is announced, not refused.
func outboundRouting() Check {
	return Check{
		ID: "outbound-routing", Category: CategoryRouting, Severity: v1alpha1.SeverityWarning,
		About: "Looks for routes and traffic policies for services of other namespaces, which callers of this namespace follow today.",
		Why: "The caller's sidecar carries them out. When the caller is ambient, they hold only where the service has a waypoint, and there only " +
			"those of the service's or the waypoint's namespace (istio pilot/pkg/networking/core/listener_waypoint.go). Who calls what cannot be " +
			"seen, so that it is announced.",
		Needs:  []string{"VirtualService", "DestinationRule", "Service", "Namespace", mesh.KindGateway, mesh.KindGatewayClass},
		Passed: "no routing rule for other namespaces ends for callers here",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, virtualService := range subject.Snapshot.VirtualServices() {
				spec := &virtualService.Spec
				if virtualService.Namespace != subject.Namespace.Name && mesh.BindsMesh(spec) && exported(spec.GetExportTo(), subject.Namespace.Name) {
					object := istioReference(networkingVersion, "VirtualService", virtualService)
					findings = append(findings, outboundFindings(subject, object, "spec.hosts", spec.GetHosts())...)
				}
			}
			for _, rule := range subject.Snapshot.DestinationRules() {
				field := mesh.EffectiveField(&rule.Spec)
				if rule.Namespace != subject.Namespace.Name && field != "" && exported(rule.Spec.GetExportTo(), subject.Namespace.Name) {
					object := istioReference(networkingVersion, "DestinationRule", rule)
					findings = append(findings, outboundFindings(subject, object, field, []string{rule.Spec.GetHost()})...)
				}
			}
			return findings
		},
	}
}

// outboundFindings are about a rule of another namespace for services there, or
// elsewhere, but not here: those have a check of their own. One whose services all
// have a waypoint that follows it goes on to hold.
func outboundFindings(subject Subject, object *v1alpha1.ObjectReference, field string, hosts []string) []Finding {
	own := serviceNames(subject)
	hosts = slices.DeleteFunc(slices.Clone(hosts), func(host string) bool {
		return concerns([]string{host}, object.Namespace, own, subject)
	})
	if len(hosts) == 0 {
		return nil
	}
	var lost []corev1.Service
	known := false
	for _, service := range subject.Snapshot.AllServices() {
		if !slices.ContainsFunc(hosts, func(host string) bool { return mesh.HostMeans(host, object.Namespace, service.Name, service.Namespace) }) {
			continue
		}
		known = true
		if !followed(subject, service, object.Namespace) {
			lost = append(lost, service)
		}
	}
	finding := Finding{Status: v1alpha1.StatusWarn, Object: object, Field: field}
	switch {
	case !known:
		finding.Message = "callers in this namespace no longer follow it, unless what it is about has a waypoint"
	case len(lost) == 0:
		return nil
	default:
		var names, elsewhere []string
		for _, service := range lost {
			names = append(names, "Service "+service.Namespace+"/"+service.Name)
			if service.Namespace != object.Namespace {
				elsewhere = append(elsewhere, service.Namespace)
			}
		}
		finding.Message = "callers in this namespace no longer follow it for " + some(names)
		finding.Remedy = keptByWaypoint(object.Namespace, slices.Compact(slices.Sorted(slices.Values(elsewhere))), len(elsewhere) < len(lost))
		switch {
		case len(elsewhere) == len(lost):
			finding.Message += ", whose waypoints would not follow rules of another namespace either"
		case len(elsewhere) > 0:
			finding.Message += ", of which waypoints outside namespace " + object.Namespace + " would not follow it either"
		}
	}
	return []Finding{finding}
}

// keptByWaypoint says what keeps a rule that stands in a namespace for services there,
// and for those of other namespaces.
func keptByWaypoint(written string, elsewhere []string, there bool) string {
	var remedies []string
	if there {
		remedies = append(remedies, "a waypoint in its own namespace keeps it: enroll with --include-namespaces="+written)
	}
	switch {
	case len(elsewhere) == 1 && !there:
		remedies = append(remedies, "move the rule to namespace "+elsewhere[0])
	case len(elsewhere) > 0:
		remedies = append(remedies, "move what it says of services elsewhere to rules in their namespaces: "+strings.Join(elsewhere, ", "))
	}
	return strings.Join(remedies, "; ")
}

// followed says whether ambient callers of a Service follow a rule that stands in a
// namespace: its waypoint does, if that is the Service's namespace or its own.
func followed(subject Subject, service corev1.Service, written string) bool {
	if subject.fronted(*reference(mesh.ServiceReference(service.Namespace, service.Name))) {
		return written == service.Namespace
	}
	namespace, found := subject.Snapshot.Namespace(service.Namespace)
	if !found {
		return false
	}
	gateway, has := subject.Snapshot.WaypointOf(service.Labels, namespace)
	return has && (written == service.Namespace || written == gateway.Namespace)
}

// FollowedAtWaypoint are the rules of a Service's own namespace that callers in ambient
// mode in another one follow since the Service has a waypoint, and would not without.
func FollowedAtWaypoint(snapshot *mesh.Snapshot, service corev1.Service, caller string) []v1alpha1.ObjectReference {
	subject := Subject{Snapshot: snapshot}
	if !followed(subject, service, service.Namespace) {
		return nil
	}
	means := func(host string) bool {
		return mesh.HostMeans(host, service.Namespace, service.Name, service.Namespace)
	}
	var rules []v1alpha1.ObjectReference
	for _, virtualService := range snapshot.VirtualServices() {
		spec := &virtualService.Spec
		if virtualService.Namespace == service.Namespace && mesh.BindsMesh(spec) && exported(spec.GetExportTo(), caller) && slices.ContainsFunc(spec.GetHosts(), means) {
			rules = append(rules, *istioReference(networkingVersion, "VirtualService", virtualService))
		}
	}
	for _, rule := range snapshot.DestinationRules() {
		if rule.Namespace == service.Namespace && mesh.EffectiveField(&rule.Spec) != "" && exported(rule.Spec.GetExportTo(), caller) && means(rule.Spec.GetHost()) {
			rules = append(rules, *istioReference(networkingVersion, "DestinationRule", rule))
		}
	}
	for _, route := range snapshot.Routes() {
		if route.Reference.Namespace == service.Namespace && routesService(route, service) {
			rules = append(rules, route.Reference)
		}
	}
	return rules
}

// routesService says whether a route is for a Service.
func routesService(route mesh.Route, service corev1.Service) bool {
	return slices.ContainsFunc(route.Parents, func(parent gatewayv1.ParentReference) bool {
		in, ofService := route.ServiceNamespace(parent)
		return ofService && in == service.Namespace && string(parent.Name) == service.Name
	})
}

func serviceNames(subject Subject) []string {
	var names []string
	for _, service := range subject.Snapshot.Services(subject.Namespace.Name) {
		names = append(names, service.Name)
	}
	return names
}

func exported(exportTo []string, namespace string) bool {
	return len(exportTo) == 0 || slices.Contains(exportTo, "*") || slices.Contains(exportTo, namespace)
}

// concerns says whether hosts, as they are written in a namespace, can mean
// Services of the namespace at hand.
func concerns(hosts []string, written string, services []string, subject Subject) bool {
	return slices.ContainsFunc(hosts, func(host string) bool {
		return slices.ContainsFunc(services, func(service string) bool {
			return mesh.HostMeans(host, written, service, subject.Namespace.Name)
		})
	})
}

func routesServiceOf(route mesh.Route, namespace string) bool {
	for _, parent := range route.Parents {
		if parent.Kind == nil || *parent.Kind != "Service" {
			continue
		}
		in := route.Reference.Namespace
		if parent.Namespace != nil {
			in = string(*parent.Namespace)
		}
		if in == namespace || route.Reference.Namespace == namespace {
			return true
		}
	}
	return false
}
