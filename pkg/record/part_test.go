package record_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
)

func TestDownTo(t *testing.T) {
	records := []v1alpha1.MigrationRecord{
		run("third", v1alpha1.OperationEnroll, v1alpha1.RunIncomplete, 0),
		run("back", v1alpha1.OperationRollback, v1alpha1.RunSucceeded, time.Hour, "undone"),
		run("undone", v1alpha1.OperationEnroll, v1alpha1.RunRolledBack, 2*time.Hour),
		run("second", v1alpha1.OperationEnroll, v1alpha1.RunSucceeded, 3*time.Hour),
		run("first", v1alpha1.OperationEnroll, v1alpha1.RunSucceeded, 4*time.Hour),
	}
	for _, test := range []struct {
		id      string
		records []v1alpha1.MigrationRecord
		want    []string
		err     string
	}{
		{"third", records, []string{"third"}, ""},
		{"second", records, []string{"third", "second"}, ""},
		{"first", records, []string{"third", "second", "first"}, ""},
		{"back", records, nil, "run back is a rollback"},
		{"undone", records, nil, "run undone was rolled back already"},
		{"fourth", records, nil, "those that can be undone are, newest first, third, second, first"},
		{"fourth", records[1:3], nil, "nor of any other that could be undone"},
	} {
		t.Run(test.id, func(t *testing.T) {
			runs, err := record.DownTo(test.records, test.id)
			var got []string
			for _, run := range runs {
				got = append(got, run.ID)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if (test.err != "") != (err != nil) || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
