package record_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
)

func run(id string, operation v1alpha1.Operation, state v1alpha1.RunState, age time.Duration, undoes ...string) v1alpha1.MigrationRecord {
	return v1alpha1.MigrationRecord{
		ID: id, Operation: operation, State: state, Started: started.Add(-age), Plan: v1alpha1.MigrationPlan{Undoes: undoes},
		Steps: []v1alpha1.StepRecord{{State: v1alpha1.StepDone}, {State: v1alpha1.StepFailed}, {State: v1alpha1.StepPending}},
	}
}

func TestHistory(t *testing.T) {
	first := run("a", v1alpha1.OperationEnroll, v1alpha1.RunIncomplete, time.Hour)
	first.Reason, first.Why, first.User, first.Resumes = "broken", "ticket 7", "jane", "z"
	first.Plan.Options = &v1alpha1.PlanOptions{Until: v1alpha1.PhasePin}
	second := run("b", v1alpha1.OperationRollback, v1alpha1.RunSucceeded, 0, "a")
	want := v1alpha1.MigrationHistory{
		TypeMeta: v1alpha1.Document("MigrationHistory"), Namespace: "shop", Runs: []v1alpha1.RunSummary{
			{ID: "b", Operation: "rollback", State: "succeeded", Started: started, Done: 1, Steps: 3, Undoes: []string{"a"}},
			{
				ID: "a", Operation: "enroll", State: "incomplete", Open: true, Reason: "broken", Why: "ticket 7", User: "jane", Resumes: "z",
				Started: started.Add(-time.Hour), Done: 1, Steps: 3, Until: "pin",
			},
		},
	}
	if diff := cmp.Diff(want, record.History("shop", []v1alpha1.MigrationRecord{second, first}, nil)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPrunable(t *testing.T) {
	records := []v1alpha1.MigrationRecord{
		run("holds", v1alpha1.OperationEnroll, v1alpha1.RunSucceeded, time.Hour),
		run("stopped", v1alpha1.OperationEnroll, v1alpha1.RunIncomplete, 2*time.Hour),
		run("begun", v1alpha1.OperationRollback, v1alpha1.RunIncomplete, 2*time.Hour, "stopped"),
		run("unrecorded", v1alpha1.OperationRollback, v1alpha1.RunIncomplete, 2*time.Hour),
		run("killed", v1alpha1.OperationRollback, v1alpha1.RunRunning, 2*time.Hour),
		run("back", v1alpha1.OperationRollback, v1alpha1.RunSucceeded, 3*time.Hour, "undone"),
		run("undone", v1alpha1.OperationEnroll, v1alpha1.RunRolledBack, 4*time.Hour),
		run("followed", v1alpha1.OperationRollback, v1alpha1.RunIncomplete, 4*time.Hour),
	}
	for name, test := range map[string]struct {
		all    bool
		before time.Time
		want   []string
	}{
		"what no rollback needs": {false, started, []string{"back", "undone", "followed"}},
		"of long ago":            {false, started.Add(-3*time.Hour - time.Minute), []string{"undone", "followed"}},
		"every one":              {true, started, []string{"holds", "stopped", "begun", "unrecorded", "killed", "back", "undone", "followed"}},
		"every one of long ago":  {true, started.Add(-90 * time.Minute), []string{"stopped", "begun", "unrecorded", "killed", "back", "undone", "followed"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, run := range record.Prunable(records, nil, test.all, test.before) {
				got = append(got, run.ID)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A run that is rolled back but for what other namespaces rely on is what a rollback has
// to undo; whatever asks for runs that hold is not told of it.
func TestWhatRemainsOfARunIsToBeUndone(t *testing.T) {
	remnant := run("remnant", v1alpha1.OperationEnroll, v1alpha1.RunRolledBack, 2*time.Hour)
	remnant.Remains = []v1alpha1.ObjectReference{{APIVersion: "v1", Kind: "Service", Namespace: "pay", Name: "api"}}
	records := []v1alpha1.MigrationRecord{
		run("back", v1alpha1.OperationRollback, v1alpha1.RunSucceeded, time.Hour, "remnant"), remnant,
		run("undone", v1alpha1.OperationEnroll, v1alpha1.RunRolledBack, 3*time.Hour),
	}
	if open := record.Open(records); len(open) > 0 {
		t.Errorf("open are %v", open)
	}
	if _, found := record.Continued(records); found {
		t.Error("there is a run to go on with")
	}
	if left := record.ToUndo(records); len(left) != 1 || left[0].ID != "remnant" {
		t.Errorf("to be undone are %v", left)
	}
	if down, err := record.DownTo(records, "remnant"); err != nil || len(down) != 1 {
		t.Errorf("down to it are %v, %v", down, err)
	}
	if prunable := record.Prunable(records, nil, false, started); len(prunable) != 1 || prunable[0].ID != "undone" {
		t.Errorf("what no rollback needs is %v", prunable)
	}
	if history := record.History("shop", records, nil); !history.Runs[1].Open || len(history.Runs[1].Remains) != 1 || history.Runs[2].Open {
		t.Errorf("the history is %+v", history.Runs)
	}
}

// Parts that a killed run has left behind are found, those of records are not.
func TestStrays(t *testing.T) {
	client := cluster(t)
	mine, large := store(client), largeRecord(24)
	if err := mine.Create(t.Context(), large); err != nil {
		t.Fatal(err)
	}
	killed := largeRecord(24)
	killed.ID, killed.Plan.Steps[0].Summary = "killed", noise(99, 200<<10)
	if err := mine.Create(t.Context(), killed); err != nil {
		t.Fatal(err)
	}
	if err := client.Tracker().Delete(configMaps, "shop", record.Name("killed")); err != nil {
		t.Fatal(err)
	}
	store := store(client)
	records, err := store.List(t.Context())
	if err != nil || len(records) != 1 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	strays, err := store.Strays(t.Context(), records, nil)
	if err != nil || len(strays) == 0 {
		t.Fatalf("strays are %v, %v", strays, err)
	}
	if err := store.DeleteStrays(t.Context(), strays); err != nil {
		t.Fatal(err)
	}
	if left, err := store.Strays(t.Context(), records, nil); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	read, err := store.List(t.Context())
	if diff := cmp.Diff(large, only(t, read, err)); diff != "" {
		t.Errorf("(-want +got):\n%.2000s", diff)
	}
}
