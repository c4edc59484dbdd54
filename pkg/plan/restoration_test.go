package plan_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
)

// named are the names of objects.
func named(objects []v1alpha1.ObjectReference) []string {
	var names []string
	for _, object := range objects {
		names = append(names, object.String())
	}
	return names
}

func TestARollbackOfAllEndsWithALook(t *testing.T) {
	before := mixed()
	enrolment := enroll(t, before)
	record := recordOf("one", enrolment, done(len(enrolment.Steps))...)
	planned := rollback(t, apply(t, before, enrolment.Steps), record)
	steps := len(planned.Steps)
	if err := plan.Concluding(&planned, []v1alpha1.MigrationRecord{record}); err != nil {
		t.Fatal(err)
	}
	if len(planned.Steps) != steps+1 {
		t.Fatalf("%d steps became %d", steps, len(planned.Steps))
	}
	last := planned.Steps[steps]
	if last.ID != "verify" || last.Gate.Kind != v1alpha1.GateRestored || len(last.Changes) > 0 {
		t.Fatalf("the last step is %+v", last)
	}
	restoration := last.Gate.Restoration
	if diff := cmp.Diff([]string{"Deployment shop/cart", "StatefulSet shop/db"}, named(restoration.Workloads)); diff != "" {
		t.Errorf("the workloads that had sidecars (-want +got):\n%s", diff)
	}
	if !restoration.Unlabelled || !restoration.Since.Equal(fixture.Created) {
		t.Errorf("it is to be %+v", restoration)
	}
	nothing := plan.NothingToRollBack("shop")
	if err := plan.Concluding(&nothing, []v1alpha1.MigrationRecord{record}); err != nil || len(nothing.Steps) > 0 {
		t.Errorf("a rollback of nothing has steps %v (%v)", ids(nothing), err)
	}
}

func TestARestorationNamesWhatRunsHaveMade(t *testing.T) {
	making := func(name string) v1alpha1.Step {
		object := v1alpha1.ObjectReference{APIVersion: "gateway.networking.k8s.io/v1", Kind: "Gateway", Namespace: "shop", Name: name}
		return v1alpha1.Step{ID: name, Phase: v1alpha1.PhaseDeployWaypoints, Changes: []v1alpha1.Change{{Object: object, Create: map[string]any{"kind": "Gateway"}}}}
	}
	planned := v1alpha1.MigrationPlan{Namespace: "shop", Steps: []v1alpha1.Step{making("one"), making("never")}}
	restoration, err := plan.RestorationOf("shop", []v1alpha1.MigrationRecord{recordOf("one", planned, v1alpha1.StepDone, v1alpha1.StepPending)})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Gateway shop/one"}, named(restoration.Created)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestARollbackWithoutARecordEndsWithALookAtWhatItWrites(t *testing.T) {
	planned := v1alpha1.MigrationPlan{Namespace: "shop", Unrecorded: true, Steps: []v1alpha1.Step{
		{Phase: v1alpha1.PhaseRestoreWorkloads, Changes: []v1alpha1.Change{{Object: v1alpha1.ObjectReference{Kind: "Deployment", Namespace: "shop", Name: "cart"}}}},
		{Phase: v1alpha1.PhaseRestoreWorkloads, Changes: []v1alpha1.Change{{Object: v1alpha1.ObjectReference{Kind: "CronJob", Namespace: "shop", Name: "report"}}}},
		{Phase: v1alpha1.PhaseDisableAmbient, Changes: []v1alpha1.Change{{Object: v1alpha1.ObjectReference{Kind: "Namespace", Name: "shop"}}}},
	}}
	if err := plan.Concluding(&planned, nil); err != nil {
		t.Fatal(err)
	}
	restoration := planned.Steps[3].Gate.Restoration
	if diff := cmp.Diff([]string{"Deployment shop/cart"}, named(restoration.Workloads)); diff != "" || !restoration.Unlabelled || restoration.Since != nil {
		t.Errorf("it is to be %+v", restoration)
	}
}

func TestReturned(t *testing.T) {
	before := mixed()
	enrolment := enroll(t, before)
	run := func(id string, state v1alpha1.RunState, age time.Duration) v1alpha1.MigrationRecord {
		record := recordOf(id, enrolment, done(len(enrolment.Steps))...)
		record.Operation, record.State, record.Started = v1alpha1.OperationEnroll, state, fixture.Created.Add(-age)
		return record
	}
	undoing := func(id string, undoes ...string) v1alpha1.MigrationRecord {
		return v1alpha1.MigrationRecord{
			ID: id, Operation: v1alpha1.OperationRollback, State: v1alpha1.RunSucceeded,
			Plan: v1alpha1.MigrationPlan{Undoes: undoes, Kept: []v1alpha1.KeptField{{Reason: id}}},
		}
	}
	one, two, open := run("one", v1alpha1.RunRolledBack, 2*time.Hour), run("two", v1alpha1.RunRolledBack, time.Hour), run("open", v1alpha1.RunSucceeded, 0)
	for _, test := range []struct {
		name    string
		records []v1alpha1.MigrationRecord
		// since is when the first of the runs that count began; zero where none counts.
		since time.Time
		kept  int
	}{
		{"nothing is recorded", nil, time.Time{}, 0},
		{"a run holds", []v1alpha1.MigrationRecord{open, undoing("b", "one"), one}, time.Time{}, 0},
		{"all was undone", []v1alpha1.MigrationRecord{undoing("b", "two", "one"), two, one}, one.Started, 1},
		{"by two rollbacks", []v1alpha1.MigrationRecord{undoing("c", "one"), undoing("b", "two"), two, one}, one.Started, 2},
		{"what was undone before does not count", []v1alpha1.MigrationRecord{undoing("c", "two"), two, undoing("b", "one"), one}, two.Started, 2},
		{"it was closed without a run", []v1alpha1.MigrationRecord{one}, one.Started, 0},
		{"a Service alone was given a waypoint", []v1alpha1.MigrationRecord{undoing("b", "s"), {ID: "s", Operation: v1alpha1.OperationEnroll, State: v1alpha1.RunRolledBack}}, time.Time{}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			returned, err := plan.Returned("shop", test.records)
			if err != nil {
				t.Fatal(err)
			}
			if (returned != nil) != !test.since.IsZero() {
				t.Fatalf("it is %+v", returned)
			}
			if returned != nil && (!returned.Since.Equal(test.since) || len(returned.Kept) != test.kept || len(returned.Workloads) != 2 || !returned.Unlabelled) {
				t.Errorf("it is %+v", returned)
			}
		})
	}
}
