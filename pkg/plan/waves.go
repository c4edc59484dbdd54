package plan

import (
	"iter"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// Waves are the places of the steps that may be taken at the same time, from the first
// of them to before the end: of most no other than themselves.
func Waves(steps []v1alpha1.Step) iter.Seq2[int, int] {
	return func(yield func(first, end int) bool) {
		for first := 0; first < len(steps); {
			end := first + 1
			for end < len(steps) && steps[end].Wave > 0 && steps[end].Wave == steps[first].Wave && steps[end].Phase == steps[first].Phase {
				end++
			}
			if !yield(first, end) {
				return
			}
			first = end
		}
	}
}

// parallel are the workloads that steps restart at the same time.
func parallel(steps []v1alpha1.Step) [][]v1alpha1.ObjectReference {
	var waves [][]v1alpha1.ObjectReference
	for first, end := range Waves(steps) {
		if end-first == 1 {
			continue
		}
		var wave []v1alpha1.ObjectReference
		for _, step := range steps[first:end] {
			wave = append(wave, restarted(step))
		}
		waves = append(waves, wave)
	}
	return waves
}

// inWaves lets workloads be put back at the same time, of those that follow one
// another and of which neither was to move before the other. What the rollback leaves
// is what an enrolment would begin with, and what there is now what it would end
// with: by these it is told who has to wait for whom, whatever the records say.
func (r *rollback) inWaves(namespaces []string) error {
	if r.parallel <= 1 || len(r.plan.Steps) == 0 {
		return nil
	}
	stages, err := stagesOf(r.snapshot, namespaces, r.plan.Steps, true)
	if err != nil {
		return err
	}
	slices.Reverse(stages)
	waits := compare.New(stages, comparing(r.snapshot, namespaces)).Waits()
	wave, members := 0, []v1alpha1.Step{}
	for i := range r.plan.Steps {
		step := &r.plan.Steps[i]
		if step.Phase != v1alpha1.PhaseRestoreWorkloads || pauses(*step) || byItself(*step) {
			members = nil
			continue
		}
		bound := slices.ContainsFunc(members, func(other v1alpha1.Step) bool {
			return isBegun(other) != isBegun(*step) || inOrder(waits, other, *step)
		})
		if len(members) == 0 || len(members) == r.parallel || bound {
			wave, members = wave+1, nil
		}
		step.Wave = wave
		members = append(members, *step)
	}
	return nil
}

// inOrder says whether one of two workloads has to be restarted, or had better be,
// before the other.
func inOrder(waits []compare.Waits, one, other v1alpha1.Step) bool {
	return slices.ContainsFunc(waits, func(of compare.Waits) bool {
		before := slices.Concat(of.For, of.After)
		return of.Workload == restarted(one) && slices.Contains(before, restarted(other)) ||
			of.Workload == restarted(other) && slices.Contains(before, restarted(one))
	})
}
