package checks_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// gateway is a Gateway API Gateway with the listener of waypoints and an address;
// more are further fields of its metadata.
func gateway(namespace, name, class, more string) string {
	return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: %s, namespace: %s%s}
spec: {gatewayClassName: %s, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status:
  addresses: [{type: Hostname, value: %s.%s.svc.cluster.local}]
  conditions: [{type: Programmed, status: "True", reason: Programmed, message: "", lastTransitionTime: "2026-08-01T12:00:00Z"}]`, name, namespace, more, class, name, namespace)
}

// admitting is a Gateway that may be used from all namespaces.
func admitting(gateway string) string {
	return strings.Replace(gateway, "protocol: HBONE}", "protocol: HBONE, allowedRoutes: {namespaces: {from: All}}}", 1)
}

const waypointClass = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio-waypoint}
spec: {controllerName: istio.io/mesh-controller}`

func peerNamed(namespace, name string, day int, spec string) string {
	return fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: %s, namespace: %s, creationTimestamp: '2026-08-%02dT00:00:00Z'}\nspec: %s", name, namespace, day, spec)
}

func modeCases() []testCase {
	const check, object = "peer-authentication-modes", "PeerAuthentication shop/p"
	const cart = "selector: {matchLabels: {app: cart}}"
	const meshStrict = "{mtls: {mode: STRICT}}"
	named := func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}}
	}
	web := func(target string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {selector: {app: web}, ports: [{port: 80, targetPort: " + target + "}]}"
	}
	forWeb := func(port string) string {
		return peer("shop", "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {"+port+": {mode: PERMISSIVE}}}")
	}
	bare := fixture.Pod("shop", "web", func(pod *corev1.Pod) { pod.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 7070}} })
	return []testCase{
		{name: "none", check: check, objects: shop()},
		{name: "one for each level", check: check, objects: shop(peerNamed("istio-system", "m", 1, meshStrict), peerNamed("shop", "ns", 2, meshStrict), peerNamed("shop", "w", 3, "{"+cart+", mtls: {mode: PERMISSIVE}}"))},
		{name: "another namespace's", check: check, objects: shop(peer("pay", "{portLevelMtls: {80: {mode: STRICT}}}"))},

		{name: "modes of ports without a selector", check: check, objects: shop(peer("shop", "{mtls: {mode: STRICT}, portLevelMtls: {80: {mode: PERMISSIVE}}}")), want: []finding{{warn, object, "spec.portLevelMtls", "Istio ignores the modes of ports"}}},
		{name: "modes of ports for the mesh", check: check, objects: shop(peer("istio-system", "{mtls: {mode: STRICT}, portLevelMtls: {80: {mode: PERMISSIVE}}}")), want: []finding{{warn, "PeerAuthentication istio-system/p", "spec.portLevelMtls", "Istio ignores the modes of ports"}}},
		{name: "the root namespace's with a selector", check: check, objects: shop(peer("istio-system", "{"+cart+", mtls: {mode: STRICT}}")), want: []finding{{warn, "PeerAuthentication istio-system/p", "spec.selector", "counts only without a selector"}}},
		{name: "the root namespace's for others", check: check, objects: shop(peer("istio-system", "{selector: {matchLabels: {app: pay}}, mtls: {mode: STRICT}}"))},
		{name: "no mode", check: check, objects: shop(peer("shop", "{}")), want: []finding{{warn, object, "spec.mtls.mode", "sets no mode and so changes nothing"}}},
		{name: "an unset mode", check: check, objects: shop(peer("shop", "{"+cart+", mtls: {mode: UNSET}}")), want: []finding{{warn, object, "spec.mtls.mode", "changes nothing"}}},

		{name: "two of the namespace", check: check, objects: shop(peerNamed("shop", "b", 1, meshStrict), peerNamed("shop", "a", 2, "{mtls: {mode: PERMISSIVE}}")), want: []finding{{warn, "PeerAuthentication shop/a", "spec", "PeerAuthentication shop/b, which is older, decides"}}},
		{name: "two of the mesh", check: check, objects: shop(peerNamed("istio-system", "b", 1, meshStrict), peerNamed("istio-system", "a", 2, "{mtls: {mode: PERMISSIVE}}")), want: []finding{{warn, "PeerAuthentication istio-system/a", "spec", "PeerAuthentication istio-system/b, which is older"}}},
		{name: "two for a workload", check: check, objects: shop(peerNamed("shop", "b", 1, "{"+cart+", mtls: {mode: STRICT}}"), peerNamed("shop", "a", 2, "{"+cart+", mtls: {mode: PERMISSIVE}}")), want: []finding{{warn, "PeerAuthentication shop/a", "spec", "PeerAuthentication shop/b, which is older"}}},
		{name: "two for two workloads", check: check, objects: shop(fixture.Deployment("shop", "pay"), peerNamed("shop", "b", 1, "{"+cart+", mtls: {mode: STRICT}}"), peerNamed("shop", "a", 2, "{selector: {matchLabels: {app: pay}}, mtls: {mode: PERMISSIVE}}"))},

		{name: "a container's port", check: check, objects: shop(fixture.Deployment("shop", "web", listens(8080)), forWeb("8080"))},
		{name: "a bare pod's port", check: check, objects: shop(bare, forWeb("7070"))},
		{name: "not a bare pod's port", check: check, objects: shop(bare, forWeb("7071")), want: []finding{{warn, object, "spec.portLevelMtls[7071]", "no container or Service says"}}},
		{name: "no port of any container", check: check, objects: shop(fixture.Deployment("shop", "web", listens(8080)), forWeb("8081")), want: []finding{{warn, object, "spec.portLevelMtls[8081]", "no container or Service says that the pods listen on port 8081"}}},
		{name: "a Service's target port", check: check, objects: shop(fixture.Deployment("shop", "web"), web("9000"), forWeb("9000"))},
		{name: "a Service's target port by name", check: check, objects: shop(fixture.Deployment("shop", "web", named), web("web"), forWeb("8080"))},
		{name: "a Service's own port", check: check, objects: shop(fixture.Deployment("shop", "web"), web("9000"), forWeb("80")), want: []finding{{warn, object, "spec.portLevelMtls[80]", "port 80 is that of Service web, not one that the pods listen on"}}},
		{name: "a Service without target port", check: check, objects: shop(peer("shop", "{"+cart+", mtls: {mode: STRICT}, portLevelMtls: {80: {mode: PERMISSIVE}}}"))},
		{name: "ports of which nothing is known", check: check, objects: shop(fixture.Deployment("shop", "web"), forWeb("8080"))},

		{name: "a STRICT port under a STRICT mesh, the rest not", check: check, objects: shop(peer("istio-system", meshStrict), peer("shop", "{"+cart+", mtls: {mode: PERMISSIVE}, portLevelMtls: {80: {mode: STRICT}}}")), want: []finding{{fail, object, "spec.portLevelMtls", "let callers without mTLS in on port 80, where sidecars refuse them"}}},
		{name: "the same, for two workloads", check: check, objects: shop(fixture.Deployment("shop", "a", fixture.TemplateLabel("app", "cart")), peer("istio-system", meshStrict), peer("shop", "{"+cart+", mtls: {mode: PERMISSIVE}, portLevelMtls: {80: {mode: STRICT}}}")), want: []finding{{fail, object, "spec.portLevelMtls", "port 80"}}},
		{name: "the same, for a workload without sidecar", check: check, objects: shop(fixture.Deployment("shop", "a", fixture.TemplateLabel("sidecar.istio.io/inject", "false")), peer("istio-system", meshStrict), peer("shop", "{selector: {matchLabels: {app: a}}, mtls: {mode: PERMISSIVE}, portLevelMtls: {80: {mode: STRICT}}}"))},
		{name: "a STRICT port under a STRICT namespace, the rest not", check: check, objects: shop(peerNamed("istio-system", "m", 1, meshStrict), peerNamed("shop", "ns", 1, meshStrict), peer("shop", "{"+cart+", mtls: {mode: PERMISSIVE}, portLevelMtls: {80: {mode: STRICT}}}"))},
		{name: "an exception under a STRICT mesh and a namespace that says nothing", check: check, objects: shop(peerNamed("istio-system", "m", 1, meshStrict), peerNamed("shop", "ns", 1, "{}"), peer("shop", "{"+cart+", portLevelMtls: {80: {mode: PERMISSIVE}}}")), want: []finding{
			{warn, "PeerAuthentication shop/ns", "spec.mtls.mode", "changes nothing"}, {fail, object, "spec.portLevelMtls", "on every other port, where sidecars refuse them"},
		}},
		{name: "an exception under a STRICT mesh", check: check, objects: shop(peer("istio-system", meshStrict), peer("shop", "{"+cart+", portLevelMtls: {80: {mode: PERMISSIVE}}}"))},
	}
}

func targetCases() []testCase {
	const check, object = "policy-targets", "AuthorizationPolicy shop/p"
	at := func(namespace, target string) string {
		return policy(namespace, "{targetRefs: ["+target+"], rules: [{}]}")
	}
	const toService, toGateway = `{group: "", kind: Service, name: cart}`, "{group: gateway.networking.k8s.io, kind: Gateway, name: way}"
	const toEntry, toClass = "{group: networking.istio.io, kind: ServiceEntry, name: e}", "{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}"
	entry := istio("networking.istio.io/v1", "ServiceEntry", "shop", "e", "{hosts: [a.example.com]}")
	const both = "{selector: {matchLabels: {app: cart}}, targetRefs: [" + toService + "], rules: [{}]}"
	root := func(objects ...any) []any { return append(shop(), objects...) }
	return []testCase{
		{name: "none", check: check, objects: shop()},
		{name: "a selector that selects a pod", check: check, objects: shop(policy("shop", "{selector: {matchLabels: {app: cart}}}"))},
		{name: "a selector that selects a template", check: check, objects: shop(fixture.Deployment("shop", "pay", fixture.Replicas(0)), policy("shop", "{selector: {matchLabels: {app: pay}}}"))},
		{name: "a selector that selects a VM", check: check, objects: shop(istio("networking.istio.io/v1", "WorkloadEntry", "shop", "vm", "{address: 10.0.0.1, labels: {app: vm}}"), policy("shop", "{selector: {matchLabels: {app: vm}}}"))},
		{name: "a selector that selects a group of VMs", check: check, objects: shop(istio("networking.istio.io/v1", "WorkloadGroup", "shop", "vm", "{metadata: {labels: {app: vm}}, template: {}}"), policy("shop", "{selector: {matchLabels: {app: vm}}}"))},
		{name: "a selector that selects nothing", check: check, objects: shop(policy("shop", "{selector: {matchLabels: {app: gone}}}")), want: []finding{{warn, object, "spec.selector", "selects no pod and no pod template of the namespace: it restricts nothing"}}},
		{name: "an empty selector", check: check, objects: shop(policy("shop", "{selector: {}}"))},
		{name: "a PeerAuthentication's selector", check: check, objects: shop(peer("shop", "{selector: {matchLabels: {app: gone}}}")), want: []finding{{warn, "PeerAuthentication shop/p", "spec.selector", "it has no effect"}}},
		{name: "a RequestAuthentication's selector", check: check, objects: shop(istio("security.istio.io/v1", "RequestAuthentication", "shop", "j", "{selector: {matchLabels: {app: gone}}}")), want: []finding{{warn, "RequestAuthentication shop/j", "spec.selector", "it checks no tokens"}}},
		{name: "an EnvoyFilter's selector", check: check, objects: shop(istio("networking.istio.io/v1alpha3", "EnvoyFilter", "shop", "e", "{workloadSelector: {labels: {app: gone}}}")), want: []finding{{warn, "EnvoyFilter shop/e", "spec.selector", "selects no pod"}}},
		{name: "another namespace's", check: check, objects: shop(policy("pay", "{selector: {matchLabels: {app: gone}}}"))},
		{name: "another namespace's RequestAuthentication", check: check, objects: shop(istio("security.istio.io/v1", "RequestAuthentication", "pay", "j", "{selector: {matchLabels: {app: gone}}}"))},
		{name: "a ProxyConfig's selector", check: check, objects: shop(istio("networking.istio.io/v1beta1", "ProxyConfig", "shop", "c", "{selector: {matchLabels: {app: gone}}}"))},
		{name: "a pod elsewhere, for the root namespace", check: check, namespace: "istio-system", objects: root(fixture.Pod("pay", "x"), policy("istio-system", "{selector: {matchLabels: {app: x}}}"))},

		{name: "a Service", check: check, objects: shop(at("shop", toService))},
		{name: "a Service that is not there", check: check, objects: shop(at("shop", `{group: "", kind: Service, name: gone}`)), want: []finding{{warn, object, "spec.targetRefs[0]", "Service gone does not exist: it restricts nothing"}}},
		{name: "the second of two", check: check, objects: shop(at("shop", toService+`, {group: core, kind: Service, name: gone}`)), want: []finding{{warn, object, "spec.targetRefs[1]", "Service gone does not exist"}}},
		{name: "in the old way", check: check, objects: shop(policy("shop", `{targetRef: {group: "", kind: Service, name: gone}, rules: [{}]}`)), want: []finding{{warn, object, "spec.targetRef", "Service gone does not exist"}}},
		{name: "a Gateway", check: check, objects: shop(gateway("shop", "way", "istio-waypoint", ""), at("shop", toGateway))},
		{name: "a Gateway that is elsewhere", check: check, objects: shop(gateway("pay", "way", "istio-waypoint", ""), at("shop", toGateway)), want: []finding{{warn, object, "spec.targetRefs[0]", "Gateway way does not exist"}}},
		{name: "a ServiceEntry", check: check, objects: shop(entry, at("shop", toEntry))},
		{name: "a ServiceEntry that is not there", check: check, objects: shop(at("shop", toEntry)), want: []finding{{warn, object, "spec.targetRefs[0]", "ServiceEntry e does not exist"}}},
		{name: "the class of waypoints", check: check, namespace: "istio-system", objects: root(waypointClass, at("istio-system", toClass))},
		{name: "the class of waypoints, which is not there", check: check, namespace: "istio-system", objects: root(at("istio-system", toClass)), want: []finding{{warn, "AuthorizationPolicy istio-system/p", "spec.targetRefs[0]", "GatewayClass istio-waypoint does not exist"}}},
		{name: "another class", check: check, namespace: "istio-system", objects: root(at("istio-system", "{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio}")), want: []finding{{warn, "AuthorizationPolicy istio-system/p", "spec.targetRefs[0]", "is not the class of waypoints"}}},
		{name: "the class of waypoints, not in the root namespace", check: check, objects: shop(waypointClass, at("shop", toClass)), want: []finding{{warn, object, "spec.targetRefs[0]", "counts only in policies of the root namespace"}}},
		{name: "a kind that cannot be named", check: check, objects: shop(at("shop", "{group: apps, kind: Deployment, name: cart}")), want: []finding{{warn, object, "spec.targetRefs[0]", "cannot be attached to kind Deployment of group apps"}}},
		{name: "a group that is wrong", check: check, objects: shop(at("shop", "{kind: Gateway, name: way}")), want: []finding{{warn, object, "spec.targetRefs[0]", "cannot be attached to kind Gateway of group core"}}},
		{name: "another namespace", check: check, objects: shop(at("shop", `{group: "", kind: Service, name: cart, namespace: pay}`)), want: []finding{{warn, object, "spec.targetRefs[0]", "another namespace"}}},
		{name: "both a selector and a target", check: check, objects: shop(policy("shop", both)), want: []finding{{warn, object, "spec", "both a selector and targetRefs"}}},
		{name: "a WasmPlugin's target", check: check, objects: shop(istio("extensions.istio.io/v1alpha1", "WasmPlugin", "shop", "w", `{targetRefs: [{group: "", kind: Service, name: gone}]}`)), want: []finding{{warn, "WasmPlugin shop/w", "spec.targetRefs[0]", "Service gone does not exist: it has no effect"}}},
	}
}

func policyWaypointCases() []testCase {
	const check, object = "policy-waypoints", "AuthorizationPolicy shop/p"
	const toService, toGateway = `{group: "", kind: Service, name: cart}`, "{group: gateway.networking.k8s.io, kind: Gateway, name: way}"
	at := func(target string) string { return policy("shop", "{targetRefs: ["+target+"], rules: [{}]}") }
	way := gateway("shop", "way", "istio-waypoint", "")
	in := func(of labels, objects ...any) []any {
		return append([]any{fixture.Without("Namespace", shop()...), fixture.Namespace("shop", of)}, objects...)
	}
	sidecars := labels{"istio-injection": "enabled"}
	ambient := labels{"istio.io/dataplane-mode": "ambient"}
	behind := labels{"istio-injection": "enabled", "istio.io/use-waypoint": "way"}
	entry := func(of string) string {
		return "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: shop" + of + "}\nspec: {hosts: [a.example.com]}"
	}
	const toEntry = "{group: networking.istio.io, kind: ServiceEntry, name: e}"
	db := "apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: shop, labels: {istio.io/use-waypoint: %s}}\nspec: {selector: {app: db}}"
	const toDB = `{group: "", kind: Service, name: db}`
	headlessDB := strings.Replace(fmt.Sprintf(db, "way"), "spec: {", "spec: {clusterIP: None, ", 1)
	pay := fixture.Namespace("pay", labels{"istio.io/use-waypoint": "way", "istio.io/use-waypoint-namespace": "shop"})
	forPods := gateway("shop", "way", "istio-waypoint", ", labels: {istio.io/waypoint-for: workload}")
	return []testCase{
		{name: "none", check: check, objects: shop(way)},
		{name: "a policy with a selector", check: check, objects: shop(policy("shop", "{selector: {matchLabels: {app: cart}}}"))},
		{name: "a Service without waypoint", check: check, objects: in(sidecars, at(toService)), want: []finding{{warn, object, "spec.targetRefs[0]", "Service cart has no waypoint, and nothing else enforces the policy: it restricts nothing"}}},
		{name: "a Service without waypoint in ambient mode", check: check, objects: in(ambient, at(toService)), want: []finding{{fail, object, "spec.targetRefs[0]", "Service cart has no waypoint"}}},
		{name: "tokens in ambient mode", check: check, objects: in(ambient, istio("security.istio.io/v1", "RequestAuthentication", "shop", "j", "{targetRefs: ["+toService+"]}")), want: []finding{{fail, "RequestAuthentication shop/j", "spec.targetRefs[0]", "it checks no tokens"}}},
		{name: "telemetry in ambient mode", check: check, objects: in(ambient, istio("telemetry.istio.io/v1", "Telemetry", "shop", "t", "{targetRefs: ["+toService+"]}")), want: []finding{{warn, "Telemetry shop/t", "spec.targetRefs[0]", "it has no effect"}}},
		{name: "a Service behind its namespace's waypoint", check: check, objects: in(behind, way, at(toService))},
		{name: "a Service behind its own waypoint", check: check, objects: in(ambient, way, fmt.Sprintf(db, "way"), at(toDB))},
		{name: "a Service that refuses its namespace's waypoint", check: check, objects: in(behind, way, fmt.Sprintf(db, "none"), at(toDB)), want: []finding{{warn, object, "spec.targetRefs[0]", "Service db has no waypoint"}}},
		{name: "a Service that names a waypoint which is not there, in a namespace with one", check: check, objects: in(behind, way, fmt.Sprintf(db, "gone"), at(toDB)), want: []finding{{warn, object, "spec.targetRefs[0]", "Service db has no waypoint"}}},
		{name: "a Service behind a waypoint for workloads", check: check, objects: in(behind, forPods, at(toService)), want: []finding{{warn, object, "spec.targetRefs[0]", "Service cart has no waypoint"}}},
		{name: "a headless Service that names a waypoint", check: check, objects: in(ambient, way, headlessDB, at(toDB)), want: []finding{{fail, object, "spec.targetRefs[0]", "calls to headless Service db go to its pods, past every waypoint for Services, and nothing else enforces the policy"}}},
		{name: "tokens at a headless Service", check: check, objects: in(ambient, way, headlessDB, istio("security.istio.io/v1", "RequestAuthentication", "shop", "j", "{targetRefs: ["+toDB+"]}")), want: []finding{{fail, "RequestAuthentication shop/j", "spec.targetRefs[0]", "it checks no tokens"}}},
		{name: "a headless Service, on sidecars", check: check, objects: in(behind, way, headlessDB, at(toDB)), want: []finding{{warn, object, "spec.targetRefs[0]", "calls to headless Service db go to its pods"}}},
		{name: "a headless Service, and a policy of before", check: check, past: was(before(at(toDB))), objects: in(ambient, way, headlessDB, at(toDB)), want: []finding{{warn, object, "spec.targetRefs[0]", "it was there before the enrolment, and not enforced either"}}},
		{name: "a headless Service, and a policy since", check: check, past: was(), objects: in(ambient, way, headlessDB, at(toDB)), want: []finding{{fail, object, "spec.targetRefs[0]", "calls to headless Service db go to its pods"}}},
		{name: "a Service that is not there", check: check, objects: in(ambient, at(`{group: "", kind: Service, name: gone}`))},
		{name: "a ServiceEntry without waypoint", check: check, objects: in(ambient, entry(""), at(toEntry)), want: []finding{{fail, object, "spec.targetRefs[0]", "ServiceEntry e has no waypoint"}}},
		{name: "a ServiceEntry of the name of another, which has a waypoint", check: check, objects: in(ambient, way, entry(""), "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: pay, labels: {istio.io/use-waypoint: way}}\nspec: {hosts: [b.example.com]}", at(toEntry)), want: []finding{{fail, object, "spec.targetRefs[0]", "ServiceEntry e has no waypoint"}}},
		{name: "a ServiceEntry behind a waypoint", check: check, objects: in(ambient, way, entry(", labels: {istio.io/use-waypoint: way}"), at(toEntry))},
		{name: "a waypoint that nothing goes through", check: check, objects: in(sidecars, way, at(toGateway)), want: []finding{{warn, object, "spec.targetRefs[0]", "no traffic goes through waypoint way"}}},
		{name: "a waypoint that nothing goes through, in ambient mode", check: check, objects: in(ambient, way, at(toGateway)), want: []finding{{fail, object, "spec.targetRefs[0]", "no traffic goes through waypoint way"}}},
		{name: "a waypoint for workloads that a Service names", check: check, objects: in(ambient, forPods, fmt.Sprintf(db, "way"), at(toGateway)), want: []finding{{fail, object, "spec.targetRefs[0]", "no traffic goes through waypoint way"}}},
		{name: "a waypoint that another namespace names and that does not admit it", check: check, objects: in(ambient, way, pay, at(toGateway)), want: []finding{{fail, object, "spec.targetRefs[0]", "no traffic goes through waypoint way"}}},
		{name: "a waypoint that only a headless Service names", check: check, objects: in(ambient, way, headlessDB, at(toGateway)), want: []finding{{fail, object, "spec.targetRefs[0]", "no traffic goes through waypoint way"}}},
		{name: "a waypoint that only an empty namespace names", check: check, objects: in(ambient, admitting(way), pay, at(toGateway)), want: []finding{{fail, object, "spec.targetRefs[0]", "no traffic goes through waypoint way"}}},
		{name: "a waypoint that another namespace uses", check: check, objects: in(ambient, admitting(way), pay, "apiVersion: v1\nkind: Service\nmetadata: {name: pay, namespace: pay}\nspec: {ports: [{port: 80}]}", at(toGateway))},
		{name: "a waypoint that a pod elsewhere uses", check: check, objects: in(ambient, admitting(forPods), fixture.Pod("pay", "x", fixture.Labelled("istio.io/use-waypoint", "way"), fixture.Labelled("istio.io/use-waypoint-namespace", "shop")), at(toGateway))},
		{name: "an ingress gateway", check: check, objects: in(ambient, gateway("shop", "way", "istio", ""), at(toGateway))},
	}
}

// What was not seen of who goes through a waypoint keeps a policy at it from being called
// dead, and from being called enforced.
func TestAWaypointOfWhichNotEveryUserWasSeenIsNotCalledUnused(t *testing.T) {
	const object = "AuthorizationPolicy shop/p"
	forPods := admitting(gateway("shop", "way", "istio-waypoint", ", labels: {istio.io/waypoint-for: workload}"))
	objects := enrolled(
		forPods, fixture.Namespace("pay", labels{"istio.io/use-waypoint": "way", "istio.io/use-waypoint-namespace": "shop"}),
		policy("shop", "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: way}], rules: [{}]}"),
	)
	forbid := func(kind string) func(*mesh.Content) {
		return func(content *mesh.Content) {
			content.Coverage[kind] = mesh.Coverage{State: mesh.CoverageForbidden, Reason: "no"}
		}
	}
	for _, test := range []struct {
		name string
		edit func(*mesh.Content)
		want finding
	}{
		{"all was read", func(*mesh.Content) {}, finding{fail, object, "spec.targetRefs[0]", "no traffic goes through waypoint way"}},
		{
			"templates of one namespace only", func(content *mesh.Content) { content.Scope = mesh.Scope{Namespace: "shop"} },
			finding{warn, object, "spec.targetRefs[0]", "not all of pay was read, whose label names it"},
		},
		{"no Services", forbid(mesh.KindService), finding{status: unknown, message: "it cannot be told without Service: no"}},
		{"no ServiceEntries", forbid(mesh.KindServiceEntry), finding{status: unknown, message: "ServiceEntry: no"}},
		{"no WorkloadEntries", forbid(mesh.KindWorkloadEntry), finding{status: unknown, message: "WorkloadEntry: no"}},
		{"no pods of other namespaces", forbid(mesh.PodsMeshWide), finding{status: unknown, message: mesh.PodsMeshWide + ": no"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			one := testCase{check: "policy-waypoints", objects: objects, want: []finding{test.want}}
			content := one.content()
			test.edit(&content)
			one.compare(t, one.run(t, content))
		})
	}
}
