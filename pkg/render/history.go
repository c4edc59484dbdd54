package render

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// History writes the runs of a namespace as a table, and below it what is to be
// said of some: why they were made, and why they did not end.
func History(out io.Writer, history v1alpha1.MigrationHistory, now time.Time) error {
	var rows [][]string
	for _, run := range history.Runs {
		rows = append(rows, []string{
			run.ID, string(run.Operation), string(run.State), fmt.Sprintf("%d/%d", run.Done, run.Steps), duration.HumanDuration(now.Sub(run.Started)), dash(run.User),
		})
	}
	if len(rows) > 0 {
		if err := table(trimmed{out}, []string{"RUN", "OPERATION", "STATE", "STEPS", "AGE", "BY"}, rows); err != nil {
			return err
		}
	}
	for _, one := range history.Unreadable {
		fmt.Fprintf(out, "\nunreadable: %s\n", wrapped(one.Reason+": "+one.Remedy, len("unreadable: ")))
	}
	for _, run := range history.Runs {
		for _, note := range notesOf(run) {
			fmt.Fprintf(out, "\n%s: %s\n", run.ID, wrapped(note, len(run.ID)+2))
		}
	}
	return nil
}

func notesOf(run v1alpha1.RunSummary) []string {
	var notes []string
	if run.Why != "" {
		notes = append(notes, "why: "+run.Why)
	}
	if run.Until != "" {
		notes = append(notes, "was to stop after phase "+string(run.Until))
	}
	if run.Service != "" {
		notes = append(notes, "was for "+run.Service+" alone")
	}
	if run.Resumes != "" {
		notes = append(notes, "went on with "+run.Resumes)
	}
	if len(run.Undoes) > 0 {
		part := ""
		if run.To != "" {
			part = ", but for what they did up to phase " + string(run.To)
		}
		notes = append(notes, "undoes "+strings.Join(run.Undoes, ", ")+part)
	}
	if len(run.Remains) > 0 {
		notes = append(notes, "kept for other namespaces until the next rollback: "+listed(run.Remains))
	}
	if run.Reason != "" {
		notes = append(notes, strings.Join(strings.Fields(run.Reason), " "))
	}
	return notes
}

func listed(objects []v1alpha1.ObjectReference) string {
	var names []string
	for _, object := range objects {
		names = append(names, object.String())
	}
	return strings.Join(names, ", ")
}

// Run writes what became of each step of a run.
func Run(out io.Writer, run v1alpha1.MigrationRecord) error {
	fmt.Fprintf(out, "%s %s of namespace %s: %s\n", run.Operation, run.ID, run.Namespace, run.State)
	fmt.Fprintf(out, "started %s by %s, with version %s\n", run.Started.UTC().Format(time.RFC3339), dash(run.User), dash(run.ToolVersion))
	if run.Why != "" {
		fmt.Fprintf(out, "why: %s\n", wrapped(run.Why, len("why: ")))
	}
	if run.Reason != "" {
		fmt.Fprintf(out, "stopped: %s\n", wrapped(strings.Join(strings.Fields(run.Reason), " "), len("stopped: ")))
	}
	for _, gate := range run.Awaits {
		fmt.Fprintf(out, "its gate after %s has not held yet\n", gate.Step)
	}
	fmt.Fprintln(out)
	var rows [][]string
	for i, step := range run.Steps {
		took := ""
		if step.Started != nil && step.Finished != nil {
			took = step.Finished.Sub(*step.Started).Round(time.Second).String()
		}
		changes := 0
		if i < len(run.Plan.Steps) {
			changes = len(run.Plan.Steps[i].Changes)
		}
		rows = append(rows, []string{step.ID, string(step.State), fmt.Sprint(changes), dash(took)})
	}
	return table(trimmed{out}, []string{"STEP", "STATE", "CHANGES", "TOOK"}, rows)
}
