package record_test

import (
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
)

func TestBegun(t *testing.T) {
	records := []v1alpha1.MigrationRecord{
		{ID: "d", Resumes: "c"}, {ID: "c", Resumes: "b"}, {ID: "b"}, {ID: "a"}, {ID: "lost", Resumes: "gone"}, {ID: "round", Resumes: "round"},
	}
	for id, want := range map[string]string{"d": "b", "c": "b", "b": "b", "a": "a", "lost": "lost", "round": "round"} {
		for _, run := range records {
			if run.ID == id {
				if got := record.Begun(records, run).ID; got != want {
					t.Errorf("%s has begun with %s, want %s", id, got, want)
				}
			}
		}
	}
}
