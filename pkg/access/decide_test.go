package access_test

import (
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
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
