package checks

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// Shaping is what a report shows of the results of checks. It decides nothing:
// a migration goes by every result.
type Shaping struct {
	// Only are the IDs or categories of the checks that are shown; empty shows
	// all of them.
	Only []string
	// Skip are the IDs or categories of the checks whose findings are not shown.
	Skip []string
}

// Validate wants names that there are.
func (s Shaping) Validate(checks []Check) error {
	for _, name := range slices.Concat(s.Only, s.Skip) {
		if !slices.ContainsFunc(checks, func(check Check) bool { return check.ID == name || check.Category == name }) {
			return fmt.Errorf("there is no check and no category of checks %q: docs/checks.md lists them", name)
		}
	}
	return nil
}

// Apply shapes results. Findings about objects, or a namespace, whose owner
// suppressed them by annotation are not shown either.
func (s Shaping) Apply(results []v1alpha1.CheckResult, snapshot *mesh.Snapshot, namespace mesh.Namespace) []v1alpha1.CheckResult {
	named := func(names []string, result v1alpha1.CheckResult) bool {
		return slices.Contains(names, result.ID) || slices.Contains(names, result.Category)
	}
	var shown []v1alpha1.CheckResult
	for _, result := range results {
		if len(s.Only) > 0 && !named(s.Only, result) {
			continue
		}
		if result.Status != v1alpha1.StatusPass && result.Status != v1alpha1.StatusSkip {
			object := suppressor(result, snapshot, namespace)
			switch {
			case named(s.Skip, result):
				result = suppressed(result, "--skip")
			case object != nil:
				result = suppressed(result, fmt.Sprintf("annotation %s of %s", mesh.SuppressAnnotation, object))
			}
		}
		shown = append(shown, result)
	}
	return shown
}

// suppressor is the object whose annotation suppresses a finding.
func suppressor(result v1alpha1.CheckResult, snapshot *mesh.Snapshot, namespace mesh.Namespace) *v1alpha1.ObjectReference {
	candidates := []v1alpha1.ObjectReference{namespace.Reference()}
	if result.Object != nil {
		candidates = append(candidates, *result.Object)
	}
	for _, candidate := range candidates {
		if snapshot.Suppressed(candidate, result.ID) {
			return &candidate
		}
	}
	return nil
}

func suppressed(result v1alpha1.CheckResult, by string) v1alpha1.CheckResult {
	result.Message = "its finding (" + string(result.Status) + ") is hidden by " + by
	result.Status, result.Suppressed, result.Remedy, result.Accepted = v1alpha1.StatusSkip, by, "", false
	return result
}
