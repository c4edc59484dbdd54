package plan_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
)

func TestSameSteps(t *testing.T) {
	base := func() v1alpha1.MigrationPlan {
		return v1alpha1.MigrationPlan{Steps: []v1alpha1.Step{{
			ID: "a", Phase: v1alpha1.PhasePin, Summary: "pin", Notes: []string{"one pod"}, Gate: v1alpha1.Gate{Kind: v1alpha1.GateReady},
			Changes: []v1alpha1.Change{{
				Object: v1alpha1.ObjectReference{Kind: "Deployment", Name: "cart"}, UID: "1", BeforeHash: "x", AfterHash: "y",
				Fields: []v1alpha1.FieldChange{{Path: "/a", Before: "1", After: "2"}},
			}},
		}}}
	}
	tests := []struct {
		name string
		edit func(*v1alpha1.MigrationPlan)
		want bool
	}{
		{"nothing", func(*v1alpha1.MigrationPlan) {}, true},
		{"notes", func(p *v1alpha1.MigrationPlan) { p.Steps[0].Notes = []string{"two pods"} }, true},
		{"the rest of the object", func(p *v1alpha1.MigrationPlan) {
			p.Steps[0].Changes[0].BeforeHash, p.Steps[0].Changes[0].AfterHash = "z", "w"
		}, true},
		{"gates that hold", func(p *v1alpha1.MigrationPlan) { p.Gates = []v1alpha1.CheckResult{{ID: "a"}} }, true},
		{"another object of the same name", func(p *v1alpha1.MigrationPlan) { p.Steps[0].Changes[0].UID = "2" }, false},
		{"the value before", func(p *v1alpha1.MigrationPlan) { p.Steps[0].Changes[0].Fields[0].Before = "3" }, false},
		{"the value after", func(p *v1alpha1.MigrationPlan) { p.Steps[0].Changes[0].Fields[0].After = nil }, false},
		{"what is waited for", func(p *v1alpha1.MigrationPlan) { p.Steps[0].Gate.Kind = v1alpha1.GateNone }, false},
		{"another change", func(p *v1alpha1.MigrationPlan) {
			p.Steps[0].Changes = append(p.Steps[0].Changes, p.Steps[0].Changes[0])
		}, false},
		{"another step", func(p *v1alpha1.MigrationPlan) { p.Steps = append(p.Steps, v1alpha1.Step{ID: "b"}) }, false},
		{"a creation", func(p *v1alpha1.MigrationPlan) { p.Steps[0].Changes[0].Create = map[string]any{"kind": "Gateway"} }, false},
		{"a deletion", func(p *v1alpha1.MigrationPlan) { p.Steps[0].Changes[0].Delete = true }, false},
		{"which objects are waited for", func(p *v1alpha1.MigrationPlan) { p.Steps[0].Gate.Objects = []v1alpha1.ObjectReference{{Name: "a"}} }, false},
		{"a wait for what was written before", func(p *v1alpha1.MigrationPlan) {
			p.Steps = append(p.Steps, v1alpha1.Step{ID: "b", Gate: v1alpha1.Gate{Kind: v1alpha1.GateCaptured, Workloads: []v1alpha1.ObjectReference{{Name: "cart"}}}})
		}, true},
		{"pods that the run replaces", func(p *v1alpha1.MigrationPlan) {
			p.Steps = append(p.Steps, v1alpha1.Step{ID: "b", Gate: v1alpha1.Gate{Kind: v1alpha1.GateCaptured, Replaces: true}})
		}, false},
		{"no step", func(p *v1alpha1.MigrationPlan) { p.Steps = nil }, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			other := base()
			test.edit(&other)
			if got := plan.SameSteps(base(), other); got != test.want {
				t.Errorf("it is %t", got)
			}
		})
	}
}

func TestSettled(t *testing.T) {
	change := func(name string) v1alpha1.Step {
		return v1alpha1.Step{ID: name, Wave: 2, Changes: []v1alpha1.Change{{Object: v1alpha1.ObjectReference{Kind: "Deployment", Name: name}}}}
	}
	evict := v1alpha1.Step{ID: "evict", Wave: 1, Gate: v1alpha1.Gate{Kind: v1alpha1.GateCaptured, Evicts: true}}
	renumbered := change("a")
	renumbered.Wave = 1
	gated := change("a")
	gated.Gate.Kind = v1alpha1.GateReady
	for _, test := range []struct {
		name           string
		earlier, later []v1alpha1.Step
		want           bool
	}{
		{"the same", []v1alpha1.Step{evict, change("a")}, []v1alpha1.Step{evict, change("a")}, true},
		{"pods that have been replaced", []v1alpha1.Step{evict, change("a")}, []v1alpha1.Step{change("a")}, true},
		{"at the end", []v1alpha1.Step{change("a"), evict}, []v1alpha1.Step{change("a")}, true},
		{"waves are numbered anew", []v1alpha1.Step{evict, change("a")}, []v1alpha1.Step{renumbered}, true},
		{"pods that are to be replaced", []v1alpha1.Step{change("a")}, []v1alpha1.Step{evict, change("a")}, false},
		{"a change that is left out", []v1alpha1.Step{change("a"), change("b")}, []v1alpha1.Step{change("b")}, false},
		{"a change that is left out at the end", []v1alpha1.Step{change("a"), change("b")}, []v1alpha1.Step{change("a")}, false},
		{"a change more", []v1alpha1.Step{evict, change("a")}, []v1alpha1.Step{change("a"), change("b")}, false},
		{"another order", []v1alpha1.Step{change("a"), change("b")}, []v1alpha1.Step{change("b"), change("a")}, false},
		{"another gate", []v1alpha1.Step{change("a")}, []v1alpha1.Step{gated}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := plan.Settled(v1alpha1.MigrationPlan{Steps: test.earlier}, v1alpha1.MigrationPlan{Steps: test.later}); got != test.want {
				t.Errorf("it is %t", got)
			}
		})
	}
}

func TestLetsInMore(t *testing.T) {
	from := func(effect v1alpha1.CallEffect, path, step string, alike int, callers ...string) v1alpha1.CallChange {
		change := v1alpha1.CallChange{Effect: effect, From: step, Port: 80, Request: v1alpha1.CallRequest{Path: path}, Alike: alike, Caller: v1alpha1.CallCaller{Name: strings.Join(callers, ", "), Mode: "sidecar"}}
		if len(callers) > 3 {
			change.Caller.Name, change.Caller.Names = callers[0]+" and more", callers
		}
		return change
	}
	change := func(effect v1alpha1.CallEffect, path, step string, alike int) v1alpha1.CallChange {
		return from(effect, path, step, alike, "Deployment shop/web")
	}
	// Of these namespaces others call, and nobody of the namespace late.
	calling := fixture.Snapshot(
		fixture.Namespace("shop", nil), fixture.Namespace("front", nil), fixture.Namespace("back", nil), fixture.Namespace("late", nil),
		running(fixture.Deployment("front", "web"), fixture.Sidecar), running(fixture.Deployment("back", "web"), fixture.Sidecar), running(fixture.Deployment("late", "web")),
	)
	const allowed, denied = v1alpha1.CallNewlyAllowed, v1alpha1.CallNewlyDenied
	base := []v1alpha1.CallChange{change(allowed, "/a", "one", 2), from(allowed, "/c", "one", 1, "Namespace front")}
	for _, test := range []struct {
		name  string
		later []v1alpha1.CallChange
		want  bool
	}{
		{"the same", base, false},
		{"none", nil, false},
		{"with another step", []v1alpha1.CallChange{change(allowed, "/a", "two", 2)}, false},
		{"fewer alike", []v1alpha1.CallChange{change(allowed, "/a", "one", 1)}, false},
		{"more alike", []v1alpha1.CallChange{change(allowed, "/a", "one", 3)}, true},
		{"another", append(base, change(allowed, "/b", "one", 1)), true},
		{"another that is refused", append(base, change(denied, "/b", "one", 1)), false},
		{"from another workload", []v1alpha1.CallChange{from(allowed, "/a", "one", 2, "Deployment shop/web", "Deployment shop/cart")}, true},
		{"from another namespace", []v1alpha1.CallChange{from(allowed, "/c", "one", 1, "Namespace back", "Namespace front")}, true},
		{"from another namespace, of many", []v1alpha1.CallChange{from(allowed, "/c", "one", 1, "Namespace late", "Namespace front", "Namespace later", "Namespace back")}, true},
		{"from a namespace that nobody called from", []v1alpha1.CallChange{from(allowed, "/c", "one", 1, "Namespace front", "Namespace late")}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			later := v1alpha1.MigrationPlan{Namespace: "shop", Access: &v1alpha1.AccessReport{Changes: test.later}}
			if got := plan.LetsInMore(calling, v1alpha1.MigrationPlan{Access: &v1alpha1.AccessReport{Changes: base}}, later); got != test.want {
				t.Errorf("it is %t", got)
			}
			if got := plan.LetsInMore(calling, v1alpha1.MigrationPlan{}, later); got != (len(onlyAllowed(test.later)) > 0) {
				t.Errorf("without a report before it is %t", got)
			}
		})
	}
}

func onlyAllowed(changes []v1alpha1.CallChange) []v1alpha1.CallChange {
	return slices.DeleteFunc(slices.Clone(changes), func(change v1alpha1.CallChange) bool { return change.Effect != v1alpha1.CallNewlyAllowed })
}

// A plan that was read back holds floats where one that was just made holds
// integers.
func TestSameStepsOfAPlanThatWasReadBack(t *testing.T) {
	with := func(port any) v1alpha1.MigrationPlan {
		return v1alpha1.MigrationPlan{Steps: []v1alpha1.Step{{Changes: []v1alpha1.Change{{Create: map[string]any{"spec": map[string]any{"port": port}}}}}}}
	}
	if !plan.SameSteps(with(int64(15008)), with(float64(15008))) || plan.SameSteps(with(int64(15008)), with(float64(15009))) {
		t.Error("numbers are not compared by their value")
	}
}
