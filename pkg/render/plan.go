package render

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// PlanHeading writes what a plan is about, and the plan in figures.
func PlanHeading(out io.Writer, plan v1alpha1.MigrationPlan) {
	verb := map[v1alpha1.Operation]string{
		v1alpha1.OperationEnroll: "Enroll", v1alpha1.OperationRollback: "Roll back", v1alpha1.OperationSimplify: "Simplify",
	}[plan.Operation]
	if service := (v1alpha1.MigrationRecord{Plan: plan}).Service(); service != "" {
		verb += " " + service + " of"
	}
	state := count(len(plan.Steps), "step")
	if plan.Withheld {
		state = "steps not shown"
	}
	if plan.Blocked {
		state += ", BLOCKED by the gates below"
	}
	fmt.Fprintf(out, "%s namespace %s: %s\n\n", verb, plan.Namespace, state)
	if plan.Unrecorded {
		fmt.Fprint(out, "No record says what was there before: the steps are derived from what is there now,\nand need not lead to exactly that.\n\n")
	}
	overview := plan.Overview
	for _, line := range []struct{ name, text string }{
		{"creates", changes(overview.Creates)},
		{"changes", changes(overview.Changes)},
		{"deletes", changes(overview.Deletes)},
		{"restarts", restarted(overview)},
		{"waypoints", waypointUses(overview.Waypoints)},
		{"blocked by", strings.Join(overview.Blockers, ", ")},
		{"accepted", strings.Join(overview.Accepted, ", ")},
		{"unmatched", unmatched(overview.Unmatched)},
		{"at risk", strings.Join(overview.Risks, ", ")},
		{"afterwards", strings.Join(overview.Differences, ", ")},
	} {
		if line.text != "" {
			fmt.Fprintf(out, "  %-12s%s\n", line.name, wrapped(line.text, 14))
		}
	}
}

// unmatched names what was accepted without need, or not as it is called.
func unmatched(accepted []string) string {
	var texts []string
	for _, one := range accepted {
		texts = append(texts, kept("--accept "+one))
	}
	return strings.Join(texts, ", ")
}

func changes(byKind map[string]int) string {
	var texts []string
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		texts = append(texts, kept(count(byKind[kind], kind)))
	}
	return strings.Join(texts, ", ")
}

func waypointUses(uses []v1alpha1.WaypointUse) string {
	var texts []string
	for _, use := range uses {
		made := ""
		if use.Created {
			made = " (new)"
		}
		texts = append(texts, kept(fmt.Sprintf("%s/%s%s for %s", use.Namespace, use.Name, made, count(use.Services, "Service"))))
	}
	return strings.Join(texts, ", ")
}

func restarted(overview v1alpha1.Overview) string {
	if overview.RestartedWorkloads == 0 {
		return ""
	}
	return count(overview.RestartedWorkloads, "workload") + ", " + count(overview.RestartedPods, "pod")
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %s", n, plural(noun))
}

// plural is that of an English noun, or of the name of a kind.
func plural(noun string) string {
	stem, endsInY := strings.CutSuffix(noun, "y")
	switch {
	case endsInY && stem != "" && !strings.ContainsRune("aeiou", rune(stem[len(stem)-1])):
		return stem + "ies"
	case strings.HasSuffix(noun, "s"):
		return noun + "es"
	default:
		return noun + "s"
	}
}

// Gates writes the gates of a plan that have something to say, and of those that
// passed how many there are of each category. All writes every one.
func Gates(out io.Writer, plan v1alpha1.MigrationPlan, all bool) {
	fmt.Fprintln(out, "\nGATES")
	if all {
		Results(out, plan.Gates)
	} else {
		Results(out, slices.DeleteFunc(slices.Clone(plan.Gates), passed))
		if text := passedByCategory(plan.Gates); text != "" {
			fmt.Fprintf(out, "%-*s%s\n", statusColumn, v1alpha1.StatusPass, wrapped(text, statusColumn))
		}
	}
	Summary(out, plan.Summary)
}

func passed(result v1alpha1.CheckResult) bool { return result.Status == v1alpha1.StatusPass }

func passedByCategory(results []v1alpha1.CheckResult) string {
	var categories []string
	counts := map[string]int{}
	for _, result := range results {
		if !passed(result) {
			continue
		}
		if counts[result.Category] == 0 {
			categories = append(categories, result.Category)
		}
		counts[result.Category]++
	}
	for i, category := range categories {
		categories[i] = kept(fmt.Sprintf("%d %s", counts[category], category))
	}
	return strings.Join(categories, ", ")
}

// Steps writes a plan's steps in order. With diffs each is followed by what it
// changes; the function given returns an object's diffs for a step.
func Steps(out io.Writer, plan v1alpha1.MigrationPlan, diffs func(v1alpha1.Step) ([]ObjectDiff, error)) error {
	title := "STEPS"
	if plan.Blocked {
		title = "STEPS (blocked: none of them may be taken)"
	}
	fmt.Fprintln(out, "\n"+title)
	if plan.Withheld {
		fmt.Fprintln(out, "not shown: --ignore-failures shows them")
		return nil
	}
	for i, step := range plan.Steps {
		head := fmt.Sprintf("%2d  %-20s ", i+1, step.Phase)
		fmt.Fprintf(out, "%s%s\n", head, wrapped(step.Summary, len(head)))
		if beside := besides(plan.Steps, i); beside != "" {
			fmt.Fprintf(out, "%*s%s\n", len(head), "", wrapped(beside, len(head)))
		}
		for _, note := range step.Notes {
			fmt.Fprintf(out, "%*s%s\n", len(head), "", wrapped("("+note+")", len(head)))
		}
		if diffs == nil {
			madeAndUnmade(out, step, len(head))
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

// besides names the steps that are taken at the same time as one of them; it is empty
// for all but the first of those.
func besides(steps []v1alpha1.Step, first int) string {
	wave := steps[first].Wave
	last := first
	for last+1 < len(steps) && wave > 0 && steps[last+1].Wave == wave {
		last++
	}
	if last == first || first > 0 && steps[first-1].Wave == wave {
		return ""
	}
	return fmt.Sprintf("(steps %d to %d are taken at the same time)", first+1, last+1)
}

// madeAndUnmade names what a step creates and deletes, where no diff shows it.
func madeAndUnmade(out io.Writer, step v1alpha1.Step, indent int) {
	for _, part := range []struct {
		verb string
		is   func(v1alpha1.Change) bool
	}{
		{"create", func(change v1alpha1.Change) bool { return change.Create != nil }},
		{"delete", func(change v1alpha1.Change) bool { return change.Delete }},
	} {
		var kinds []string
		names := map[string][]string{}
		for _, change := range step.Changes {
			if !part.is(change) {
				continue
			}
			kind := change.Object.Kind
			if len(names[kind]) == 0 {
				kinds = append(kinds, kind)
			}
			names[kind] = append(names[kind], objectName(change.Object))
		}
		for _, kind := range kinds {
			fmt.Fprintf(out, "%*s%s\n", indent, "", wrapped(fmt.Sprintf("%s %s %s", part.verb, kind, strings.Join(names[kind], ", ")), indent))
		}
	}
}

// objectName is an object without its kind.
func objectName(object v1alpha1.ObjectReference) string {
	if object.Namespace == "" {
		return object.Name
	}
	return object.Namespace + "/" + object.Name
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

// Retained writes what a simplification does not delete.
func Retained(out io.Writer, kept []v1alpha1.KeptField) {
	if len(kept) == 0 {
		return
	}
	fmt.Fprintln(out, "\nKEPT (replaced, and not deleted all the same)")
	for _, field := range kept {
		fmt.Fprintf(out, "  %s\n    %s\n", field.Object, wrapped(field.Reason, 4))
	}
}

// Kept writes what a rollback leaves alone.
func Kept(out io.Writer, kept []v1alpha1.KeptField) {
	if len(kept) == 0 {
		return
	}
	fmt.Fprintln(out, "\nLEFT ALONE (changed or used by somebody else since)")
	for _, field := range kept {
		fmt.Fprintf(out, "  %s\n", field.Object)
		if field.Path == "" {
			fmt.Fprintf(out, "    %s\n", wrapped(field.Reason, 4))
			continue
		}
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
