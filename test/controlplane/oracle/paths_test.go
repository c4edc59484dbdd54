package oracle

import "testing"

// What happens between a waypoint and a sidecar, at Services without an address,
// and where rules for HTTP meet other protocols.

func TestSidecarBehindWaypoint(t *testing.T) {
	namespace := newNamespace(t, "behind", sidecarLabels())
	friends := newNamespace(t, "behind-friends", nil)
	apply(t, namespace, echo)
	pod := readyPod(t, namespace, "app=echo", false)
	bindWaypoint(t, namespace)
	t.Run("it sees the waypoint", func(t *testing.T) {
		apply(t, namespace, policy("ALLOW", `from: [{source: {principals: ["cluster.local/ns/behind/sa/waypoint"], notIpBlocks: [10.9.8.7]}}]`))
		checkAll(t, read(t, namespace, friends), pod, []decision{
			{"by the waypoint", from(Ambient, friends), 80, false, get("/"), Allowed},
			{"beside it", from(Ambient, friends), 8080, true, get("/"), Denied},
			{"sidecars go beside it", from(Sidecar, friends), 80, false, get("/"), Denied},
		})
	})
	t.Run("the waypoint keeps the token", func(t *testing.T) {
		request := get("/")
		request.Token = Token{Kind: ValidToken, Issuer: "https://one"}
		needed := decision{"with a token", from(Ambient, friends), 80, false, request, Denied}
		apply(t, namespace, policy("ALLOW", `from: [{source: {requestPrincipals: ["*"]}}]`)+`
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: at-sidecar}
spec:
  selector: {matchLabels: {app: echo}}
  jwtRules: [{issuer: "https://one", jwks: '{"keys":[]}'}]
`+atWaypoint(false))
		// A request principal has an issuer and a subject.
		checkAll(t, read(t, namespace, friends), pod, []decision{needed})
		needed.with.Token.Subject = "alice"
		checkAll(t, read(t, namespace, friends), pod, []decision{needed})
		apply(t, namespace, atWaypoint(true))
		needed.want = Allowed
		checkAll(t, read(t, namespace, friends), pod, []decision{needed})
	})
}

// atWaypoint checks tokens at the waypoint.
func atWaypoint(forward bool) string {
	rule := `{issuer: "https://one", jwks: '{"keys":[]}'}`
	if forward {
		rule = `{issuer: "https://one", jwks: '{"keys":[]}', forwardOriginalToken: true}`
	}
	return `
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: at-waypoint}
spec:
  targetRefs: [{kind: Service, group: "", name: echo}]
  jwtRules: [` + rule + `]
`
}

func TestWaypointForWorkloads(t *testing.T) {
	namespace := newNamespace(t, "workloads", ambientLabels())
	apply(t, namespace, echo)
	pod := readyPod(t, namespace, "app=echo", true)
	bindWaypoint(t, namespace)
	if _, err := plane.Kubectl(t.Context(), "label", "gateway", "waypoint", "--namespace", namespace, "istio.io/waypoint-for=all"); err != nil {
		t.Fatal(err)
	}
	apply(t, namespace, `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: at-service}
spec:
  targetRefs: [{kind: Service, group: "", name: echo}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: at-gateway}
spec:
  targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: waypoint}]
  action: DENY
  rules: [{to: [{operation: {paths: [/closed]}}]}]
`)
	checkAll(t, read(t, namespace), pod, []decision{
		{"the Service", from(Ambient, namespace), 80, false, get("/open"), Denied},
		{"the pod has no policy of the Service", from(Ambient, namespace), 8080, true, get("/open"), Allowed},
		{"the pod has that of the Gateway", from(Ambient, namespace), 8080, true, get("/closed"), Denied},
	})
}

func TestHeadlessServices(t *testing.T) {
	namespace := newNamespace(t, "headless", ambientLabels())
	sidecars := newNamespace(t, "headless-sidecars", sidecarLabels())
	headless := `
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo}
spec:
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec: {containers: [{name: echo, image: echo}]}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  clusterIP: None
  selector: {app: echo}
  ports: [{name: tcp, port: 9000}, {name: http, port: 8080}]
---` + policy("ALLOW", `from: [{source: {principals: ["*"]}}]`)
	for _, target := range []string{namespace, sidecars} {
		apply(t, target, headless)
	}
	captured, injected := readyPod(t, namespace, "app=echo", true), readyPod(t, sidecars, "app=echo", false)
	bindWaypoint(t, namespace)
	state := read(t, namespace, sidecars)
	checkAll(t, state, captured, []decision{
		{"ambient", from(Ambient, namespace), 9000, false, Request{}, Allowed},
		{"sidecars have no tunnel for it", from(Sidecar, sidecars), 9000, false, Request{}, Denied},
		{"outside", outside(), 9000, false, Request{}, Denied},
	})
	checkAll(t, state, injected, []decision{
		{"ambient", from(Ambient, namespace), 9000, false, Request{}, Allowed},
		{"sidecar", from(Sidecar, sidecars), 9000, false, Request{}, Allowed},
		{"sidecar by HTTP", from(Sidecar, sidecars), 8080, false, get("/"), Allowed},
		{"sidecar at the pod's address that a Service has", from(Sidecar, sidecars), 9000, true, Request{}, Allowed},
		{"outside", outside(), 9000, false, Request{}, Denied},
	})
}

func TestRulesForHTTPAtOtherProtocols(t *testing.T) {
	namespace := newNamespace(t, "other-protocols", sidecarLabels())
	apply(t, namespace, echo+policy("DENY", `to: [{operation: {paths: [/closed]}}]`))
	pod := readyPod(t, namespace, "app=echo", false)
	caller := from(Sidecar, namespace)
	checkAll(t, read(t, namespace), pod, []decision{
		{"HTTP elsewhere", caller, 80, false, get("/open"), Allowed},
		{"a TCP port", caller, 9000, false, Request{}, Denied},
		{"a sniffed port", caller, 9100, false, Request{}, Denied},
		{"HTTP at a TCP port", caller, 9000, false, get("/open"), Denied},
	})
	apply(t, namespace, policy("ALLOW", `from: [{source: {remoteIpBlocks: [203.0.113.0/24]}}]`))
	forwarded := get("/")
	forwarded.Headers = map[string]string{"X-Forwarded-For": "10.0.0.1, 203.0.113.9"}
	checkAll(t, read(t, namespace), pod, []decision{
		{"the last that is forwarded for", caller, 80, false, forwarded, Allowed},
		{"the peer", caller, 80, false, get("/"), Denied},
		{"not at a TCP port", caller, 9000, false, Request{}, Denied},
	})
}

func TestWhatWasNotRead(t *testing.T) {
	namespace := newNamespace(t, "not-read", nil)
	apply(t, namespace, echo)
	pod := readyPod(t, namespace, "app=echo", false)
	state := read(t, namespace)
	for name, call := range map[string]Call{
		"a caller elsewhere":           {Caller: from(Sidecar, "elsewhere"), Pod: pod, Port: 80, Direct: true},
		"a pod elsewhere":              {Caller: outside(), Port: 80, Direct: true},
		"an ambient caller of no name": {Caller: Caller{Mode: Ambient}, Pod: pod, Port: 80, Direct: true},
		"an unknown Service":           {Caller: outside(), Pod: pod, Port: 80},
		"a gateway at a pod's address": {Caller: from(Gateway, namespace), Pod: pod, Port: 80, Direct: true},
		"a caller of an unknown kind":  {Caller: from("other", namespace), Pod: pod, Port: 80, Direct: true},
	} {
		if verdict, err := state.Decide(call); err == nil {
			t.Errorf("%s: got %+v", name, verdict)
		}
	}
	checkAll(t, state, pod, []decision{
		{"plain pods take everything", outside(), 80, false, get("/"), Allowed},
		{"at a port that is not served", outside(), 81, false, get("/"), Unreachable},
	})
}
