package actions

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// noteFailures notes which of the rollouts that a gate is about have failed before its
// step: their controllers may go on saying so for a while of what the step has written.
func (r *Runner) noteFailures(gate v1alpha1.Gate) error {
	snapshot, err := r.observer.snapshot()
	if err != nil {
		return err
	}
	for _, workload := range snapshot.Workloads(r.Namespace) {
		if len(gate.Workloads) == 0 || slices.Contains(gate.Workloads, workload.Reference) {
			r.failures[workload.Reference] = mesh.RolloutOf(workload).Failure
		}
	}
	return nil
}

// failedAnew says whether a rollout has failed, and not before its step began already: of
// such a one the gate's time decides.
func (r *Runner) failedAnew(workload mesh.Workload, rollout mesh.Rollout) bool {
	return rollout.Failed && r.failures[workload.Reference] != rollout.Failure
}
