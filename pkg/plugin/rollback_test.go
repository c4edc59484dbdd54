package plugin

import (
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// What a rollback that stopped is gone on with says which part it was to undo.
func TestGoOn(t *testing.T) {
	enrolment := func(id string) v1alpha1.MigrationRecord {
		return v1alpha1.MigrationRecord{ID: id, Operation: v1alpha1.OperationEnroll, State: v1alpha1.RunSucceeded}
	}
	for _, test := range []struct {
		name  string
		begun v1alpha1.MigrationPlan
		want  string
	}{
		{"of all runs", v1alpha1.MigrationPlan{Undoes: []string{"two", "one"}}, ""},
		{"of the newest", v1alpha1.MigrationPlan{Undoes: []string{"two"}}, " --run two"},
		{"to a phase", v1alpha1.MigrationPlan{Undoes: []string{"two"}, To: v1alpha1.PhasePin}, " --to pin"},
		{"without a record", v1alpha1.MigrationPlan{Unrecorded: true}, " --without-record"},
	} {
		t.Run(test.name, func(t *testing.T) {
			begun := v1alpha1.MigrationRecord{ID: "back", Operation: v1alpha1.OperationRollback, State: v1alpha1.RunIncomplete, Plan: test.begun}
			if got := goOn(begun, []v1alpha1.MigrationRecord{begun, enrolment("two"), enrolment("one")}); got != test.want {
				t.Errorf("it is gone on with %q, not %q", got, test.want)
			}
		})
	}
}
