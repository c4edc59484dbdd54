package record_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
)

func whole(id string, state v1alpha1.RunState, off ...string) v1alpha1.MigrationRecord {
	return v1alpha1.MigrationRecord{ID: id, Operation: v1alpha1.OperationEnroll, State: state, Plan: v1alpha1.MigrationPlan{
		Options: &v1alpha1.PlanOptions{TakenOff: off, WaypointSkip: []string{"web"}},
	}}
}

func on(id, name string, state v1alpha1.RunState) v1alpha1.MigrationRecord {
	return v1alpha1.MigrationRecord{ID: id, Operation: v1alpha1.OperationEnroll, State: state, Plan: v1alpha1.MigrationPlan{
		Options: &v1alpha1.PlanOptions{Service: "service/" + name},
	}}
}

func off(id, name string) v1alpha1.MigrationRecord {
	return v1alpha1.MigrationRecord{ID: id, Operation: v1alpha1.OperationRollback, State: v1alpha1.RunSucceeded, Plan: v1alpha1.MigrationPlan{Service: "service/" + name}}
}

func back(id string) v1alpha1.MigrationRecord {
	return v1alpha1.MigrationRecord{ID: id, Operation: v1alpha1.OperationRollback, State: v1alpha1.RunSucceeded}
}

// What has become of single Services since the namespace was enrolled is known from the
// records, and heeded by who goes on with its enrolment.
func TestSingleServices(t *testing.T) {
	const done, undone, stopped = v1alpha1.RunSucceeded, v1alpha1.RunRolledBack, v1alpha1.RunIncomplete
	for name, test := range map[string]struct {
		records   []v1alpha1.MigrationRecord
		off       []string
		continued string
		add, skip []string
	}{
		"none":              {},
		"whole":             {[]v1alpha1.MigrationRecord{whole("a", done)}, nil, "a", nil, []string{"web"}},
		"off":               {[]v1alpha1.MigrationRecord{off("b", "cart"), whole("a", done)}, []string{"cart"}, "a", nil, []string{"web"}},
		"off and on":        {[]v1alpha1.MigrationRecord{on("c", "cart", done), off("b", "cart"), whole("a", done)}, nil, "a", []string{"cart"}, []string{"web"}},
		"on and off":        {[]v1alpha1.MigrationRecord{off("c", "cart"), on("b", "cart", undone), whole("a", done)}, []string{"cart"}, "a", nil, []string{"web"}},
		"a part is left":    {[]v1alpha1.MigrationRecord{off("c", "cart"), on("b", "cart", done), whole("a", done)}, []string{"cart"}, "a", nil, []string{"web"}},
		"skipped and on":    {[]v1alpha1.MigrationRecord{on("b", "web", done), whole("a", done)}, nil, "a", []string{"web"}, nil},
		"gone on with":      {[]v1alpha1.MigrationRecord{whole("c", done, "cart"), off("b", "cart"), whole("a", done)}, []string{"cart"}, "c", nil, []string{"web"}},
		"planned again":     {[]v1alpha1.MigrationRecord{whole("c", done), off("b", "cart"), whole("a", done)}, nil, "c", nil, []string{"web"}},
		"all rolled back":   {[]v1alpha1.MigrationRecord{off("b", "cart"), whole("a", undone)}, nil, "", nil, nil},
		"alone":             {[]v1alpha1.MigrationRecord{on("b", "web", done), on("a", "cart", done)}, nil, "b", nil, nil},
		"alone, one is off": {[]v1alpha1.MigrationRecord{off("c", "web"), on("b", "web", done), on("a", "cart", done)}, nil, "a", nil, nil},
		"undone since":      {[]v1alpha1.MigrationRecord{back("c"), whole("b", undone), whole("a", stopped)}, nil, "a", nil, []string{"web"}},
		"one undone since":  {[]v1alpha1.MigrationRecord{back("c"), on("b", "cart", undone), whole("a", stopped)}, nil, "a", nil, []string{"web"}},
		"a part is undone":  {[]v1alpha1.MigrationRecord{back("b"), whole("a", done)}, nil, "a", nil, []string{"web"}},
		"one has stopped":   {[]v1alpha1.MigrationRecord{on("b", "web", stopped), whole("a", done)}, nil, "b", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.off, record.TakenOff(test.records)); diff != "" {
				t.Errorf("off are (-want +got):\n%s", diff)
			}
			continued, found := record.Continued(test.records)
			if continued.ID != test.continued || found != (test.continued != "") {
				t.Fatalf("it goes on with %q, %t", continued.ID, found)
			}
			if !found || continued.Service() != "" {
				return
			}
			options := record.Whole(test.records, continued).Options
			want := &v1alpha1.PlanOptions{TakenOff: test.off, WaypointAdd: test.add, WaypointSkip: test.skip}
			if diff := cmp.Diff(want, options, cmp.FilterValues(func(a, b []string) bool { return len(a)+len(b) == 0 }, cmp.Ignore())); diff != "" {
				t.Errorf("its options are (-want +got):\n%s", diff)
			}
		})
	}
}
