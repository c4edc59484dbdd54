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
	order := []v1alpha1.CheckStatus{
		v1alpha1.StatusFail, v1alpha1.StatusUnknown, v1alpha1.StatusWarn, v1alpha1.StatusSkip, v1alpha1.StatusPass,
	}
	width := 0
	for _, result := range results {
		width = max(width, len(result.ID))
	}
	for _, status := range order {
		if status == v1alpha1.StatusUnknown {
			writeUnseen(out, results)
		}
		for _, result := range results {
			if result.Status == status && len(result.Unseen) == 0 {
				writeResult(out, result, width)
			}
		}
	}
}

// writeUnseen writes the checks that could not be made for what was not read,
// together: one permission that is missing keeps many from being made.
func writeUnseen(out io.Writer, results []v1alpha1.CheckResult) {
	var ids, remedies []string
	keys := map[string][]string{}
	for _, result := range results {
		if len(result.Unseen) == 0 {
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
	fmt.Fprintf(out, "%-*s%s\n", statusColumn, v1alpha1.StatusUnknown,
		wrapped(count(len(ids), "check")+" cannot be made: "+strings.Join(ids, ", "), statusColumn))
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

func writeResult(out io.Writer, result v1alpha1.CheckResult, width int) {
	head := fmt.Sprintf("%-*s%-*s", statusColumn, result.Status, width+2, result.ID)
	if result.Status == v1alpha1.StatusPass {
		fmt.Fprintf(out, "%s%s\n", head, wrapped(result.Message, len(head)))
		return
	}
	subject := "the mesh"
	if result.Object != nil {
		subject = result.Object.String()
	}
	fmt.Fprintf(out, "%s%s\n", head, subject)
	if result.Field != "" {
		fmt.Fprintf(out, "%*s%s\n", statusColumn, "", wrapped("at "+result.Field, statusColumn))
	}
	fmt.Fprintf(out, "%*s%s\n", statusColumn, "", wrapped(result.Message, statusColumn))
	if result.Remedy != "" {
		fmt.Fprintf(out, "%*s%s\n", statusColumn, "", wrapped("-> "+result.Remedy, statusColumn))
	}
}

// Summary writes the closing line of a list of checks.
func Summary(out io.Writer, summary v1alpha1.Summary) {
	fmt.Fprintf(out, "%d checked, %d warned, %d failed, %d skipped, %d unknown\n",
		summary.Checked, summary.Warned, summary.Failed, summary.Skipped, summary.Unknown)
}

// Verification writes the outcome of verify.
func Verification(out io.Writer, report v1alpha1.VerifyReport) {
	Results(out, report.Results)
	fmt.Fprintln(out)
	Summary(out, report.Summary)
	if report.Verified {
		fmt.Fprintf(out, "Namespace %s is in ambient mode.\n", report.Namespace)
		return
	}
	fmt.Fprintf(out, "Namespace %s is not verified to be in ambient mode.\n", report.Namespace)
}
