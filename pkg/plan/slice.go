package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// EnrollPhases are the phases of an enrolment, in order.
func EnrollPhases() []v1alpha1.Phase {
	return []v1alpha1.Phase{
		v1alpha1.PhaseRefreshSidecars, v1alpha1.PhaseDeployWaypoints, v1alpha1.PhaseMigratePolicies, v1alpha1.PhasePin, v1alpha1.PhaseActivateWaypoints,
		v1alpha1.PhaseEnableAmbient, v1alpha1.PhaseRestartWorkloads, v1alpha1.PhaseSettlePolicies, v1alpha1.PhaseDisableInjection,
		v1alpha1.PhaseVerify, v1alpha1.PhaseSimplify,
	}
}

// Span is a part of an enrolment: the phases from the first to the last, both
// inclusive. An empty one has no bound on that side.
type Span struct {
	From, Until v1alpha1.Phase
}

// Validate wants phases that there are, in their order.
func (s Span) Validate() error {
	phases := EnrollPhases()
	for _, phase := range []v1alpha1.Phase{s.From, s.Until} {
		if phase != "" && !slices.Contains(phases, phase) {
			var names []string
			for _, one := range phases {
				names = append(names, string(one))
			}
			return fmt.Errorf("unknown phase %q: use one of %s", phase, strings.Join(names, ", "))
		}
	}
	if s.From != "" && s.Until != "" && slices.Index(phases, s.From) > slices.Index(phases, s.Until) {
		return fmt.Errorf("phase %s comes after phase %s", s.From, s.Until)
	}
	return nil
}

// Holds says whether a phase is in the span.
func (s Span) Holds(phase v1alpha1.Phase) bool {
	at := slices.Index(EnrollPhases(), phase)
	return (s.From == "" || at >= slices.Index(EnrollPhases(), s.From)) && (s.Until == "" || at <= slices.Index(EnrollPhases(), s.Until))
}

// of are the steps of a span.
func (s Span) of(steps []v1alpha1.Step) []v1alpha1.Step {
	return slices.DeleteFunc(steps, func(step v1alpha1.Step) bool { return !s.Holds(step.Phase) })
}

// Reached is the last phase of an enrolment that leaves nothing to be done, as
// the steps that remain tell. It is empty before the namespace is ambient.
func Reached(remaining v1alpha1.MigrationPlan, mode string) v1alpha1.Phase {
	if mode != mesh.DataplaneAmbient {
		return ""
	}
	phases := EnrollPhases()
	for i, phase := range phases {
		if slices.ContainsFunc(remaining.Steps, func(step v1alpha1.Step) bool { return step.Phase == phase }) {
			// What remains of the phases before the ambient label comes too late
			// to undo it.
			return phases[max(i-1, slices.Index(phases, v1alpha1.PhaseEnableAmbient))]
		}
	}
	return v1alpha1.PhaseDisableInjection
}
