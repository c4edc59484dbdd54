package actions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
)

// errReverted is why a run ends where somebody else undoes what it does: going on
// would move pods to what is not there, or restart them for nothing.
var errReverted = errors.New("what the run has written does not stay")

// writtenField is a field as a run has written it last.
type writtenField struct {
	object v1alpha1.ObjectReference
	path   string
	value  any
}

// about says whether a field is, or holds, or is a part of another one.
func (f writtenField) about(object v1alpha1.ObjectReference, path string) bool {
	return f.object == object && (strings.HasPrefix(f.path+"/", path+"/") || strings.HasPrefix(path+"/", f.path+"/"))
}

// noteWritten takes in the fields that a step has written. Pods come and go, so that
// theirs do not count.
func (r *Runner) noteWritten(changes []v1alpha1.Change) {
	for _, change := range changes {
		if change.Object.Kind == mesh.KindPod {
			continue
		}
		for _, field := range change.Fields {
			r.written = slices.DeleteFunc(r.written, func(former writtenField) bool { return former.about(change.Object, field.Path) })
			r.written = append(r.written, writtenField{change.Object, field.Path, field.After})
		}
	}
}

// reverted are the fields that the run has written and that say something else now. An
// object that was deleted has none.
func (r *Runner) reverted(snapshot *mesh.Snapshot) []string {
	var reverted []string
	for _, field := range r.written {
		object, found := snapshot.Object(field.object)
		if !found {
			continue
		}
		if now := plan.Lookup(object, field.path); !plan.Equal(now, field.value) {
			reverted = append(reverted, fmt.Sprintf(
				"%s: %s is %s, and this run has made it %s: somebody else has changed it, or a controller does that keeps objects as it knows them; change it where that has it from",
				field.object, field.path, describe(now), describe(field.value)))
		}
	}
	return reverted
}

// stays fails where somebody has undone what the steps so far have written, before
// another one builds on it.
func (r *Runner) stays(ctx context.Context, step v1alpha1.Step) error {
	if len(r.written) == 0 {
		return nil
	}
	snapshot, err := r.observer.snapshot()
	if err != nil {
		return err
	}
	if reverted := r.reverted(snapshot); len(reverted) > 0 {
		return r.gateError(ctx, step, reverted, errReverted)
	}
	return nil
}
