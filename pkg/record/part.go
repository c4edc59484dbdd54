package record

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// DownTo are the enrolments that have to be undone for one of them to be: itself,
// and those made since, which build on what it left. Records are those of a
// namespace, newest first.
func DownTo(records []v1alpha1.MigrationRecord, id string) ([]v1alpha1.MigrationRecord, error) {
	undoable := ToUndo(records)
	if i := slices.IndexFunc(undoable, func(run v1alpha1.MigrationRecord) bool { return run.ID == id }); i >= 0 {
		return undoable[:i+1], nil
	}
	i := slices.IndexFunc(records, func(run v1alpha1.MigrationRecord) bool { return run.ID == id })
	switch {
	case i >= 0 && records[i].Operation == v1alpha1.OperationRollback:
		return nil, fmt.Errorf("run %s is a rollback, which is not undone: enroll again instead", id)
	case i >= 0:
		return nil, fmt.Errorf("run %s was rolled back already", id)
	case len(undoable) == 0:
		return nil, fmt.Errorf("there is no record of a run %s, nor of any other that could be undone", id)
	default:
		var ids []string
		for _, run := range undoable {
			ids = append(ids, run.ID)
		}
		return nil, fmt.Errorf("there is no record of a run %s: those that can be undone are, newest first, %s", id, strings.Join(ids, ", "))
	}
}
