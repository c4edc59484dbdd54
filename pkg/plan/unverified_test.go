package plan_test

import (
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
