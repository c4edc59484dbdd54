package record_test

import (
	"slices"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
)

func TestAwaited(t *testing.T) {
	stopped := v1alpha1.MigrationRecord{
		Awaits: []v1alpha1.AwaitedGate{{Step: "earlier"}, {Step: "done"}, {Step: "failed"}, {Step: "running"}},
		Steps: []v1alpha1.StepRecord{
			{ID: "earlier", State: v1alpha1.StepPending}, {ID: "done", State: v1alpha1.StepDone}, {ID: "failed", State: v1alpha1.StepFailed}, {ID: "running", State: v1alpha1.StepRunning},
		},
	}
	for _, test := range []struct {
		name          string
		planned, want []string
	}{
		{name: "nothing is left to do", want: []string{"earlier", "done", "failed", "running"}},
		{name: "what was not done is taken again", planned: []string{"running", "failed"}, want: []string{"earlier", "done"}},
		{name: "what was done is taken again", planned: []string{"earlier", "done"}, want: []string{"earlier", "done", "failed", "running"}},
	} {
		var planned v1alpha1.MigrationPlan
		for _, id := range test.planned {
			planned.Steps = append(planned.Steps, v1alpha1.Step{ID: id})
		}
		var got []string
		for _, gate := range record.Awaited(stopped, planned) {
			got = append(got, gate.Step)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: the gates are %q, want %q", test.name, got, test.want)
		}
	}
}
