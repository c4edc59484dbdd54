package render

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// PlanHeading writes what a plan is about in one line.
func PlanHeading(out io.Writer, plan v1alpha1.MigrationPlan) {
	verb := map[v1alpha1.Operation]string{
		v1alpha1.OperationEnroll: "Enroll namespace", v1alpha1.OperationRollback: "Roll back namespace",
	}[plan.Operation]
	state := ""
	if plan.Blocked {
		state = ", BLOCKED by the gates below"
	}
	fmt.Fprintf(out, "%s %s: %s, %s%s\n", verb, plan.Namespace, count(len(plan.Steps), "step"), count(restartCount(plan), "restart"), state)
}

func restartCount(plan v1alpha1.MigrationPlan) int {
	restarts := 0
	for _, step := range plan.Steps {
		if len(step.Changes) > 0 && len(step.Gate.Workloads) > 0 {
			restarts += len(step.Gate.Workloads)
		}
	}
	return restarts
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Gates writes every gate of a plan.
func Gates(out io.Writer, plan v1alpha1.MigrationPlan) {
	fmt.Fprintln(out, "\nGATES")
	Results(out, plan.Gates)
	Summary(out, plan.Summary)
}

// GatesInBrief writes the gates of a plan that have something to say, and
// counts the others.
func GatesInBrief(out io.Writer, plan v1alpha1.MigrationPlan) {
	fmt.Fprintln(out, "\nGATES")
	Results(out, slices.DeleteFunc(slices.Clone(plan.Gates), func(result v1alpha1.CheckResult) bool {
		return result.Status == v1alpha1.StatusPass
	}))
	Summary(out, plan.Summary)
}

// Steps writes a plan's steps in order. With diffs each is followed by what it
// changes; the function given returns an object's diffs for a step.
func Steps(out io.Writer, plan v1alpha1.MigrationPlan, diffs func(v1alpha1.Step) ([]ObjectDiff, error)) error {
	fmt.Fprintln(out, "\nSTEPS")
	for i, step := range plan.Steps {
		head := fmt.Sprintf("%2d  %-18s ", i+1, step.Phase)
		fmt.Fprintf(out, "%s%s\n", head, wrapped(step.Summary, len(head)))
		for _, note := range step.Notes {
			fmt.Fprintf(out, "%*s%s\n", len(head), "", wrapped("("+note+")", len(head)))
		}
		if diffs == nil {
			continue
		}
		changed, err := diffs(step)
		if err != nil {
			return fmt.Errorf("step %s: %w", step.ID, err)
		}
		var text strings.Builder
		if err := Diff(&text, changed); err != nil {
			return fmt.Errorf("step %s: %w", step.ID, err)
		}
		for line := range strings.Lines(text.String()) {
			fmt.Fprint(out, "    "+line)
		}
	}
	return nil
}

// Gone writes what a rollback cannot put back.
func Gone(out io.Writer, gone []v1alpha1.ObjectReference) {
	if len(gone) == 0 {
		return
	}
	fmt.Fprintln(out, "\nGONE (deleted by somebody else since)")
	for _, object := range gone {
		fmt.Fprintf(out, "  %s\n", object)
	}
}

// Kept writes what a rollback leaves alone.
func Kept(out io.Writer, kept []v1alpha1.KeptField) {
	if len(kept) == 0 {
		return
	}
	fmt.Fprintln(out, "\nLEFT ALONE (changed by somebody else since)")
	for _, field := range kept {
		fmt.Fprintf(out, "  %s\n", field.Object)
		text := fmt.Sprintf("%s is %s; the run had written %s over %s", field.Path, value(field.Found), value(field.Expected), value(field.Wanted))
		fmt.Fprintf(out, "    %s\n", wrapped(text, 4))
	}
}

func value(v any) string {
	if v == nil {
		return "nothing"
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(data)
}
