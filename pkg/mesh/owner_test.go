package mesh_test

import (
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestOwnerOf(t *testing.T) {
	cart := fixture.Deployment("shop", "cart")
	owned := func(name string, owner *appsv1.ReplicaSet) *appsv1.ReplicaSet {
		return fixture.ReplicaSet("shop", name, nil, func(set *appsv1.ReplicaSet) {
			set.OwnerReferences = []metav1.OwnerReference{fixture.Owner("ReplicaSet", "apps/v1", &owner.ObjectMeta)}
		})
	}
	// Files can say that two objects control each other.
	left := fixture.ReplicaSet("shop", "left", nil)
	right := owned("right", left)
	left = owned("left", right)
	pod := func(name string, owner *appsv1.ReplicaSet) *corev1.Pod {
		return fixture.Pod("shop", name, fixture.Of("ReplicaSet", "apps/v1", &owner.ObjectMeta, fixture.Template(name)))
	}
	gone := fixture.ReplicaSet("shop", "gone", nil)
	snapshot := fixture.Snapshot(cart, fixture.PodsOf(cart), left, right, pod("circle", left), pod("orphan", gone), fixture.Pod("shop", "bare"))
	want := map[string]string{"cart-5d8f7-0": "Deployment cart", "orphan": "ReplicaSet gone", "bare": ""}
	for _, pod := range snapshot.Pods("shop") {
		owner, found := snapshot.OwnerOf(pod)
		if pod.Name == "circle" {
			if !found || owner.Kind != "ReplicaSet" {
				t.Errorf("a circle ends at %+v", owner)
			}
			continue
		}
		if got := owner.Kind + " " + owner.Name; found != (want[pod.Name] != "") || found && got != want[pod.Name] {
			t.Errorf("%s is run by %q, not %q", pod.Name, got, want[pod.Name])
		}
	}
}

func TestManagers(t *testing.T) {
	deployment := fixture.Deployment("shop", "cart", func(d *appsv1.Deployment) {
		status := fixture.ManagedBy("kube-controller-manager", metav1.ManagedFieldsOperationUpdate, `{"f:status":{}}`)
		status.Subresource = "status"
		d.ManagedFields = []metav1.ManagedFieldsEntry{
			fixture.ManagedBy("acme", metav1.ManagedFieldsOperationApply, `{"f:spec":{"f:template":{"f:metadata":{"f:labels":{".":{},"f:istio.io/rev":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"main\"}":{"f:image":{}}}}}}}`),
			status, {Manager: "empty"},
		}
	})
	managers, err := mesh.Managers(fixture.Object(deployment).Object)
	if err != nil || len(managers) != 1 || managers[0].Name != "acme" || !managers[0].Applies {
		t.Fatalf("the managers are %+v (%v)", managers, err)
	}
	acme := managers[0]
	if !acme.Owns("spec", "template", "metadata", "labels", "istio.io/rev") || acme.Owns("spec", "template", "metadata", "labels", "app") || acme.Owns("spec", "replicas") {
		t.Error("it owns other fields")
	}
	if !acme.OwnsWithin("spec", "template", "spec") || !acme.OwnsWithin("spec") || acme.OwnsWithin("metadata", "labels") || acme.OwnsWithin("spec", "template", "metadata", "annotations") {
		t.Error("it owns other parts")
	}
	if managers, err := mesh.Managers(nil); err != nil || len(managers) != 0 {
		t.Errorf("nothing is managed by %+v (%v)", managers, err)
	}
	deployment.ManagedFields = []metav1.ManagedFieldsEntry{fixture.ManagedBy("acme", metav1.ManagedFieldsOperationApply, `["f:spec"]`)}
	if _, err := mesh.Managers(fixture.Object(deployment).Object); err == nil {
		t.Error("what cannot be read is taken for something")
	}
}
