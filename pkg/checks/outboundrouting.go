package checks

import (
	"math"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	clientnetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// outboundRouting is about rules for services elsewhere: the callers of this
// namespace lose them with their sidecars. Who calls what cannot be seen, so
// it is announced, not refused.
func outboundRouting() Check {
	return Check{
		ID: "outbound-routing", Category: CategoryRouting, Severity: v1alpha1.SeverityWarning,
		About: "Looks for routes and traffic policies for Services of other namespaces and for the hosts of ServiceEntries, which callers of this namespace follow today.",
		Why: "The caller's sidecar carries them out. When the caller is ambient, they hold only where the service has a waypoint, and there only " +
			"those of the service's or the waypoint's namespace (istio pilot/pkg/networking/core/listener_waypoint.go), and of DestinationRules those of the " +
			"root namespace where neither has any. Of DestinationRules a sidecar goes by those of its own namespace, else of the service's, else of the root " +
			"namespace (istio pilot/pkg/model/push_context.go, destinationRule). A VirtualService for a host that nothing has is followed for plain HTTP, on port 80 or " +
			"those of what else it is for (istio pilot/pkg/networking/core/route/route.go, buildSidecarVirtualHostsForVirtualService). Who calls what cannot be " +
			"seen, so that it is announced.",
		Needs: append([]string{
			"VirtualService", "DestinationRule", "Service", mesh.KindServiceEntry, "Namespace", mesh.KindGateway, mesh.KindGatewayClass, mesh.IstioConfigMaps,
		}, routeKinds()...),
		Passed: "no routing rule for services elsewhere ends for callers here",
		Run: func(subject Subject) []Finding {
			calls := outgoing{
				subject: subject, callees: calleesFrom(subject), rules: subject.Snapshot.DestinationRules(), roots: subject.Snapshot.RootNamespaces(),
			}
			var findings []Finding
			for _, virtualService := range subject.Snapshot.VirtualServices() {
				if virtualService.Namespace != subject.Namespace.Name {
					findings = append(findings, calls.routes(virtualService)...)
				}
			}
			for _, rule := range calls.rules {
				if rule.Namespace != subject.Namespace.Name {
					findings = append(findings, calls.policies(rule)...)
				}
			}
			for _, route := range subject.Snapshot.Routes() {
				if route.Reference.Namespace != subject.Namespace.Name {
					findings = append(findings, calls.attached(route)...)
				}
			}
			return findings
		},
	}
}

// outgoing is what calls of a namespace go by that leave it.
type outgoing struct {
	subject Subject
	callees []callee
	rules   []*clientnetworkingv1.DestinationRule
	roots   []string
}

// callee is a Service or a ServiceEntry.
type callee struct {
	object v1alpha1.ObjectReference
	labels map[string]string
	// hosts are those of a ServiceEntry.
	hosts []string
}

func calleeOf(service corev1.Service) callee {
	return callee{object: mesh.ServiceReference(service.Namespace, service.Name), labels: service.Labels}
}

// calleesFrom are what sidecars of the namespace at hand know: exportTo hides
// ServiceEntries from them.
func calleesFrom(subject Subject) []callee {
	var callees []callee
	for _, service := range subject.Snapshot.AllServices() {
		callees = append(callees, calleeOf(service))
	}
	for _, entry := range subject.Snapshot.ServiceEntries() {
		if entry.Namespace == subject.Namespace.Name || exported(entry.Spec.GetExportTo(), subject.Namespace.Name) {
			callees = append(callees, callee{
				object: mesh.ServiceEntryReference(entry.Namespace, entry.Name), labels: entry.Labels, hosts: entry.Spec.GetHosts(),
			})
		}
	}
	return callees
}

// meant says whether a host, as it is written in a namespace, can mean the callee.
func (c callee) meant(host, written string) bool {
	if c.object.Kind == mesh.KindService {
		return mesh.HostMeans(host, written, c.object.Name, c.object.Namespace)
	}
	return slices.ContainsFunc(c.hosts, func(own string) bool { return mesh.HostsMatch(fullHost(host, written), own) })
}

// covered says whether the host of a DestinationRule is, or takes in, the callee's: one
// for a single host says nothing of a wildcard that takes it in (istio
// pilot/pkg/model/push_context.go, MostSpecificHostMatch).
func (c callee) covered(rule *clientnetworkingv1.DestinationRule) bool {
	host := rule.Spec.GetHost()
	if c.object.Kind == mesh.KindService {
		return mesh.HostMeans(host, rule.Namespace, c.object.Name, c.object.Namespace)
	}
	suffix, wildcard := strings.CutPrefix(host, "*")
	return slices.ContainsFunc(c.hosts, func(own string) bool {
		if wildcard {
			return strings.HasSuffix(strings.TrimPrefix(own, "*"), suffix)
		}
		return strings.EqualFold(fullHost(host, rule.Namespace), own)
	})
}

// fullHost is what a host without a dot means in the namespace that it is written in
// (istio pilot/pkg/model/config.go, ResolveShortnameToFQDN).
func fullHost(host, written string) string {
	if host == "" || strings.Contains(host, ".") || strings.HasPrefix(host, "*") {
		return host
	}
	return host + "." + written + ".svc.cluster.local"
}

// routes are the findings about a VirtualService of another namespace.
func (o outgoing) routes(virtualService *clientnetworkingv1.VirtualService) []Finding {
	spec, written := &virtualService.Spec, virtualService.Namespace
	http, other := routesFrom(spec, o.subject.Namespace.Name)
	if !mesh.BindsMesh(spec) || !exported(spec.GetExportTo(), o.subject.Namespace.Name) || !http && !other {
		return nil
	}
	object := istioReference(networkingVersion, mesh.KindVirtualService, virtualService)
	var about []callee
	var nobodys, unknown []string
	for _, host := range spec.GetHosts() {
		meant := o.meant(host, written)
		about = append(about, meant...)
		switch {
		case len(meant) > 0:
		case ofCluster(host):
			unknown = append(unknown, "host "+host)
		case http:
			nobodys = append(nobodys, "host "+host)
		}
	}
	finding := Finding{Object: object, Field: "spec.hosts"}
	findings := o.lost(finding, about, unknown, func(of callee, waypoint string) bool {
		return written == of.object.Namespace || written == waypoint
	})
	if len(nobodys) > 0 {
		finding.Status = v1alpha1.StatusWarn
		finding.Message = "plain HTTP from callers in this namespace to " + some(nobodys) + ", which no Service or ServiceEntry has, no longer follows it: sidecars know such a call by its host, ztunnel by its address"
		finding.Remedy = "have callers here call a Service behind a waypoint that leads where it does, or make a ServiceEntry with a waypoint for the host"
		findings = append(findings, finding)
	}
	return findings
}

// attached are the findings about a Gateway API route of another namespace that is
// attached to Services there: sidecars of every namespace follow it, and so does whatever
// waypoint stands in front of the Service.
func (o outgoing) attached(route mesh.Route) []Finding {
	var about []callee
	for _, of := range o.callees {
		if of.object.Kind == mesh.KindService && of.object.Namespace == route.Reference.Namespace && routesServiceNamed(route, of.object.Namespace, of.object.Name) {
			about = append(about, of)
		}
	}
	return o.lost(Finding{Object: reference(route.Reference), Field: "spec.parentRefs"}, about, nil, func(callee, string) bool { return true })
}

// routesFrom says whether any route of a VirtualService for HTTP, and any other, is one
// for sidecars of a namespace: matches may be for gateways alone, or for callers of
// other namespaces (istio pilot/pkg/networking/core/route/route.go, sourceMatchHTTP, and
// core/tls.go, matchTLS).
func routesFrom(spec *networkingv1alpha3.VirtualService, namespace string) (http, other bool) {
	for _, route := range spec.GetHttp() {
		http = http || len(route.GetMatch()) == 0 || slices.ContainsFunc(route.GetMatch(), func(match *networkingv1alpha3.HTTPMatchRequest) bool {
			return matchedFrom(match, namespace)
		})
	}
	for _, route := range spec.GetTls() {
		other = other || slices.ContainsFunc(route.GetMatch(), func(match *networkingv1alpha3.TLSMatchAttributes) bool {
			return matchedFrom(match, namespace)
		})
	}
	for _, route := range spec.GetTcp() {
		other = other || len(route.GetMatch()) == 0 || slices.ContainsFunc(route.GetMatch(), func(match *networkingv1alpha3.L4MatchAttributes) bool {
			return matchedFrom(match, namespace)
		})
	}
	return http, other
}

// matchedFrom says whether a condition of a route can hold in sidecars of a namespace.
func matchedFrom(match interface {
	GetGateways() []string
	GetSourceNamespace() string
}, namespace string) bool {
	if gateways := match.GetGateways(); len(gateways) > 0 && !slices.Contains(gateways, mesh.MeshGateway) {
		return false
	}
	return match.GetSourceNamespace() == "" || match.GetSourceNamespace() == namespace
}

// policies are the findings about a DestinationRule of another namespace. Of a host that
// nothing has there is nothing to lose, unless it is a Service of another cluster.
func (o outgoing) policies(rule *clientnetworkingv1.DestinationRule) []Finding {
	field := mesh.EffectiveField(&rule.Spec)
	if field == "" || !exportedRule(rule, o.subject.Namespace.Name) {
		return nil
	}
	host := rule.Spec.GetHost()
	var about []callee
	for _, of := range o.callees {
		if of.covered(rule) && o.governs(rule, of, o.subject.Namespace.Name) {
			about = append(about, of)
		}
	}
	var unknown []string
	if ofCluster(host) && len(o.meant(host, rule.Namespace)) == 0 {
		unknown = append(unknown, "host "+host)
	}
	finding := Finding{Object: istioReference(networkingVersion, mesh.KindDestinationRule, rule), Field: field}
	return o.lost(finding, about, unknown, func(of callee, waypoint string) bool { return o.governs(rule, of, waypoint) })
}

// governs says whether a DestinationRule is one of those that proxies of a namespace go
// by for a callee: of the first namespace that has any for it, their own, the callee's or
// the root namespace, those for the narrowest host (istio pilot/pkg/model/push_context.go,
// destinationRule).
func (o outgoing) governs(rule *clientnetworkingv1.DestinationRule, of callee, caller string) bool {
	for i, place := range [][]string{{caller}, {of.object.Namespace}, o.roots} {
		narrowest, chosen := 0, false
		for _, one := range o.rules {
			if !slices.Contains(place, one.Namespace) || !of.covered(one) || !o.sees(one, caller, i == 0) {
				continue
			}
			switch width := narrowness(one.Spec.GetHost()); {
			case width > narrowest:
				narrowest, chosen = width, one == rule
			case width == narrowest:
				chosen = chosen || one == rule
			}
		}
		if narrowest > 0 {
			return chosen
		}
	}
	return false
}

// sees says whether proxies of a namespace look at a DestinationRule, as one of their own
// or as one that is exported to them. In the root namespace what is exported to all is not
// of its own.
func (o outgoing) sees(rule *clientnetworkingv1.DestinationRule, caller string, own bool) bool {
	if own {
		return !slices.Contains(o.roots, caller) || !exportedRule(rule, "*")
	}
	return exportedRule(rule, caller)
}

// narrowness is the greater the fewer names a host takes in.
func narrowness(host string) int {
	if strings.HasPrefix(host, "*") {
		return len(host)
	}
	return math.MaxInt
}

// exportedRule says whether proxies of another namespace see a DestinationRule: never one
// with a selector (istio pilot/pkg/model/push_context.go, setDestinationRules).
func exportedRule(rule *clientnetworkingv1.DestinationRule, namespace string) bool {
	return rule.Spec.GetWorkloadSelector() == nil && exported(rule.Spec.GetExportTo(), namespace)
}

// meant are the callees that a host means as it is written in a namespace.
func (o outgoing) meant(host, written string) []callee {
	return slices.DeleteFunc(slices.Clone(o.callees), func(of callee) bool { return !of.meant(host, written) })
}

// ofCluster says whether a host is one of Kubernetes' own names, which a Service of another
// cluster may have: such are not known here.
func ofCluster(host string) bool {
	return !strings.Contains(host, ".") || strings.Contains(host, ".svc.") || strings.HasSuffix(host, ".svc") || mesh.HostsMatch(host, "*.svc.cluster.local")
}

// lost is the finding about a rule of another namespace for some callees, and for hosts
// that nothing here has. Services of the namespace at hand have a check of their own, and
// so has what the plan carries over. A callee with a waypoint that keeps the rule loses
// nothing; kept says so of a waypoint by its namespace.
func (o outgoing) lost(finding Finding, about []callee, unknown []string, kept func(of callee, waypoint string) bool) []Finding {
	var names, there, elsewhere []string
	for _, of := range about {
		own := of.object.Namespace == o.subject.Namespace.Name
		if own && (of.object.Kind == mesh.KindService || o.subject.carries(*finding.Object)) {
			continue
		}
		if waypoint, has := o.subject.waypointBefore(of); has && kept(of, waypoint) {
			continue
		}
		name := of.object.String()
		if slices.Contains(names, name) {
			continue
		}
		names = append(names, name)
		if kept(of, of.object.Namespace) {
			there = append(there, of.object.Namespace)
		} else {
			elsewhere = append(elsewhere, of.object.Namespace)
		}
	}
	if len(names)+len(unknown) == 0 {
		return nil
	}
	finding.Status = v1alpha1.StatusWarn
	finding.Message = "callers in this namespace no longer follow it for " + some(append(slices.Clone(names), unknown...))
	written := finding.Object.Namespace
	switch {
	case len(names) == 0:
		finding.Message += ", unless a Service of another cluster has that name, and a waypoint there"
	case len(there) == 0:
		finding.Message += ", whose waypoints would not follow rules of another namespace either"
	case len(elsewhere) > 0:
		finding.Message += ", of which waypoints outside namespace " + written + " would not follow it either"
	}
	finding.Remedy = keptByWaypoint(written, o.subject.Namespace.Name, there, elsewhere)
	return []Finding{finding}
}

// keptByWaypoint says what keeps a rule that is written in a namespace: waypoints in some
// namespaces, that of the callers being in the plan already, and for others only rules there.
func keptByWaypoint(written, callers string, there, elsewhere []string) string {
	in := func(namespaces []string) []string { return slices.Compact(slices.Sorted(slices.Values(namespaces))) }
	include := slices.DeleteFunc(in(there), func(namespace string) bool { return namespace == callers })
	move := in(elsewhere)
	var remedies []string
	switch {
	case len(include) == 1 && include[0] == written:
		remedies = append(remedies, "a waypoint in its own namespace keeps it: enroll with --include-namespaces="+written)
	case len(include) > 0:
		remedies = append(remedies, "waypoints in the namespaces of these keep it: enroll with --include-namespaces, for "+some(include))
	}
	switch {
	case len(move) == 1 && len(there) == 0:
		remedies = append(remedies, "move the rule to namespace "+move[0])
	case len(move) > 0:
		remedies = append(remedies, "move what it says of services elsewhere to rules in their namespaces: "+strings.Join(move, ", "))
	}
	return strings.Join(remedies, "; ")
}

// waypointBefore is the namespace of the waypoint in front of a callee when the plan is
// carried out, if there is one. What the plan makes stands where the callee is.
func (s Subject) waypointBefore(of callee) (namespace string, has bool) {
	if s.fronted(of.object) {
		return of.object.Namespace, true
	}
	in, found := s.Snapshot.Namespace(of.object.Namespace)
	if !found {
		return "", false
	}
	gateway, has := s.Snapshot.WaypointOf(of.labels, in)
	return gateway.Namespace, has
}

// FollowedAtWaypoint are the rules of a Service's own namespace that callers in ambient
// mode in another one follow since the Service has a waypoint, and would not without.
func FollowedAtWaypoint(snapshot *mesh.Snapshot, service corev1.Service, caller string) []v1alpha1.ObjectReference {
	subject := Subject{Snapshot: snapshot}
	if _, has := subject.waypointBefore(calleeOf(service)); !has {
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
		if rule.Namespace == service.Namespace && mesh.EffectiveField(&rule.Spec) != "" && exportedRule(rule, caller) && means(rule.Spec.GetHost()) {
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
	return routesServiceNamed(route, service.Namespace, service.Name)
}

func routesServiceNamed(route mesh.Route, namespace, name string) bool {
	return slices.ContainsFunc(route.Parents, func(parent gatewayv1.ParentReference) bool {
		in, ofService := route.ServiceNamespace(parent)
		return ofService && in == namespace && string(parent.Name) == name
	})
}
