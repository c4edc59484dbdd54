package actions

import (
	"context"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// awaitGate notes that the gate after a step has to be asked, if there is one. It is
// stored with the beginning of the step.
func (r *Runner) awaitGate(run *v1alpha1.MigrationRecord, step v1alpha1.Step) {
	if r.Gate != nil && restarts(step) {
		run.Awaits = append(run.Awaits, v1alpha1.AwaitedGate{Step: step.ID, Workloads: step.Gate.Workloads})
	}
}

// restarts says whether a step of an enrolment replaces pods: those of gateways, too,
// whose templates are pinned. Some steps of these phases do not: what was cordoned or
// paused is put back.
func restarts(step v1alpha1.Step) bool {
	phases := []v1alpha1.Phase{v1alpha1.PhaseRefreshSidecars, v1alpha1.PhasePin, v1alpha1.PhaseRestartWorkloads}
	return slices.Contains(phases, step.Phase) && len(step.Gate.Workloads) > 0
}

// askAwaited asks the gates that have not held yet, up to the first that does not. That
// one has held is stored with what the run does next: where it is killed in between, the
// gate is asked once more.
func (r *Runner) askAwaited(ctx context.Context, run *v1alpha1.MigrationRecord) error {
	for r.Gate != nil && len(run.Awaits) > 0 {
		if err := r.Gate(ctx, run.Awaits[0]); err != nil {
			return err
		}
		run.Awaits = run.Awaits[1:]
	}
	return nil
}
