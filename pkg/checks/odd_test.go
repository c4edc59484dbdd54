package checks_test

import (
	"strconv"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
)

// oddObjects are what files and API servers without validation can hold: parts
// that are missing or empty, names of nothing, wildcards, circles.
func oddObjects() map[string][]any {
	const security, networking, extensions = "security.istio.io/v1", "networking.istio.io/v1", "extensions.istio.io/v1alpha1"
	const gatewayAPI = "gateway.networking.k8s.io/v1"
	hosts := []string{`""`, `"*"`, `"."`, `".."`, `"*."`, `"**"`, `"a"`, `"a."`, `".a"`, `"cart.shop."`, `"[::1]"`, `"10.0.0.1"`, `"*.svc.cluster.local"`, `"ß.例え"`}
	odd := map[string][]any{}
	add := func(name string, objects ...any) { odd[name] = append(odd[name], objects...) }
	each := func(version, kind string, specs ...string) {
		for i, spec := range specs {
			for _, namespace := range []string{"shop", "istio-system", "pay"} {
				add(kind, istio(version, kind, namespace, "o"+strconv.Itoa(i), spec))
			}
		}
	}
	const targets = `targetRefs: [{}, {name: ""}, {kind: Service}, {group: core, kind: Service, name: cart, namespace: gone}, {kind: GatewayClass, group: gateway.networking.k8s.io, name: x}]`
	each(security, "AuthorizationPolicy", "{}", "{selector: {}}", "{selector: {matchLabels: {}}}", "{rules: [{}]}", "{rules: [{from: [{}], to: [{}], when: [{}]}]}",
		"{rules: [{from: [{source: {}}], to: [{operation: {}}], when: [{key: ''}]}]}", "{action: CUSTOM}", "{action: AUDIT, selector: {matchLabels: {'': ''}}}",
		"{"+targets+"}", "{targetRef: {}}", "{selector: {matchLabels: {app: '*'}}, "+targets+"}", `{rules: [{to: [{operation: {paths: ["(", "*"]}}]}]}`)
	each(security, "PeerAuthentication", "{}", "{selector: {}}", "{mtls: {}}", "{portLevelMtls: {}}", "{portLevelMtls: {0: {}}}", "{selector: {matchLabels: {app: cart}}, portLevelMtls: {0: {}, 4294967295: {mode: STRICT}}}",
		"{selector: {matchLabels: {app: cart}}, mtls: {mode: UNSET}, portLevelMtls: {1: {mode: DISABLE}, 2: {mode: PERMISSIVE}, 3: {mode: STRICT}}}")
	each(security, "RequestAuthentication", "{}", "{jwtRules: []}", "{jwtRules: [{}]}", "{"+targets+"}", "{selector: {}}")
	each(extensions, "WasmPlugin", "{}", "{url: ''}", "{"+targets+"}", "{selector: {matchLabels: {}}}")
	each(extensions, "TrafficExtension", "{}", "{lua: null}", "{wasm: {}}", "{"+targets+"}")
	each("telemetry.istio.io/v1", "Telemetry", "{}", "{tracing: null, metrics: [], accessLogging: [null]}", "{"+targets+"}")
	each("networking.istio.io/v1alpha3", "EnvoyFilter", "{}", "{configPatches: []}", "{configPatches: [null, {}, {match: null}, {match: {context: 7}}, {applyTo: []}, 5]}", "{configPatches: {}}", "{"+targets+"}")
	each("networking.istio.io/v1beta1", "ProxyConfig", "{}", "{concurrency: null, environmentVariables: {}}")
	each(networking, "Sidecar", "{}", "{workloadSelector: {}}", "{outboundTrafficPolicy: {}}", "{outboundTrafficPolicy: {egressProxy: {}}}", "{ingress: [{}]}",
		"{ingress: [{port: {}, defaultEndpoint: ':'}, {defaultEndpoint: '[::1'}, {tls: {}}]}", "{egress: [{}, {port: {}, bind: ''}]}")
	for i, host := range hosts {
		name := "h" + strconv.Itoa(i)
		for _, namespace := range []string{"shop", "pay"} {
			add("hosts", istio(networking, "VirtualService", namespace, name, "{hosts: ["+host+"], http: [{route: [{destination: {host: "+host+"}}], mirror: {host: "+host+"}}]}"),
				istio(networking, "DestinationRule", namespace, name, "{host: "+host+", trafficPolicy: {tls: {mode: SIMPLE}}}"))
			for _, resolution := range []string{"NONE", "STATIC", "DNS", "DYNAMIC_DNS"} {
				add("hosts", istio(networking, "ServiceEntry", namespace, name+resolution[:2], "{hosts: ["+host+"], resolution: "+resolution+", addresses: [x/y], endpoints: [{}]}"))
			}
		}
	}
	each(networking, "VirtualService", "{}", "{hosts: []}", "{gateways: [mesh], http: [{}], tcp: [{}], tls: [{}]}", "{hosts: [cart], http: [{match: [{}], route: [{}], mirrors: [{}], delegate: {}}]}",
		"{hosts: [cart], http: [{match: [{uri: {regex: '('}}], delegate: {name: o4, namespace: shop}}], tcp: [{route: [{}]}], tls: [{route: [{}]}]}", "{exportTo: ['', '.']}")
	each(networking, "DestinationRule", "{}", "{host: cart, trafficPolicy: {}}", "{host: cart, subsets: [{}]}", "{host: cart, trafficPolicy: {tls: {}, portLevelSettings: [{}]}}")
	each(networking, "ServiceEntry", "{}", "{hosts: []}", "{workloadSelector: {}}", "{hosts: [a], endpoints: [{}], resolution: DNS, exportTo: ['']}")
	each(networking, "WorkloadEntry", "{}", "{labels: {}}")
	each(networking, "WorkloadGroup", "{}", "{metadata: {}}", "{template: {}}")
	for _, kind := range []string{"HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute"} {
		each(gatewayAPI, kind, "{}", "{parentRefs: [{}], rules: [{}]}", `{parentRefs: [{group: "", kind: Service, name: ""}, {group: "", kind: Service, name: cart, namespace: ""}], rules: [{backendRefs: [{}, {kind: ""}, {name: cart, namespace: gone}]}]}`)
	}
	each(gatewayAPI, "Gateway", "{}", "{gatewayClassName: istio-waypoint}", "{gatewayClassName: '', listeners: [{}]}", "{gatewayClassName: istio-waypoint, listeners: [{port: 15008, protocol: HBONE, allowedRoutes: {namespaces: {}}}]}",
		"{gatewayClassName: istio-waypoint, listeners: [{port: 15008, protocol: HBONE, allowedRoutes: {namespaces: {from: Selector, selector: {matchExpressions: [{key: a, operator: Nonsense}]}}}}]}", "{listeners: [{port: 15008, protocol: HBONE, allowedRoutes: {namespaces: {from: Nonsense}}}]}")
	for name, of := range map[string]string{
		"empty":  `{istio.io/use-waypoint: "", istio.io/use-waypoint-namespace: "", istio.io/use-waypoint-canary: ""}`,
		"itself": "{istio.io/use-waypoint: itself, istio.io/use-waypoint-namespace: shop, istio.io/waypoint-for: ''}",
		"o3":     "{istio.io/use-waypoint: o3, istio.io/waypoint-for: all}", "o4": "{istio.io/use-waypoint: o4, istio.io/use-waypoint-canary: o4}",
	} {
		add("waypoints", "apiVersion: v1\nkind: Service\nmetadata: {name: "+name+", namespace: shop, labels: "+of+"}\nspec: {selector: {}, ports: [{}, {name: '-', appProtocol: ''}]}",
			"apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: "+name+", namespace: shop, labels: "+of+"}\nspec: {gatewayClassName: istio-waypoint}")
	}
	add("waypoints", "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: istio-waypoint}", "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: ''''}\nspec: 5",
		"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: e, namespace: shop, labels: {gateway.networking.k8s.io/gateway-name: o3}}\naddressType: IPv4\nendpoints: [{}, {addresses: []}]")
	for i, value := range []string{"", ",", "*", "-1", "999999999999", "{", "[]", "null", "a: [", "\x00"} {
		edits := []func(*appsv1.Deployment){}
		for _, key := range []string{
			"traffic.sidecar.istio.io/excludeInboundPorts", "traffic.sidecar.istio.io/includeInboundPorts", "sidecar.istio.io/interceptionMode", "proxy.istio.io/config",
			"inject.istio.io/templates", "traffic.sidecar.istio.io/kubevirtInterfaces", "istio.io/", "/",
		} {
			edits = append(edits, fixture.TemplateAnnotation(key, value))
		}
		add("annotations", fixture.Deployment("shop", "odd"+strconv.Itoa(i), edits...))
	}
	add("annotations", injectorConfig("istio-sidecar-injector", "default", "{defaultTemplates: [a, a, ''], aliases: {a: [b], b: [a]}, templates: {sidecar: ''}}"),
		injectorConfig("istio-sidecar-injector-x", "x", "null"), injectorConfig("istio-sidecar-injector-z", "z", "{aliases: 3}"))
	return odd
}

// What is odd may be found fault with, but never ends the program.
func TestOddObjectsAreJudged(t *testing.T) {
	all := shop()
	odd := oddObjects()
	for _, objects := range odd {
		all = append(all, objects...)
	}
	odd["everything"] = all
	for name, objects := range odd {
		t.Run(name, func(t *testing.T) {
			snapshot, err := mesh.NewSnapshot(fixture.Content(append(shop(), objects...)...))
			if err != nil {
				t.Fatal(err)
			}
			for _, namespace := range append(snapshot.Namespaces(), mesh.Namespace{Name: "pay"}, mesh.Namespace{}) {
				subject := checks.Subject{Snapshot: snapshot, Namespace: namespace}
				for _, result := range checks.Run(everyCheck(), subject) {
					if result.Message == "" || result.Blocks() && result.Remedy == "" {
						t.Errorf("%s says %q and does not say what to do: %q", result.ID, result.Message, result.Remedy)
					}
				}
			}
		})
	}
}
