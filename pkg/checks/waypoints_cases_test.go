package checks_test

import (
	"fmt"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
)

func endpoints(namespace, name string, ready bool) string {
	return fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %s-1, namespace: %s, labels: {gateway.networking.k8s.io/gateway-name: %s}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.9], conditions: {ready: %t}}]`, name, namespace, name, ready)
}

func waypointCases() []testCase {
	const field, object = "metadata.labels[istio.io/use-waypoint]", "Gateway shop/way"
	way := gateway("shop", "way", "istio-waypoint", "")
	in := func(of labels, objects ...any) []any {
		merged := labels{"istio-injection": "enabled"}
		for key, value := range of {
			merged[key] = value
		}
		return append([]any{fixture.Without("Namespace", shop()...), fixture.Namespace("shop", merged)}, objects...)
	}
	using := labels{"istio.io/use-waypoint": "way"}
	named := func(kind, version, of string) string {
		return "apiVersion: " + version + "\nkind: " + kind + "\nmetadata: {name: x, namespace: shop, labels: " + of + "}\nspec: {hosts: [a.example.com], address: 10.0.0.1}"
	}
	const own = "{istio.io/use-waypoint: way}"
	labelled := func(more string) string {
		return gateway("shop", "way", "istio-waypoint", ", labels: {istio.io/waypoint-for: "+more+"}")
	}
	const missing = "waypoint shop/way does not exist: ambient callers would go past it"
	forPay := func(routes string) string {
		return strings.Replace(gateway("pay", "way", "istio-waypoint", ""), "protocol: HBONE}", "protocol: HBONE, allowedRoutes: {namespaces: "+routes+"}}", 1)
	}
	atPay := labels{"istio.io/use-waypoint": "way", "istio.io/use-waypoint-namespace": "pay", "tier": "a"}
	bound := "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: other, annotations: {ambient.istio.io/waypoint-inbound-binding: PROXY/15088}}\nspec: {controllerName: istio.io/mesh-controller}"
	ofWorkloads := "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: istio-waypoint, labels: {istio.io/waypoint-for: workload}}\nspec: {controllerName: istio.io/mesh-controller}"
	noListener := func(class string) string {
		return strings.Replace(gateway("shop", "way", class, ""), "port: 15008, protocol: HBONE", "port: 80, protocol: HTTP", 1)
	}
	const http = "http: [{route: [{destination: {host: cart}}]}]"
	grpc := func(spec string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: rpc, namespace: shop}\nspec: " + spec
	}
	return []testCase{
		{name: "none", check: "waypoint-missing", objects: shop()},
		{name: "the namespace's", check: "waypoint-missing", objects: in(using, way)},
		{name: "another namespace's", check: "waypoint-missing", objects: in(labels{"istio.io/use-waypoint": "way", "istio.io/use-waypoint-namespace": "pay"}, gateway("pay", "way", "istio-waypoint", ""))},
		{name: "refused", check: "waypoint-missing", objects: in(labels{"istio.io/use-waypoint": "none"})},
		{name: "the namespace's is not there", check: "waypoint-missing", objects: in(using), want: []finding{{fail, "Namespace shop", field, missing}}},
		{name: "it is in another namespace", check: "waypoint-missing", objects: in(using, gateway("pay", "way", "istio-waypoint", "")), want: []finding{{fail, "Namespace shop", field, missing}}},
		{name: "an empty name", check: "waypoint-missing", objects: in(labels{"istio.io/use-waypoint": ""}), want: []finding{{fail, "Namespace shop", field, "the label names no waypoint"}}},
		{name: "a Service's is not there, the namespace's is", check: "waypoint-missing", objects: in(using, way, named("Service", "v1", "{istio.io/use-waypoint: gone}")), want: []finding{{fail, "Service shop/x", field, "waypoint shop/gone does not exist"}}},
		{name: "a ServiceEntry's", check: "waypoint-missing", objects: in(nil, named("ServiceEntry", "networking.istio.io/v1", own)), want: []finding{{fail, "ServiceEntry shop/x", field, missing}}},
		{name: "a WorkloadEntry's", check: "waypoint-missing", objects: in(nil, named("WorkloadEntry", "networking.istio.io/v1", own)), want: []finding{{fail, "WorkloadEntry shop/x", field, missing}}},
		{name: "a template's", check: "waypoint-missing", objects: in(nil, fixture.Deployment("shop", "x", fixture.TemplateLabel("istio.io/use-waypoint", "way"))), want: []finding{{fail, "Deployment shop/x", "spec.template." + field, missing}}},
		{name: "a bare pod's", check: "waypoint-missing", objects: in(nil, fixture.Pod("shop", "x", fixture.Labelled("istio.io/use-waypoint", "way"))), want: []finding{{fail, "Pod shop/x", field, missing}}},
		{name: "a canary's", check: "waypoint-missing", objects: in(labels{"istio.io/use-waypoint": "way", "istio.io/use-waypoint-canary": "new"}, way), want: []finding{{warn, "Namespace shop", "metadata.labels[istio.io/use-waypoint-canary]", "the canary gets no traffic"}}},
		{name: "another namespace's Service", check: "waypoint-missing", objects: in(nil, "apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: pay, labels: {istio.io/use-waypoint: gone}}")},

		{name: "none", check: "waypoint-unready", objects: shop()},
		{name: "ready", check: "waypoint-unready", objects: in(using, way, endpoints("shop", "way", true))},
		{name: "not used", check: "waypoint-unready", objects: in(nil, way)},
		{name: "no endpoint", check: "waypoint-unready", objects: in(using, way), want: []finding{{fail, object, "status", "no ready endpoint: calls of ambient callers fail to Namespace shop"}}},
		{name: "no ready endpoint", check: "waypoint-unready", objects: in(nil, way, endpoints("shop", "way", false), named("Service", "v1", own)), want: []finding{{fail, object, "status", "calls of ambient callers fail to Service x"}}},
		{name: "never ready", check: "waypoint-unready", objects: in(using, strings.Split(way, "status:")[0]), want: []finding{{fail, object, "status.addresses", "never ready: ambient callers go past it"}}},
		{name: "not programmed", check: "waypoint-unready", objects: in(using, strings.Replace(way, `status: "True"`, `status: "False"`, 1), endpoints("shop", "way", true)), want: []finding{{fail, object, "status.conditions[Programmed]", "not programmed"}}},
		{name: "not there", check: "waypoint-unready", objects: in(using)},

		{name: "none", check: "waypoint-unused", objects: shop()},
		{name: "used by the namespace", check: "waypoint-unused", objects: in(using, way)},
		{name: "used by a Service", check: "waypoint-unused", objects: in(nil, way, named("Service", "v1", own))},
		{name: "used by a ServiceEntry", check: "waypoint-unused", objects: in(nil, way, named("ServiceEntry", "networking.istio.io/v1", own))},
		{name: "used by a WorkloadEntry", check: "waypoint-unused", objects: in(nil, way, named("WorkloadEntry", "networking.istio.io/v1", own))},
		{name: "used by a template", check: "waypoint-unused", objects: in(nil, way, fixture.CronJob("shop", "x"), fixture.Deployment("shop", "x", fixture.TemplateLabel("istio.io/use-waypoint", "way")))},
		{name: "used as a canary", check: "waypoint-unused", objects: in(labels{"istio.io/use-waypoint-canary": "way"}, way)},
		{name: "used by nothing", check: "waypoint-unused", objects: in(nil, way, named("Service", "v1", "{istio.io/use-waypoint: none}"), fixture.Pod("pay", "x", fixture.Labelled("istio.io/use-waypoint", "way"))), want: []finding{{warn, object, "metadata.name", "nothing goes through it"}}},
		{name: "of a class of its own", check: "waypoint-unused", objects: in(nil, bound, gateway("shop", "way", "other", "")), want: []finding{{warn, object, "metadata.name", "nothing goes through it"}}},
		{name: "for no traffic", check: "waypoint-unused", objects: in(nil, labelled("none"))},
		{name: "an ingress gateway", check: "waypoint-unused", objects: in(nil, gateway("shop", "way", "istio", ""))},

		{name: "none", check: "waypoint-shape", objects: shop()},
		{name: "as it should be", check: "waypoint-shape", objects: in(using, way)},
		{name: "for workloads, used by the namespace", check: "waypoint-shape", objects: in(using, labelled("workload"))},
		{name: "for all, used by a Service", check: "waypoint-shape", objects: in(nil, labelled("all"), named("Service", "v1", own))},
		{name: "for workloads, used by a Service", check: "waypoint-shape", objects: in(using, labelled("workload"), named("Service", "v1", own)), want: []finding{{fail, object, "metadata.labels[istio.io/waypoint-for]", `for traffic "workload" passes over Service x, which names it`}}},
		{name: "for workloads by its class, used by a Service", check: "waypoint-shape", objects: in(nil, ofWorkloads, way, named("Service", "v1", own)), want: []finding{{fail, object, "metadata.labels[istio.io/waypoint-for]", "passes over Service x"}}},
		{name: "for services, used by a template", check: "waypoint-shape", objects: in(nil, way, fixture.Deployment("shop", "x", fixture.TemplateLabel("istio.io/use-waypoint", "way"))), want: []finding{{fail, object, "metadata.labels[istio.io/waypoint-for]", `for traffic "service" passes over Deployment x`}}},
		{name: "for nothing, used", check: "waypoint-shape", objects: in(using, labelled("none")), want: []finding{{fail, object, "metadata.labels[istio.io/waypoint-for]", "passes over Namespace shop"}}},
		{name: "for nothing, not used", check: "waypoint-shape", objects: in(nil, labelled("none"))},
		{name: "for what is not known, used", check: "waypoint-shape", objects: in(using, labelled("services")), want: []finding{{fail, object, "metadata.labels[istio.io/waypoint-for]", `"services" is no kind of traffic`}}},
		{name: "for what is not known, not used", check: "waypoint-shape", objects: in(nil, labelled("services")), want: []finding{{warn, object, "metadata.labels[istio.io/waypoint-for]", `"services" is no kind of traffic`}}},
		{name: "for a service account", check: "waypoint-shape", objects: in(using, gateway("shop", "way", "istio-waypoint", ", annotations: {istio.io/for-service-account: cart}")), want: []finding{{warn, object, "metadata.annotations[istio.io/for-service-account]", "not that of cart alone"}}},
		{name: "no listener, used", check: "waypoint-shape", objects: in(using, noListener("istio-waypoint")), want: []finding{{fail, object, "spec.listeners", "no listener has protocol HBONE on port 15008"}}},
		{name: "no listener, not used", check: "waypoint-shape", objects: in(nil, noListener("istio-waypoint")), want: []finding{{warn, object, "spec.listeners", "no listener has protocol HBONE on port 15008"}}},
		{name: "bound in another way", check: "waypoint-shape", objects: in(using, bound, noListener("other"))},
		{name: "an ingress gateway, used", check: "waypoint-shape", objects: in(using, gateway("shop", "way", "istio", "")), want: []finding{{fail, object, "spec.gatewayClassName", "class istio is not that of waypoints"}}},
		{name: "an ingress gateway with the listener of waypoints", check: "waypoint-shape", objects: in(nil, gateway("shop", "way", "istio", "")), want: []finding{{warn, object, "spec.gatewayClassName", "class istio is not that of waypoints"}}},
		{name: "another vendor's", check: "waypoint-shape", objects: in(using, gateway("shop", "way", "vendor", "")), want: []finding{{warn, object, "spec.gatewayClassName", "whether it acts as a waypoint cannot be seen"}}},
		{name: "an ingress gateway", check: "waypoint-shape", objects: in(nil, noListener("istio"))},
		{name: "an east-west gateway", check: "waypoint-shape", objects: in(nil, gateway("shop", "way", "istio-east-west", ""))},
		{name: "another namespace's that does not admit this one", check: "waypoint-shape", objects: in(atPay, gateway("pay", "way", "istio-waypoint", "")), want: []finding{{fail, "Gateway pay/way", "spec.listeners[].allowedRoutes.namespaces", "does not admit namespace shop, so that Namespace shop goes past it"}}},
		{name: "another namespace's that admits all", check: "waypoint-shape", objects: in(atPay, forPay("{from: All}"))},
		{name: "another namespace's that admits this one", check: "waypoint-shape", objects: in(atPay, forPay("{from: Selector, selector: {matchLabels: {tier: a}}}"))},
		{name: "another namespace's that admits others", check: "waypoint-shape", objects: in(atPay, forPay("{from: Selector, selector: {matchLabels: {tier: b}}}")), want: []finding{{fail, "Gateway pay/way", "spec.listeners[].allowedRoutes.namespaces", "does not admit"}}},
		{name: "another namespace's that admits none", check: "waypoint-shape", objects: in(atPay, forPay("{from: Selector}")), want: []finding{{fail, "Gateway pay/way", "spec.listeners[].allowedRoutes.namespaces", "does not admit"}}},

		{name: "none", check: "waypoint-needs", objects: shop()},
		{name: "layer 4 alone", check: "waypoint-needs", objects: shop(policy("shop", `{rules: [{to: [{operation: {ports: ["80"]}}]}]}`))},
		{name: "a policy and a route", check: "waypoint-needs", objects: shop(policy("shop", `{rules: [{to: [{operation: {methods: [GET]}}]}]}`), virtualService("shop", "{hosts: [cart], "+http+"}")), want: []finding{{warn, "Service shop/cart", field, "needs a waypoint, for 2 reasons: layer 7 policy by AuthorizationPolicy shop/p at spec.rules[0].to[0].operation.methods, routing by VirtualService shop/v at spec.hosts[0]"}}},
		{name: "one that it has", check: "waypoint-needs", objects: in(using, way, virtualService("shop", "{hosts: [cart], "+http+"}"))},
		{name: "an entry without an address", check: "waypoint-needs", objects: shop(istio("networking.istio.io/v1", "ServiceEntry", "shop", "e", "{hosts: [a.example.com, b.example.com]}"), virtualService("shop", "{hosts: [a.example.com], "+http+"}")), want: []finding{{warn, "ServiceEntry shop/e", "spec.resolution", "no call would go through one: it has no address"}}},
		{name: "gRPC", check: "waypoint-needs", objects: shop(grpc("{selector: {app: cart}, ports: [{name: grpc-api, port: 80}]}")), want: []finding{{warn, "Service shop/rpc", field, "may do better with a waypoint: request-level load balancing at spec.ports[0].name"}}},
	}
}

func routeCases() []testCase {
	const http = "http: [{route: [{destination: {host: cart}}]}]"
	const conflict = "HTTPRoute shop/r routes Service cart, too: sidecars follow that alone"
	vs := virtualService("shop", "{hosts: [cart], "+http+"}")
	parent := `{group: "", kind: Service, name: cart}`
	conflicts := []finding{{fail, "VirtualService shop/v", "spec.hosts", conflict}}
	to := func(spec string) string { return istio("gateway.networking.k8s.io/v1", "HTTPRoute", "shop", "r", spec) }
	using := fixture.Namespace("shop", labels{"istio-injection": "enabled", "istio.io/use-waypoint": "way", "istio.io/use-waypoint-namespace": "pay"})
	shared := strings.Replace(gateway("pay", "way", "istio-waypoint", ""), "protocol: HBONE}", "protocol: HBONE, allowedRoutes: {namespaces: {from: All}}}", 1)
	entry := istio("networking.istio.io/v1", "ServiceEntry", "pay", "e", `{hosts: [api.example.com, "*.example.org"]}`)
	sends := func(host string) string {
		return virtualService("shop", `{hosts: [cart], http: [{route: [{destination: {host: "`+host+`"}}]}]}`)
	}
	const destination = "spec.http[0].route[0].destination.host"
	dangling := func(field, host string) []finding {
		return []finding{{warn, "VirtualService shop/v", field, "no Service or ServiceEntry is called " + host}}
	}
	return []testCase{
		{name: "none", check: "route-conflicts", objects: shop()},
		{name: "a VirtualService alone", check: "route-conflicts", objects: shop(vs)},
		{name: "a route alone", check: "route-conflicts", objects: shop(route("HTTPRoute", "shop", parent))},
		{name: "both", check: "route-conflicts", objects: shop(vs, route("HTTPRoute", "shop", parent)), want: conflicts},
		{name: "both, the route by its group's name", check: "route-conflicts", objects: shop(vs, route("HTTPRoute", "shop", `{group: core, kind: Service, name: cart, namespace: shop}`)), want: conflicts},
		{name: "a GRPCRoute", check: "route-conflicts", objects: shop(vs, route("GRPCRoute", "shop", parent)), want: []finding{{fail, "VirtualService shop/v", "spec.hosts", "GRPCRoute shop/r routes Service cart, too"}}},
		{name: "TCP and HTTP", check: "route-conflicts", objects: shop(vs, route("TCPRoute", "shop", parent))},
		{name: "TCP both", check: "route-conflicts", objects: shop(virtualService("shop", "{hosts: [cart], tcp: [{route: [{destination: {host: cart}}]}]}"), route("TCPRoute", "shop", parent)), want: []finding{{fail, "VirtualService shop/v", "spec.hosts", "TCPRoute shop/r"}}},
		{name: "TLS both", check: "route-conflicts", objects: shop(virtualService("shop", "{hosts: [cart], tls: [{match: [{sniHosts: [cart]}], route: [{destination: {host: cart}}]}]}"), route("TLSRoute", "shop", parent)), want: []finding{{fail, "VirtualService shop/v", "spec.hosts", "TLSRoute shop/r"}}},
		{name: "of two services", check: "route-conflicts", objects: shop(virtualService("shop", "{hosts: [pay], "+http+"}"), route("HTTPRoute", "shop", parent))},
		{name: "a VirtualService for gateways", check: "route-conflicts", objects: shop(virtualService("shop", "{hosts: [cart], gateways: [ingress], "+http+"}"), route("HTTPRoute", "shop", parent))},
		{name: "a gateway's route", check: "route-conflicts", objects: shop(vs, route("HTTPRoute", "shop", "{name: ingress}"))},
		{name: "a consumer's route", check: "route-conflicts", objects: shop(vs, route("HTTPRoute", "pay", `{group: "", kind: Service, name: cart, namespace: shop}`))},
		{name: "another namespace's VirtualService", check: "route-conflicts", objects: shop(virtualService("pay", "{hosts: [cart.shop.svc.cluster.local], "+http+"}"), route("HTTPRoute", "shop", parent))},
		{name: "the waypoint's namespace's VirtualService", check: "route-conflicts", objects: []any{fixture.Without("Namespace", shop()...), using, shared, virtualService("pay", "{hosts: [cart.shop.svc.cluster.local], "+http+"}"), route("HTTPRoute", "shop", parent)}, want: []finding{{fail, "VirtualService pay/v", "spec.hosts", conflict}}},

		{name: "none", check: "route-targets", objects: shop()},
		{name: "a short name", check: "route-targets", objects: shop(sends("cart"))},
		{name: "a full name", check: "route-targets", objects: shop(sends("cart.shop.svc.cluster.local"))},
		{name: "a ServiceEntry's", check: "route-targets", objects: shop(entry, sends("api.example.com"))},
		{name: "a ServiceEntry's wildcard", check: "route-targets", objects: shop(entry, sends("a.example.org"))},
		{name: "an address", check: "route-targets", objects: shop(sends("10.0.0.1"))},
		{name: "a short name that is not there", check: "route-targets", objects: shop(sends("gone")), want: dangling(destination, "gone")},
		{name: "a name that is neither short nor full", check: "route-targets", objects: shop(sends("cart.shop")), want: dangling(destination, "cart.shop")},
		{name: "an external name that is not there", check: "route-targets", objects: shop(entry, sends("api.example.net")), want: dangling(destination, "api.example.net")},
		{name: "mirrors", check: "route-targets", objects: shop(virtualService("shop", "{hosts: [cart], http: [{route: [{destination: {host: cart}}], mirror: {host: a}}, {mirrors: [{destination: {host: b}}]}]}")), want: []finding{
			dangling("spec.http[0].mirror.host", "a")[0], dangling("spec.http[1].mirrors[0].destination.host", "b")[0],
		}},
		{name: "TCP and TLS", check: "route-targets", objects: shop(virtualService("shop", "{hosts: [cart], tcp: [{route: [{destination: {host: a}}]}], tls: [{route: [{destination: {host: b}}]}]}")), want: []finding{
			dangling("spec.tcp[0].route[0].destination.host", "a")[0], dangling("spec.tls[0].route[0].destination.host", "b")[0],
		}},
		{name: "a delegate", check: "route-targets", objects: shop(virtualService("shop", "{hosts: [cart], http: [{delegate: {name: v}}]}"))},
		{name: "a delegate that is not there", check: "route-targets", objects: shop(virtualService("shop", "{hosts: [cart], http: [{delegate: {name: gone, namespace: pay}}]}")), want: []finding{{warn, "VirtualService shop/v", "spec.http[0].delegate", "there is no VirtualService pay/gone"}}},
		{name: "another namespace's", check: "route-targets", objects: shop(virtualService("pay", "{hosts: [cart], http: [{route: [{destination: {host: gone}}]}]}"))},
		{name: "a DestinationRule", check: "route-targets", objects: shop(destinationRule("shop", "{host: gone}")), want: []finding{{warn, "DestinationRule shop/d", "spec.host", "no Service or ServiceEntry is called gone"}}},
		{name: "a DestinationRule for a wildcard", check: "route-targets", objects: shop(destinationRule("shop", `{host: "*.shop.svc.cluster.local"}`))},
		{name: "a DestinationRule for everything", check: "route-targets", objects: shop(destinationRule("shop", `{host: "*"}`))},
		{name: "a DestinationRule for a wildcard of nothing", check: "route-targets", objects: shop(destinationRule("shop", `{host: "*.pay.svc.cluster.local"}`)), want: []finding{{warn, "DestinationRule shop/d", "spec.host", "is called *.pay.svc.cluster.local"}}},
		{name: "a route's parent and backend", check: "route-targets", objects: shop(to(`{parentRefs: [{group: "", kind: Service, name: cart}], rules: [{backendRefs: [{name: cart, port: 80}]}]}`))},
		{name: "a route's parent that is not there", check: "route-targets", objects: shop(to(`{parentRefs: [{name: ingress}, {group: "", kind: Service, name: gone, namespace: pay}]}`)), want: []finding{{warn, "HTTPRoute shop/r", "spec.parentRefs[1]", "there is no Service pay/gone"}}},
		{name: "a route's backend that is not there", check: "route-targets", objects: shop(to(`{parentRefs: [{name: ingress}], rules: [{backendRefs: [{name: cart}, {name: gone}]}]}`)), want: []finding{{warn, "HTTPRoute shop/r", "spec.rules[].backendRefs[gone]", "there is no Service shop/gone"}}},
		{name: "a route's Service of other clusters that is not there", check: "route-targets", objects: shop(to(`{parentRefs: [{name: ingress}], rules: [{backendRefs: [{kind: ServiceImport, group: multicluster.x-k8s.io, name: cart}, {kind: ServiceImport, group: multicluster.x-k8s.io, name: gone}]}]}`)), want: []finding{{warn, "HTTPRoute shop/r", "spec.rules[].backendRefs[gone]", "no Service or ServiceEntry is called gone.shop.svc.cluster.local"}}},
		{name: "a route's host that is not there", check: "route-targets", objects: shop(to(`{parentRefs: [{name: ingress}], rules: [{backendRefs: [{kind: Hostname, group: networking.istio.io, name: cart.shop.svc.cluster.local}, {kind: Hostname, group: networking.istio.io, name: gone.example.com}, {kind: Hostname, group: networking.istio.io, name: cart}]}]}`)), want: []finding{{warn, "HTTPRoute shop/r", "spec.rules[].backendRefs[gone.example.com]", "no Service or ServiceEntry is called gone.example.com"}, {warn, "HTTPRoute shop/r", "spec.rules[].backendRefs[cart]", "no Service or ServiceEntry is called cart"}}},
	}
}

func outboundCases() []testCase {
	entry := func(namespace, spec string) string {
		return istio("networking.istio.io/v1", "ServiceEntry", namespace, "e", spec)
	}
	labelled := func(of, spec string) string {
		return "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: shop, labels: {" + of + "}}\nspec: " + spec
	}
	sidecar := func(namespace, spec string) string {
		return istio("networking.istio.io/v1", "Sidecar", namespace, "s", spec)
	}
	const object, sidecars = "ServiceEntry shop/e", "Sidecar shop/s"
	const redirect = "{hosts: [api.example.com], resolution: STATIC, endpoints: [{address: 10.0.0.1}]}"
	const wildcard = `{hosts: ["*.example.com"], resolution: DYNAMIC_DNS}`
	without := fixture.Without("ConfigMap", shop()...)
	capture := func(value string) any {
		return fixture.CNIConfig("istio-system", labels{"AMBIENT_ENABLED": "true", "AMBIENT_DNS_CAPTURE": value})
	}
	allocated := redirect + "\nstatus: {addresses: [{value: 240.240.0.1, host: api.example.com}]}"
	const ends = "REGISTRY_ONLY ends: ztunnel lets calls to unknown destinations pass"
	const restricts = "{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"
	const mode = "spec.outboundTrafficPolicy.mode"
	const noEffect = "no effect in ambient mode"
	registryOnly := fixture.MeshConfig("outboundTrafficPolicy: {mode: REGISTRY_ONLY}")
	byMesh := []finding{{fail, "ConfigMap istio-system/istio", "data.mesh (outboundTrafficPolicy.mode)", ends}}
	listener := func(spec string) string {
		return sidecar("shop", "{ingress: [{port: {number: 9080, protocol: HTTP, name: http}, "+spec+"}]}")
	}
	old := func(namespace, name, spec string) string {
		return "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: " + name + ", namespace: " + namespace + ", creationTimestamp: '2026-01-01T00:00:00Z'}\nspec: " + spec
	}
	return []testCase{
		{name: "a host", check: "service-entries", objects: shop(entry("shop", "{hosts: [api.example.com]}"))},
		{name: "a host of the DNS", check: "service-entries", objects: shop(entry("shop", "{hosts: [api.example.com], resolution: DNS}"))},
		{name: "a wildcard that goes where it went", check: "service-entries", objects: shop(entry("shop", `{hosts: [api.example.com, "*.example.com"]}`)), want: []finding{{warn, object, "spec.hosts", "wildcard hosts are not told apart by ztunnel"}}},
		{name: "a wildcard that is resolved", check: "service-entries", objects: shop(entry("shop", wildcard)), want: []finding{{fail, object, "spec.hosts", "hosts with resolution DYNAMIC_DNS are not resolved by ztunnel: they need a waypoint"}}},
		{name: "a wildcard with endpoints", check: "service-entries", objects: shop(entry("shop", `{hosts: ["*.example.com"], resolution: STATIC, endpoints: [{address: 10.0.0.1}]}`)), want: []finding{{fail, object, "spec.hosts", "resolution STATIC"}}},
		{name: "a wildcard with endpoints and an address", check: "service-entries", objects: shop(entry("shop", `{hosts: ["*.example.com"], addresses: [10.9.9.9], resolution: STATIC, endpoints: [{address: 10.0.0.1}]}`))},
		{name: "a wildcard behind a waypoint", check: "service-entries", objects: shop(gateway("shop", "way", "istio-waypoint", ""), labelled("istio.io/use-waypoint: way", wildcard))},
		{name: "a wildcard behind a waypoint that nothing goes through", check: "service-entries", objects: shop(gateway("shop", "way", "istio-waypoint", ""), labelled("istio.io/use-waypoint: way", `{hosts: ["*.example.com"]}`)), want: []finding{{warn, object, "spec.hosts", "what else Istio does for these hosts ends"}}},
		{name: "a wildcard with endpoints behind a waypoint that nothing goes through", check: "service-entries", objects: shop(gateway("shop", "way", "istio-waypoint", ""), labelled("istio.io/use-waypoint: way", `{hosts: ["*.example.com"], resolution: STATIC, endpoints: [{address: 10.0.0.1}]}`)), want: []finding{{fail, object, "spec.hosts", "no address for wildcard hosts with resolution STATIC"}}},
		{name: "a host that is resolved for each call", check: "service-entries", objects: shop(entry("shop", "{hosts: [api.example.com], resolution: DYNAMIC_DNS}")), want: []finding{{fail, object, "spec.resolution", "DYNAMIC_DNS"}}},
		{name: "a wildcard elsewhere", check: "service-entries", objects: shop(entry("pay", wildcard))},
		{name: "endpoints of its own, and no address yet", check: "service-entries", objects: shop(entry("shop", redirect)), want: []finding{{warn, object, "status.addresses", "istiod has not allocated one yet"}}},
		{name: "pods, and no address yet", check: "service-entries", objects: shop(entry("shop", "{hosts: [api.example.com], resolution: STATIC, workloadSelector: {labels: {app: cart}}}")), want: []finding{{warn, object, "status.addresses", "not allocated one yet"}}},
		{name: "endpoints of its own, and an address of its own", check: "service-entries", objects: shop(entry("shop", "{hosts: [api.example.com], addresses: [10.9.9.9], resolution: STATIC, endpoints: [{address: 10.0.0.1}]}"))},
		{name: "endpoints of its own, and an allocated address", check: "service-entries", objects: shop(entry("shop", allocated))},
		{name: "endpoints of its own, and no address allowed", check: "service-entries", objects: shop(labelled(`networking.istio.io/enable-autoallocate-ip: "false"`, redirect)), want: []finding{{fail, object, "metadata.labels[networking.istio.io/enable-autoallocate-ip]", "istiod may not allocate one"}}},
		{name: "endpoints of its own, and DNS is not captured", check: "service-entries", objects: []any{without, capture("false"), entry("shop", allocated)}, want: []finding{{fail, object, "spec.addresses", "AMBIENT_DNS_CAPTURE is off"}}},
		{name: "endpoints of its own, and DNS is captured", check: "service-entries", objects: []any{without, capture("true"), entry("shop", allocated)}},
		{name: "exported to nobody", check: "service-entries", objects: shop(entry("shop", `{hosts: [api.example.com], exportTo: ["."]}`)), want: []finding{{warn, object, "spec.exportTo", "ambient pods of every namespace see the entry"}}},
		{name: "exported to all", check: "service-entries", objects: shop(entry("shop", `{hosts: [api.example.com], exportTo: ["*"]}`), entry("pay", "{hosts: [api.example.com], exportTo: [shop]}"))},
		{name: "others', hidden", check: "service-entries", objects: shop(entry("pay", `{hosts: [api.example.com], exportTo: ["."]}`)), want: []finding{{warn, "", "", "see entries that it hides from sidecars: pay/e"}}},

		{name: "none", check: "sidecar-resource", objects: shop()},
		{name: "one", check: "sidecar-resource", objects: shop(sidecar("shop", `{egress: [{hosts: ["./*"]}]}`)), want: []finding{{warn, sidecars, "spec", noEffect}}},
		{name: "one that lets everything pass", check: "sidecar-resource", objects: shop(sidecar("shop", "{outboundTrafficPolicy: {mode: ALLOW_ANY}}")), want: []finding{{warn, sidecars, "spec", noEffect}}},
		{name: "one that restricts", check: "sidecar-resource", objects: shop(sidecar("shop", restricts)), want: []finding{{fail, sidecars, mode, ends}}},
		{name: "one that restricts others", check: "sidecar-resource", objects: shop(sidecar("shop", "{workloadSelector: {labels: {app: pay}}, outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"))},
		{name: "the mesh's", check: "sidecar-resource", objects: shop(sidecar("istio-system", restricts)), want: []finding{{fail, "Sidecar istio-system/s", mode, ends}}},
		{name: "the mesh's, outweighed by the namespace's", check: "sidecar-resource", objects: shop(sidecar("istio-system", restricts), sidecar("shop", "{outboundTrafficPolicy: {mode: ALLOW_ANY}}")), want: []finding{{warn, sidecars, "spec", noEffect}}},
		{name: "the namespace's, outweighed by the workload's", check: "sidecar-resource", objects: shop(old("shop", "all", restricts), sidecar("shop", "{workloadSelector: {labels: {app: cart}}, outboundTrafficPolicy: {mode: ALLOW_ANY}}")), want: []finding{{warn, sidecars, "spec", noEffect}}},
		{name: "the newer of two", check: "sidecar-resource", objects: shop(old("shop", "z", "{outboundTrafficPolicy: {mode: ALLOW_ANY}}"), "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: a, namespace: shop, creationTimestamp: '2026-02-01T00:00:00Z'}\nspec: "+restricts), want: []finding{{warn, "Sidecar shop/z", "spec", noEffect}}},
		{name: "the mesh's, with a selector", check: "sidecar-resource", objects: shop(sidecar("istio-system", "{workloadSelector: {labels: {app: cart}}, outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"))},
		{name: "another namespace's", check: "sidecar-resource", objects: shop(sidecar("pay", restricts))},
		{name: "the mesh's own policy", check: "sidecar-resource", objects: []any{without, registryOnly}, want: byMesh},
		{name: "the mesh's own policy, outweighed", check: "sidecar-resource", objects: []any{without, registryOnly, sidecar("shop", "{outboundTrafficPolicy: {mode: ALLOW_ANY}}")}, want: []finding{{warn, sidecars, "spec", noEffect}}},
		{name: "the mesh's own policy, inherited", check: "sidecar-resource", objects: []any{without, registryOnly, sidecar("shop", `{egress: [{hosts: ["./*"]}]}`)}, want: append(byMesh, finding{warn, sidecars, "spec", noEffect})},
		{name: "a proxy for unknown destinations", check: "sidecar-resource", objects: shop(sidecar("shop", "{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: out.pay.svc.cluster.local}}}")), want: []finding{{fail, sidecars, "spec.outboundTrafficPolicy.egressProxy", "no longer take this proxy"}}},
		{name: "a listener for another port", check: "sidecar-resource", objects: shop(listener(`defaultEndpoint: "127.0.0.1:8080"`)), want: []finding{{fail, sidecars, "spec.ingress[0].defaultEndpoint", "from port 9080 to 127.0.0.1:8080, ztunnel does not"}}},
		{name: "a listener for a socket", check: "sidecar-resource", objects: shop(listener("defaultEndpoint: unix:///var/run/a.sock")), want: []finding{{fail, sidecars, "spec.ingress[0].defaultEndpoint", "to unix:///var/run/a.sock"}}},
		{name: "a listener for the port on loopback", check: "sidecar-resource", objects: shop(listener(`defaultEndpoint: "127.0.0.1:9080"`)), want: []finding{{warn, sidecars, "spec.ingress[0].defaultEndpoint", "listens on 127.0.0.1 only does not get them"}}},
		{name: "a listener for the port itself", check: "sidecar-resource", objects: shop(listener(`defaultEndpoint: "0.0.0.0:9080"`)), want: []finding{{warn, sidecars, "spec", noEffect}}},
		{name: "a listener that says no more", check: "sidecar-resource", objects: shop(listener("captureMode: DEFAULT")), want: []finding{{warn, sidecars, "spec", noEffect}}},
		{name: "a listener that ends TLS", check: "sidecar-resource", objects: shop(listener("tls: {mode: SIMPLE}")), want: []finding{{fail, sidecars, "spec.ingress[0].tls", "the sidecar ends TLS on port 9080"}}},
		{name: "an outbound listener that the application calls", check: "sidecar-resource", objects: shop(sidecar("shop", `{egress: [{hosts: ["./*"]}, {bind: 127.0.0.1, port: {number: 3306, protocol: TCP, name: db}, hosts: ["./*"]}]}`)), want: []finding{{fail, sidecars, "spec.egress[1]", "a listener of its sidecar"}}},
		{name: "an outbound listener without capture", check: "sidecar-resource", objects: shop(sidecar("shop", `{egress: [{captureMode: NONE, hosts: ["./*"]}]}`)), want: []finding{{fail, sidecars, "spec.egress[0]", "a listener of its sidecar"}}},
	}
}
