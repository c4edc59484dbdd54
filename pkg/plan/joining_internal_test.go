package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const headlessYAML = `
apiVersion: v1
kind: Service
metadata: {name: cart-pods, namespace: shop}
spec: {clusterIP: None, selector: {app: cart}, ports: [{name: http, port: 8080}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-delete, namespace: shop}
spec: {selector: {matchLabels: {app: cart}}, action: DENY, rules: [{to: [{operation: {methods: [DELETE]}}]}]}
`

const useWaypointLabel = "istio.io/use-waypoint"

// headlessShop is a namespace with a headless Service whose pods need a waypoint.
func headlessShop(namespace map[string]string, cart *appsv1.Deployment, edits ...func(*corev1.Pod)) []unstructured.Unstructured {
	return fixture.Objects(fixture.Installation(), fixture.Namespace("shop", namespace), cart, fixture.PodsOf(cart, edits...), fixture.YAML(headlessYAML))
}

func enrolledWith(t *testing.T, objects []unstructured.Unstructured) v1alpha1.MigrationPlan {
	t.Helper()
	snapshot := fixture.Snapshot(objects)
	planned, err := Enroll(snapshot, fixture.Find(snapshot, "shop"), Options{Translation: translate.Options{MixedCallers: translate.MixedCallersDeny}})
	if err != nil {
		t.Fatal(err)
	}
	return planned
}

// madeAnew are objects with a Deployment's pods made anew of its template.
func madeAnew(t *testing.T, objects []unstructured.Unstructured, edits ...func(*corev1.Pod)) []unstructured.Unstructured {
	t.Helper()
	after := slices.DeleteFunc(slices.Clone(objects), func(object unstructured.Unstructured) bool { return object.GetKind() == mesh.KindPod })
	for _, object := range objects {
		if object.GetKind() != mesh.KindDeployment || object.GetNamespace() != "shop" {
			continue
		}
		labels, _, err := unstructured.NestedStringMap(object.Object, "spec", "template", "metadata", "labels")
		if err != nil {
			t.Fatal(err)
		}
		edits = append(edits, func(pod *corev1.Pod) {
			for name, value := range labels {
				pod.Labels[name] = value
			}
		})
		after = append(after, fixture.Objects(fixture.PodsOf(fixture.Deployment("shop", object.GetName()), edits...)[1])...)
	}
	return after
}

func TestRollbackTakesPodsOffTheirWaypoint(t *testing.T) {
	before := headlessShop(map[string]string{"istio-injection": "enabled"}, fixture.Deployment("shop", "cart"), fixture.Sidecar)
	planned := enrolledWith(t, before)
	after := madeAnew(t, carriedOut(t, before, planned.Steps), fixture.Ambient)
	snapshot := fixture.Snapshot(after)
	pods := snapshot.Pods("shop")
	if len(pods) != 1 || !strings.HasPrefix(pods[0].Labels[useWaypointLabel], "waypoint-cart-pods-") {
		t.Fatalf("the pods are %v", pods)
	}
	back := undone(t, after, recorded(t, planned))
	if len(back.Kept) > 0 {
		t.Errorf("it leaves alone %v", back.Kept)
	}
	restored := carriedOut(t, after, back.Steps)
	if diff := cmp.Diff(withoutPods(before), withoutPods(restored)); diff != "" {
		t.Errorf("(-was +is):\n%s", diff)
	}
	templates := slices.IndexFunc(back.Steps, func(step v1alpha1.Step) bool { return step.Phase == v1alpha1.PhaseRestoreWorkloads })
	waypoints := slices.IndexFunc(back.Steps, func(step v1alpha1.Step) bool { return step.Phase == v1alpha1.PhaseRemoveWaypoints })
	if templates < 0 || waypoints < templates {
		t.Errorf("the waypoint goes in step %d, what names it in %d", waypoints, templates)
	}
}

func TestRollbackKeepsAWaypointThatOtherPodsName(t *testing.T) {
	before := headlessShop(map[string]string{"istio-injection": "enabled"}, fixture.Deployment("shop", "cart"), fixture.Sidecar)
	planned := enrolledWith(t, before)
	after := madeAnew(t, carriedOut(t, before, planned.Steps), fixture.Ambient)
	snapshot := fixture.Snapshot(after)
	name := snapshot.Pods("shop")[0].Labels[useWaypointLabel]
	after = append(after, fixture.Objects(fixture.Pod("shop", "other", fixture.Ambient, fixture.Labelled(useWaypointLabel, name)))...)
	back := undone(t, after, recorded(t, planned))
	var kept []string
	for _, one := range back.Kept {
		kept = append(kept, one.Object.Kind+": "+one.Reason)
	}
	want := []string{
		"Gateway: it is used by Pod shop/other, which the rollback does not change",
		"AuthorizationPolicy: it is for Gateway shop/" + name + ", which is kept",
	}
	if diff := cmp.Diff(want, kept); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A workload that was moved without a waypoint is restarted once more, and refuses
// nothing in the meantime that it would let in afterwards.
func TestAmbientPodsComeToNameTheirWaypoint(t *testing.T) {
	moved := fixture.Deployment("shop", "cart", fixture.TemplateLabel("sidecar.istio.io/inject", "false"))
	before := headlessShop(map[string]string{"istio.io/dataplane-mode": "ambient"}, moved, fixture.Ambient)
	planned := enrolledWith(t, before)
	var phases []v1alpha1.Phase
	for _, step := range planned.Steps {
		phases = append(phases, step.Phase)
	}
	want := []v1alpha1.Phase{
		v1alpha1.PhaseDeployWaypoints, v1alpha1.PhaseMigratePolicies, v1alpha1.PhaseRestartWorkloads, v1alpha1.PhaseSettlePolicies, v1alpha1.PhaseVerify,
	}
	if diff := cmp.Diff(want, phases); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	after := madeAnew(t, carriedOut(t, before, planned.Steps), fixture.Ambient)
	for _, step := range enrolledWith(t, after).Steps {
		if len(step.Changes) > 0 {
			t.Errorf("step %s is left to be done", step.ID)
		}
	}
	back := undone(t, after, recorded(t, planned))
	if diff := cmp.Diff(withoutPods(before), withoutPods(carriedOut(t, after, back.Steps))); diff != "" || len(back.Kept) > 0 {
		t.Errorf("kept %v (-was +is):\n%s", back.Kept, diff)
	}
}

func withoutPods(objects []unstructured.Unstructured) map[string]any {
	by := map[string]any{}
	for _, object := range objects {
		if object.GetKind() != mesh.KindPod {
			by[referenceTo(object.Object).String()] = Bare(object.Object)
		}
	}
	return by
}

// A waypoint that a run has made for the namespace in another one, which is in ambient
// mode itself, goes with the rollback, and what is attached to it.
func TestRollbackTakesItsWaypointOutOfAnAmbientNamespace(t *testing.T) {
	cart := fixture.Deployment("shop", "cart")
	before := append(headlessShop(map[string]string{"istio-injection": "enabled"}, cart, fixture.Sidecar),
		fixture.Objects(fixture.Namespace("edge", map[string]string{"istio.io/dataplane-mode": "ambient"}))...)
	snapshot := fixture.Snapshot(before)
	planned, err := Enroll(snapshot, fixture.Find(snapshot, "shop"), Options{
		Translation: translate.Options{MixedCallers: translate.MixedCallersDeny, WaypointNamespace: "edge"},
	})
	if err != nil {
		t.Fatal(err)
	}
	after := madeAnew(t, carriedOut(t, before, planned.Steps), fixture.Ambient)
	back := undone(t, after, recorded(t, planned))
	if len(back.Kept) > 0 {
		t.Errorf("it leaves alone %v", back.Kept)
	}
	if diff := cmp.Diff(withoutPods(before), withoutPods(carriedOut(t, after, back.Steps))); diff != "" {
		t.Errorf("(-was +is):\n%s", diff)
	}
}
