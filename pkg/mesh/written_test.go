package mesh_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What a migration writes is there as a whole, in whichever version it is asked
// for; what it never writes is not.
func TestObjectsThatAMigrationWrites(t *testing.T) {
	snapshot := fixture.Snapshot(fixture.YAML(`
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: cart, namespace: shop}
spec: {action: DENY}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: cart, namespace: shop}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart, namespace: shop}
`), fixture.Loose("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: waypoint, namespace: shop}"))
	for _, test := range []struct {
		reference v1alpha1.ObjectReference
		want      bool
	}{
		{v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: "shop", Name: "cart"}, true},
		{v1alpha1.ObjectReference{APIVersion: "security.istio.io/v1beta1", Kind: "AuthorizationPolicy", Namespace: "shop", Name: "cart"}, true},
		{v1alpha1.ObjectReference{APIVersion: "gateway.networking.k8s.io/v1", Kind: "Gateway", Namespace: "shop", Name: "waypoint"}, true},
		{v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: "other", Name: "cart"}, false},
		{v1alpha1.ObjectReference{APIVersion: "networking.istio.io/v1", Kind: "Sidecar", Namespace: "shop", Name: "cart"}, true},
		{v1alpha1.ObjectReference{APIVersion: "networking.istio.io/v1", Kind: "VirtualService", Namespace: "shop", Name: "cart"}, true},
		{v1alpha1.ObjectReference{APIVersion: "networking.istio.io/v1", Kind: "WorkloadEntry", Namespace: "shop", Name: "cart"}, false},
	} {
		object, found := snapshot.Object(test.reference)
		if found != test.want {
			t.Errorf("%s: found is %t", test.reference, found)
			continue
		}
		metadata, _ := object["metadata"].(map[string]any)
		if found && metadata["name"] != test.reference.Name {
			t.Errorf("%s: it is %v", test.reference, object)
		}
		if _, set := metadata["uid"]; set && test.reference.Kind == "Gateway" {
			t.Errorf("%s: it has a UID, and was never in a cluster", test.reference)
		}
	}
}

func TestWaypointUsedBy(t *testing.T) {
	using := labels{"istio.io/use-waypoint": "a", "istio.io/use-waypoint-namespace": "shop"}
	terminating := func(pod *corev1.Pod) {
		now := metav1.NewTime(fixture.Created)
		pod.DeletionTimestamp = &now
	}
	snapshot := fixture.Snapshot(
		fixture.Namespace("shop", nil), fixture.Namespace("pay", using), fixture.Namespace("own", labels{"istio.io/use-waypoint": "a"}),
		"apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: shop, labels: {istio.io/use-waypoint-canary: a}}",
		"apiVersion: v1\nkind: Service\nmetadata: {name: t, namespace: shop, labels: {istio.io/use-waypoint: b}}",
		"apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: shop, labels: {istio.io/use-waypoint: a}}\nspec: {hosts: [e.example]}",
		"apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: w, namespace: shop, labels: {istio.io/use-waypoint: a}}\nspec: {address: 10.0.0.1}",
		fixture.Deployment("shop", "cart", fixture.TemplateLabel("istio.io/use-waypoint", "a")),
		fixture.Pod("shop", "bare", fixture.Labelled("istio.io/use-waypoint", "a")),
		fixture.Pod("shop", "leaving", fixture.Labelled("istio.io/use-waypoint", "a"), terminating),
	)
	var got []string
	for _, user := range snapshot.WaypointUsedBy("shop", "a") {
		got = append(got, user.String())
	}
	want := []string{"Namespace pay", "Service shop/s", "ServiceEntry shop/e", "WorkloadEntry shop/w", "Pod shop/bare", "Deployment shop/cart"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !snapshot.WaypointUsed("shop", "b") || snapshot.WaypointUsed("shop", "c") {
		t.Error("which waypoints are used is wrong")
	}
}

func TestNamedWaypoint(t *testing.T) {
	for _, test := range []struct {
		name          string
		own, inherits labels
		want          string
	}{
		{"no label", nil, nil, ""},
		{"its own", labels{"istio.io/use-waypoint": "a"}, labels{"istio.io/use-waypoint": "b"}, "shop/a"},
		{"its own, elsewhere", labels{"istio.io/use-waypoint": "a", "istio.io/use-waypoint-namespace": "pay"}, nil, "pay/a"},
		{"the namespace's", nil, labels{"istio.io/use-waypoint": "b"}, "shop/b"},
		{"refused", labels{"istio.io/use-waypoint": "none"}, labels{"istio.io/use-waypoint": "b"}, ""},
		{"empty", labels{"istio.io/use-waypoint": ""}, labels{"istio.io/use-waypoint": "b"}, ""},
	} {
		in, name, named := mesh.NamedWaypoint(test.own, mesh.Namespace{Name: "shop", Labels: test.inherits})
		got := ""
		if named {
			got = in + "/" + name
		}
		if got != test.want {
			t.Errorf("%s: it is %q", test.name, got)
		}
	}
}

func TestTargetsIn(t *testing.T) {
	policy := func(spec string) mesh.Object {
		return fixture.Loose("metadata: {name: p, namespace: shop}\nspec: {" + spec + "}")[0].Object
	}
	cart := mesh.Target{Kind: "Service", Namespace: "shop", Name: "cart"}
	single := cart
	single.Single = true
	for _, test := range []struct {
		name, spec string
		want       []mesh.Target
	}{
		{"none", "action: DENY", nil},
		{"several", "targetRefs: [{kind: Service, name: cart}, {kind: Service, name: db, namespace: pay}]", []mesh.Target{cart, {Kind: "Service", Namespace: "pay", Name: "db"}}},
		{"the older field", "targetRef: {kind: Service, name: cart}", []mesh.Target{single}},
		{"both", "targetRef: {kind: Service, name: db}, targetRefs: [{kind: Service, name: cart}]", []mesh.Target{cart}},
		{"nothing that can be read", "targetRefs: 7", nil},
	} {
		if diff := cmp.Diff(test.want, mesh.TargetsIn(policy(test.spec))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestIstioReads(t *testing.T) {
	for name, want := range map[string]bool{
		"istio.io/rev": true, "sidecar.istio.io/inject": true, "team": false, "notistio.io/rev": false, "example.com/istio.io": false,
	} {
		if mesh.IstioReads(name) != want {
			t.Errorf("%s: not %t", name, want)
		}
	}
}
