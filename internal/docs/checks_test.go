package docs_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/docs"
	"github.com/kubectl-ambient/kubectl-ambient/internal/golden"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
)

func TestChecksAreDocumented(t *testing.T) {
	golden.AssertFile(t, filepath.Join("..", "..", "docs", "checks.md"), docs.Checks())
}

func all() []checks.Check {
	return slices.Concat(checks.EnrollGates(), checks.PlanGates(), checks.SimplifyGates(), checks.VerifyChecks(), checks.ReturnChecks(), checks.ProbeChecks(), checks.RollbackGates(nil, nil, nil), checks.ServiceRollbackGates())
}

func TestEveryCheckSaysWhatItIsFor(t *testing.T) {
	for _, check := range all() {
		for field, text := range map[string]string{"About": check.About, "Why": check.Why} {
			if !strings.HasSuffix(text, ".") {
				t.Errorf("%s: %s is not a sentence: %q", check.ID, field, text)
			}
		}
	}
}

// sizes are how many facts each section has: one that is forgotten leaves a gap.
var sizes = map[string]int{"1": 15, "2": 20, "5": 6, "7": 8, "8": 10, "9": 14}

func TestEveryFactIsCoveredByACheck(t *testing.T) {
	ids := map[string]bool{}
	for _, check := range all() {
		ids[check.ID] = true
	}
	if len(docs.Facts()) != len(sizes) {
		t.Errorf("there are %d sections, not %d", len(docs.Facts()), len(sizes))
	}
	for _, section := range docs.Facts() {
		number, _, _ := strings.Cut(section.Title, ".")
		if len(section.Facts) != sizes[number] {
			t.Errorf("section %s has %d facts, not %d", number, len(section.Facts), sizes[number])
		}
		for i, fact := range section.Facts {
			if want := fmt.Sprintf("%s.%d", number, i+1); fact.ID != want {
				t.Errorf("fact %s stands where %s should", fact.ID, want)
			}
			if len(fact.Checks) == 0 {
				t.Errorf("fact %s is covered by no check", fact.ID)
			}
			for _, id := range fact.Checks {
				if !ids[id] {
					t.Errorf("fact %s names check %s, which there is not", fact.ID, id)
				}
			}
		}
	}
}
