package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

func deployment(name string) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: name}
}

// waits reads "a: b c, Namespace front" as a that waits for b, for c and for others.
func waits(text string) compare.Waits {
	name, rest, _ := strings.Cut(text, ": ")
	callers, others, found := strings.Cut(rest, ", ")
	one := compare.Waits{Workload: deployment(name)}
	for _, caller := range strings.Fields(callers) {
		one.For = append(one.For, deployment(caller))
	}
	if found {
		one.Others = []string{others}
	}
	return one
}

func TestOrderRestarts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		steps string
		waits []string
		want  string
		held  []string
	}{
		{name: "nobody waits", steps: "c a b", want: "c a b"},
		{name: "callers first", steps: "a b c", waits: []string{"a: b", "b: c"}, want: "c b a"},
		{name: "alike ones stay", steps: "d a c b", waits: []string{"a: b"}, want: "d c b a"},
		{name: "a cycle", steps: "a b c", waits: []string{"a: b", "b: a", "c: a"}, want: "a b c", held: []string{"a for Deployment shop/b in a cycle", "b for Deployment shop/a in a cycle"}},
		{name: "behind a cycle nobody is held", steps: "a b c", waits: []string{"a: c", "b: c", "c: b"}, want: "b c a", held: []string{"b for Deployment shop/c in a cycle", "c for Deployment shop/b in a cycle"}},
		{name: "itself", steps: "a b", waits: []string{"a: a", "b: a"}, want: "a b", held: []string{"a for Deployment shop/a in a cycle"}},
		{name: "two cycles", steps: "a b c d", waits: []string{"a: b", "b: a", "c: d", "d: c"}, want: "a b c d", held: []string{
			"a for Deployment shop/b in a cycle", "b for Deployment shop/a in a cycle", "c for Deployment shop/d in a cycle", "d for Deployment shop/c in a cycle",
		}},
		{name: "others", steps: "a b", waits: []string{"a: b, Namespace front"}, want: "b a", held: []string{"a for Namespace front"}},
		{name: "callers that no step moves", steps: "a b", waits: []string{"a: z"}, want: "a b", held: []string{"a for Deployment shop/z"}},
		{name: "those that moved wait for nobody", steps: "b", waits: []string{"a: b"}, want: "b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			steps := []v1alpha1.Step{{ID: "first", Phase: v1alpha1.PhaseEnableAmbient}}
			for i, name := range strings.Fields(test.steps) {
				step := v1alpha1.Step{ID: name, Phase: v1alpha1.PhaseRestartWorkloads, Gate: v1alpha1.Gate{Workloads: []v1alpha1.ObjectReference{deployment(name)}}}
				if i%2 == 0 {
					// What changes the template need not wait for pods, as of a CronJob.
					step.Changes, step.Gate = []v1alpha1.Change{{Object: deployment(name)}}, v1alpha1.Gate{Kind: v1alpha1.GateNone}
				}
				steps = append(steps, step)
			}
			steps = append(steps, v1alpha1.Step{ID: "last", Phase: v1alpha1.PhaseDisableInjection})
			var all []compare.Waits
			for _, one := range test.waits {
				all = append(all, waits(one))
			}
			var held []string
			for _, one := range orderRestarts(steps, all) {
				text := fmt.Sprintf("%s for %s", one.Workload.Name, strings.Join(one.Callers, " and "))
				if one.Cycle {
					text += " in a cycle"
				}
				held = append(held, text)
			}
			slices.Sort(held)
			var order []string
			for _, step := range steps {
				order = append(order, step.ID)
			}
			if diff := cmp.Diff("first "+test.want+" last", strings.Join(order, " ")); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.held, held); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOrderWithoutRestarts(t *testing.T) {
	t.Parallel()
	if held := orderRestarts([]v1alpha1.Step{{Phase: v1alpha1.PhaseEnableAmbient}}, []compare.Waits{waits("a: b")}); held != nil {
		t.Errorf("held %v", held)
	}
}
