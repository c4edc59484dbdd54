package plugin

import (
	"context"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/actions"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/render"
)

// dryRun has the API server decide changes without making them.
type dryRun struct {
	writer actions.Writer
	// state is the mesh as the plan's steps so far would leave it.
	state *plan.Projection
	// created are the objects that do not exist, because a step before would
	// have created them: the API server cannot try a change of those.
	created map[v1alpha1.ObjectReference]bool
	// changed are those that a step before would have changed: the API server has
	// them as they are now, and does not delete what a plan would find.
	changed map[v1alpha1.ObjectReference]bool
	untried int
}

// try returns what the API server would have stored, as a diff of what is there.
func (d *dryRun) try(ctx context.Context, change v1alpha1.Change) (render.ObjectDiff, error) {
	diff := render.ObjectDiff{Name: change.Object.String()}
	var err error
	diff.Before, diff.After, err = d.state.Apply(change)
	if err != nil {
		return diff, err
	}
	switch {
	case change.Create != nil:
		d.created[change.Object] = true
		after, _, err := d.writer.Create(ctx, change, true)
		if err != nil {
			return diff, err
		}
		diff.After = plan.Bare(after.Object)
		return diff, nil
	case d.created[change.Object], change.Delete && d.changed[change.Object]:
		d.untried++
		return diff, nil
	case change.Delete:
		_, err := d.writer.Delete(ctx, change, true)
		return diff, err
	default:
		d.changed[change.Object] = true
		return d.change(ctx, change)
	}
}

func (d *dryRun) change(ctx context.Context, change v1alpha1.Change) (render.ObjectDiff, error) {
	diff := render.ObjectDiff{Name: change.Object.String()}
	before, err := d.writer.Get(ctx, change.Object)
	if err != nil {
		return diff, err
	}
	after, _, err := d.writer.Change(ctx, change, true)
	if err != nil {
		return diff, err
	}
	diff.Before, diff.After = plan.Bare(before.Object), plan.Bare(after.Object)
	return diff, nil
}
