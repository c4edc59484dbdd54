package mesh_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

func named(version, kind, namespace, spec string) string {
	return "apiVersion: " + version + "\nkind: " + kind + "\nmetadata: {name: x, namespace: " + namespace + "}\nspec: " + spec
}

func serviceOf(name, spec string) string {
	return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + ", namespace: shop}\nspec: " + spec
}

func TestWaypointNeeds(t *testing.T) {
	const security, networking, extensions = "security.istio.io/v1", "networking.istio.io/v1", "extensions.istio.io/v1alpha1"
	const cart, pay = "{selector: {matchLabels: {app: cart}}, ", "{selector: {matchLabels: {app: pay}}, "
	const get = "rules: [{to: [{operation: {methods: [GET]}}]}]}"
	const atGet = "spec.rules[0].to[0].operation.methods"
	toCart := `{targetRefs: [{group: "", kind: Service, name: cart}], `
	route := func(kind, namespace, parent string) string {
		return named("gateway.networking.k8s.io/v1", kind, namespace, "{parentRefs: [{name: ingress}, "+parent+"]}")
	}
	filter := func(namespace, spec string) string {
		return named("networking.istio.io/v1alpha3", "EnvoyFilter", namespace, spec)
	}
	entry := named(networking, "ServiceEntry", "shop", "{hosts: [api.example.com], workloadSelector: {labels: {app: vm}}}")
	balanced := func(ports string) string { return serviceOf("rpc", "{selector: {app: rpc}, ports: ["+ports+"]}") }
	tests := []struct {
		name    string
		objects []any
		want    []string
	}{
		{"nothing", nil, nil},

		{"a layer 7 policy", []any{named(security, "AuthorizationPolicy", "shop", cart+get)}, []string{"Service shop/cart: layer 7 policy AuthorizationPolicy shop/x " + atGet}},
		{"one for all", []any{named(security, "AuthorizationPolicy", "shop", "{"+get)}, []string{"Service shop/cart: layer 7 policy AuthorizationPolicy shop/x " + atGet, "Service shop/pay: layer 7 policy AuthorizationPolicy shop/x " + atGet}},
		{"the mesh's", []any{named(security, "AuthorizationPolicy", "istio-system", pay+get)}, []string{"Service shop/pay: layer 7 policy AuthorizationPolicy istio-system/x " + atGet}},
		{"another namespace's", []any{named(security, "AuthorizationPolicy", "other", "{"+get)}, nil},
		{"a layer 4 policy", []any{named(security, "AuthorizationPolicy", "shop", `{rules: [{to: [{operation: {ports: ["80"]}}]}]}`)}, nil},
		{"a policy for other pods", []any{named(security, "AuthorizationPolicy", "shop", "{selector: {matchLabels: {app: gone}}, "+get)}, nil},
		{"AUDIT", []any{named(security, "AuthorizationPolicy", "shop", cart+"action: AUDIT, rules: [{}]}")}, []string{"Service shop/cart: layer 7 policy AuthorizationPolicy shop/x spec.action"}},
		{"CUSTOM", []any{named(security, "AuthorizationPolicy", "shop", cart+"action: CUSTOM, provider: {name: a}, rules: [{}]}")}, []string{"Service shop/cart: layer 7 policy AuthorizationPolicy shop/x spec.action"}},
		{"a policy at a service", []any{named(security, "AuthorizationPolicy", "shop", toCart+"rules: [{}]}")}, []string{"Service shop/cart: layer 7 policy AuthorizationPolicy shop/x spec.targetRefs[0]"}},
		{"a policy at a service, in the old way", []any{named(security, "AuthorizationPolicy", "shop", `{targetRef: {group: "", kind: Service, name: cart}, rules: [{}]}`)}, []string{"Service shop/cart: layer 7 policy AuthorizationPolicy shop/x spec.targetRef"}},
		{"a policy at a service of the same name elsewhere", []any{named(security, "AuthorizationPolicy", "other", toCart+"rules: [{}]}")}, nil},
		{"a policy at a gateway of the same name", []any{named(security, "AuthorizationPolicy", "shop", "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: cart}], "+get)}, nil},

		{"tokens", []any{named(security, "RequestAuthentication", "shop", cart+"jwtRules: [{issuer: a}]}")}, []string{"Service shop/cart: JWT RequestAuthentication shop/x spec.jwtRules"}},
		{"no tokens", []any{named(security, "RequestAuthentication", "shop", "{}")}, nil},
		{"tokens at a service", []any{named(security, "RequestAuthentication", "shop", toCart+"jwtRules: [{issuer: a}]}")}, []string{"Service shop/cart: JWT RequestAuthentication shop/x spec.targetRefs[0]"}},

		{"a VirtualService", []any{named(networking, "VirtualService", "shop", "{hosts: [a, cart]}")}, []string{"Service shop/cart: routing VirtualService shop/x spec.hosts[1]"}},
		{"a VirtualService for gateways", []any{named(networking, "VirtualService", "shop", "{hosts: [cart], gateways: [a]}")}, nil},
		{"another namespace's VirtualService", []any{named(networking, "VirtualService", "other", "{hosts: [cart.shop.svc.cluster.local]}")}, []string{"Service shop/cart: routing VirtualService other/x spec.hosts[0]"}},
		{"another namespace's VirtualService for its own", []any{named(networking, "VirtualService", "other", "{hosts: [cart]}")}, nil},
		{"a DestinationRule", []any{named(networking, "DestinationRule", "shop", "{host: cart, trafficPolicy: {outlierDetection: {}}}")}, []string{"Service shop/cart: routing DestinationRule shop/x spec.trafficPolicy.outlierDetection"}},
		{"a DestinationRule for some callers", []any{named(networking, "DestinationRule", "shop", "{host: cart, workloadSelector: {matchLabels: {app: pay}}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}")}, nil},
		{"a DestinationRule that balances", []any{named(networking, "DestinationRule", "shop", "{host: cart, trafficPolicy: {loadBalancer: {simple: RANDOM}}}")}, []string{"Service shop/cart: request-level load balancing DestinationRule shop/x spec.trafficPolicy.loadBalancer"}},
		{"a DestinationRule without effect", []any{named(networking, "DestinationRule", "shop", "{host: cart, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}")}, nil},
		{"a DestinationRule that a waypoint does not heed", []any{named(networking, "DestinationRule", "shop", "{host: cart, trafficPolicy: {tls: {mode: DISABLE}}}")}, nil},
		{"a route", []any{route("HTTPRoute", "shop", `{group: "", kind: Service, name: cart}`)}, []string{"Service shop/cart: routing HTTPRoute shop/x spec.parentRefs[1]"}},
		{"a route from elsewhere", []any{route("GRPCRoute", "other", `{group: core, kind: Service, name: cart, namespace: shop}`)}, []string{"Service shop/cart: routing GRPCRoute other/x spec.parentRefs[1]"}},
		{"a gateway's route", []any{route("HTTPRoute", "shop", "{name: cart}")}, nil},
		{"a route of a service elsewhere", []any{route("HTTPRoute", "other", `{group: "", kind: Service, name: cart}`)}, nil},

		{"telemetry", []any{named("telemetry.istio.io/v1", "Telemetry", "shop", cart+"accessLogging: [{}]}")}, []string{"Service shop/cart: telemetry Telemetry shop/x spec.accessLogging"}},
		{"telemetry that says nothing", []any{named("telemetry.istio.io/v1", "Telemetry", "shop", "{tracing: []}")}, nil},
		{"the mesh's telemetry", []any{named("telemetry.istio.io/v1", "Telemetry", "istio-system", "{tracing: [{}]}")}, nil},
		{"an extension", []any{named(extensions, "WasmPlugin", "shop", cart+"url: a}")}, []string{"Service shop/cart: extension WasmPlugin shop/x spec.url"}},
		{"another extension", []any{named(extensions, "TrafficExtension", "shop", pay+"lua: {}}")}, []string{"Service shop/pay: extension TrafficExtension shop/x spec.lua"}},
		{"an EnvoyFilter", []any{filter("istio-system", "{workloadSelector: {labels: {app: cart}}, configPatches: [{applyTo: CLUSTER, match: {context: GATEWAY}}, {applyTo: LISTENER}]}")}, []string{"Service shop/cart: extension EnvoyFilter istio-system/x spec.configPatches[1].applyTo (LISTENER)"}},
		{"an EnvoyFilter for gateways", []any{filter("shop", "{configPatches: [{applyTo: CLUSTER, match: {context: GATEWAY}}]}")}, nil},
		{"a ProxyConfig", []any{named("networking.istio.io/v1beta1", "ProxyConfig", "shop", "{concurrency: 1}")}, nil},

		{"gRPC by its name", []any{balanced("{name: grpc, port: 80}")}, []string{"Service shop/rpc: request-level load balancing Service shop/rpc spec.ports[0].name?"}},
		{"gRPC by a longer name", []any{balanced("{name: http, port: 80}, {name: GRPC-web, port: 81}")}, []string{"Service shop/rpc: request-level load balancing Service shop/rpc spec.ports[1].name?"}},
		{"HTTP/2 by its protocol", []any{balanced("{name: http, port: 80, appProtocol: kubernetes.io/h2c}")}, []string{"Service shop/rpc: request-level load balancing Service shop/rpc spec.ports[0].appProtocol?"}},
		{"a protocol that outweighs the name", []any{balanced("{name: grpc, port: 80, appProtocol: tcp}")}, nil},
		{"a name that begins alike", []any{balanced("{name: grpcish, port: 80}")}, nil},
		{"gRPC of a headless service", []any{serviceOf("rpc", "{clusterIP: None, selector: {app: rpc}, ports: [{name: grpc, port: 80}]}")}, nil},
		{"gRPC of a service without pods", []any{serviceOf("rpc", "{ports: [{name: grpc, port: 80}]}")}, nil},

		{"an alias", []any{serviceOf("alias", "{type: ExternalName, externalName: a.example.com}"), named(networking, "VirtualService", "shop", "{hosts: [alias]}")}, nil},
		{"a service without pods", []any{serviceOf("rest", "{ports: [{port: 80}]}"), named(security, "AuthorizationPolicy", "shop", "{selector: {matchLabels: {app: rest}}, "+get)}, nil},
		{"a gateway's service", []any{fixture.Deployment("shop", "edge", fixture.InjectedGateway), serviceOf("edge", "{selector: {app: edge}}"), named(security, "AuthorizationPolicy", "shop", "{selector: {matchLabels: {app: edge}}, "+get)}, nil},
		{"a ServiceEntry", []any{entry, named(networking, "DestinationRule", "other", "{host: '*.example.com', trafficPolicy: {tls: {mode: SIMPLE}}}")}, []string{"ServiceEntry shop/x: routing DestinationRule other/x spec.trafficPolicy.tls.mode"}},
		{"a ServiceEntry's pods", []any{entry, fixture.Pod("shop", "vm"), named(security, "AuthorizationPolicy", "shop", "{selector: {matchLabels: {app: vm}}, "+get)}, []string{"ServiceEntry shop/x: layer 7 policy AuthorizationPolicy shop/x " + atGet}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			snapshot := fixture.Snapshot(append([]any{
				fixture.Istiod(""), fixture.Namespace("shop", nil), fixture.Deployment("shop", "cart"), fixture.Pod("shop", "pay"),
				serviceOf("cart", "{selector: {app: cart}, ports: [{port: 80}]}"), serviceOf("pay", "{selector: {app: pay}, ports: [{port: 80}]}"),
			}, test.objects...)...)
			var got []string
			for _, need := range snapshot.WaypointNeeds(fixture.Find(snapshot, "shop")) {
				hints := true
				for _, reason := range need.Reasons {
					line := fmt.Sprintf("%s: %s %s %s", need.Service, reason.Kind, reason.Object, reason.Field)
					if reason.Hint {
						line += "?"
					}
					hints = hints && reason.Hint
					got = append(got, line)
				}
				if need.OnlyHints() != hints {
					t.Errorf("%s: only hints is %t", need.Service, need.OnlyHints())
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAServiceHasAllItsReasons(t *testing.T) {
	snapshot := fixture.Snapshot(
		fixture.Namespace("shop", nil), fixture.Deployment("shop", "cart"), serviceOf("cart", "{selector: {app: cart}, ports: [{name: grpc, port: 80}]}"),
		named("networking.istio.io/v1", "VirtualService", "shop", "{hosts: [cart]}"), named("networking.istio.io/v1", "DestinationRule", "shop", "{host: cart, trafficPolicy: {connectionPool: {}}}"),
	)
	needs := snapshot.WaypointNeeds(fixture.Find(snapshot, "shop"))
	if len(needs) != 1 || len(needs[0].Reasons) != 3 || needs[0].OnlyHints() {
		t.Errorf("they are %+v", needs)
	}
	if needs := snapshot.WaypointNeeds(mesh.Namespace{Name: "gone"}); needs != nil {
		t.Errorf("a namespace that is not there has %+v", needs)
	}
}
