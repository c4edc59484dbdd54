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
	if after, better := strings.CutPrefix(rest, "> "); better {
		return compare.Waits{Workload: deployment(name), After: []v1alpha1.ObjectReference{deployment(after)}}
	}
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
		// begun are those that only wait.
		begun    string
		parallel int
		waits    []string
		// want is the order, its waves told apart by bars.
		want string
		held []string
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
		{name: "begun ones first", steps: "a b c", begun: "c b", waits: []string{"b: a"}, want: "b c a"},
		{name: "nobody waits, at once", steps: "c a b", parallel: 2, want: "c a | b"},
		{name: "callers first, and others with them", steps: "a b c d e", parallel: 3, waits: []string{"a: c", "b: c", "d: a"}, want: "c e | a b | d"},
		{name: "as many as there are", steps: "a b c", parallel: 9, want: "a b c"},
		{name: "a cycle one by one", steps: "a b c d", parallel: 4, waits: []string{"a: b", "b: a"}, want: "c d | a | b", held: []string{
			"a for Deployment shop/b in a cycle", "b for Deployment shop/a in a cycle",
		}},
		{name: "itself by itself", steps: "a b", parallel: 2, waits: []string{"a: a"}, want: "b | a", held: []string{"a for Deployment shop/a in a cycle"}},
		{name: "those that had better come after others", steps: "a b c", parallel: 3, waits: []string{"a: > b"}, want: "b c | a"},
		{name: "those that had better come after each other", steps: "a b", parallel: 2, waits: []string{"a: > b", "b: > a"}, want: "a | b"},
		{name: "begun ones by themselves", steps: "a b c d", begun: "b d", parallel: 3, want: "b d | a c"},
		{name: "nodes before all, and by themselves", steps: "a ~n ~m b", parallel: 3, want: "~n | ~m | a b"},
		{name: "behind cordoned nodes by itself", steps: "a !b c", parallel: 3, want: "a c | !b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			steps := []v1alpha1.Step{{ID: "first", Phase: v1alpha1.PhaseEnableAmbient}}
			for i, name := range strings.Fields(test.steps) {
				step := v1alpha1.Step{
					ID: name, Phase: v1alpha1.PhaseRestartWorkloads, Changes: []v1alpha1.Change{{Object: deployment(name)}},
					Gate: v1alpha1.Gate{Workloads: []v1alpha1.ObjectReference{deployment(name)}, Cordon: strings.HasPrefix(name, "!")},
				}
				switch {
				case strings.HasPrefix(name, "~"):
					step.Changes, step.Gate = []v1alpha1.Change{Cordon(name, "shop")}, v1alpha1.Gate{Kind: v1alpha1.GateNone}
				case slices.Contains(strings.Fields(test.begun), name):
					step.Changes = nil
				case i%2 == 0 && !step.Gate.Cordon:
					// What changes the template need not wait for pods, as of a CronJob.
					step.Gate = v1alpha1.Gate{Kind: v1alpha1.GateNone}
				}
				steps = append(steps, step)
			}
			steps = append(steps, v1alpha1.Step{ID: "last", Phase: v1alpha1.PhaseDisableInjection})
			var all []compare.Waits
			for _, one := range test.waits {
				all = append(all, waits(one))
			}
			var held []string
			for _, one := range orderRestarts(steps, all, test.parallel) {
				text := fmt.Sprintf("%s for %s", one.Workload.Name, strings.Join(one.Callers, " and "))
				if one.Cycle {
					text += " in a cycle"
				}
				held = append(held, text)
			}
			slices.Sort(held)
			var order []string
			for first, end := range Waves(steps[1 : len(steps)-1]) {
				if first > 0 && test.parallel > 1 {
					order = append(order, "|")
				}
				for _, step := range steps[1+first : 1+end] {
					order = append(order, step.ID)
				}
			}
			if steps[0].ID != "first" || steps[len(steps)-1].ID != "last" {
				t.Errorf("the steps around the restarts have moved: %v", steps)
			}
			if diff := cmp.Diff(test.want, strings.Join(order, " ")); diff != "" {
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
	if held := orderRestarts([]v1alpha1.Step{{Phase: v1alpha1.PhaseEnableAmbient}}, []compare.Waits{waits("a: b")}, 2); held != nil {
		t.Errorf("held %v", held)
	}
}
