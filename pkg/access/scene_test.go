package access_test

import (
	"maps"
	"net/netip"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// The labels of namespaces.
var (
	sidecars = map[string]string{"istio-injection": "enabled"}
	ambient  = map[string]string{"istio.io/dataplane-mode": "ambient"}
)

func with(labels map[string]string, more ...string) map[string]string {
	all := maps.Clone(labels)
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

// meshConfig is the configuration of a fixture's mesh.
const meshConfig = `
rootNamespace: istio-system
defaultConfig: {proxyMetadata: {ISTIO_META_ENABLE_HBONE: "true"}}
extensionProviders:
- {name: web, envoyExtAuthzHttp: {service: a.b, port: 80}}
- {name: rpc, envoyExtAuthzGrpc: {service: a.b, port: 80}}
`

// installation is a fixture's Istio with that configuration, and more of it.
func installation(more string) []any {
	return []any{fixture.Without("ConfigMap", fixture.Installation()...), fixture.MeshConfig(meshConfig + more)}
}

// services are those of the scene: an ordinary one, one more in front of the same
// pods, on a port of its own, and a headless one.
const services = `
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: cart, creationTimestamp: "2026-08-01T12:00:00Z"}
spec: {clusterIP: 10.96.0.1, selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 9000}, {name: any, port: 7000}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: other, creationTimestamp: "2026-08-01T13:00:00Z"}
spec: {clusterIP: 10.96.0.2, selector: {app: cart}, ports: [{name: tcp, port: 81, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: headless, creationTimestamp: "2026-08-01T14:00:00Z"}
spec: {clusterIP: None, selector: {app: cart}, ports: [{name: http, port: 8080}, {name: tcp, port: 9000}]}
`

// waypoint is the one of the namespace shop, ready.
const waypoint = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: shop, name: waypoint}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status: {addresses: [{type: IPAddress, value: 10.96.0.9}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: waypoint-0, labels: {gateway.networking.k8s.io/gateway-name: waypoint, gateway.istio.io/managed: istio.io-mesh-controller}}
spec: {serviceAccountName: waypoint, containers: [{name: istio-proxy, image: proxyv2}]}
status: {phase: Running, podIP: 10.0.0.9}
`

// server is a Deployment in namespace shop and its only pod.
func server(edits ...func(*corev1.Pod)) []any {
	deployment := fixture.Deployment("shop", "cart", func(deployment *appsv1.Deployment) {
		deployment.Spec.Template.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}}
	})
	at := func(pod *corev1.Pod) { pod.Status.PodIP = "10.0.0.2" }
	return append([]any{deployment}, fixture.PodsOf(deployment, append(edits, at)...)...)
}

// policy is an AuthorizationPolicy of namespace shop, called policy.
func policy(spec string) string { return policyIn("shop", "policy", spec) }

func policyIn(namespace, name, spec string) string {
	return "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {namespace: " + namespace + ", name: " + name + "}\nspec: " + spec
}

// without removes a label.
func without(key string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { delete(pod.Labels, key) }
}

// The callers of scenes.
var (
	webIdentity = access.Identity{TrustDomain: "cluster.local", Namespace: "web", ServiceAccount: "web"}
	web         = access.Caller{Mode: access.ModeSidecar, Identity: webIdentity, Address: netip.MustParseAddr("10.0.1.1")}
	webAmbient  = access.Caller{Mode: access.ModeAmbient, Identity: webIdentity, Address: netip.MustParseAddr("10.0.1.1")}
	ingress     = access.Caller{
		Mode: access.ModeGateway, Address: netip.MustParseAddr("10.0.2.1"),
		Identity: access.Identity{TrustDomain: "cluster.local", Namespace: "ingress", ServiceAccount: "gateway"},
	}
	stranger = access.Caller{Mode: access.ModeOutside, Address: netip.MustParseAddr("192.168.0.1")}
)

var get = access.Request{HTTP: true, Method: "GET", Path: "/", Host: "cart"}

// build makes the state of namespace shop.
func build(overlay access.Overlay, labels map[string]string, parts ...any) *access.State {
	objects := append(installation(""), fixture.Namespace("shop", labels), services)
	return access.Of(fixture.Snapshot(append(objects, parts...)...), []string{"shop"}, overlay)
}

// call is one to the only server of a state, by a Service's name or, without one,
// by the pod's address.
func call(t *testing.T, state *access.State, caller access.Caller, service string, port uint32, request access.Request) access.Call {
	t.Helper()
	if len(state.Servers) != 1 {
		t.Fatalf("the state has %d servers, want one", len(state.Servers))
	}
	made := access.Call{Caller: caller, Server: state.Servers[0], Port: port, Request: request}
	for _, of := range state.Services {
		if of.Reference.Name == service {
			made.Service = of
		}
	}
	if service != "" && made.Service == nil {
		t.Fatalf("the state has no Service %s", service)
	}
	return made
}

// told is a decision in a few words: its outcome, point, policies and reason.
func told(decision access.Decision) string {
	outcome := map[access.Outcome]string{access.Denied: "denied", access.Delegated: "delegated", access.Allowed: "allowed"}[decision.Outcome]
	words := []string{outcome}
	if decision.Point != "" {
		words = append(words, "at "+string(decision.Point))
	}
	for _, reference := range decision.Policies {
		words = append(words, reference.Name)
	}
	if decision.Reason != "" {
		words = append(words, "("+decision.Reason+")")
	}
	return strings.Join(words, " ")
}

// The usual words of decisions.
const (
	isAllowed = "allowed"
	noAllow   = "(no ALLOW policy matches)"
	deny      = "(a DENY policy matches)"
	plaintext = "(plaintext refused by STRICT)"
)

// waypointFor is the waypoint, which takes other traffic than that to Services.
func waypointFor(traffic string) string {
	return strings.Replace(waypoint, "name: waypoint}", "name: waypoint, labels: {istio.io/waypoint-for: "+traffic+"}}", 1)
}
