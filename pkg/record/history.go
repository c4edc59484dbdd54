package record

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// History sums up the records of a namespace, in their order, and names those that cannot
// be read.
func History(namespace string, records []v1alpha1.MigrationRecord, unread []Unreadable) v1alpha1.MigrationHistory {
	history := v1alpha1.MigrationHistory{TypeMeta: v1alpha1.Document(v1alpha1.KindMigrationHistory), Namespace: namespace, Runs: []v1alpha1.RunSummary{}}
	for _, run := range records {
		summary := v1alpha1.RunSummary{
			ID: run.ID, Operation: run.Operation, State: run.State, Reason: run.Reason, User: run.User, Why: run.Why, ToolVersion: run.ToolVersion,
			Started: run.Started, Finished: run.Finished, Steps: len(run.Steps), Resumes: run.Resumes, Undoes: run.Plan.Undoes, To: run.Plan.To,
			Open: open(run) || len(run.Remains) > 0, Remains: run.Remains, Service: run.Service(),
		}
		if run.Plan.Options != nil {
			summary.Until = run.Plan.Options.Until
		}
		for _, step := range run.Steps {
			if step.State == v1alpha1.StepDone {
				summary.Done++
			}
		}
		history.Runs = append(history.Runs, summary)
	}
	for _, one := range unread {
		history.Unreadable = append(history.Unreadable, v1alpha1.UnreadableRecord{ID: one.ID, Object: one.Object, Reason: one.Err.Error(), Remedy: one.Remedy()})
	}
	return history
}

// Prunable are the records that no rollback needs, of runs that began before a
// time: those of enrolments that were rolled back and of rollbacks that have come through
// and have nothing left to undo. A rollback that stopped is what is gone on with, also where
// it goes by no record, until another one has come through. With all, they are those of every run. Those that cannot be read
// count as needed.
//
// The records are those of a namespace, newest first.
func Prunable(records []v1alpha1.MigrationRecord, unread []Unreadable, all bool, before time.Time) []v1alpha1.MigrationRecord {
	needed := map[string]bool{}
	for _, one := range unread {
		needed[one.ID] = true
	}
	for _, run := range ToUndo(records) {
		needed[run.ID] = true
	}
	rollback := func(run v1alpha1.MigrationRecord) bool { return run.Operation == v1alpha1.OperationRollback }
	through := slices.IndexFunc(records, func(run v1alpha1.MigrationRecord) bool {
		return rollback(run) && run.State == v1alpha1.RunSucceeded && run.Service() == ""
	})
	for i, run := range records {
		if rollback(run) && run.State != v1alpha1.RunSucceeded && (through < 0 || i < through) {
			needed[run.ID] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(records), func(run v1alpha1.MigrationRecord) bool {
		undoing := slices.ContainsFunc(run.Plan.Undoes, func(id string) bool { return needed[id] })
		return !all && (needed[run.ID] || undoing) || !run.Started.Before(before)
	})
}

// Strays are the names of ConfigMaps that hold a part of no record: a run was
// killed between writing it and the record, or between deleting the two. What bears the
// ID of a record that cannot be read belongs to that.
func (s *Store) Strays(ctx context.Context, records []v1alpha1.MigrationRecord, unread []Unreadable) ([]string, error) {
	parts, err := s.parts(ctx)
	if err != nil {
		return nil, err
	}
	pieces := map[string]bool{}
	for _, item := range parts {
		pieces[item.Name] = !slices.ContainsFunc(unread, func(one Unreadable) bool { return one.ID == item.Labels[PartLabel] })
	}
	for _, run := range records {
		for _, name := range s.layouts[run.ID].pieces() {
			delete(pieces, name)
		}
	}
	var strays []string
	for name, stray := range pieces {
		if stray {
			strays = append(strays, name)
		}
	}
	slices.Sort(strays)
	return strays, nil
}

// DeleteStrays deletes parts by name.
func (s *Store) DeleteStrays(ctx context.Context, names []string) error {
	for _, name := range names {
		if err := s.client.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete ConfigMap %s, which holds a part of no migration record: %w", name, err)
		}
	}
	return nil
}
