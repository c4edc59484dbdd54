package plan

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// SameSteps says whether two plans would do the same: create, change and delete
// the same, in the same order and behind the same gates. What an object holds
// besides the fields that are changed does not count, nor do notes, nor whether there is
// still something to be waited for that was written before: it goes on meanwhile.
func SameSteps(a, b v1alpha1.MigrationPlan) bool {
	// As JSON, in which a plan that was read back is what it was.
	first, firstErr := json.Marshal(bones(a))
	second, secondErr := json.Marshal(bones(b))
	return firstErr == nil && secondErr == nil && bytes.Equal(first, second)
}

// Settled says whether a plan that was made later does what an earlier one does, but for
// steps that change nothing: what those were to wait for, or to replace, has come about.
// It writes nothing that the earlier one does not, in the same order.
func Settled(earlier, later v1alpha1.MigrationPlan) bool {
	rest := bones(later)
	for _, step := range bones(earlier) {
		if len(rest) > 0 && sameStep(step, rest[0]) {
			rest = rest[1:]
			continue
		}
		if len(step.Changes) > 0 {
			return false
		}
	}
	return len(rest) == 0
}

// LetsInMore says whether a plan that was made later lets in calls that an earlier one does
// not: policies that no step touches decide them, too. Before is the mesh that the earlier
// one was made from: calls from namespaces that nobody called from by then are not among
// them, since these come and go, whatever policies say.
func LetsInMore(before *mesh.Snapshot, earlier, later v1alpha1.MigrationPlan) bool {
	known, called := letIn(earlier), comparing(before, []string{later.Namespace}).Others
	for kind, alike := range letIn(later) {
		namespace, other := strings.CutPrefix(kind.caller, mesh.KindNamespace+" ")
		came := other && !slices.ContainsFunc(called, func(group compare.Group) bool {
			return group.Namespace == namespace && slices.ContainsFunc(group.Modes, func(mode access.Mode) bool { return string(mode) == kind.mode })
		})
		if alike > known[kind] && !came {
			return true
		}
	}
	return false
}

// letInKind is a kind of calls of one caller.
type letInKind struct{ caller, mode, call string }

// letIn counts the newly allowed calls of a plan by what they are and who calls,
// whichever step it happens with. What namespaces that others move at the same time let in
// by their own policies is not the plan's.
func letIn(planned v1alpha1.MigrationPlan) map[letInKind]int {
	if planned.Access == nil {
		return nil
	}
	return kindsOf(planned.Access.Changes, func(change v1alpha1.CallChange) bool {
		return change.Effect == v1alpha1.CallNewlyAllowed && (!change.Outbound || !change.Repairs && !change.Announced)
	})
}

// kindsOf counts calls in the same way.
func kindsOf(changes []v1alpha1.CallChange, counts func(v1alpha1.CallChange) bool) map[letInKind]int {
	kinds := map[letInKind]int{}
	for _, change := range changes {
		if !counts(change) {
			continue
		}
		bare := v1alpha1.CallChange{Server: change.Server, Service: change.Service, Port: change.Port, AnyOther: change.AnyOther, Request: change.Request}
		call, err := json.Marshal(bare)
		if err != nil {
			continue
		}
		callers := change.Caller.Names
		if len(callers) == 0 {
			callers = strings.Split(change.Caller.Name, ", ")
		}
		for _, caller := range callers {
			kind := letInKind{caller: caller, mode: change.Caller.Mode, call: string(call)}
			kinds[kind] = max(kinds[kind], change.Alike)
		}
	}
	return kinds
}

// sameStep compares what two steps do and wait for. Waves are numbered anew where a step
// is left out.
func sameStep(a, b v1alpha1.Step) bool {
	a.Wave, b.Wave = 0, 0
	first, firstErr := json.Marshal(a)
	second, secondErr := json.Marshal(b)
	return firstErr == nil && secondErr == nil && bytes.Equal(first, second)
}

// bones are what the steps of a plan do and wait for.
func bones(planned v1alpha1.MigrationPlan) []v1alpha1.Step {
	var steps []v1alpha1.Step
	for _, step := range planned.Steps {
		if onlyWaits(step) {
			continue
		}
		bare := v1alpha1.Step{ID: step.ID, Phase: step.Phase, Wave: step.Wave, Requires: step.Requires, Gate: step.Gate}
		for _, change := range step.Changes {
			change.BeforeHash, change.AfterHash = "", ""
			bare.Changes = append(bare.Changes, change)
		}
		steps = append(steps, bare)
	}
	return steps
}

// onlyWaits says whether a step does nothing but wait for the pods of workloads, which
// their controllers replace. On the way back, whatever lacks a sidecar in the end is
// replaced by another step.
func onlyWaits(step v1alpha1.Step) bool {
	gate := step.Gate
	if len(step.Changes) > 0 || gate.Replaces || gate.Evicts {
		return false
	}
	return gate.Kind == v1alpha1.GateReady || gate.Kind == v1alpha1.GateCaptured ||
		gate.Kind == v1alpha1.GateInjected && step.Phase == v1alpha1.PhaseRestoreWorkloads
}

// Namespaces are those that a plan writes, its own included, in order.
func Namespaces(planned v1alpha1.MigrationPlan) []string {
	names := []string{planned.Namespace}
	for _, step := range planned.Steps {
		for _, change := range step.Changes {
			if in := namespaceOf(change.Object); in != "" && !slices.Contains(names, in) {
				names = append(names, in)
			}
		}
	}
	slices.Sort(names)
	return names
}

// SameOptions says whether two plans were made with the same choices.
func SameOptions(a, b v1alpha1.PlanOptions) bool {
	// When it was is no choice.
	a.RestartedAt, b.RestartedAt = "", ""
	first, firstErr := json.Marshal(a)
	second, secondErr := json.Marshal(b)
	return firstErr == nil && secondErr == nil && bytes.Equal(first, second)
}
