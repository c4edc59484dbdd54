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
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const protectedYAML = `
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.0.0.1, selector: {app: cart}, ports: [{name: http, port: 80}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: shop}
spec: {selector: {matchLabels: {app: cart}}, rules: [{to: [{operation: {methods: [GET]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: far, namespace: pay}
spec: {rules: [{}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: all, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
`

// protectedShop is a namespace with a policy about requests.
func protectedShop() []unstructured.Unstructured {
	cart := fixture.Deployment("shop", "cart", fixture.Probed)
	return fixture.Objects(fixture.Installation(), fixture.Namespace("shop", map[string]string{"istio-injection": "enabled"}),
		cart, fixture.PodsOf(cart, fixture.Sidecar), fixture.YAML(protectedYAML[1:]))
}

func enrolled(t *testing.T, objects []unstructured.Unstructured) v1alpha1.MigrationPlan {
	t.Helper()
	snapshot := fixture.Snapshot(objects)
	planned, err := Enroll(snapshot, fixture.Find(snapshot, "shop"), Options{Translation: translate.Options{MixedCallers: translate.MixedCallersDeny}})
	if err != nil {
		t.Fatal(err)
	}
	return planned
}

// afterPhase are the objects once the steps up to a phase are done, with a waypoint
// that is ready.
func afterPhase(t *testing.T, objects []unstructured.Unstructured, planned v1alpha1.MigrationPlan, last v1alpha1.Phase) []unstructured.Unstructured {
	t.Helper()
	steps := slices.DeleteFunc(slices.Clone(planned.Steps), func(step v1alpha1.Step) bool { return !(Span{Until: last}).Holds(step.Phase) })
	after := carriedOut(t, objects, steps)
	for i := range after {
		if after[i].GetKind() == mesh.KindGateway {
			after[i].Object["status"] = map[string]any{
				"addresses":  []any{map[string]any{"value": "waypoint.shop.svc.cluster.local"}},
				"conditions": []any{map[string]any{"type": "Programmed", "status": "True", "reason": "Programmed", "observedGeneration": int64(1)}},
			}
		}
	}
	return append(after, fixture.YAML(`apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: waypoint-1, namespace: shop, labels: {gateway.networking.k8s.io/gateway-name: waypoint}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.9], conditions: {ready: true}}]`)...)
}

func lacking(objects []unstructured.Unstructured, gone func(unstructured.Unstructured) bool) []unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(objects), gone)
}

func referencesOf(handover *v1alpha1.Handover) []string {
	var names []string
	for _, object := range handover.Waypoints {
		names = append(names, "waypoint "+object.Name)
	}
	for _, service := range handover.Services {
		names = append(names, "service "+service.Object.Name+" behind "+service.Waypoint)
	}
	for _, object := range handover.Objects {
		name, _, _ := strings.Cut(object.Name, "-")
		names = append(names, "object "+object.Kind+" "+name)
	}
	for _, policy := range handover.Policies {
		names = append(names, "policy "+policy.Object.String())
	}
	slices.Sort(names)
	return names
}

// Whether the steps hand something over or find it handed over: pods come to rely on
// the same.
func TestStepsRequireTheHandover(t *testing.T) {
	first := enrolled(t, protectedShop())
	if first.Blocked {
		t.Fatalf("it is blocked: %v", first.Overview.Blockers)
	}
	again := enrolled(t, afterPhase(t, protectedShop(), first, v1alpha1.PhaseActivateWaypoints))
	want := []string{
		"object AuthorizationPolicy from", "object AuthorizationPolicy readers", "object Gateway waypoint",
		"policy AuthorizationPolicy shop/readers", "policy PeerAuthentication istio-system/all",
		"service cart behind shop/waypoint", "waypoint waypoint",
	}
	for name, planned := range map[string]v1alpha1.MigrationPlan{"first": first, "again": again} {
		if diff := cmp.Diff(want, referencesOf(planned.Handover)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		for _, step := range planned.Steps {
			relies := (Span{From: v1alpha1.PhaseEnableAmbient}).Holds(step.Phase)
			if relies != (step.Requires == v1alpha1.GateHandoverHolds) {
				t.Errorf("%s: step %s requires %q", name, step.ID, step.Requires)
			}
		}
	}
	if slices.ContainsFunc(again.Steps, func(step v1alpha1.Step) bool { return !(Span{From: v1alpha1.PhaseEnableAmbient}).Holds(step.Phase) }) {
		t.Errorf("it is handed over twice: %v", outline(again))
	}
}

// The waypoint of a headless Service's pods is all that reads calls to them.
func TestStepsRequireTheWaypointOfPods(t *testing.T) {
	cart := fixture.Deployment("shop", "cart", fixture.Probed)
	planned := enrolledWith(t, headlessShop(map[string]string{"istio-injection": "enabled"}, cart, fixture.Sidecar))
	waypoints := planned.Handover.Waypoints
	if len(waypoints) != 1 || !strings.HasPrefix(waypoints[0].Name, "waypoint-cart-pods-") || !slices.Contains(planned.Handover.Objects, waypoints[0]) {
		t.Errorf("it relies on %v", referencesOf(planned.Handover))
	}
}

// A waypoint that is not ready, and that the plan has nothing to do with, was accepted
// as it is: nothing waits for it.
func TestNobodyWaitsForAWaypointThatWasNotReady(t *testing.T) {
	objects := lacking(afterPhase(t, protectedShop(), enrolled(t, protectedShop()), v1alpha1.PhaseActivateWaypoints), func(object unstructured.Unstructured) bool {
		return object.GetKind() == mesh.KindEndpointSlice
	})
	planned := enrolled(t, objects)
	if len(planned.Handover.Waypoints) > 0 || len(planned.Handover.Services) > 0 {
		t.Errorf("it relies on %v", referencesOf(planned.Handover))
	}
}

// finished is the namespace once it is moved, and the record of the run.
func finished(t *testing.T) ([]unstructured.Unstructured, v1alpha1.MigrationRecord) {
	t.Helper()
	planned := enrolled(t, protectedShop())
	return afterPhase(t, protectedShop(), planned, v1alpha1.PhaseVerify), recorded(t, planned)
}

func TestHanded(t *testing.T) {
	objects, record := finished(t)
	is := func(kind, prefix string) func(unstructured.Unstructured) bool {
		return func(object unstructured.Unstructured) bool {
			return object.GetKind() == kind && strings.HasPrefix(object.GetName(), prefix)
		}
	}
	isCopy := is(mesh.KindAuthorizationPolicy, "readers-")
	changed := func(matches func(unstructured.Unstructured) bool, value any, path ...string) []unstructured.Unstructured {
		var edited []unstructured.Unstructured
		for _, object := range objects {
			if object = *object.DeepCopy(); matches(object) {
				if err := unstructured.SetNestedField(object.Object, value, path...); err != nil {
					t.Fatal(err)
				}
			}
			edited = append(edited, object)
		}
		return edited
	}
	for _, test := range []struct {
		name    string
		objects []unstructured.Unstructured
		// want is the kind, the beginning of the name, and the field or that it is gone.
		want []string
		// unjudged is true where the original says something else now.
		unjudged bool
	}{
		{name: "all as it was", objects: objects},
		{name: "a copy is gone", objects: lacking(objects, isCopy), want: []string{"AuthorizationPolicy readers gone"}},
		{name: "the waypoint is gone", objects: lacking(objects, is(mesh.KindGateway, "waypoint")), want: []string{"Gateway waypoint gone"}},
		{name: "the original is gone with its copy", objects: lacking(objects, is(mesh.KindAuthorizationPolicy, "readers"))},
		{name: "a copy was changed", objects: changed(isCopy, "DENY", "spec", "action"), want: []string{"AuthorizationPolicy readers spec.action"}},
		{name: "a copy was made a dry run", objects: changed(isCopy, "true", "metadata", "annotations", "istio.io/dry-run"), want: []string{"AuthorizationPolicy readers metadata.annotations[istio.io/dry-run]"}},
		{name: "a label of the waypoint was changed", objects: changed(is(mesh.KindGateway, "waypoint"), "all", "metadata", "labels", "istio.io/waypoint-for"), want: []string{"Gateway waypoint metadata.labels[istio.io/waypoint-for]"}},
		{name: "the waypoint got a default", objects: changed(is(mesh.KindGateway, "waypoint"), []any{}, "spec", "addresses")},
		{name: "the original was changed", objects: changed(func(object unstructured.Unstructured) bool { return object.GetName() == "readers" }, "DENY", "spec", "action"), unjudged: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			handed, err := Handed(fixture.Snapshot(test.objects), []v1alpha1.MigrationRecord{record})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, drift := range handed.Drifts {
				name, _, _ := strings.Cut(drift.Object.Name, "-")
				field := drift.Field
				if drift.Gone {
					field = "gone"
				}
				got = append(got, drift.Object.Kind+" "+name+" "+field)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			judged := slices.ContainsFunc(handed.Judged, func(policy v1alpha1.ObjectReference) bool { return policy.Name == "readers" })
			if judged == test.unjudged && test.name != "the original is gone with its copy" {
				t.Errorf("the original is judged: %t", judged)
			}
		})
	}
}

// What a run was about to make and may not have made is not missed.
func TestHandedMissesOnlyWhatWasMade(t *testing.T) {
	_, record := finished(t)
	for i := range record.Steps {
		record.Steps[i].State = v1alpha1.StepFailed
	}
	handed, err := Handed(fixture.Snapshot(protectedShop()), []v1alpha1.MigrationRecord{record})
	if err != nil || len(handed.Drifts) > 0 {
		t.Errorf("%+v, %v", handed, err)
	}
}
