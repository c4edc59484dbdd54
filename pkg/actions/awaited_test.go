package actions

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

var errSpent = errors.New("the error budget is spent")

// gatedTrial runs a and b at the same time, then c, all of a phase after whose restarts
// the operator's gate is asked; it notes what is asked, and what the record awaits then.
func gatedTrial(t *testing.T, phase v1alpha1.Phase, refuses string) *trial {
	t.Helper()
	r, _ := wavesTrial(t)
	for i := range r.record.Plan.Steps {
		r.record.Plan.Steps[i].Phase = phase
	}
	r.Gate = func(_ context.Context, done v1alpha1.AwaitedGate) error {
		r.note("gate of %s %s, stored: %s", done.Step, done.Workloads[0].Name, awaited(r.stored(t)))
		if done.Step == refuses {
			return errSpent
		}
		return nil
	}
	return r
}

func awaited(run *v1alpha1.MigrationRecord) string {
	var steps []string
	for _, gate := range run.Awaits {
		steps = append(steps, gate.Step)
	}
	return strings.Join(steps, " ")
}

// asked is what was asked and what was changed, in order.
func (r *trial) asked() []string {
	var asked []string
	for _, line := range r.log {
		if !strings.HasPrefix(line, "record ") {
			asked = append(asked, line)
		}
	}
	return asked
}

// The gate is asked for each workload, also the last one of the run, and of both phases
// that restart. What is awaited is stored before it is asked.
func TestGateAfterEachWorkload(t *testing.T) {
	for _, phase := range []v1alpha1.Phase{v1alpha1.PhaseRestartWorkloads, v1alpha1.PhaseRefreshSidecars} {
		r := gatedTrial(t, phase, "")
		if changed, err := r.Run(t.Context(), r.record); !changed || err != nil {
			t.Fatalf("%s: changed is %t, %v", phase, changed, err)
		}
		want := []string{"patch a", "patch b", "gate of a a, stored: a b", "gate of b b, stored: a b", "patch c", "gate of c c, stored: c"}
		if diff := cmp.Diff(want, r.asked()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", phase, diff)
		}
		if stored := r.stored(t); stored.State != v1alpha1.RunSucceeded || len(stored.Awaits) > 0 {
			t.Errorf("%s: the record is %s and awaits %v", phase, stored.State, stored.Awaits)
		}
	}
}

// A gate that does not hold stops the run, and the record awaits it and those that were
// not asked.
func TestGateThatDoesNotHold(t *testing.T) {
	for refuses, want := range map[string]struct{ awaits, states string }{
		"a": {"a b", "done done pending"}, "b": {"b", "done done pending"}, "c": {"c", "done done done"},
	} {
		r := gatedTrial(t, v1alpha1.PhaseRestartWorkloads, refuses)
		changed, err := r.Run(t.Context(), r.record)
		if !changed || !errors.Is(err, errSpent) {
			t.Fatalf("%s: changed is %t, %v", refuses, changed, err)
		}
		stored := r.stored(t)
		if stored.State != v1alpha1.RunIncomplete || states(stored) != want.states || awaited(stored) != want.awaits {
			t.Errorf("%s: the record is %s: %s, and awaits %q", refuses, stored.State, states(stored), awaited(stored))
		}
	}
}

// What a run before has left to be asked comes first; where it does not hold, nothing is
// done and there is nothing to record.
func TestGateOfARunBefore(t *testing.T) {
	for _, holds := range []bool{true, false} {
		refuses := "before"
		if holds {
			refuses = ""
		}
		r := gatedTrial(t, v1alpha1.PhaseRestartWorkloads, refuses)
		r.record.Awaits = []v1alpha1.AwaitedGate{{Step: "before", Workloads: []v1alpha1.ObjectReference{reference("Deployment", "x")}}}
		changed, err := r.Run(t.Context(), r.record)
		if changed != holds || holds != (err == nil) {
			t.Fatalf("it holds: %t, changed is %t, %v", holds, changed, err)
		}
		asked := r.asked()
		if asked[0] != "gate of before x, stored: " || !holds && strings.Join(asked[1:], " ") != "delete the record" {
			t.Errorf("it holds: %t: %q", holds, asked)
		}
	}
}

// Steps that restart nothing are not asked about, nor is anything without a gate.
func TestGateOnlyAfterRestarts(t *testing.T) {
	r := gatedTrial(t, v1alpha1.PhaseEnableAmbient, "a")
	if _, err := r.Run(t.Context(), r.record); err != nil || strings.Contains(strings.Join(r.asked(), " "), "gate") {
		t.Errorf("it asks %q, %v", r.asked(), err)
	}
	r = gatedTrial(t, v1alpha1.PhaseRestartWorkloads, "")
	r.Gate = nil
	if _, err := r.Run(t.Context(), r.record); err != nil || len(r.stored(t).Awaits) > 0 {
		t.Errorf("it awaits %v, %v", r.stored(t).Awaits, err)
	}
}

// Where all is done but that a gate has held, it is asked, and the run recorded if it does.
func TestGateIsAllThatIsLeft(t *testing.T) {
	r := newTrial(t, nil, enabledShop())
	r.record.Awaits = []v1alpha1.AwaitedGate{{Step: "before"}}
	asked := 0
	r.Gate = func(context.Context, v1alpha1.AwaitedGate) error {
		asked++
		return nil
	}
	if changed, err := r.Run(t.Context(), r.record); changed || err != nil || asked != 1 {
		t.Fatalf("it was asked %d times, changed is %t, %v", asked, changed, err)
	}
	if stored := r.stored(t); stored.State != v1alpha1.RunSucceeded || len(stored.Awaits) > 0 {
		t.Errorf("the record is %s and awaits %v", stored.State, stored.Awaits)
	}
}
