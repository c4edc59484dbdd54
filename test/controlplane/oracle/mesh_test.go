package oracle

import "testing"

const layerSeven = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: layer-seven}
spec:
  selector: {matchLabels: {app: echo}}
  rules:
  - from: [{source: {namespaces: [friends]}}]
    to: [{operation: {methods: [GET], paths: ["/open/*"]}}]
  - from: [{source: {principals: ["cluster.local/ns/admins/sa/default"]}}]
---
`

func TestSidecarServer(t *testing.T) {
	namespace := newNamespace(t, "sidecar-server", sidecarLabels())
	friends, admins := newNamespace(t, "friends", nil), newNamespace(t, "admins", nil)
	apply(t, namespace, echo+layerSeven)
	pod := readyPod(t, namespace, "app=echo", false)
	state := read(t, namespace, friends, admins)
	var decisions []decision
	for _, mode := range []Mode{Sidecar, Ambient, Gateway} {
		decisions = append(decisions,
			decision{string(mode) + " friend", from(mode, friends), 80, false, get("/open/a"), Allowed},
			decision{string(mode) + " friend elsewhere", from(mode, friends), 80, false, get("/closed"), Denied},
			decision{string(mode) + " admin", from(mode, admins), 80, false, get("/closed"), Allowed},
			decision{string(mode) + " friend at a TCP port", from(mode, friends), 9000, false, Request{}, Denied},
			decision{string(mode) + " admin at a TCP port", from(mode, admins), 9000, false, Request{}, Allowed},
			decision{string(mode) + " friend at a sniffed port", from(mode, friends), 9100, false, get("/open/a"), Allowed},
			decision{string(mode) + " friend without HTTP", from(mode, friends), 9100, false, Request{}, Denied},
			decision{string(mode) + " no HTTP where it is declared", from(mode, friends), 80, false, Request{}, Unreachable},
		)
	}
	decisions = append(decisions,
		decision{"outside", outside(), 80, false, get("/open/a"), Denied},
		decision{"sidecar at the pod's address has no identity", from(Sidecar, admins), 8080, true, get("/open/a"), Denied},
		decision{"ambient at the pod's address has one", from(Ambient, admins), 8080, true, get("/closed"), Allowed},
		decision{"ambient at a port of no Service", from(Ambient, friends), 7777, true, get("/open/a"), Allowed},
	)
	checkAll(t, state, pod, decisions)
}

func TestMutualTLSAtSidecars(t *testing.T) {
	namespace := newNamespace(t, "strict-sidecar", sidecarLabels())
	apply(t, namespace, echo+`
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict}
spec:
  selector: {matchLabels: {app: echo}}
  mtls: {mode: STRICT}
  portLevelMtls: {9000: {mode: PERMISSIVE}}
`)
	pod := readyPod(t, namespace, "app=echo", false)
	checkAll(t, read(t, namespace), pod, []decision{
		{"outside", outside(), 80, false, get("/"), Denied},
		{"outside at the exempted port", outside(), 9000, false, Request{}, Allowed},
		{"sidecar", from(Sidecar, namespace), 80, false, get("/"), Allowed},
		{"sidecar at the pod's address", from(Sidecar, namespace), 8080, true, get("/"), Denied},
		{"ambient at the pod's address", from(Ambient, namespace), 8080, true, get("/"), Allowed},
	})
	apply(t, namespace, `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict}
spec:
  selector: {matchLabels: {app: echo}}
  mtls: {mode: PERMISSIVE}
`)
	checkAll(t, read(t, namespace), pod, []decision{
		{"outside", outside(), 80, false, get("/"), Allowed},
		{"sidecar at the pod's address", from(Sidecar, namespace), 8080, true, get("/"), Allowed},
	})
}

const tokens = `
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens}
spec:
  selector: {matchLabels: {app: echo}}
  jwtRules:
  - {issuer: "https://one", jwks: '{"keys":[]}', audiences: [echo]}
  - {issuer: "https://two", jwks: '{"keys":[]}'}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: tokens}
spec:
  selector: {matchLabels: {app: echo}}
  rules:
  - from: [{source: {requestPrincipals: ["https://one/alice"]}}]
  - when: [{key: "request.auth.claims[groups]", values: [ops]}]
  - to: [{operation: {paths: [/public]}}]
`

func TestTokensAtSidecars(t *testing.T) {
	namespace := newNamespace(t, "tokens", sidecarLabels())
	apply(t, namespace, echo+tokens)
	pod := readyPod(t, namespace, "app=echo", false)
	bearing := func(path string, token Token) Request {
		request := get(path)
		request.Token = token
		return request
	}
	alice := Token{Kind: ValidToken, Issuer: "https://one", Subject: "alice", Audiences: []string{"echo"}}
	elsewhere := alice
	elsewhere.Audiences = []string{"other"}
	ops := Token{Kind: ValidToken, Issuer: "https://two", Subject: "bob", Claims: map[string]any{"groups": []any{"dev", "ops"}}}
	forged := alice
	forged.Kind = InvalidToken
	caller := from(Sidecar, namespace)
	checkAll(t, read(t, namespace), pod, []decision{
		{"no token", caller, 80, false, get("/"), Denied},
		{"no token where none is needed", caller, 80, false, get("/public"), Allowed},
		{"the principal", caller, 80, false, bearing("/", alice), Allowed},
		{"another audience", caller, 80, false, bearing("/public", elsewhere), Denied},
		{"a claim", caller, 80, false, bearing("/", ops), Allowed},
		{"a forged token", caller, 80, false, bearing("/public", forged), Denied},
		{"an unknown issuer", caller, 80, false, bearing("/public", Token{Kind: ValidToken, Issuer: "https://three"}), Denied},
		{"through a tunnel", from(Ambient, namespace), 80, false, bearing("/", alice), Allowed},
	})
}

func TestAmbientServer(t *testing.T) {
	namespace := newNamespace(t, "ambient-server", ambientLabels())
	apply(t, namespace, echo)
	pod := readyPod(t, namespace, "app=echo", true)
	caller := from(Ambient, namespace)
	t.Run("an ALLOW by paths allows nothing", func(t *testing.T) {
		apply(t, namespace, policy("ALLOW", `to: [{operation: {paths: ["/*"]}}]`))
		checkAll(t, read(t, namespace), pod, []decision{
			{"ambient", caller, 80, false, get("/"), Denied},
			{"sidecar", from(Sidecar, namespace), 80, false, get("/"), Denied},
			{"outside", outside(), 80, false, get("/"), Denied},
		})
	})
	t.Run("a DENY by paths denies nothing", func(t *testing.T) {
		apply(t, namespace, policy("DENY", `{to: [{operation: {paths: ["/*"]}}], from: [{source: {notPrincipals: ["*"]}}]}`))
		checkAll(t, read(t, namespace), pod, []decision{
			{"ambient", caller, 80, false, get("/"), Allowed},
			{"outside", outside(), 80, false, get("/"), Allowed},
		})
	})
	t.Run("a DENY by ports and methods denies all methods", func(t *testing.T) {
		apply(t, namespace, policy("DENY", `to: [{operation: {ports: ["8080"], methods: [POST]}}]`))
		checkAll(t, read(t, namespace), pod, []decision{
			{"at the port", caller, 80, false, get("/"), Denied},
			{"at another", caller, 9000, false, Request{}, Allowed},
		})
	})
	t.Run("ports are those of the pod", func(t *testing.T) {
		apply(t, namespace, policy("ALLOW", `to: [{operation: {ports: ["80"]}}]`))
		checkAll(t, read(t, namespace), pod, []decision{{"at the Service's port", caller, 80, false, get("/"), Denied}})
		apply(t, namespace, policy("ALLOW", `to: [{operation: {ports: ["8080"]}}]`))
		checkAll(t, read(t, namespace), pod, []decision{{"at the pod's port", caller, 80, false, get("/"), Allowed}})
	})
	t.Run("STRICT needs an identity", func(t *testing.T) {
		apply(t, namespace, policy("ALLOW", `{}`)+`
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict}
spec: {mtls: {mode: STRICT}}
`)
		checkAll(t, read(t, namespace), pod, []decision{
			{"outside", outside(), 80, false, get("/"), Denied},
			{"ambient", caller, 80, false, get("/"), Allowed},
			{"sidecar", from(Sidecar, namespace), 80, false, get("/"), Allowed},
			{"sidecar at the pod's address", from(Sidecar, namespace), 8080, true, get("/"), Denied},
		})
	})
}

// policy is one that selects the server, of one rule.
func policy(action, rule string) string {
	return `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: policy}
spec:
  selector: {matchLabels: {app: echo}}
  action: ` + action + `
  rules:
  - ` + rule
}

func TestWaypoint(t *testing.T) {
	namespace := newNamespace(t, "with-waypoint", ambientLabels())
	friends := newNamespace(t, "waypoint-friends", nil)
	apply(t, namespace, echo)
	pod := readyPod(t, namespace, "app=echo", true)
	bindWaypoint(t, namespace)
	attached := func(rule string) string {
		return `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: attached}
spec:
  targetRefs: [{kind: Service, group: "", name: echo}]
  rules:
  - ` + rule
	}
	t.Run("the client is seen", func(t *testing.T) {
		apply(t, namespace, attached(`{from: [{source: {namespaces: [waypoint-friends], ipBlocks: [10.9.8.7]}}], to: [{operation: {paths: [/open], ports: ["80"]}}]}`))
		checkAll(t, read(t, namespace, friends), pod, []decision{
			{"friend", from(Ambient, friends), 80, false, get("/open"), Allowed},
			{"friend elsewhere", from(Ambient, friends), 80, false, get("/closed"), Denied},
			{"other", from(Ambient, namespace), 80, false, get("/open"), Denied},
			{"sidecars pass by", from(Sidecar, namespace), 80, false, get("/closed"), Allowed},
			{"gateways pass by", from(Gateway, namespace), 80, false, get("/closed"), Allowed},
			{"calls of the pod's address pass by", from(Ambient, namespace), 8080, true, get("/closed"), Allowed},
		})
	})
	t.Run("ports are those of the Service", func(t *testing.T) {
		apply(t, namespace, attached(`to: [{operation: {ports: ["8080"]}}]`))
		checkAll(t, read(t, namespace, friends), pod, []decision{{"at the Service's port", from(Ambient, friends), 80, false, get("/"), Denied}})
	})
	t.Run("the pod sees the waypoint", func(t *testing.T) {
		apply(t, namespace, attached(`{}`)+"\n---"+policy("ALLOW", `from: [{source: {principals: ["cluster.local/ns/waypoint-friends/sa/default"]}}]`))
		checkAll(t, read(t, namespace, friends), pod, []decision{{"friend", from(Ambient, friends), 80, false, get("/"), Denied}})
		apply(t, namespace, policy("ALLOW", `from: [{source: {principals: ["cluster.local/ns/with-waypoint/sa/waypoint"]}}]`))
		checkAll(t, read(t, namespace, friends), pod, []decision{
			{"friend", from(Ambient, friends), 80, false, get("/"), Allowed},
			{"friend beside the waypoint", from(Ambient, friends), 8080, true, get("/"), Denied},
		})
	})
	t.Run("gateways that use it", func(t *testing.T) {
		apply(t, namespace, attached(`to: [{operation: {paths: [/open]}}]`))
		if _, err := plane.Kubectl(t.Context(), "label", "service", "echo", "--namespace", namespace, "istio.io/ingress-use-waypoint=true"); err != nil {
			t.Fatal(err)
		}
		checkAll(t, read(t, namespace, friends), pod, []decision{
			{"at an open path", from(Gateway, friends), 80, false, get("/open"), Allowed},
			{"elsewhere", from(Gateway, friends), 80, false, get("/closed"), Denied},
		})
	})
}

func TestExternalAuthorizers(t *testing.T) {
	apply(t, "istio-system", `
apiVersion: v1
kind: Service
metadata: {name: guard}
spec:
  selector: {app: guard}
  ports: [{name: grpc, port: 9000}]
`)
	namespace := newNamespace(t, "delegated", sidecarLabels())
	apply(t, namespace, echo+`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask}
spec:
  selector: {matchLabels: {app: echo}}
  action: CUSTOM
  provider: {name: guard}
  rules:
  - to: [{operation: {paths: [/asked, /both]}}]
---`+policy("DENY", `to: [{operation: {paths: [/both]}}]`))
	pod := readyPod(t, namespace, "app=echo", false)
	caller := from(Sidecar, namespace)
	checkAll(t, read(t, namespace), pod, []decision{
		{"asked", caller, 80, false, get("/asked"), Delegated},
		{"not asked", caller, 80, false, get("/other"), Allowed},
		{"asked and denied", caller, 80, false, get("/both"), Denied},
		{"asked through a tunnel", from(Ambient, namespace), 80, false, get("/asked"), Delegated},
	})
}

func TestReadWaitsForIstiod(t *testing.T) {
	namespace := newNamespace(t, "changing", sidecarLabels())
	apply(t, namespace, echo)
	pod := readyPod(t, namespace, "app=echo", false)
	for range 5 {
		for path, want := range map[string]Outcome{"/a": Denied, "/b": Allowed} {
			apply(t, namespace, policy("DENY", `to: [{operation: {paths: [`+path+`]}}]`))
			state := read(t, namespace)
			checkAll(t, state, pod, []decision{{"after " + path, outside(), 80, false, get("/a"), want}})
		}
	}
}
