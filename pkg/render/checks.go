package render

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// Results writes what checks found, what blocks first: a line for each that
// passed, a block for each finding.
func Results(out io.Writer, results []v1alpha1.CheckResult) {
	width := 0
	for _, result := range results {
		width = max(width, len(result.ID))
	}
	for _, standing := range []standing{
		{status: v1alpha1.StatusFail}, {status: v1alpha1.StatusUnknown}, {v1alpha1.StatusFail, true}, {v1alpha1.StatusUnknown, true},
		{status: v1alpha1.StatusWarn}, {status: v1alpha1.StatusSkip}, {status: v1alpha1.StatusPass},
	} {
		if standing.status == v1alpha1.StatusUnknown {
			writeUnseen(out, results, standing)
		}
		for _, group := range alike(results, standing) {
			writeResult(out, group, width)
		}
	}
}

// standing is what a result means: its status, and whether it was accepted.
type standing struct {
	status   v1alpha1.CheckStatus
	accepted bool
}

func standingOf(result v1alpha1.CheckResult) standing {
	return standing{result.Status, result.Accepted}
}

func (s standing) String() string {
	if s.accepted {
		return string(s.status) + " (accepted)"
	}
	return string(s.status)
}

// alike groups the results of a standing that say the same of several objects, in
// the order of the first of each.
func alike(results []v1alpha1.CheckResult, of standing) [][]v1alpha1.CheckResult {
	var groups [][]v1alpha1.CheckResult
	for _, result := range results {
		if standingOf(result) != of || len(result.Unseen) > 0 {
			continue
		}
		i := slices.IndexFunc(groups, func(group []v1alpha1.CheckResult) bool {
			first := group[0]
			return first.ID == result.ID && first.Field == result.Field && first.Message == result.Message && first.Remedy == result.Remedy &&
				(first.Object == nil) == (result.Object == nil)
		})
		if i < 0 {
			groups = append(groups, []v1alpha1.CheckResult{result})
			continue
		}
		groups[i] = append(groups[i], result)
	}
	return groups
}

// subjects names what results are about.
func subjects(results []v1alpha1.CheckResult) string {
	if results[0].Object == nil {
		return "the mesh"
	}
	var names []string
	for _, result := range results {
		names = append(names, kept(result.Object.String()))
	}
	return strings.Join(names, ", ")
}

// writeUnseen writes the checks that could not be made for what was not read,
// together: one permission that is missing keeps many from being made.
func writeUnseen(out io.Writer, results []v1alpha1.CheckResult, of standing) {
	var ids, remedies []string
	keys := map[string][]string{}
	for _, result := range results {
		if len(result.Unseen) == 0 || standingOf(result) != of {
			continue
		}
		ids = append(ids, result.ID)
		if !slices.Contains(remedies, result.Remedy) {
			remedies = append(remedies, result.Remedy)
		}
		for _, one := range result.Unseen {
			if !slices.Contains(keys[one.Reason], one.Key) {
				keys[one.Reason] = append(keys[one.Reason], one.Key)
			}
		}
	}
	if len(ids) == 0 {
		return
	}
	head := statusCell(of)
	fmt.Fprintf(out, "%s%s\n", head, wrapped(count(len(ids), "check")+" cannot be made: "+strings.Join(ids, ", "), max(len(head), statusColumn)))
	for _, reason := range slices.Sorted(maps.Keys(keys)) {
		slices.Sort(keys[reason])
		for i, key := range keys[reason] {
			keys[reason][i] = kept(key)
		}
		fmt.Fprintf(out, "%*s%s\n", statusColumn, "", wrapped("without "+strings.Join(keys[reason], ", ")+": "+reason, statusColumn))
	}
	for _, remedy := range remedies {
		fmt.Fprintf(out, "%*s%s\n", statusColumn, "", wrapped("-> "+remedy, statusColumn))
	}
}

// statusColumn is as wide as the longest status, "unknown", and two spaces.
const statusColumn = 9

// statusCell is a standing, as wide as the column of statuses at least.
func statusCell(of standing) string {
	if of.accepted {
		return of.String() + "  "
	}
	return fmt.Sprintf("%-*s", statusColumn, of)
}

func writeResult(out io.Writer, results []v1alpha1.CheckResult, width int) {
	result := results[0]
	if result.Accepted {
		// It is out of line as it is.
		width = len(result.ID)
	}
	head := fmt.Sprintf("%s%-*s", statusCell(standingOf(result)), width+2, result.ID)
	if result.Status == v1alpha1.StatusPass {
		fmt.Fprintf(out, "%s%s\n", head, wrapped(result.Message, len(head)))
		return
	}
	fmt.Fprintf(out, "%s%s\n", head, wrapped(subjects(results), len(head)))
	remedy := result.Remedy
	if result.Accepted {
		remedy = ""
	}
	for _, line := range []struct{ before, text string }{{"at ", result.Field}, {"", result.Message}, {"-> ", remedy}} {
		if line.text != "" {
			fmt.Fprintf(out, "%*s%s\n", statusColumn, "", wrapped(line.before+line.text, statusColumn))
		}
	}
}

// Summary writes the closing line of a list of checks.
func Summary(out io.Writer, summary v1alpha1.Summary) {
	accepted := ""
	if summary.Accepted > 0 {
		accepted = fmt.Sprintf(", %d accepted", summary.Accepted)
	}
	fmt.Fprintf(out, "%d checked, %d warned, %d failed, %d skipped, %d unknown%s\n",
		summary.Checked, summary.Warned, summary.Failed, summary.Skipped, summary.Unknown, accepted)
}
