package access_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// shown is a server in a few words: its workload, mode, whether it tunnels, its
// account and addresses.
func shown(servers []*access.Server) []string {
	var all []string
	for _, server := range servers {
		words := []string{server.Workload.Name, string(server.Mode), server.Identity.ServiceAccount}
		if server.Tunnels {
			words = append(words, "tunnels")
		}
		for _, address := range server.Addresses {
			words = append(words, address.String())
		}
		all = append(all, strings.Join(words, " "))
	}
	return all
}

func optOut(deployment *appsv1.Deployment) {
	fixture.TemplateLabel("sidecar.istio.io/inject", "false")(deployment)
}

func TestServers(t *testing.T) {
	cart := fixture.Deployment("shop", "cart", fixture.Replicas(2))
	moved := fixture.Deployment("shop", "cart", optOut)
	at := func(ip string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Status.PodIP = ip }
	}
	both := with(sidecars, "istio.io/dataplane-mode", "ambient")
	reference := v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "cart"}
	progress := func(progress access.Progress) access.Overlay {
		return access.Overlay{Moved: map[v1alpha1.ObjectReference]access.Progress{reference: progress}}
	}
	withoutVersion := progress(access.ProgressAfter)
	withoutVersion.Moved = map[v1alpha1.ObjectReference]access.Progress{{Kind: "Deployment", Namespace: "shop", Name: "cart"}: access.ProgressAfter}
	set := fixture.StatefulSet("shop", "store", func(set *appsv1.StatefulSet) { *set.Spec.Replicas = 2 })
	ordinal := func(pod *corev1.Pod) { pod.Labels["statefulset.kubernetes.io/pod-name"] = pod.Name }
	ownService := `
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: store-0}
spec: {clusterIP: 10.96.0.7, selector: {statefulset.kubernetes.io/pod-name: store-0}, ports: [{port: 80}]}`
	for _, test := range []struct {
		name    string
		labels  map[string]string
		parts   []any
		overlay access.Overlay
		want    []string
	}{
		{"alike pods are one", sidecars, []any{cart, fixture.PodsOf(cart, fixture.Sidecar, at("10.0.0.2"))}, access.Overlay{}, []string{"cart sidecar cart tunnels 10.0.0.2 10.0.0.2"}},
		{"without pods, injected", sidecars, []any{cart}, access.Overlay{}, []string{"cart sidecar cart tunnels"}},
		{"without pods, captured", ambient, []any{cart}, access.Overlay{}, []string{"cart ambient cart"}},
		{"without pods, neither", nil, []any{cart}, access.Overlay{}, []string{"cart outside cart"}},
		{"a gateway without pods", sidecars, []any{fixture.Deployment("shop", "cart", fixture.InjectedGateway)}, access.Overlay{}, []string{"cart gateway cart"}},
		{"HBONE switched off for a pod", sidecars, []any{fixture.Deployment("shop", "cart", fixture.TemplateAnnotation("proxy.istio.io/config", `{proxyMetadata: {ISTIO_META_ENABLE_HBONE: "false"}}`))}, access.Overlay{}, []string{"cart sidecar cart"}},
		{"a restart that has not begun", both, []any{moved, fixture.PodsOf(fixture.Deployment("shop", "cart"), fixture.Sidecar)}, access.Overlay{}, []string{"cart sidecar cart tunnels"}},
		{"during a restart", both, []any{moved, fixture.PodsOf(fixture.Deployment("shop", "cart"), fixture.Sidecar)}, progress(access.ProgressDuring), []string{"cart sidecar cart tunnels", "cart ambient cart"}},
		{"after it", both, []any{moved, fixture.PodsOf(fixture.Deployment("shop", "cart"), fixture.Sidecar)}, progress(access.ProgressAfter), []string{"cart ambient cart"}},
		{"after it, named without a version", both, []any{moved, fixture.PodsOf(fixture.Deployment("shop", "cart"), fixture.Sidecar)}, withoutVersion, []string{"cart ambient cart"}},
		{"a bare pod that the label captures", ambient, []any{fixture.Pod("shop", "bare")}, access.Overlay{}, []string{"bare ambient bare"}},
		{"a pod that opted out", ambient, []any{fixture.Pod("shop", "bare", fixture.Labelled("istio.io/dataplane-mode", "none"))}, access.Overlay{}, []string{"bare outside bare"}},
		{"a pod on its node's network", ambient, []any{fixture.Pod("shop", "bare", func(pod *corev1.Pod) { pod.Spec.HostNetwork = true })}, access.Overlay{}, []string{"bare outside bare"}},
		{"a pod of another account", ambient, []any{fixture.Pod("shop", "bare", func(pod *corev1.Pod) { pod.Spec.ServiceAccountName = "" })}, access.Overlay{}, []string{"bare ambient default"}},
		{"pods of a StatefulSet are alike", ambient, []any{set, fixture.PodsOfSet(set, ordinal)}, access.Overlay{}, []string{"store ambient store"}},
		{"unless a Service tells them apart", ambient, []any{set, fixture.PodsOfSet(set, ordinal), ownService}, access.Overlay{}, []string{"store ambient store", "store ambient store"}},
		{"waypoints are none", ambient, []any{waypoint}, access.Overlay{}, nil},
		{"nor is a waypoint's workload", ambient, []any{waypoint, fixture.Deployment("shop", "waypoint", fixture.TemplateLabel("gateway.networking.k8s.io/gateway-name", "waypoint"))}, access.Overlay{}, nil},
		{"a pod of a controller that is not known", ambient, []any{fixture.Pod("shop", "x", fixture.Of("Rollout", "argoproj.io/v1alpha1", &cart.ObjectMeta, cart.Spec.Template))}, access.Overlay{}, []string{"cart ambient cart"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := build(test.overlay, test.labels, test.parts...)
			if got := shown(state.Servers); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestLabelsOfInjectedPods(t *testing.T) {
	for _, test := range []struct {
		name string
		edit func(*appsv1.Deployment)
		want map[string]string
	}{
		{"a plain template", func(*appsv1.Deployment) {}, map[string]string{
			"app": "cart", "security.istio.io/tlsMode": "istio", "networking.istio.io/tunnel": "http",
			"service.istio.io/canonical-name": "cart", "service.istio.io/canonical-revision": "latest",
		}},
		{"labels of its own", func(deployment *appsv1.Deployment) {
			deployment.Spec.Template.Labels = map[string]string{
				"app.kubernetes.io/name": "basket", "version": "v2", "security.istio.io/tlsMode": "disabled", "networking.istio.io/tunnel": "none",
			}
		}, map[string]string{
			"app.kubernetes.io/name": "basket", "version": "v2", "security.istio.io/tlsMode": "disabled", "networking.istio.io/tunnel": "none",
			"service.istio.io/canonical-name": "basket", "service.istio.io/canonical-revision": "v2",
		}},
		{"an agent of gRPC", fixture.TemplateAnnotation("inject.istio.io/templates", "grpc-agent"), map[string]string{
			"app": "cart", "service.istio.io/canonical-name": "cart", "service.istio.io/canonical-revision": "latest",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := build(access.Overlay{}, sidecars, fixture.Deployment("shop", "cart", test.edit))
			if got := fmt.Sprint(state.Servers[0].Labels); got != fmt.Sprint(test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestServerPorts(t *testing.T) {
	state := build(access.Overlay{}, ambient, server(fixture.Ambient), `
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: named}
spec: {clusterIP: 10.96.0.5, selector: {app: cart}, ports: [{port: 90, targetPort: web}, {port: 91, targetPort: gone}, {port: 53, protocol: UDP}]}`)
	of := call(t, state, web, "named", 90, get)
	if got := of.Server.PodPort(of.Service, 90); got != 8080 {
		t.Errorf("the named port is %d", got)
	}
	if got := of.Server.PodPort(of.Service, 91); got != 0 {
		t.Errorf("a port that the pod does not have is %d", got)
	}
	if got := fmt.Sprint(of.Server.Ports); got != "[7000 8080 9000]" {
		t.Errorf("the ports are %s", got)
	}
	if got := len(of.Server.Services()); got != 4 {
		t.Errorf("%d Services select the server", got)
	}
}

func TestPortsThatPoliciesName(t *testing.T) {
	for mode, labels := range map[string]map[string]string{"sidecars": sidecars, "ambient": with(ambient, useWaypoint, "waypoint")} {
		pods := fixture.Sidecar
		if mode == "ambient" {
			pods = fixture.Ambient
		}
		state := build(access.Overlay{}, labels, server(pods), waypoint,
			policyIn("shop", "pods", `{rules: [{to: [{operation: {ports: ["8080", "http"], notPorts: ["443"]}}], when: [{key: destination.port, values: ["8080"], notValues: ["9090", "70000"]}]}]}`),
			policyIn("shop", "services", `{targetRefs: [{kind: Service, group: "", name: cart}], rules: [{to: [{operation: {ports: ["81"]}}]}]}`), `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {namespace: shop, name: ports}
spec: {selector: {matchLabels: {app: cart}}, mtls: {mode: STRICT}, portLevelMtls: {5005: {mode: PERMISSIVE}}}`)
		if got := state.Servers[0].PolicyPorts(); !slices.Equal(got, []uint32{443, 5005, 8080, 9090}) {
			t.Errorf("%s: the ports are %v", mode, got)
		}
	}
}

func TestPodsWithAddressesThatPoliciesAskFor(t *testing.T) {
	cart := fixture.Deployment("shop", "cart", fixture.Replicas(2))
	pods := fixture.PodsOf(cart, func(pod *corev1.Pod) {
		pod.Status.PodIP = "10.0.0." + pod.Name[len(pod.Name)-1:]
	})
	state := build(access.Overlay{}, ambient, cart, pods, policy(`{rules: [{when: [{key: destination.ip, values: [10.0.0.1]}]}]}`))
	if got := shown(state.Servers); !slices.Equal(got, []string{"cart ambient cart 10.0.0.0", "cart ambient cart 10.0.0.1"}) {
		t.Fatalf("got %q", got)
	}
	for i, want := range []string{"denied at ztunnel policy " + noAllow, isAllowed} {
		if got := told(state.Decide(access.Call{Caller: web, Server: state.Servers[i], Port: 80, Request: get})); got != want {
			t.Errorf("server %d: got %q, want %q", i, got, want)
		}
	}
}

func TestWaypointsInUse(t *testing.T) {
	name := types.NamespacedName{Namespace: "shop", Name: "waypoint"}
	notReady := strings.Replace(waypoint, "\nstatus: {addresses: [{type: IPAddress, value: 10.96.0.9}]}", "", 1)
	for _, test := range []struct {
		name    string
		labels  map[string]string
		parts   []any
		overlay access.Overlay
		want    string
	}{
		{"ready", with(ambient, useWaypoint, "waypoint"), []any{waypoint}, access.Overlay{}, "shop/waypoint"},
		{"not named", ambient, []any{waypoint}, access.Overlay{}, ""},
		{"not ready", with(ambient, useWaypoint, "waypoint"), []any{notReady}, access.Overlay{}, ""},
		{"deployed by the plan", with(ambient, useWaypoint, "waypoint"), []any{notReady}, access.Overlay{Ready: map[types.NamespacedName]bool{name: true}}, "shop/waypoint"},
		{"drained by the plan", with(ambient, useWaypoint, "waypoint"), []any{waypoint}, access.Overlay{Ready: map[types.NamespacedName]bool{name: false}}, ""},
		{"all are on sidecars", with(ambient, useWaypoint, "waypoint"), []any{waypoint}, access.Overlay{AllSidecars: true}, ""},
		{"not there", with(ambient, useWaypoint, "other"), []any{waypoint}, access.Overlay{Ready: map[types.NamespacedName]bool{name: true}}, ""},
		{"for workloads only", with(ambient, useWaypoint, "waypoint"), []any{waypointFor("workload")}, access.Overlay{}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := build(test.overlay, test.labels, append(test.parts, server(fixture.Ambient))...)
			got := ""
			if waypoint := call(t, state, web, "cart", 80, get).Service.Waypoint; waypoint != nil {
				got = waypoint.String()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	t.Run("for pods", func(t *testing.T) {
		state := build(access.Overlay{}, with(ambient, useWaypoint, "waypoint"), server(fixture.Ambient), waypointFor("workload"))
		if got := state.Servers[0].UseWaypoint; got == nil || got.Identity.ServiceAccount != "waypoint" || fmt.Sprint(got.Addresses) != "[10.0.0.9]" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestWay(t *testing.T) {
	state := build(access.Overlay{}, with(ambient, useWaypoint, "waypoint"), server(fixture.Ambient), waypoint)
	for _, test := range []struct {
		caller access.Caller
		want   string
	}{
		{web, "ztunnel cluster.local/ns/web/sa/web 8080"},
		{webAmbient, "waypoint shop/waypoint cluster.local/ns/web/sa/web 80, ztunnel cluster.local/ns/shop/sa/waypoint 8080"},
		{stranger, "ztunnel  8080"},
	} {
		var hops []string
		for _, hop := range state.Way(call(t, state, test.caller, "cart", 80, get)) {
			words := string(hop.Point)
			if hop.Waypoint != nil {
				words += " " + hop.Waypoint.String()
			}
			hops = append(hops, fmt.Sprint(words, " ", hop.Identity.Principal(), " ", hop.Port))
		}
		if got := strings.Join(hops, ", "); got != test.want {
			t.Errorf("from %s: got %q, want %q", test.caller.Mode, got, test.want)
		}
	}
}

// A builder that meets the same policies again decides as one that does not.
func TestBuilderRemembers(t *testing.T) {
	parts := []any{fixture.Namespace("shop", sidecars), services, server(fixture.Sidecar), policy(`{rules: [{` + fromWeb + `}]}`)}
	snapshot := fixture.Snapshot(append(parts, installation(""))...)
	aliased := fixture.Snapshot(append(parts, installation("trustDomain: new\n"))...)
	var builder access.Builder
	for range 2 {
		for _, of := range []*mesh.Snapshot{snapshot, aliased} {
			state, fresh := builder.Of(of, []string{"shop"}, access.Overlay{}), access.Of(of, []string{"shop"}, access.Overlay{})
			caller := web
			caller.Identity.TrustDomain = fresh.TrustDomain
			got, want := told(state.Decide(call(t, state, caller, "cart", 80, get))), told(fresh.Decide(call(t, fresh, caller, "cart", 80, get)))
			if got != want || got != isAllowed {
				t.Errorf("in %s: got %q, a new builder's %q", fresh.TrustDomain, got, want)
			}
		}
	}
}

// Whatever a snapshot holds, every refusal has a point and a reason.
func TestOddMeshes(t *testing.T) {
	objects := fixture.Objects(installation(""), fixture.Namespace("shop", with(ambient, "istio-injection", "enabled", useWaypoint, "waypoint")), services, waypoint,
		server(fixture.Sidecar), strict, policy(`{rules: [{`+fromWeb+`, to: [{operation: {paths: ["/a/{*}"]}}], when: [{key: "request.auth.claims[a][b]", values: [c]}]}]}`),
		policyIn("shop", "targets", `{`+toCart+`, action: CUSTOM, provider: {name: web}, rules: [{}]}`),
		"apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {namespace: shop, name: tokens}\nspec: {jwtRules: [{issuer: a}]}")
	decided := 0
	for seed := range uint64(300) {
		snapshot, err := mesh.NewSnapshot(fixture.Content(fixture.Mutate(seed, objects)))
		if err != nil {
			// What the API server would not have stored.
			continue
		}
		state := access.Of(snapshot, []string{"shop"}, access.Overlay{})
		for _, server := range state.Servers {
			for _, service := range append(server.Services(), nil) {
				for _, caller := range []access.Caller{web, webAmbient, ingress, stranger} {
					decision := state.Decide(access.Call{Caller: caller, Server: server, Service: service, Port: 80, Request: get})
					if decision.Outcome == access.Denied && (decision.Point == "" || decision.Reason == "") {
						t.Errorf("seed %d: %+v", seed, decision)
					}
					decided++
				}
			}
		}
	}
	if decided < 1000 {
		t.Errorf("only %d calls were decided", decided)
	}
}
