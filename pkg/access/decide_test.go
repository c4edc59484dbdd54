package access_test

import (
	"slices"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
)

const (
	useWaypoint = "istio.io/use-waypoint"
	fromWeb     = `from: [{source: {principals: [cluster.local/ns/web/sa/web]}}]`
	strict      = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {namespace: shop, name: strict}
spec: {mtls: {mode: STRICT}}`
	// toCart attaches a policy to the Service.
	toCart = `targetRefs: [{kind: Service, group: "", name: cart}]`
)

// leaving has a pod's sidecar leave ports alone.
func leaving(ports string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Annotations["traffic.sidecar.istio.io/excludeInboundPorts"] = ports }
}

func TestWhereAndHowCallsAreDecided(t *testing.T) {
	withWaypoint := with(ambient, useWaypoint, "waypoint")
	allNeedWaypoint := waypointFor("all")
	for _, test := range []struct {
		name   string
		labels map[string]string
		parts  []any
		caller access.Caller
		// service is empty for calls to the pod's own address.
		service string
		port    uint32
		request access.Request
		want    string
	}{
		{"a sidecar proves who calls", sidecars, []any{server(fixture.Sidecar), policy(`{rules: [{` + fromWeb + `}]}`)}, web, "cart", 80, get, isAllowed},
		{"by pod address it proves nothing", sidecars, []any{server(fixture.Sidecar), policy(`{rules: [{` + fromWeb + `}]}`)}, web, "", 8081, get, "denied at sidecar policy " + noAllow},
		{"by pod address STRICT refuses it", sidecars, []any{server(fixture.Sidecar), strict}, web, "", 8081, get, "denied at sidecar strict " + plaintext},
		{"a headless Service makes pod addresses known for ports that are not HTTP", sidecars, []any{server(fixture.Sidecar), strict}, web, "", 9000, access.Request{}, isAllowed},
		{"but not for those that are", sidecars, []any{server(fixture.Sidecar), strict}, web, "", 8080, get, "denied at sidecar strict " + plaintext},
		{"a headless Service of sidecars takes mTLS", sidecars, []any{server(fixture.Sidecar), strict}, web, "headless", 8080, get, isAllowed},
		{"a headless Service of ambient pods takes none", ambient, []any{server(fixture.Ambient), strict}, web, "headless", 8080, get, "denied at ztunnel strict " + plaintext},
		{"an ordinary one takes HBONE", ambient, []any{server(fixture.Ambient), strict}, web, "cart", 80, get, isAllowed},
		{"a label of its own keeps mTLS from a sidecar", sidecars, []any{server(fixture.Sidecar, fixture.Labelled("security.istio.io/tlsMode", "disabled"), without("networking.istio.io/tunnel")), strict}, web, "cart", 80, get, "denied at sidecar strict " + plaintext},
		{"but not HBONE", sidecars, []any{server(fixture.Sidecar, fixture.Labelled("security.istio.io/tlsMode", "disabled")), strict}, web, "cart", 80, get, isAllowed},
		{"an ambient pod's own label makes sidecars speak what it does not", ambient, []any{server(fixture.Ambient, fixture.Labelled("security.istio.io/tlsMode", "istio"))}, web, "cart", 80, get, "denied at ztunnel (the pod's label security.istio.io/tlsMode promises mTLS that it does not speak)"},
		{"an ambient caller does not care", ambient, []any{server(fixture.Ambient, fixture.Labelled("security.istio.io/tlsMode", "istio"))}, webAmbient, "cart", 80, get, isAllowed},
		{"an ambient caller reaches a sidecar by HBONE", sidecars, []any{server(fixture.Sidecar), strict}, webAmbient, "cart", 80, get, isAllowed},
		{"and one without HBONE in plaintext", sidecars, []any{server(fixture.Sidecar, without("networking.istio.io/tunnel")), strict}, webAmbient, "cart", 80, get, "denied at sidecar strict " + plaintext},
		{"a stranger under PERMISSIVE", sidecars, []any{server(fixture.Sidecar)}, stranger, "cart", 80, get, isAllowed},
		{"a stranger under STRICT, at a sidecar", sidecars, []any{server(fixture.Sidecar), strict}, stranger, "cart", 80, get, "denied at sidecar strict " + plaintext},
		{"a stranger under STRICT, at ztunnel", ambient, []any{server(fixture.Ambient), strict}, stranger, "cart", 80, get, "denied at ztunnel strict " + plaintext},
		{"a pod outside the mesh refuses nobody", nil, []any{server(), strict, policy(`{}`)}, stranger, "cart", 80, get, isAllowed},
		{"a port that the sidecar leaves alone", sidecars, []any{server(fixture.Sidecar, leaving("8080")), strict, policy(`{}`)}, stranger, "cart", 80, get, isAllowed},
		{"by pod address, too", sidecars, []any{server(fixture.Sidecar, leaving("8080")), strict, policy(`{}`)}, stranger, "", 8080, get, isAllowed},
		{"which is not up to policies for mTLS, either", sidecars, []any{server(fixture.Sidecar, leaving("8080"), without("networking.istio.io/tunnel")), policy(`{}`)}, web, "cart", 80, get, isAllowed},
		{"HBONE ends at the sidecar", sidecars, []any{server(fixture.Sidecar, leaving("8080")), policy(`{}`)}, webAmbient, "cart", 80, get, "denied at sidecar policy " + noAllow},
		{"another port it does not leave alone", sidecars, []any{server(fixture.Sidecar, leaving("8081")), strict}, stranger, "cart", 80, get, "denied at sidecar strict " + plaintext},
		{"ztunnel leaves none alone", ambient, []any{server(fixture.Ambient, leaving("8080")), strict}, stranger, "cart", 80, get, "denied at ztunnel strict " + plaintext},
		{"DISABLE makes sidecars prove nothing", sidecars, []any{server(fixture.Sidecar), `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {namespace: shop, name: disable}
spec: {mtls: {mode: DISABLE}}`, policy(`{rules: [{` + fromWeb + `}]}`)}, web, "cart", 80, get, "denied at sidecar policy " + noAllow},

		{"a waypoint sees who calls", withWaypoint, []any{server(fixture.Ambient), waypoint, policy(`{` + toCart + `, rules: [{` + fromWeb + `, to: [{operation: {methods: [GET], ports: ["80"]}}]}]}`)}, webAmbient, "cart", 80, get, isAllowed},
		{"and the port that was dialled", withWaypoint, []any{server(fixture.Ambient), waypoint, policy(`{` + toCart + `, rules: [{to: [{operation: {ports: ["8080"]}}]}]}`)}, webAmbient, "cart", 80, get, "denied at waypoint policy " + noAllow},
		{"and the Service's address", withWaypoint, []any{server(fixture.Ambient), waypoint, policy(`{` + toCart + `, rules: [{when: [{key: destination.ip, values: [10.96.0.1]}]}]}`)}, webAmbient, "cart", 80, get, isAllowed},
		{"and the caller's", withWaypoint, []any{server(fixture.Ambient), waypoint, policy(`{` + toCart + `, rules: [{from: [{source: {ipBlocks: [10.0.1.1]}}]}]}`)}, webAmbient, "cart", 80, get, isAllowed},
		{"ztunnel sees the waypoint", withWaypoint, []any{server(fixture.Ambient), waypoint, policy(`{rules: [{` + fromWeb + `}]}`)}, webAmbient, "cart", 80, get, "denied at ztunnel policy " + noAllow},
		{"by its own name", withWaypoint, []any{server(fixture.Ambient), waypoint, policy(`{rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/waypoint], ipBlocks: [10.0.0.9]}}]}]}`)}, webAmbient, "cart", 80, get, isAllowed},
		{"so does a sidecar", with(sidecars, useWaypoint, "waypoint"), []any{server(fixture.Sidecar), waypoint, policy(`{action: DENY, rules: [{from: [{source: {notNamespaces: [web]}}]}]}`)}, webAmbient, "cart", 80, get, "denied at sidecar policy " + deny},
		{"a sidecar caller goes past the waypoint", withWaypoint, []any{server(fixture.Ambient), waypoint, policy(`{` + toCart + `}`)}, web, "cart", 80, get, isAllowed},
		{"so do strangers", withWaypoint, []any{server(fixture.Ambient), waypoint, policy(`{` + toCart + `}`)}, stranger, "cart", 80, get, isAllowed},
		{"so does what is called by pod address", withWaypoint, []any{server(fixture.Ambient), waypoint, policy(`{` + toCart + `}`)}, webAmbient, "", 8080, get, isAllowed},
		{"and by a headless Service", withWaypoint, []any{server(fixture.Ambient), waypoint, policy(`{targetRefs: [{kind: Service, group: "", name: headless}]}`)}, webAmbient, "headless", 8080, get, isAllowed},
		{"a waypoint for all takes both, without what names a Service", withWaypoint, []any{server(fixture.Ambient), allNeedWaypoint, policy(`{targetRefs: [{kind: Service, group: "", name: headless}]}`)}, webAmbient, "headless", 8080, get, isAllowed},
		{"but with what names the Gateway", withWaypoint, []any{server(fixture.Ambient), allNeedWaypoint, policy(`{targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: waypoint}], rules: [{to: [{operation: {ports: ["8081"]}}]}]}`)}, webAmbient, "", 8080, get, "denied at waypoint policy " + noAllow},
		{"a Service without a policy of its own", withWaypoint, []any{server(fixture.Ambient), waypoint, policy(`{` + toCart + `}`)}, webAmbient, "other", 81, get, isAllowed},
		{"a waypoint ignores selectors, and policies without", withWaypoint, []any{server(fixture.Ambient), waypoint, policyIn("istio-system", "root", `{action: DENY, rules: [{to: [{operation: {methods: ["*"]}}]}]}`)}, webAmbient, "cart", 80, get, isAllowed},
		{"it heeds those for its class", withWaypoint, []any{server(fixture.Ambient), waypoint, policyIn("istio-system", "root", `{targetRefs: [{kind: GatewayClass, group: gateway.networking.k8s.io, name: istio-waypoint}], action: DENY, rules: [{to: [{operation: {methods: ["*"]}}]}]}`)}, webAmbient, "cart", 80, get, "denied at waypoint root " + deny},
		{"from the root namespace only", withWaypoint, []any{server(fixture.Ambient), waypoint, policy(`{targetRefs: [{kind: GatewayClass, group: gateway.networking.k8s.io, name: istio-waypoint}]}`)}, webAmbient, "cart", 80, get, isAllowed},
		{"a waypoint's ports of TCP widen a DENY", withWaypoint, []any{server(fixture.Ambient), waypoint, policy(`{` + toCart + `, action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]}`)}, webAmbient, "cart", 9000, get, "denied at waypoint policy " + deny},
		{"those of HTTP do not", withWaypoint, []any{server(fixture.Ambient), waypoint, policy(`{` + toCart + `, action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]}`)}, webAmbient, "cart", 80, get, isAllowed},
		{"a waypoint asks external authorizers", withWaypoint, []any{server(fixture.Ambient), waypoint, policy(`{` + toCart + `, action: CUSTOM, provider: {name: web}, rules: [{}]}`)}, webAmbient, "cart", 80, get, "delegated at waypoint policy (a CUSTOM policy leaves it to an external authorizer)"},
		{"so does the sidecar behind it", with(sidecars, useWaypoint, "waypoint"), []any{
			server(fixture.Sidecar), waypoint, policy(`{` + toCart + `, action: CUSTOM, provider: {name: web}, rules: [{}]}`), policyIn("shop", "pods", `{action: CUSTOM, provider: {name: web}, rules: [{}]}`),
		}, webAmbient, "cart", 80, get, "delegated at waypoint policy pods (a CUSTOM policy leaves it to an external authorizer)"},
		{"through HBONE a sidecar's CUSTOM policies see nobody", sidecars, []any{server(fixture.Sidecar), policy(`{action: CUSTOM, provider: {name: web}, rules: [{` + fromWeb + `}]}`)}, webAmbient, "cart", 80, get, isAllowed},
		{"through mTLS they do", sidecars, []any{server(fixture.Sidecar), policy(`{action: CUSTOM, provider: {name: web}, rules: [{` + fromWeb + `}]}`)}, web, "cart", 80, get, "delegated at sidecar policy (a CUSTOM policy leaves it to an external authorizer)"},
		{"ztunnel denies before it allows", ambient, []any{server(fixture.Ambient), policy(`{rules: [{}]}`), policyIn("shop", "deny", `{action: DENY, rules: [{`+fromWeb+`}]}`)}, web, "cart", 80, get, "denied at ztunnel deny " + deny},
		{"a port of its own under STRICT", sidecars, []any{server(fixture.Sidecar), `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {namespace: shop, name: ports}
spec: {selector: {matchLabels: {app: cart}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: PERMISSIVE}}}`}, stranger, "cart", 80, get, isAllowed},
		{"and another port", sidecars, []any{server(fixture.Sidecar), `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {namespace: shop, name: ports}
spec: {selector: {matchLabels: {app: cart}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: PERMISSIVE}}}`}, stranger, "cart", 9000, stream, "denied at sidecar ports " + plaintext},
		{"a port whose mTLS is disabled", sidecars, []any{server(fixture.Sidecar), `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {namespace: shop, name: ports}
spec: {selector: {matchLabels: {app: cart}}, portLevelMtls: {8080: {mode: DISABLE}}}`, policy(`{rules: [{` + fromWeb + `}]}`)}, web, "cart", 80, get, "denied at sidecar policy " + noAllow},
		{"a pod whose mTLS is disabled, behind a headless Service", sidecars, []any{server(fixture.Sidecar), `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {namespace: shop, name: pod}
spec: {selector: {matchLabels: {app: cart}}, mtls: {mode: DISABLE}}`}, web, "headless", 8080, get, "denied at sidecar pod (sidecars send mTLS, which DISABLE does not take)"},
		{"a waypoint looks into TLS for the server's name", withWaypoint, []any{server(fixture.Ambient), waypoint, tlsService, policy(`{targetRefs: [{kind: Service, group: "", name: tls}], rules: [{when: [{key: connection.sni, values: [a.example.com]}]}]}`)}, webAmbient, "tls", 443, access.Request{ServerName: "a.example.com"}, isAllowed},
		{"a gateway goes to a headless Service's target port", sidecars, []any{server(fixture.Sidecar), apart, policy(`{rules: [{to: [{operation: {ports: ["6000"]}}]}]}`)}, ingress, "apart", 600, get, isAllowed},
		{"a sidecar to the port that was dialled", sidecars, []any{server(fixture.Sidecar), apart, policy(`{rules: [{to: [{operation: {ports: ["600"]}}]}]}`)}, web, "apart", 600, get, isAllowed},
		{"a younger Service does not make a port TCP", sidecars, []any{server(fixture.Sidecar), younger, policy(`{rules: [{to: [{operation: {methods: [GET]}}]}]}`)}, web, "cart", 80, get, isAllowed},
		{"a waypoint reaches a sidecar without HBONE in plaintext", with(sidecars, useWaypoint, "waypoint"), []any{server(fixture.Sidecar, without("networking.istio.io/tunnel")), waypoint, strict}, webAmbient, "cart", 80, get, "denied at sidecar strict " + plaintext},

		{"a gateway goes past the waypoint", withWaypoint, []any{server(fixture.Ambient), waypoint, policy(`{` + toCart + `}`)}, ingress, "cart", 80, get, isAllowed},
		{"unless the namespace says otherwise", with(withWaypoint, "istio.io/ingress-use-waypoint", "true"), []any{server(fixture.Ambient), waypoint, policy(`{` + toCart + `}`)}, ingress, "cart", 80, get, "denied at waypoint policy " + noAllow},
		{"never to a headless Service", with(withWaypoint, "istio.io/ingress-use-waypoint", "true"), []any{server(fixture.Ambient), allNeedWaypoint, policy(`{targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: waypoint}]}`)}, ingress, "headless", 8080, get, isAllowed},
		{"a gateway proves who it is", ambient, []any{server(fixture.Ambient), policy(`{rules: [{from: [{source: {namespaces: [ingress]}}]}]}`)}, ingress, "cart", 80, get, isAllowed},
		{"to a headless Service of ambient pods, too", ambient, []any{server(fixture.Ambient), policy(`{rules: [{from: [{source: {namespaces: [ingress]}}]}]}`)}, ingress, "headless", 8080, get, isAllowed},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := build(access.Overlay{}, test.labels, test.parts...)
			if got := told(state.Decide(call(t, state, test.caller, test.service, test.port, test.request))); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// More Services of the scene: one for TLS, a headless one whose target is another
// port, and one that was made after the others and says otherwise.
const (
	tlsService = `
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: tls}
spec: {clusterIP: 10.96.0.3, selector: {app: cart}, ports: [{name: https, port: 443}]}`
	apart = `
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: apart}
spec: {clusterIP: None, selector: {app: cart}, ports: [{name: http, port: 600, targetPort: 6000}]}`
	younger = `
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: aaa, creationTimestamp: "2026-09-01T12:00:00Z"}
spec: {clusterIP: 10.96.0.4, selector: {app: cart}, ports: [{name: tcp, port: 82, targetPort: 8080}]}`
)

// A sidecar has one way of speaking to all pods of a headless Service: while some
// of them have moved, it sends plaintext to those that have not, too.
func TestHeadlessServicesOfPodsOfBothKinds(t *testing.T) {
	moved := fixture.Deployment("shop", "cart", optOut)
	pods := fixture.PodsOf(fixture.Deployment("shop", "cart"), fixture.Sidecar)
	state := build(access.Overlay{Moved: map[v1alpha1.ObjectReference]access.Progress{
		{Kind: "Deployment", Namespace: "shop", Name: "cart"}: access.ProgressDuring,
	}}, with(sidecars, "istio.io/dataplane-mode", "ambient"), moved, pods, strict)
	if len(state.Servers) != 2 {
		t.Fatalf("got %q", shown(state.Servers))
	}
	for i, wants := range []map[access.Mode]string{
		{access.ModeSidecar: "denied at sidecar strict " + plaintext, access.ModeGateway: "denied at sidecar strict " + plaintext, access.ModeAmbient: isAllowed},
		{access.ModeSidecar: "denied at ztunnel strict " + plaintext, access.ModeGateway: isAllowed, access.ModeAmbient: isAllowed},
	} {
		server := state.Servers[i]
		at := slices.IndexFunc(state.Services, func(service *access.Service) bool { return service.Headless })
		for _, caller := range []access.Caller{web, ingress, webAmbient} {
			call := access.Call{Caller: caller, Server: server, Service: state.Services[at], Port: 8080, Request: get}
			if got := told(state.Decide(call)); got != wants[caller.Mode] {
				t.Errorf("%s to %s: got %q, want %q", caller.Mode, server.Mode, got, wants[caller.Mode])
			}
		}
	}
}
