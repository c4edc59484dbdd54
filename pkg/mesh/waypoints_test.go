package mesh_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

func waypointFor(namespace, name, of string) string {
	return fmt.Sprintf("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: %s, namespace: %s, labels: {%s}}\n"+
		"spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}", name, namespace, of)
}

func TestWaypointOf(t *testing.T) {
	tests := []struct {
		name               string
		service, namespace labels
		want               string
	}{
		{"no label", nil, nil, ""},
		{"the namespace's", nil, labels{"istio.io/use-waypoint": "a"}, "shop/a"},
		{"its own", labels{"istio.io/use-waypoint": "a"}, nil, "shop/a"},
		{"its own first", labels{"istio.io/use-waypoint": "b"}, labels{"istio.io/use-waypoint": "a"}, "shop/b"},
		{"its own, which is not there, does not fall back", labels{"istio.io/use-waypoint": "gone"}, labels{"istio.io/use-waypoint": "a"}, ""},
		{"refused", labels{"istio.io/use-waypoint": "none"}, labels{"istio.io/use-waypoint": "a"}, ""},
		{"empty", labels{"istio.io/use-waypoint": ""}, labels{"istio.io/use-waypoint": "a"}, ""},
		{"the namespace of the label is the object's own", labels{"istio.io/use-waypoint": "a"}, labels{"istio.io/use-waypoint-namespace": "pay"}, "shop/a"},
		{"one elsewhere that does not admit", labels{"istio.io/use-waypoint": "p", "istio.io/use-waypoint-namespace": "pay"}, nil, ""},
		{"one for workloads", labels{"istio.io/use-waypoint": "w"}, nil, ""},
		{"one for all", labels{"istio.io/use-waypoint": "b"}, nil, "shop/b"},
		{"a waypoint has none", labels{"gateway.istio.io/managed": "istio.io-mesh-controller"}, labels{"istio.io/use-waypoint": "a"}, ""},
		{"an east-west gateway has none", labels{"gateway.istio.io/managed": "istio.io-eastwest-controller"}, labels{"istio.io/use-waypoint": "a"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			snapshot := fixture.Snapshot(fixture.Namespace("shop", test.namespace), waypointFor("shop", "a", ""), waypointFor("shop", "b", "istio.io/waypoint-for: all"),
				waypointFor("shop", "w", "istio.io/waypoint-for: workload"), waypointFor("pay", "p", ""))
			gateway, found := snapshot.WaypointOf(test.service, fixture.Find(snapshot, "shop"))
			got := ""
			if found {
				got = gateway.Namespace + "/" + gateway.Name
			}
			if got != test.want {
				t.Errorf("it is %q, not %q", got, test.want)
			}
		})
	}
}

func TestWaypointUsers(t *testing.T) {
	using := labels{"istio.io/use-waypoint": "a"}
	snapshot := fixture.Snapshot(fixture.Namespace("shop", using), fixture.Namespace("pay", using),
		fixture.Deployment("shop", "cart", fixture.TemplateLabel("istio.io/use-waypoint", "b"), fixture.TemplateLabel("istio.io/use-waypoint-namespace", "pay")),
		fixture.Pod("shop", "bare", fixture.Labelled("istio.io/use-waypoint", "c")), fixture.Pod("pay", "other", fixture.Labelled("istio.io/use-waypoint", "d")),
		"apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: shop, labels: {istio.io/use-waypoint: none, istio.io/use-waypoint-canary: new}}",
	)
	var got []string
	for _, user := range snapshot.WaypointUsers(fixture.Find(snapshot, "shop")) {
		got = append(got, fmt.Sprintf("%s %s -> %s/%s %q %t", user.Object, user.Field, user.Namespace, user.Name, user.Traffic, user.Canary))
	}
	want := []string{
		`Namespace shop metadata.labels[istio.io/use-waypoint] -> shop/a "" false`,
		`Service shop/s metadata.labels[istio.io/use-waypoint-canary] -> shop/new "service" true`,
		`Deployment shop/cart spec.template.metadata.labels[istio.io/use-waypoint] -> pay/b "workload" false`,
		`Pod shop/bare metadata.labels[istio.io/use-waypoint] -> shop/c "workload" false`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, used := range map[string]bool{"shop/a": true, "pay/a": true, "pay/b": false, "shop/b": false, "pay/d": true, "shop/none": false, "shop/new": true} {
		in, of, _ := strings.Cut(name, "/")
		if got := snapshot.WaypointUsed(in, of); got != used {
			t.Errorf("%s is used: %t", name, got)
		}
	}
}

func TestWaypointEntered(t *testing.T) {
	service := func(namespace string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: " + namespace + ", labels: {istio.io/use-waypoint: a, istio.io/use-waypoint-namespace: shop}}"
	}
	naming := fixture.Namespace("pay", labels{"istio.io/use-waypoint": "a", "istio.io/use-waypoint-namespace": "shop"})
	admitting := func(from string) string {
		return strings.Replace(waypointFor("shop", "a", ""), "protocol: HBONE}", "protocol: HBONE, allowedRoutes: {namespaces: {"+from+"}}}", 1)
	}
	const selecting = "from: Selector, selector: {matchLabels: {team: a}}"
	shop := fixture.Namespace("shop", nil)
	for _, test := range []struct {
		name    string
		gateway string
		users   []any
		want    bool
	}{
		{"nobody names it", waypointFor("shop", "a", ""), nil, false},
		{"a Service", waypointFor("shop", "a", ""), []any{service("shop")}, true},
		{"a Service, and it is for pods", waypointFor("shop", "a", "istio.io/waypoint-for: workload"), []any{service("shop")}, false},
		{"a pod, and it is for pods", waypointFor("shop", "a", "istio.io/waypoint-for: workload"), []any{fixture.Pod("shop", "bare", fixture.Labelled("istio.io/use-waypoint", "a"))}, true},
		{"a pod, and it is for Services", waypointFor("shop", "a", ""), []any{fixture.Pod("shop", "bare", fixture.Labelled("istio.io/use-waypoint", "a"))}, false},
		{"a Service, and it is for nothing", waypointFor("shop", "a", "istio.io/waypoint-for: none"), []any{service("shop")}, false},
		{"a Service elsewhere that it does not admit", waypointFor("shop", "a", ""), []any{service("pay"), fixture.Namespace("pay", nil)}, false},
		{"a Service elsewhere that it admits", admitting("from: All"), []any{service("pay"), fixture.Namespace("pay", nil)}, true},
		{"a namespace that it does not admit", waypointFor("shop", "a", ""), []any{naming}, false},
		{"a namespace that it does not select", admitting(selecting), []any{naming}, false},
		{"a namespace that it selects", admitting(selecting), []any{service("pay"), fixture.Namespace("pay", labels{"team": "a"})}, true},
		{"one that it passes over, and one that it does not", waypointFor("shop", "a", ""), []any{naming, service("shop")}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			snapshot := fixture.Snapshot(append(test.users, shop, test.gateway)...)
			gateway, _ := snapshot.Gateway("shop", "a")
			if got := snapshot.WaypointEntered(gateway); got != test.want {
				t.Errorf("it is entered: %t", got)
			}
		})
	}
}

func TestPodsNameWaypoint(t *testing.T) {
	naming := func(name, waypoint string) any {
		return fixture.Deployment("shop", name, fixture.TemplateLabel("team", "a"), fixture.TemplateLabel("istio.io/use-waypoint", waypoint))
	}
	tests := []struct {
		name    string
		service string
		objects []any
		want    bool
	}{
		{"all do", "{clusterIP: None, selector: {team: a}}", []any{naming("cart", "w"), naming("web", "w"), fixture.Deployment("shop", "other")}, true},
		{"one does not", "{clusterIP: None, selector: {team: a}}", []any{naming("cart", "w"), fixture.Deployment("shop", "web", fixture.TemplateLabel("team", "a"))}, false},
		{"one names another that is for Services", "{clusterIP: None, selector: {team: a}}", []any{naming("cart", "w"), naming("web", "s")}, false},
		{"a bare pod does not", "{clusterIP: None, selector: {team: a}}", []any{naming("cart", "w"), fixture.Pod("shop", "bare", fixture.Labelled("team", "a"))}, false},
		{"it has an address", "{clusterIP: 10.0.0.1, selector: {team: a}}", []any{naming("cart", "w")}, false},
		{"it has no selector", "{clusterIP: None}", []any{naming("cart", "w")}, false},
		{"it has no pods", "{clusterIP: None, selector: {team: b}}", []any{naming("cart", "w")}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			snapshot := fixture.Snapshot(append(test.objects, fixture.Namespace("shop", nil), waypointFor("shop", "w", "istio.io/waypoint-for: workload"),
				waypointFor("shop", "s", ""), "apiVersion: v1\nkind: Service\nmetadata: {name: pods, namespace: shop}\nspec: "+test.service)...)
			if got := snapshot.PodsNameWaypoint(mesh.ServiceReference("shop", "pods"), fixture.Find(snapshot, "shop")); got != test.want {
				t.Errorf("it says %t", got)
			}
		})
	}
}
