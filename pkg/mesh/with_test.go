package mesh_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"google.golang.org/protobuf/testing/protocmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const withBefore = `
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop, uid: s1}
spec: {selector: {app: cart}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, uid: s2}
spec: {selector: {app: web}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: old, namespace: shop, uid: p1}
spec: {action: DENY}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: shop, uid: r1}
spec: {jwtRules: [{issuer: a}]}
`

const withChange = `
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop, uid: s1, labels: {istio.io/use-waypoint: waypoint}}
spec: {selector: {app: cart}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: new, namespace: shop, uid: p2}
spec: {action: ALLOW}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: shop, uid: r1}
spec: {jwtRules: [{issuer: b}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop, uid: g1}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, uid: n1, labels: {istio.io/dataplane-mode: ambient}}
`

// seenIn is what can be asked of a snapshot about what a plan changes.
func seenIn(snapshot *mesh.Snapshot) []any {
	return []any{
		snapshot.AllServices(), snapshot.AuthorizationPolicies(), snapshot.Extensions(), snapshot.AllGateways(),
		snapshot.Namespaces(), snapshot.Workloads("shop"),
	}
}

func TestWithIsAsIfReadAnew(t *testing.T) {
	deployment, web := fixture.Deployment("shop", "cart"), fixture.Deployment("shop", "web")
	changed := fixture.Deployment("shop", "cart", fixture.TemplateLabel("sidecar.istio.io/inject", "false"))
	base := []any{deployment, fixture.PodsOf(deployment), web, fixture.PodsOf(web)}
	before := fixture.Snapshot(append(base, fixture.Namespace("shop", nil), fixture.YAML(withBefore))...)
	untouched := fixture.Snapshot(append(base, fixture.Namespace("shop", nil), fixture.YAML(withBefore))...)

	removed := v1alpha1.ObjectReference{APIVersion: "security.istio.io/v1", Kind: mesh.KindAuthorizationPolicy, Namespace: "shop", Name: "old"}
	got, err := before.With(fixture.Objects(fixture.YAML(withChange), changed), []v1alpha1.ObjectReference{removed})
	if err != nil {
		t.Fatal(err)
	}
	after := fixture.YAML(withBefore)
	want := fixture.Snapshot(changed, fixture.PodsOf(deployment), web, fixture.PodsOf(web), after[1:2], fixture.YAML(withChange))
	if difference := cmp.Diff(seenIn(want), seenIn(got), protocmp.Transform()); difference != "" {
		t.Errorf("the change is not seen as if it had been read (-want +got):\n%s", difference)
	}
	if difference := cmp.Diff(seenIn(untouched), seenIn(before), protocmp.Transform()); difference != "" {
		t.Errorf("the snapshot that was changed from is another (-before +after):\n%s", difference)
	}
	workload, _ := got.Workload(v1alpha1.ObjectReference{Kind: mesh.KindDeployment, Namespace: "shop", Name: "cart"})
	if len(got.PodsOf(workload)) != len(before.PodsOf(workload)) {
		t.Error("the changed workload lost its pods")
	}
	if object, found := got.Object(removed); found {
		t.Errorf("the deleted policy is still there: %v", object)
	}
	service := v1alpha1.ObjectReference{APIVersion: "v1", Kind: mesh.KindService, Namespace: "shop", Name: "cart"}
	if object, _ := got.Object(service); object["metadata"].(map[string]any)["labels"] == nil {
		t.Errorf("the Service's object is the former one: %v", object)
	}
}

func TestWithRefusesKindsThatNoPlanChanges(t *testing.T) {
	limits := &corev1.LimitRange{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "LimitRange"}, ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "limits"}}
	if _, err := fixture.Snapshot().With(fixture.Objects(limits), nil); err == nil {
		t.Error("a LimitRange was changed without a word")
	}
}
