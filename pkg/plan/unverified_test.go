package plan_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestEnrollVerifiesWhatARunHasLeft has a plan ask the last gate of a run that stopped
// before it held, also where nothing is left to be changed.
func TestEnrollVerifiesWhatARunHasLeft(t *testing.T) {
	cart := fixture.Deployment("shop", "cart", fixture.TemplateLabel(inject, "false"))
	moved := shop(labels{mode: "ambient"}, running(cart, fixture.Ambient))
	sidecars := shop(labels{"istio-injection": "enabled"}, running(fixture.Deployment("shop", "cart"), fixture.Sidecar))
	all := []string{"enable-ambient", "restart-workloads/deployment/cart", "disable-injection", "verify"}
	for _, test := range []struct {
		name    string
		objects []unstructured.Unstructured
		options plan.Options
		want    []string
	}{
		{"nothing is left, and all was seen", moved, plan.Options{}, nil},
		{"nothing is left but to look", moved, plan.Options{Unverified: true}, []string{"verify"}},
		{"it was not to come so far", moved, plan.Options{Unverified: true, Until: v1alpha1.PhaseRestartWorkloads}, nil},
		{"all is left", sidecars, plan.Options{Unverified: true}, all},
		{"all is left, of a run that ended", sidecars, plan.Options{}, all},
	} {
		t.Run(test.name, func(t *testing.T) {
			snapshot := fixture.Snapshot(test.objects)
			planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), test.options)
			if err != nil {
				t.Fatal(err)
			}
			var steps []string
			for _, step := range planned.Steps {
				steps = append(steps, step.ID)
			}
			if diff := cmp.Diff(test.want, steps); diff != "" || planned.Blocked {
				t.Errorf("blocked: %t; steps (-want +got):\n%s", planned.Blocked, diff)
			}
		})
	}
}

// What no step mends is what verify says of the namespace as the plan leaves it: a policy
// that the plan puts to use is none of it.
func TestUnmended(t *testing.T) {
	const target = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: %s, namespace: shop}\n" +
		"spec: {action: DENY, targetRefs: [{group: %q, kind: %s, name: %s}], rules: [{to: [{operation: {methods: [PUT]}}]}]}"
	const class = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: istio-waypoint}\nspec: {controllerName: istio.io/mesh-controller}"
	const idle = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: idle, namespace: shop}\nspec: {gatewayClassName: istio-waypoint}"
	const service = "apiVersion: v1\nkind: Service\nmetadata: {name: cart, namespace: shop}\nspec: {clusterIP: 10.0.0.1, selector: {app: cart}, ports: [{name: http, port: 80}]}"
	parts := []any{
		shop(labels{"istio-injection": "enabled"}, running(fixture.Deployment("shop", "cart"), fixture.Sidecar)), class, idle, service,
		fmt.Sprintf(target, "used", "", "Service", "cart"), fmt.Sprintf(target, "idle", "gateway.networking.k8s.io", "Gateway", "idle"),
	}
	snapshot := fixture.Snapshot(parts...)
	planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	unmended, err := plan.Unmended(snapshot, planned)
	if err != nil {
		t.Fatal(err)
	}
	want := []v1alpha1.StandingFinding{{
		ID: "policy-waypoints", Field: "spec.targetRefs[0]",
		Object: &v1alpha1.ObjectReference{APIVersion: "security.istio.io/v1", Kind: "AuthorizationPolicy", Namespace: "shop", Name: "idle"},
	}}
	if diff := cmp.Diff(want, unmended); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
