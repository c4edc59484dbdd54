package checks_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
)

func virtualService(namespace, spec string) string {
	return istio("networking.istio.io/v1", "VirtualService", namespace, "v", spec)
}

func destinationRule(namespace, spec string) string {
	return istio("networking.istio.io/v1", "DestinationRule", namespace, "d", spec)
}

func route(kind, namespace, parent string) string {
	return istio("gateway.networking.k8s.io/v1", kind, namespace, "r", "{parentRefs: ["+parent+"]}")
}

func routingCases() []testCase {
	const http = "http: [{route: [{destination: {host: cart}}]}]"
	const lost = "its routes are lost without a waypoint"
	const policyLost = "its traffic policy is lost without a waypoint"
	refusedVS := []finding{{fail, "VirtualService shop/v", "spec.hosts", lost}}
	refusedElsewhere := []finding{{fail, "VirtualService pay/v", "spec.hosts", lost}}
	outbound := []finding{{warn, "VirtualService pay/v", "spec.hosts", "callers in this namespace no longer follow it"}}
	cases := append(slices.Concat(routeCases(), waypointCases(), outboundCases()), []testCase{
		{name: "none", check: "routing-rules", objects: shop()},
		{name: "a VirtualService", check: "routing-rules", objects: shop(virtualService("shop", "{hosts: [cart], "+http+"}")), want: refusedVS},
		{name: "a VirtualService for sidecars and a gateway", check: "routing-rules", objects: shop(virtualService("shop", "{hosts: [cart], gateways: [ingress, mesh], "+http+"}")), want: refusedVS},
		{name: "a VirtualService for a gateway alone", check: "routing-rules", objects: shop(virtualService("shop", "{hosts: [cart], gateways: [ingress], "+http+"}"))},
		{name: "another namespace's, by the full name", check: "routing-rules", objects: shop(virtualService("pay", "{hosts: [cart.shop.svc.cluster.local], "+http+"}")), want: refusedElsewhere},
		{name: "another namespace's, by a short name", check: "routing-rules", objects: shop(virtualService("pay", "{hosts: [cart.shop], "+http+"}")), want: refusedElsewhere},
		{name: "another namespace's, by a wildcard", check: "routing-rules", objects: shop(virtualService("pay", `{hosts: ["*.shop.svc.cluster.local"], `+http+"}")), want: refusedElsewhere},
		{name: "another namespace's, for everything", check: "routing-rules", objects: shop(virtualService("pay", `{hosts: ["*"], `+http+"}")), want: refusedElsewhere},
		{name: "another namespace's, by a name of its own", check: "routing-rules", objects: shop(virtualService("pay", "{hosts: [cart], "+http+"}"))},
		{name: "another namespace's, for a host elsewhere", check: "routing-rules", objects: shop(virtualService("pay", `{hosts: ["*.example.com"], `+http+"}"))},
		{name: "another namespace's, for a service that is not there", check: "routing-rules", objects: shop(virtualService("pay", "{hosts: [gone.shop.svc.cluster.local], "+http+"}"))},

		{name: "subsets alone", check: "routing-rules", objects: shop(destinationRule("shop", "{host: cart, subsets: [{name: v1, labels: {version: v1}}]}"))},
		{name: "a policy for some callers", check: "routing-rules", objects: shop(destinationRule("shop", "{host: cart, workloadSelector: {matchLabels: {app: cart}}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}")), want: []finding{{fail, "DestinationRule shop/d", "spec.trafficPolicy.loadBalancer", "its traffic policy is lost: a waypoint follows no rule with a workloadSelector"}}},
		{name: "another namespace's for some callers there", check: "routing-rules", objects: shop(destinationRule("pay", "{host: cart.shop.svc.cluster.local, workloadSelector: {matchLabels: {app: cart}}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}"))},
		{name: "mTLS alone", check: "routing-rules", objects: shop(destinationRule("shop", "{host: cart, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}"))},
		{name: "another namespace's DestinationRule", check: "routing-rules", objects: shop(destinationRule("pay", "{host: cart.shop.svc.cluster.local, trafficPolicy: {tls: {mode: DISABLE}}}")), want: []finding{{fail, "DestinationRule pay/d", "spec.trafficPolicy.tls.mode", policyLost}}},
		{name: "another namespace's DestinationRule for its own", check: "routing-rules", objects: shop(destinationRule("pay", "{host: cart, trafficPolicy: {tls: {mode: DISABLE}}}"))},
		{name: "a subset's policy", check: "routing-rules", objects: shop(destinationRule("shop", "{host: cart, subsets: [{name: v1}, {name: v2, trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}}]}")), want: []finding{{fail, "DestinationRule shop/d", "spec.subsets[v2].trafficPolicy.connectionPool", policyLost}}},

		{name: "a route of a Service", check: "routing-rules", objects: shop(route("HTTPRoute", "shop", `{group: "", kind: Service, name: cart}`)), want: []finding{{fail, "HTTPRoute shop/r", "spec.parentRefs", lost}}},
		{name: "a route of a Service, from elsewhere", check: "routing-rules", objects: shop(route("GRPCRoute", "pay", `{group: "", kind: Service, name: cart, namespace: shop}`)), want: []finding{{fail, "GRPCRoute pay/r", "spec.parentRefs", lost}}},
		{name: "a consumer's route for a Service elsewhere", check: "routing-rules", objects: shop(route("HTTPRoute", "shop", `{group: "", kind: Service, name: pay, namespace: pay}`)), want: []finding{{fail, "HTTPRoute shop/r", "spec.parentRefs", lost}}},
		{name: "a route of a Service elsewhere", check: "routing-rules", objects: shop(route("HTTPRoute", "pay", `{group: "", kind: Service, name: cart}`))},
		{name: "a gateway's route", check: "routing-rules", objects: shop(route("HTTPRoute", "shop", "{name: ingress}"))},

		{name: "none", check: "outbound-routing", objects: shop(virtualService("shop", "{hosts: [cart], "+http+"}"))},
		{name: "a VirtualService of others", check: "outbound-routing", objects: shop(virtualService("pay", "{hosts: [pay], "+http+"}")), want: outbound},
		{name: "one exported to all", check: "outbound-routing", objects: shop(virtualService("pay", `{hosts: [pay], exportTo: ["*"], `+http+"}")), want: outbound},
		{name: "one exported here", check: "outbound-routing", objects: shop(virtualService("pay", "{hosts: [pay], exportTo: [hr, shop], "+http+"}")), want: outbound},
		{name: "one that is not exported", check: "outbound-routing", objects: shop(virtualService("pay", `{hosts: [pay], exportTo: ["."], `+http+"}"))},
		{name: "one for a gateway", check: "outbound-routing", objects: shop(virtualService("pay", "{hosts: [pay], gateways: [ingress], "+http+"}"))},
		{name: "one that routing-rules refuses", check: "outbound-routing", objects: shop(virtualService("pay", "{hosts: [cart.shop], "+http+"}"))},
		{name: "a DestinationRule of others", check: "outbound-routing", objects: shop(destinationRule("pay", "{host: pay, trafficPolicy: {loadBalancer: {simple: RANDOM}}}")), want: []finding{{warn, "DestinationRule pay/d", "spec.trafficPolicy.loadBalancer", "no longer follow it"}}},
		{name: "a DestinationRule of others that is not exported", check: "outbound-routing", objects: shop(destinationRule("pay", `{host: pay, exportTo: ["."], trafficPolicy: {loadBalancer: {simple: RANDOM}}}`))},
		{name: "one for a service that is known", check: "outbound-routing", objects: shop(payService(""), virtualService("pay", "{hosts: [pay], "+http+"}")),
			want: []finding{{warn, "VirtualService pay/v", "spec.hosts", "no longer follow it for Service pay/pay"}}},
		{name: "one for a service with a waypoint", check: "outbound-routing",
			objects: shop(payService("waypoint"), payWaypoint(), fixture.Namespace("pay", nil), virtualService("pay", "{hosts: [pay], "+http+"}"))},
		{name: "one that a waypoint elsewhere does not follow", check: "outbound-routing",
			objects: shop(payService("waypoint"), payWaypoint(), fixture.Namespace("pay", nil), virtualService("hr", "{hosts: [pay.pay.svc.cluster.local], "+http+"}")),
			want:    []finding{{warn, "VirtualService hr/v", "spec.hosts", "whose waypoints would not follow rules of another namespace"}}},
		{name: "one for services here and elsewhere", check: "outbound-routing",
			objects: shop(payService(""), virtualService("pay", "{hosts: [cart.shop.svc.cluster.local, pay], "+http+"}")),
			want:    []finding{{warn, "VirtualService pay/v", "spec.hosts", "no longer follow it for Service pay/pay"}}},
		{name: "one for services in several namespaces", check: "outbound-routing",
			objects: shop(payService(""), hrService(), virtualService("pay", "{hosts: [pay, staff.hr.svc.cluster.local], "+http+"}")),
			want:    []finding{{warn, "VirtualService pay/v", "spec.hosts", "of which waypoints outside namespace pay would not follow it either"}}},
		{name: "a DestinationRule for a service of a third namespace, which nobody here follows", check: "outbound-routing",
			objects: shop(payService(""), destinationRule("hr", "{host: pay.pay.svc.cluster.local, trafficPolicy: {loadBalancer: {simple: RANDOM}}}"))},
		{name: "the root namespace's DestinationRule for all services", check: "outbound-routing",
			objects: shop(payService(""), destinationRule("istio-system", "{host: '*.local', trafficPolicy: {loadBalancer: {simple: RANDOM}}}")),
			want:    []finding{{warn, "DestinationRule istio-system/d", "spec.trafficPolicy.loadBalancer", "no longer follow it for Service pay/pay"}}},
		{name: "the root namespace's DestinationRule, which a waypoint follows", check: "outbound-routing",
			objects: shop(payService("waypoint"), payWaypoint(), fixture.Namespace("pay", nil), destinationRule("istio-system", "{host: '*.local', trafficPolicy: {loadBalancer: {simple: RANDOM}}}"))},
		{name: "the root namespace's DestinationRule, and a service with one of its own", check: "outbound-routing",
			objects: shop(payService(""), destinationRule("istio-system", "{host: '*.local', trafficPolicy: {loadBalancer: {simple: RANDOM}}}"),
				destinationRule("pay", "{host: pay, trafficPolicy: {connectionPool: {http: {http1MaxPendingRequests: 1}}}}")),
			want: []finding{{warn, "DestinationRule pay/d", "spec.trafficPolicy.connectionPool", "for Service pay/pay"}}},
		{name: "a DestinationRule of others that one of its own comes before", check: "outbound-routing",
			objects: shop(payService(""), destinationRule("pay", "{host: pay, trafficPolicy: {loadBalancer: {simple: RANDOM}}}"), destinationRule("shop", "{host: pay.pay.svc.cluster.local}"))},
		{name: "a DestinationRule of others that a narrower one comes before", check: "outbound-routing",
			objects: shop(payService(""), destinationRule("pay", "{host: '*.pay.svc.cluster.local', trafficPolicy: {loadBalancer: {simple: RANDOM}}}"),
				istio("networking.istio.io/v1", "DestinationRule", "pay", "narrow", "{host: pay}"))},
		{name: "a DestinationRule of others for some of their workloads", check: "outbound-routing",
			objects: shop(payService(""), destinationRule("pay", "{host: pay, workloadSelector: {matchLabels: {app: pay}}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}"))},
		{name: "a DestinationRule for a host that nothing has", check: "outbound-routing",
			objects: shop(destinationRule("egress", "{host: api.partner.com, trafficPolicy: {tls: {mode: SIMPLE}}}"))},

		{name: "a route of a Service there", check: "outbound-routing", objects: shop(payService(""), route("HTTPRoute", "pay", `{group: "", kind: Service, name: pay}`)),
			want: []finding{{warn, "HTTPRoute pay/r", "spec.parentRefs", "callers in this namespace no longer follow it for Service pay/pay"}}},
		{name: "a route of a Service there with a waypoint", check: "outbound-routing",
			objects: shop(payService("waypoint"), payWaypoint(), fixture.Namespace("pay", nil), route("HTTPRoute", "pay", `{group: "", kind: Service, name: pay}`))},
		{name: "another consumer's route", check: "outbound-routing", objects: shop(payService(""), route("HTTPRoute", "hr", `{group: "", kind: Service, name: pay, namespace: pay}`))},
		{name: "a gateway's route elsewhere", check: "outbound-routing", objects: shop(payService(""), route("HTTPRoute", "pay", "{name: pay}"))},

		{name: "a DestinationRule for a ServiceEntry elsewhere", check: "outbound-routing", objects: shop(egressEntry("", ""), originating("egress")), want: originated},
		{name: "one for a ServiceEntry behind a waypoint", check: "outbound-routing",
			objects: shop(egressEntry("waypoint", ""), gateway("egress", "waypoint", "istio-waypoint", ""), fixture.Namespace("egress", nil), originating("egress"))},
		{name: "one for a ServiceEntry that is hidden from sidecars here", check: "outbound-routing", objects: shop(egressEntry("", `, exportTo: ["."]`), originating("egress"))},
		{name: "one of a third namespace for a ServiceEntry", check: "outbound-routing", objects: shop(egressEntry("", ""), originating("hr"))},
		{name: "one for a ServiceEntry, and one here that comes before it", check: "outbound-routing", objects: shop(egressEntry("", ""), originating("egress"), originating("shop"))},
		{name: "a wildcard that takes a ServiceEntry in", check: "outbound-routing",
			objects: shop(egressEntry("", ""), destinationRule("egress", "{host: '*.partner.com', trafficPolicy: {tls: {mode: SIMPLE}}}")), want: originated},
		{name: "one for a single host of a ServiceEntry for a wildcard", check: "outbound-routing",
			objects: shop(istio("networking.istio.io/v1", "ServiceEntry", "egress", "api", `{hosts: ["*.partner.com"]}`), originating("egress"))},
		{name: "a VirtualService for a ServiceEntry elsewhere", check: "outbound-routing", objects: shop(egressEntry("", ""), virtualService("egress", "{hosts: [api.partner.com], "+http+"}")),
			want: []finding{{warn, "VirtualService egress/v", "spec.hosts", "no longer follow it for ServiceEntry egress/api"}}},
		{name: "a VirtualService of a third namespace for a ServiceEntry", check: "outbound-routing", objects: shop(egressEntry("", ""), virtualService("hr", "{hosts: [api.partner.com], "+http+"}")),
			want: []finding{{warn, "VirtualService hr/v", "spec.hosts", "whose waypoints would not follow rules of another namespace"}}},
		{name: "a VirtualService of others for a ServiceEntry here", check: "outbound-routing",
			objects: shop(istio("networking.istio.io/v1", "ServiceEntry", "shop", "api", "{hosts: [api.partner.com]}"), virtualService("egress", "{hosts: [api.partner.com], "+http+"}")),
			want:    []finding{{warn, "VirtualService egress/v", "spec.hosts", "for ServiceEntry shop/api, whose waypoints would not follow"}}},

		{name: "a host of a gateway, which sidecars follow for plain HTTP", check: "outbound-routing",
			objects: shop(virtualService("pay", "{hosts: [pay.example.com], gateways: [mesh, ingress], "+http+"}")),
			want:    []finding{{warn, "VirtualService pay/v", "spec.hosts", "plain HTTP from callers in this namespace to host pay.example.com, which no Service or ServiceEntry has, no longer follows it"}}},
		{name: "a host of a gateway, and routes for it alone", check: "outbound-routing",
			objects: shop(virtualService("pay", "{hosts: [pay.example.com], gateways: [mesh, ingress], http: [{match: [{gateways: [ingress]}], route: [{destination: {host: cart}}]}]}"))},
		{name: "a host of a gateway, with routes for TLS", check: "outbound-routing",
			objects: shop(virtualService("pay", "{hosts: [pay.example.com], gateways: [mesh, ingress], tls: [{match: [{sniHosts: [pay.example.com]}], route: [{destination: {host: pay}}]}]}"))},
		{name: "routes for TLS of a service that is known", check: "outbound-routing",
			objects: shop(payService(""), virtualService("pay", "{hosts: [pay], tls: [{match: [{sniHosts: [pay]}], route: [{destination: {host: pay}}]}]}")), want: outbound},
		{name: "routes for connections to a service that is known", check: "outbound-routing",
			objects: shop(payService(""), virtualService("pay", "{hosts: [pay], tcp: [{match: [{port: 80}], route: [{destination: {host: pay}}]}]}")), want: outbound},
		{name: "routes for callers of another namespace", check: "outbound-routing",
			objects: shop(payService(""), virtualService("pay", "{hosts: [pay], http: [{match: [{sourceNamespace: hr}], route: [{destination: {host: pay}}]}]}"))},
		{name: "a DestinationRule of others without effect", check: "outbound-routing", objects: shop(destinationRule("pay", "{host: pay}"))},
	}...)
	for field, text := range map[string]string{
		"loadBalancer": "loadBalancer: {simple: RANDOM}", "connectionPool": "connectionPool: {http: {http1MaxPendingRequests: 1}}",
		"outlierDetection": "outlierDetection: {consecutive5xxErrors: 5}", "portLevelSettings": "portLevelSettings: [{port: {number: 80}}]",
		"tunnel": "tunnel: {targetHost: a, targetPort: 80}", "proxyProtocol": "proxyProtocol: {version: V2}", "tls.mode": "tls: {mode: SIMPLE}",
		"retryBudget": "retryBudget: {percent: 20}",
	} {
		cases = append(cases, testCase{
			name: "a DestinationRule with " + field, check: "routing-rules", objects: shop(destinationRule("shop", "{host: cart, trafficPolicy: {"+text+"}}")),
			want: []finding{{fail, "DestinationRule shop/d", "spec.trafficPolicy." + field, policyLost}},
		})
	}
	return cases
}

// payService is a Service of another namespace, behind a waypoint if one is named.
func payService(waypoint string) any {
	labels := ""
	if waypoint != "" {
		labels = ", labels: {istio.io/use-waypoint: " + waypoint + "}"
	}
	return fixture.YAML("apiVersion: v1\nkind: Service\nmetadata: {name: pay, namespace: pay" + labels + "}\nspec: {clusterIP: 10.0.0.9, selector: {app: pay}, ports: [{name: http, port: 80}]}")
}

// egressEntry is a ServiceEntry of another namespace, behind a waypoint if one is named.
func egressEntry(waypoint, more string) any {
	labels := ""
	if waypoint != "" {
		labels = ", labels: {istio.io/use-waypoint: " + waypoint + "}"
	}
	return fixture.YAML("apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: api, namespace: egress" + labels + "}\nspec: {hosts: [api.partner.com], resolution: DNS" + more + "}")
}

// originating is a rule that has sidecars begin TLS to the host of egressEntry.
func originating(namespace string) any {
	return destinationRule(namespace, "{host: api.partner.com, trafficPolicy: {tls: {mode: SIMPLE}}}")
}

// originated is what there is to say of it.
var originated = []finding{{warn, "DestinationRule egress/d", "spec.trafficPolicy.tls.mode", "callers in this namespace no longer follow it for ServiceEntry egress/api"}}

func hrService() any {
	return fixture.YAML("apiVersion: v1\nkind: Service\nmetadata: {name: staff, namespace: hr}\nspec: {clusterIP: 10.0.0.8, selector: {app: staff}, ports: [{name: http, port: 80}]}")
}

// TestOutboundRoutingRemedy names each namespace that a rule is to be kept in.
func TestOutboundRoutingRemedy(t *testing.T) {
	t.Parallel()
	const there = "a waypoint in its own namespace keeps it: enroll with --include-namespaces=pay"
	routes := func(hosts string) string {
		return virtualService("pay", "{hosts: ["+hosts+"], http: [{route: [{destination: {host: pay}}]}]}")
	}
	for _, test := range []struct {
		name string
		rule any
		want string
	}{
		{"a service there", routes("pay"), there},
		{"a service elsewhere", routes("staff.hr.svc.cluster.local"), "move the rule to namespace hr"},
		{"services there and elsewhere", routes("pay, staff.hr.svc.cluster.local"), there + "; move what it says of services elsewhere to rules in their namespaces: hr"},
		{"all services", destinationRule("istio-system", "{host: '*.local', trafficPolicy: {loadBalancer: {simple: RANDOM}}}"),
			"waypoints in the namespaces of these keep it: enroll with --include-namespaces, for hr, pay"},
		{"a ServiceEntry there", originating("egress"), "a waypoint in its own namespace keeps it: enroll with --include-namespaces=egress"},
		{"a host that nothing has", routes("pay.example.com"), "have callers here call a Service behind a waypoint that leads where it does, or make a ServiceEntry with a waypoint for the host"},
		{"a service that is not there", routes("gone"), ""},
	} {
		snapshot := fixture.Snapshot(shop(payService(""), hrService(), egressEntry("", ""), test.rule))
		var got []string
		for _, result := range checks.Run(checks.EnrollGates(), checks.Subject{Snapshot: snapshot, Namespace: fixture.Find(snapshot, "shop")}) {
			if result.ID == "outbound-routing" {
				got = append(got, result.Remedy)
			}
		}
		if diff := cmp.Diff([]string{test.want}, got); diff != "" {
			t.Errorf("for %s (-want +got):\n%s", test.name, diff)
		}
	}
}

func payWaypoint() any {
	return fixture.YAML("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: waypoint, namespace: pay}\n" +
		"spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}")
}
