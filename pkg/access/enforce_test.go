package access_test

import (
	"net/netip"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	corev1 "k8s.io/api/core/v1"
)

// post is a request that policies for GET do not mean; stream is none.
var (
	post   = access.Request{HTTP: true, Method: "POST", Path: "/", Host: "cart"}
	stream = access.Request{}
)

// What policies with a selector, or without one, do at a sidecar and at ztunnel.
func TestPoliciesOnPods(t *testing.T) {
	for _, test := range []struct {
		name    string
		policy  string
		caller  access.Caller
		service string
		port    uint32
		request access.Request
		sidecar string
		ztunnel string
	}{
		{"allow nothing", `{}`, web, "cart", 80, get, "denied at sidecar policy " + noAllow, "denied at ztunnel policy " + noAllow},
		{"allow anything", `{rules: [{}]}`, web, "cart", 80, get, isAllowed, isAllowed},
		{"an ALLOW at layer 7", `{rules: [{to: [{operation: {methods: [GET]}}]}]}`, web, "cart", 80, get, isAllowed, "denied at ztunnel policy " + noAllow},
		{"an ALLOW with a rule of each kind, by the one", `{rules: [{` + fromWeb + `}, {to: [{operation: {methods: [GET]}}]}]}`, web, "cart", 80, post, isAllowed, isAllowed},
		{"an ALLOW with a rule of each kind, by the other", `{rules: [{` + fromWeb + `}, {to: [{operation: {methods: [GET]}}]}]}`, ingress, "cart", 80, get, isAllowed, "denied at ztunnel policy " + noAllow},
		{"a DENY of a method", `{action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]}`, web, "cart", 80, post, "denied at sidecar policy " + deny, isAllowed},
		{"a DENY of a source and a method", `{action: DENY, rules: [{` + fromWeb + `, to: [{operation: {methods: [POST]}}]}]}`, web, "cart", 80, post, "denied at sidecar policy " + deny, isAllowed},
		{"a DENY of a port and a method, of another method", `{action: DENY, rules: [{to: [{operation: {ports: ["8080"], methods: [POST]}}]}]}`, web, "cart", 80, get, isAllowed, "denied at ztunnel policy " + deny},
		{"a DENY of a source", `{action: DENY, rules: [{` + fromWeb + `}]}`, web, "cart", 80, get, "denied at sidecar policy " + deny, "denied at ztunnel policy " + deny},
		{"a DENY of all but a source, asked without identity", `{action: DENY, rules: [{from: [{source: {notPrincipals: ["*"]}}]}]}`, stranger, "cart", 80, get, "denied at sidecar policy " + deny, "denied at ztunnel policy " + deny},
		{"an ALLOW of a source, asked without identity", `{rules: [{` + fromWeb + `}]}`, stranger, "cart", 80, get, "denied at sidecar policy " + noAllow, "denied at ztunnel policy " + noAllow},
		{"a DENY without rules", `{action: DENY}`, web, "cart", 80, get, isAllowed, isAllowed},
		{"AUDIT", `{action: AUDIT, rules: [{}]}`, web, "cart", 80, get, isAllowed, isAllowed},
		{"CUSTOM", `{action: CUSTOM, provider: {name: web}, rules: [{}]}`, web, "cart", 80, get, "delegated at sidecar policy (a CUSTOM policy leaves it to an external authorizer)", isAllowed},
		{"CUSTOM that does not match", `{action: CUSTOM, provider: {name: web}, rules: [{to: [{operation: {methods: [GET]}}]}]}`, web, "cart", 80, post, isAllowed, isAllowed},
		{"CUSTOM by HTTP for a port without", `{action: CUSTOM, provider: {name: web}, rules: [{}]}`, web, "cart", 9000, stream, isAllowed, isAllowed},
		{"CUSTOM by gRPC for a port without", `{action: CUSTOM, provider: {name: rpc}, rules: [{}]}`, web, "cart", 9000, stream, "delegated at sidecar policy (a CUSTOM policy leaves it to an external authorizer)", isAllowed},
		{"CUSTOM of a provider that is not there", `{action: CUSTOM, provider: {name: gone}, rules: [{}]}`, web, "cart", 80, get, "denied at sidecar policy (a CUSTOM policy names no external authorizer that is known)", isAllowed},
		{"the port is the pod's", `{rules: [{to: [{operation: {ports: ["8080"]}}]}]}`, web, "cart", 80, get, isAllowed, isAllowed},
		{"not the Service's", `{rules: [{to: [{operation: {ports: ["80"]}}]}]}`, web, "cart", 80, get, "denied at sidecar policy " + noAllow, "denied at ztunnel policy " + noAllow},
		{"a port of TCP drops an ALLOW that needs HTTP", `{rules: [{to: [{operation: {methods: [GET]}}]}]}`, web, "cart", 9000, stream, "denied at sidecar policy " + noAllow, "denied at ztunnel policy " + noAllow},
		{"a port of TCP widens a DENY that needs HTTP", `{action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]}`, web, "cart", 9000, stream, "denied at sidecar policy " + deny, isAllowed},
		{"what is declared TCP is not looked into", `{action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]}`, web, "cart", 9000, get, "denied at sidecar policy " + deny, isAllowed},
		{"an undeclared port with HTTP", `{action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]}`, web, "cart", 7000, get, isAllowed, isAllowed},
		{"an undeclared port without", `{action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]}`, web, "cart", 7000, stream, "denied at sidecar policy " + deny, isAllowed},
		{"a port of no Service is enforced, too", `{action: DENY, rules: [{to: [{operation: {methods: [GET], ports: ["5000"]}}]}]}`, web, "", 5000, get, "denied at sidecar policy " + deny, "denied at ztunnel policy " + deny},
		{"of Services that disagree the oldest counts", `{rules: [{to: [{operation: {methods: [GET]}}]}]}`, web, "other", 81, get, isAllowed, "denied at ztunnel policy " + noAllow},
		{"an address of the caller", `{rules: [{from: [{source: {ipBlocks: [10.0.1.0/24]}}]}]}`, web, "cart", 80, get, isAllowed, isAllowed},
		{"another selector", `{selector: {matchLabels: {app: other}}}`, web, "cart", 80, get, isAllowed, isAllowed},
		{"an empty selector is not heeded at ztunnel", `{selector: {}}`, web, "cart", 80, get, "denied at sidecar policy " + noAllow, isAllowed},
		{"a label of sidecars", `{selector: {matchLabels: {app: cart, security.istio.io/tlsMode: istio}}}`, web, "cart", 80, get, "denied at sidecar policy " + noAllow, isAllowed},
		{"targetRefs", `{targetRefs: [{kind: Service, group: "", name: cart}]}`, web, "cart", 80, get, isAllowed, isAllowed},
		{"the older targetRef", `{targetRef: {kind: Service, group: "", name: cart}}`, web, "cart", 80, get, isAllowed, isAllowed},
		{"both targetRefs and a selector", `{selector: {matchLabels: {app: cart}}, targetRefs: [{kind: Service, group: "", name: cart}]}`, web, "cart", 80, get, isAllowed, isAllowed},
		{"a namespace whose end is meant", `{rules: [{from: [{source: {namespaces: ["*a"]}}]}]}`, web, "cart", 80, get, isAllowed, "denied at ztunnel policy " + noAllow},
		{"a DENY of a trust domain", `{action: DENY, rules: [{from: [{source: {trustDomains: [cluster.local]}}]}]}`, web, "cart", 80, get, "denied at sidecar policy " + deny, isAllowed},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := build(access.Overlay{}, sidecars, server(fixture.Sidecar), policy(test.policy))
			if got := told(state.Decide(call(t, state, test.caller, test.service, test.port, test.request))); got != test.sidecar {
				t.Errorf("with a sidecar: got %q, want %q", got, test.sidecar)
			}
			state = build(access.Overlay{}, ambient, server(fixture.Ambient), policy(test.policy))
			if got := told(state.Decide(call(t, state, test.caller, test.service, test.port, test.request))); got != test.ztunnel {
				t.Errorf("in ambient mode: got %q, want %q", got, test.ztunnel)
			}
		})
	}
}

func TestOrderOfPolicies(t *testing.T) {
	all := `{rules: [{}]}`
	denyPost := policyIn("shop", "deny", `{action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]}`)
	custom := policyIn("shop", "custom", `{action: CUSTOM, provider: {name: web}, rules: [{}]}`)
	nothing := policyIn("shop", "nothing", `{}`)
	dryRun := func(spec string) string {
		return `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {namespace: shop, name: dry, annotations: {istio.io/dry-run: "true"}}
spec: ` + spec
	}
	for _, test := range []struct {
		name    string
		parts   []any
		request access.Request
		want    string
	}{
		{"DENY before ALLOW", []any{policy(all), denyPost}, post, "denied at sidecar deny " + deny},
		{"all that deny are named", []any{policyIn("shop", "also", `{action: DENY, rules: [{}]}`), denyPost}, post, "denied at sidecar also deny " + deny},
		{"one ALLOW is enough, where nothing is allowed otherwise", []any{nothing, policy(all)}, get, isAllowed},
		{"all ALLOW that there are, are named", []any{nothing, policy(`{rules: [{to: [{operation: {methods: [GET]}}]}]}`)}, post, "denied at sidecar nothing policy " + noAllow},
		{"CUSTOM, and a DENY", []any{custom, denyPost}, post, "denied at sidecar deny " + deny},
		{"CUSTOM, and no ALLOW", []any{custom, nothing}, get, "denied at sidecar nothing " + noAllow},
		{"CUSTOM, and an ALLOW", []any{custom, policy(all)}, get, "delegated at sidecar custom (a CUSTOM policy leaves it to an external authorizer)"},
		{"two CUSTOM of one provider", []any{custom, policy(`{action: CUSTOM, provider: {name: web}, rules: [{}]}`)}, get, "delegated at sidecar custom policy (a CUSTOM policy leaves it to an external authorizer)"},
		{"CUSTOM of two providers", []any{custom, policy(`{action: CUSTOM, provider: {name: rpc}, rules: [{}]}`)}, get, "denied at sidecar custom (CUSTOM policies name several external authorizers)"},
		{"a DENY on dry run", []any{dryRun(`{action: DENY, rules: [{}]}`)}, get, isAllowed},
		{"an ALLOW on dry run", []any{dryRun(`{}`)}, get, isAllowed},
		{"CUSTOM on dry run", []any{dryRun(`{action: CUSTOM, provider: {name: web}, rules: [{}]}`)}, get, "denied at sidecar dry (a CUSTOM policy on dry run matches, which refuses)"},
		{"the root namespace's", []any{policyIn("istio-system", "root", `{action: DENY, rules: [{}]}`)}, get, "denied at sidecar root " + deny},
		{"another namespace's", []any{policyIn("web", "far", `{action: DENY, rules: [{}]}`)}, get, isAllowed},
		{"default-deny with an ALLOW at layer 7", []any{policyIn("istio-system", "default-deny", `{}`), policy(`{rules: [{` + fromWeb + `, to: [{operation: {methods: [GET]}}]}]}`)}, get, isAllowed},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := build(access.Overlay{}, sidecars, server(fixture.Sidecar), test.parts)
			if got := told(state.Decide(call(t, state, web, "cart", 80, test.request))); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestTokens(t *testing.T) {
	authentication := func(spec string) string {
		return "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {namespace: shop, name: tokens}\nspec: " + spec
	}
	rules := `jwtRules: [{issuer: a, audiences: [shop, web]}, {issuer: b}]`
	needed := policy(`{rules: [{from: [{source: {requestPrincipals: ["*"]}}]}]}`)
	const refused = " tokens (no RequestAuthentication accepts the token)"
	token := func(token access.Token) access.Request {
		request := get
		request.Token = token
		return request
	}
	preflight := token(access.Token{Issuer: "c"})
	preflight.Method, preflight.Headers = "OPTIONS", map[string]string{"origin": "x", "access-control-request-method": "GET"}
	for _, test := range []struct {
		name    string
		parts   []any
		request access.Request
		want    string
	}{
		{"none", []any{authentication(`{` + rules + `}`)}, get, isAllowed},
		{"none, where one is needed", []any{authentication(`{` + rules + `}`), needed}, get, "denied at sidecar policy " + noAllow},
		{"a good one", []any{authentication(`{` + rules + `}`), needed}, token(access.Token{Issuer: "b", Subject: "me", Valid: true}), isAllowed},
		{"for one of the audiences", []any{authentication(`{` + rules + `}`), needed}, token(access.Token{Issuer: "a", Subject: "me", Valid: true, Audiences: []string{"web"}}), isAllowed},
		{"for another audience", []any{authentication(`{` + rules + `}`)}, token(access.Token{Issuer: "a", Subject: "me", Valid: true, Audiences: []string{"x"}}), "denied at sidecar" + refused},
		{"a bad one", []any{authentication(`{` + rules + `}`)}, token(access.Token{Issuer: "b"}), "denied at sidecar" + refused},
		{"of an unknown issuer", []any{authentication(`{` + rules + `}`)}, token(access.Token{Issuer: "c", Valid: true}), "denied at sidecar" + refused},
		{"not looked at", nil, token(access.Token{Issuer: "c"}), isAllowed},
		{"not looked at, but needed", []any{needed}, token(access.Token{Issuer: "b", Subject: "me", Valid: true}), "denied at sidecar policy " + noAllow},
		{"looked at elsewhere", []any{authentication(`{selector: {matchLabels: {app: other}}, ` + rules + `}`)}, token(access.Token{Issuer: "c"}), isAllowed},
		{"a preflight", []any{authentication(`{` + rules + `}`)}, preflight, isAllowed},
		{"CUSTOM policies come before it", []any{authentication(`{` + rules + `}`), policy(`{action: CUSTOM, provider: {name: web}, rules: [{from: [{source: {requestPrincipals: ["*"]}}]}]}`)}, token(access.Token{Issuer: "b", Subject: "me", Valid: true}), isAllowed},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := build(access.Overlay{}, sidecars, append(test.parts, server(fixture.Sidecar))...)
			if got := told(state.Decide(call(t, state, web, "cart", 80, test.request))); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	t.Run("at a waypoint", func(t *testing.T) {
		state := build(access.Overlay{}, with(ambient, useWaypoint, "waypoint"), server(fixture.Ambient), waypoint,
			authentication(`{targetRefs: [{kind: Service, group: "", name: cart}], `+rules+`}`))
		if got := told(state.Decide(call(t, state, webAmbient, "cart", 80, token(access.Token{Issuer: "c"})))); got != "denied at waypoint"+refused {
			t.Errorf("got %q", got)
		}
	})
	t.Run("ztunnel knows none", func(t *testing.T) {
		state := build(access.Overlay{}, ambient, server(fixture.Ambient), authentication(`{`+rules+`}`))
		if got := told(state.Decide(call(t, state, webAmbient, "cart", 80, token(access.Token{Issuer: "c"})))); got != isAllowed {
			t.Errorf("got %q", got)
		}
	})
}

// A waypoint takes the token that it accepts, unless it is told to forward it, and
// what is behind it asks in vain. The rule that accepts a token first decides.
func TestTokensBehindWaypoints(t *testing.T) {
	authentication := func(name, created, target, rule string) string {
		return "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {namespace: shop, name: " + name + created + "}\nspec: {" + target + "jwtRules: [" + rule + "]}"
	}
	const (
		atService = `targetRefs: [{kind: Service, group: "", name: cart}], `
		takes     = `{issuer: b}`
		forwards  = `{issuer: b, forwardOriginalToken: true}`
		old       = `, creationTimestamp: "2026-08-01T12:00:00Z"`
		young     = `, creationTimestamp: "2026-08-02T12:00:00Z"`
	)
	behind := []any{
		server(fixture.Sidecar, fixture.Labelled("networking.istio.io/tunnel", "http")), waypoint, authentication("sidecar", "", "", takes),
		policy(`{rules: [{from: [{source: {requestPrincipals: ["b/me"]}}]}]}`),
	}
	request := get
	request.Token = access.Token{Issuer: "b", Subject: "me", Valid: true}
	const refused = "denied at sidecar policy " + noAllow
	for _, test := range []struct {
		name  string
		parts []any
		want  string
	}{
		{"nobody looks at the waypoint", nil, isAllowed},
		{"taken", []any{authentication("own", old, atService, takes)}, refused},
		{"forwarded", []any{authentication("own", old, atService, forwards)}, isAllowed},
		{"the oldest takes it", []any{authentication("own", old, atService, takes), authentication("copy", young, atService, forwards)}, refused},
		{"the oldest forwards it", []any{authentication("own", young, atService, takes), authentication("copy", old, atService, forwards)}, isAllowed},
		{"one that is yet to be is the youngest", []any{authentication("own", young, atService, takes), authentication("copy", "", atService, forwards)}, refused},
		{"issuers before age", []any{authentication("own", young, atService, `{audiences: [], forwardOriginalToken: true}`), authentication("copy", old, atService, takes)}, isAllowed},
		{"for another audience", []any{authentication("own", old, atService, `{issuer: b, audiences: [x]}`), authentication("copy", young, atService, forwards)}, isAllowed},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := build(access.Overlay{}, with(sidecars, useWaypoint, "waypoint"), append(test.parts, behind...)...)
			if got := told(state.Decide(call(t, state, webAmbient, "cart", 80, request))); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestForwardedClients(t *testing.T) {
	request := get
	request.ForwardedFor = netip.MustParseAddr("1.2.3.4")
	byClient := policy(`{rules: [{from: [{source: {remoteIpBlocks: [1.2.3.4]}}]}]}`)
	state := build(access.Overlay{}, sidecars, server(fixture.Sidecar), byClient)
	if got := told(state.Decide(call(t, state, ingress, "cart", 80, request))); got != isAllowed {
		t.Errorf("over HTTP: got %q", got)
	}
	if got := told(state.Decide(call(t, state, ingress, "cart", 9000, request))); got != "denied at sidecar policy "+noAllow {
		t.Errorf("over TCP, which names no client: got %q", got)
	}
}

// An injected gateway is selected like any workload, one of Gateway API is told of
// what names it, too.
func TestGatewaysAsServers(t *testing.T) {
	injected := func(pod *corev1.Pod) {
		pod.Annotations = map[string]string{"inject.istio.io/templates": "gateway", "sidecar.istio.io/status": "{}"}
	}
	byName := `{targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: edge}], action: DENY, rules: [{}]}`
	for _, test := range []struct {
		name  string
		parts []any
		want  string
	}{
		{"injected", []any{server(injected), policy(`{action: DENY, rules: [{}]}`)}, "denied at gateway policy " + deny},
		{"injected, with targetRefs", []any{server(injected), policy(byName)}, isAllowed},
		{"injected, under STRICT", []any{server(injected), strict}, isAllowed},
		{"of Gateway API, by selector", []any{server(fixture.Labelled("gateway.networking.k8s.io/gateway-name", "edge")), policy(`{selector: {matchLabels: {app: cart}}, action: DENY, rules: [{}]}`)}, "denied at gateway policy " + deny},
		{"of Gateway API, by name", []any{server(fixture.Labelled("gateway.networking.k8s.io/gateway-name", "edge")), policy(byName)}, "denied at gateway policy " + deny},
		{"of Gateway API, by another's name", []any{server(fixture.Labelled("gateway.networking.k8s.io/gateway-name", "other")), policy(byName)}, isAllowed},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := build(access.Overlay{}, nil, test.parts...)
			if got := told(state.Decide(call(t, state, stranger, "cart", 80, get))); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// Policies mean the mesh's own trust domain by its aliases, at ztunnel only as it
// is written.
func TestTrustDomainsOfTheMesh(t *testing.T) {
	build := func(labels map[string]string, edit func(*corev1.Pod)) *access.State {
		return access.Of(fixture.Snapshot(installation("trustDomain: new\ntrustDomainAliases: [old]\n"), fixture.Namespace("shop", labels), services,
			server(edit), policy(`{rules: [{from: [{source: {principals: [cluster.local/ns/web/sa/web]}}]}]}`)), []string{"shop"}, access.Overlay{})
	}
	caller := web
	caller.Identity.TrustDomain = "new"
	state := build(sidecars, fixture.Sidecar)
	if got := told(state.Decide(call(t, state, caller, "cart", 80, get))); got != isAllowed {
		t.Errorf("at a sidecar: got %q", got)
	}
	if state.Servers[0].Identity.TrustDomain != "new" {
		t.Errorf("the server is %v", state.Servers[0].Identity)
	}
	state = build(ambient, fixture.Ambient)
	if got := told(state.Decide(call(t, state, caller, "cart", 80, get))); got != "denied at ztunnel policy "+noAllow {
		t.Errorf("at ztunnel: got %q", got)
	}
}
