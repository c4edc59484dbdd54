package record

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// Awaited are the gates that a plan which goes on with a run has to ask before its first
// step. It leaves out those of steps that had not come to their end and that it takes
// again, since those are asked afterwards.
func Awaited(stopped v1alpha1.MigrationRecord, planned v1alpha1.MigrationPlan) []v1alpha1.AwaitedGate {
	return slices.DeleteFunc(slices.Clone(stopped.Awaits), func(gate v1alpha1.AwaitedGate) bool {
		broken := slices.ContainsFunc(stopped.Steps, func(step v1alpha1.StepRecord) bool {
			return step.ID == gate.Step && step.State != v1alpha1.StepDone && step.State != v1alpha1.StepPending
		})
		return broken && slices.ContainsFunc(planned.Steps, func(step v1alpha1.Step) bool { return step.ID == gate.Step })
	})
}
