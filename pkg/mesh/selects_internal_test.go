package mesh

import (
	"math/rand/v2"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// TestSelectsAsTheAPIServerDoes holds selects against what the API server goes by, with
// selectors and labels drawn at random, invalid ones among them.
func TestSelectsAsTheAPIServerDoes(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	keys, values := []string{"app", "team", "tier"}, []string{"", "web", "db"}
	some := func(of []string) []string {
		var drawn []string
		for _, one := range of {
			if dice.IntN(2) == 0 {
				drawn = append(drawn, one)
			}
		}
		return drawn
	}
	operators := []metav1.LabelSelectorOperator{
		metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist, "Near",
	}
	selected := 0
	for range 20000 {
		set, selector := map[string]string{}, &metav1.LabelSelector{MatchLabels: map[string]string{}}
		for _, key := range keys {
			if dice.IntN(2) == 0 {
				set[key] = values[dice.IntN(len(values))]
			}
			if dice.IntN(4) == 0 {
				selector.MatchLabels[key] = values[dice.IntN(len(values))]
			}
		}
		for range dice.IntN(3) {
			requirement := metav1.LabelSelectorRequirement{Key: keys[dice.IntN(len(keys))], Operator: operators[dice.IntN(len(operators))]}
			if dice.IntN(3) > 0 {
				requirement.Values = some(values)
			}
			selector.MatchExpressions = append(selector.MatchExpressions, requirement)
		}
		compiled, err := metav1.LabelSelectorAsSelector(selector)
		want := err == nil && compiled.Matches(labels.Set(set))
		if got := selects(selector, set); got != want {
			t.Fatalf("%s selects %v: %v, want %v (%v)", metav1.FormatLabelSelector(selector), set, got, want, err)
		}
		if want {
			selected++
		}
	}
	if selected < 1000 {
		t.Errorf("only %d selectors have selected anything", selected)
	}
}
