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
	named := fixture.Namespace("shop", labels{"istio.io/use-waypoint": "a"})
	beside := fixture.Namespace("shop", labels{"istio.io/use-waypoint": "b", "istio.io/use-waypoint-canary": "a"})
	plain := func(spec string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: p, namespace: shop}\nspec: " + spec
	}
	own := func(name string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: p, namespace: shop, labels: {" + name + "}}"
	}
	entry := func(kind string) string {
		return "apiVersion: networking.istio.io/v1\nkind: " + kind + "\nmetadata: {name: e, namespace: shop}"
	}
	for _, test := range []struct {
		name    string
		gateway string
		users   []any
		want    bool
	}{
		{"nobody names it", waypointFor("shop", "a", ""), nil, false},
		{"a Service", waypointFor("shop", "a", ""), []any{service("shop")}, true},
		{"a headless Service", waypointFor("shop", "a", ""), []any{service("shop") + "\nspec: {clusterIP: None}"}, false},
		{"an external name", waypointFor("shop", "a", ""), []any{service("shop") + "\nspec: {type: ExternalName, externalName: a.example.com}"}, false},
		{"a Service that istiod runs for a waypoint", waypointFor("shop", "a", ""), []any{own("istio.io/use-waypoint: a, gateway.istio.io/managed: istio.io-mesh-controller")}, false},
		{"a namespace with nothing in it", waypointFor("shop", "a", "istio.io/waypoint-for: all"), []any{named}, false},
		{"a namespace, and a headless Service inherits", waypointFor("shop", "a", ""), []any{named, plain("{clusterIP: None}")}, false},
		{"a namespace, and an external name inherits", waypointFor("shop", "a", ""), []any{named, plain("{type: ExternalName, externalName: a.example.com}")}, false},
		{"a namespace, and a Service inherits", waypointFor("shop", "a", ""), []any{named, plain("{}")}, true},
		{"a namespace, and its only Service refuses", waypointFor("shop", "a", ""), []any{named, own("istio.io/use-waypoint: none")}, false},
		{"a namespace, and a Service inherits, and it is for pods", waypointFor("shop", "a", "istio.io/waypoint-for: workload"), []any{named, plain("{}")}, false},
		{"a namespace, and a ServiceEntry inherits", waypointFor("shop", "a", ""), []any{named, entry("ServiceEntry")}, true},
		{"a namespace, and a WorkloadEntry inherits", waypointFor("shop", "a", "istio.io/waypoint-for: workload"), []any{named, entry("WorkloadEntry")}, true},
		{"a namespace, and a WorkloadEntry inherits, and it is for Services", waypointFor("shop", "a", ""), []any{named, entry("WorkloadEntry")}, false},
		{"a namespace, and a pod inherits", waypointFor("shop", "a", "istio.io/waypoint-for: all"), []any{named, fixture.Pod("shop", "bare")}, true},
		{"a namespace, and only the waypoint's own pod inherits", waypointFor("shop", "a", "istio.io/waypoint-for: all"), []any{named, fixture.Pod("shop", "a", fixture.Labelled("gateway.istio.io/managed", "istio.io-mesh-controller"))}, false},
		{"a namespace, and its only pod refuses", waypointFor("shop", "a", "istio.io/waypoint-for: all"), []any{named, fixture.Pod("shop", "bare", fixture.Labelled("istio.io/use-waypoint", "none"))}, false},
		{"a namespace, and a template without pods inherits", waypointFor("shop", "a", "istio.io/waypoint-for: all"), []any{named, fixture.Deployment("shop", "idle", fixture.Replicas(0))}, true},
		{"a canary of a namespace, and a Service inherits", waypointFor("shop", "a", ""), []any{beside, plain("{}")}, true},
		{"a canary of a namespace, and a Service has its own", waypointFor("shop", "a", ""), []any{beside, own("istio.io/use-waypoint-canary: c")}, false},
		{"a canary of a namespace, and a Service names its waypoint itself", waypointFor("shop", "a", ""), []any{beside, own("istio.io/use-waypoint: b")}, false},
		{"a canary of a namespace, which pods do not inherit", waypointFor("shop", "a", "istio.io/waypoint-for: all"), []any{beside, fixture.Pod("shop", "bare")}, false},
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
			snapshot := fixture.Snapshot(append([]any{shop, test.gateway}, test.users...)...)
			gateway, _ := snapshot.Gateway("shop", "a")
			if got, unread := snapshot.WaypointEntered(gateway); got != test.want || len(unread) > 0 {
				t.Errorf("it is entered: %t, not read: %v", got, unread)
			}
		})
	}
}

// What was not read of a namespace may well inherit its label.
func TestWaypointEnteredWhereNotAllWasRead(t *testing.T) {
	naming := fixture.Namespace("pay", labels{"istio.io/use-waypoint": "a", "istio.io/use-waypoint-canary": "a", "istio.io/use-waypoint-namespace": "shop", "istio.io/use-waypoint-canary-namespace": "shop"})
	for _, test := range []struct {
		name   string
		use    string
		more   []any
		edit   func(*mesh.Content)
		want   bool
		unread string
	}{
		{name: "templates elsewhere, and it is for all", use: "istio.io/waypoint-for: all", edit: func(content *mesh.Content) { content.Scope = mesh.Scope{Namespace: "shop"} }, unread: "pay"},
		{name: "templates elsewhere, and it is for Services", edit: func(content *mesh.Content) { content.Scope = mesh.Scope{Namespace: "shop"} }},
		{name: "templates elsewhere, and a pod is there", use: "istio.io/waypoint-for: all", more: []any{fixture.Pod("pay", "x")}, edit: func(content *mesh.Content) { content.Scope = mesh.Scope{Namespace: "shop"} }, want: true},
		{name: "Services", edit: func(content *mesh.Content) {
			content.Coverage[mesh.KindService] = mesh.Coverage{State: mesh.CoverageForbidden}
		}, unread: "pay"},
		{name: "WorkloadEntries, and it is for Services", edit: func(content *mesh.Content) {
			content.Coverage[mesh.KindWorkloadEntry] = mesh.Coverage{State: mesh.CoverageForbidden}
		}},
		{name: "pods of the mesh, and it is for workloads", use: "istio.io/waypoint-for: workload", edit: func(content *mesh.Content) {
			content.Coverage[mesh.PodsMeshWide] = mesh.Coverage{State: mesh.CoverageForbidden}
		}, unread: "pay"},
		{name: "all", edit: func(*mesh.Content) {}},
	} {
		t.Run(test.name, func(t *testing.T) {
			way := strings.Replace(waypointFor("shop", "a", test.use), "protocol: HBONE}", "protocol: HBONE, allowedRoutes: {namespaces: {from: All}}}", 1)
			content := fixture.Content(append([]any{fixture.Namespace("shop", nil), way, naming}, test.more...)...)
			test.edit(&content)
			snapshot, err := mesh.NewSnapshot(content)
			if err != nil {
				t.Fatal(err)
			}
			gateway, _ := snapshot.Gateway("shop", "a")
			if entered, unread := snapshot.WaypointEntered(gateway); entered != test.want || strings.Join(unread, ",") != test.unread {
				t.Errorf("it is entered: %t, not read: %v", entered, unread)
			}
		})
	}
}

func TestHeadless(t *testing.T) {
	const meta = "apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: shop}\nspec: %s"
	snapshot := fixture.Snapshot(
		fmt.Sprintf(meta, "none", "{clusterIP: None}"), fmt.Sprintf(meta, "plain", "{clusterIP: 10.0.0.1}"),
		fmt.Sprintf(meta, "alias", "{type: ExternalName, externalName: a.example.com, clusterIP: None}"),
	)
	for name, want := range map[string]bool{"none": true, "plain": false, "alias": false, "gone": false} {
		if got := snapshot.IsHeadless(mesh.ServiceReference("shop", name)); got != want {
			t.Errorf("%s is headless: %t", name, got)
		}
	}
	if snapshot.IsHeadless(mesh.ServiceEntryReference("shop", "none")) {
		t.Error("a ServiceEntry of a headless Service's name is taken for it")
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
