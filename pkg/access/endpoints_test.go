package access_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// byHand is a Service without selector in a namespace, and its EndpointSlice with one
// endpoint.
func byHand(namespace, labels, endpoint string) string {
	return `
apiVersion: v1
kind: Service
metadata: {namespace: ` + namespace + `, name: by-hand, labels: {` + labels + `}}
spec: {clusterIP: 10.96.1.1, ports: [{name: http, port: 88, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: ` + namespace + `, name: by-hand-1, labels: {kubernetes.io/service-name: by-hand}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [` + endpoint + `]`
}

// entry is a ServiceEntry.
func entry(spec string) string {
	return "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {namespace: shop, name: entry, labels: {istio.io/use-waypoint: waypoint}}\nspec: {" + spec + "}"
}

const (
	byName    = `{addresses: [10.0.0.2], targetRef: {kind: Pod, namespace: shop, name: cart-5d8f7-0}}`
	byAddress = `{addresses: [10.0.0.2]}`
	usesIt    = useWaypoint + ": waypoint"
	selecting = `hosts: [cart.example.com], addresses: [240.0.0.1], location: MESH_INTERNAL, resolution: STATIC, workloadSelector: {labels: {app: cart}}`
)

func TestServicesWithoutSelector(t *testing.T) {
	elsewhere := fixture.Namespace("else", nil)
	byWeb := policy(`{rules: [{` + fromWeb + `}]}`)
	for _, test := range []struct {
		name   string
		labels map[string]string
		parts  []any
		caller access.Caller
		want   string
	}{
		{"ztunnel knows a pod that is named", ambient, []any{server(fixture.Ambient), byWeb, byHand("shop", "", byName)}, webAmbient, isAllowed},
		{"but not one behind an address", ambient, []any{server(fixture.Ambient), byWeb, byHand("shop", "", byAddress)}, webAmbient, "denied at ztunnel policy " + noAllow},
		{"whose sidecar refuses plaintext", sidecars, []any{server(fixture.Sidecar), strict, byHand("shop", "", byAddress)}, webAmbient, "denied at sidecar strict " + plaintext},
		{"a waypoint does", ambient, []any{server(fixture.Ambient), waypoint, policy(`{rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/waypoint]}}]}]}`), byHand("shop", usesIt, byAddress)}, webAmbient, isAllowed},
		{"its policies are the Service's own", ambient, []any{server(fixture.Ambient), waypoint, policy(`{targetRefs: [{kind: Service, group: "", name: by-hand}]}`), byHand("shop", usesIt, byAddress)}, webAmbient, "denied at waypoint policy " + noAllow},
		{"and not another Service's", ambient, []any{server(fixture.Ambient), waypoint, policy(`{targetRefs: [{kind: Service, group: "", name: cart}]}`), byHand("shop", usesIt, byAddress)}, webAmbient, isAllowed},
		{"a sidecar looks an address up", sidecars, []any{server(fixture.Sidecar), byWeb, byHand("shop", "", byAddress)}, web, isAllowed},
		{"in the namespace of the EndpointSlice only", sidecars, []any{server(fixture.Sidecar, without("networking.istio.io/tunnel")), byWeb, elsewhere, byHand("else", "", byAddress)}, web, "denied at sidecar policy " + noAllow},
		{"but speaks HBONE to what takes it", sidecars, []any{server(fixture.Sidecar), byWeb, elsewhere, byHand("else", "", byAddress)}, web, isAllowed},
		{"a named pod it knows everywhere", sidecars, []any{server(fixture.Sidecar, without("networking.istio.io/tunnel")), byWeb, elsewhere, byHand("else", "", byName)}, web, isAllowed},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := build(access.Overlay{}, test.labels, test.parts...)
			if got := told(state.Decide(call(t, state, test.caller, "by-hand", 88, get))); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if unknown := state.Servers[0].Unknown(); len(unknown) > 0 {
				t.Errorf("unknown: %q", unknown)
			}
		})
	}
}

// Whoever writes endpoints for pods that are there writes them for those that come
// after them.
func TestServicesWithoutSelectorAfterARestart(t *testing.T) {
	cart := v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: mesh.KindDeployment, Namespace: "shop", Name: "cart"}
	moved := access.Overlay{Moved: map[v1alpha1.ObjectReference]access.Progress{cart: access.ProgressAfter}}
	state := build(moved, ambient, server(fixture.Sidecar), byHand("shop", "", byName))
	of := call(t, state, webAmbient, "by-hand", 88, get)
	if of.Server.Mode != access.ModeAmbient || of.Server.PodPort(of.Service, 88) != 8080 {
		t.Errorf("the server is %s, its port %d", of.Server.Mode, of.Server.PodPort(of.Service, 88))
	}
}

func TestServiceEntriesWithSelector(t *testing.T) {
	ports := `, ports: [{number: 80, name: web, targetPort: 7000, protocol: HTTP}, {number: 81, name: other, targetPort: 7001, protocol: TCP}, {number: 82, name: same}]`
	state := build(access.Overlay{}, ambient, server(fixture.Ambient), waypoint, entry(selecting+ports),
		policy(`{targetRefs: [{kind: ServiceEntry, group: networking.istio.io, name: entry}], rules: [{to: [{operation: {methods: [GET], ports: ["80"]}}]}]}`))
	for port, want := range map[uint32]uint32{80: 8080, 81: 7001, 82: 82} {
		of := call(t, state, webAmbient, "entry", port, get)
		if got := of.Server.PodPort(of.Service, port); got != want {
			t.Errorf("port %d leads to %d, not %d", port, got, want)
		}
	}
	if got := told(state.Decide(call(t, state, webAmbient, "entry", 80, get))); got != isAllowed {
		t.Errorf("a call that its policy allows: %q", got)
	}
	if got := told(state.Decide(call(t, state, webAmbient, "entry", 80, post))); got != "denied at waypoint policy "+noAllow {
		t.Errorf("a call that its policy does not allow: %q", got)
	}
	if got := told(state.Decide(call(t, state, webAmbient, "cart", 80, post))); got != isAllowed {
		t.Errorf("a call to the Service: %q", got)
	}
	byName := build(access.Overlay{}, sidecars, server(fixture.Sidecar), entry(selecting+ports),
		policy(`{rules: [{when: [{key: connection.sni, values: [outbound_.80_._.cart.example.com]}]}]}`))
	if got := told(byName.Decide(call(t, byName, web, "entry", 80, get))); got != isAllowed {
		t.Errorf("a sidecar that asks for its host: %q", got)
	}
}

func TestWaysThatAreNotModelled(t *testing.T) {
	needed := policy(`{}`)
	const ports = `, ports: [{number: 80, name: web, protocol: HTTP}]`
	for _, test := range []struct {
		name  string
		parts []any
		want  string
	}{
		{"an endpoint that is a pod's address", []any{needed, entry(`hosts: [a.example], resolution: STATIC, location: MESH_INTERNAL, endpoints: [{address: 10.0.0.2}]` + ports)}, "spec.endpoints has the address of its pod cart-5d8f7-0"},
		{"an endpoint elsewhere", []any{needed, entry(`hosts: [a.example], resolution: STATIC, location: MESH_INTERNAL, endpoints: [{address: 192.0.2.1}]` + ports)}, ""},
		{"nothing protects the pods", []any{entry(`hosts: [a.example], resolution: STATIC, location: MESH_INTERNAL, endpoints: [{address: 10.0.0.2}]` + ports)}, ""},
		{"STRICT protects them", []any{strict, entry(`hosts: [a.example], resolution: STATIC, location: MESH_INTERNAL, endpoints: [{address: 10.0.0.2}]` + ports)}, "spec.endpoints"},
		{"a selector that is understood", []any{needed, entry(selecting + ports)}, ""},
		{"no resolution", []any{needed, entry(strings.Replace(selecting, "STATIC", "NONE", 1) + ports)}, "spec.resolution NONE"},
		{"outside the mesh", []any{needed, entry(strings.Replace(selecting, "MESH_INTERNAL", "MESH_EXTERNAL", 1) + ports)}, "spec.location MESH_EXTERNAL"},
		{"a block of addresses", []any{needed, entry(strings.Replace(selecting, "240.0.0.1", "240.0.0.0/24", 1) + ports)}, "spec.addresses holds blocks"},
		{"a wildcard", []any{needed, entry(strings.Replace(selecting, "[cart.example.com]", `["*.example.com"]`, 1) + ports)}, "spec.hosts has a wildcard"},
		{"no address wanted", []any{needed, strings.Replace(entry(strings.Replace(selecting, "addresses: [240.0.0.1], ", "", 1)+ports), "labels: {", `labels: {networking.istio.io/enable-autoallocate-ip: "false", `, 1)}, "has no spec.addresses"},
		{"two ports for one", []any{needed, strings.Replace(byHand("shop", "", byName), "port: 8080, protocol", "port: 8081, protocol", 1)}, "port 88 of Service shop/by-hand leads to its port 8080"},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := build(access.Overlay{}, sidecars, append(test.parts, server(fixture.Sidecar))...)
			unknown := state.Servers[0].Unknown()
			if test.want == "" && len(unknown) > 0 || test.want != "" && !slices.ContainsFunc(unknown, func(text string) bool { return strings.Contains(text, test.want) }) {
				t.Errorf("got %q, want %q", unknown, test.want)
			}
		})
	}
}
