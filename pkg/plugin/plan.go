package plugin

import (
	"context"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/render"
	"github.com/spf13/cobra"
)

type planOptions struct {
	namespaced
	diff bool
}

func newPlanCommand(session *session) *cobra.Command {
	options := &planOptions{namespaced: namespaced{session: session}}
	command := &cobra.Command{
		Use:   "plan",
		Short: "Show what enrolling would do, and what stands in the way",
		Long: `Show what enrolling a namespace would do: first the gates, each of which must
hold, then the steps in order, each with the diff of what it changes. Nothing is
changed. The exit status is 3 where a gate blocks.`,
		Example: "  kubectl ambient plan -n shop\n  kubectl ambient plan -n shop -o yaml",
		Args:    noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := options.complete(); err != nil {
				return err
			}
			return options.run(command.Context())
		},
	}
	options.output.addFlag(command)
	command.Flags().BoolVar(&options.diff, "diff", true, "Show the diff of each step")
	return command
}

func (o *planOptions) run(ctx context.Context) error {
	_, snapshot, err := o.read(ctx, o.name)
	if err != nil {
		return err
	}
	namespace, err := o.find(snapshot, o.name)
	if err != nil {
		return err
	}
	planned, err := plan.Enroll(snapshot, namespace)
	if err != nil {
		return err
	}
	if !o.output.human() {
		if err := render.Document(o.Streams.Out, o.output.format, planned); err != nil {
			return err
		}
		return blockedBy(planned)
	}
	if err := o.show(snapshot, planned, detail{gates: true, diffs: o.diff}); err != nil {
		return err
	}
	return blockedBy(planned)
}

// detail says how much of a plan is shown.
type detail struct {
	// gates shows those that passed, too.
	gates bool
	diffs bool
}

// show writes a plan for people.
func (s *session) show(snapshot *mesh.Snapshot, planned v1alpha1.MigrationPlan, detail detail) error {
	out := s.Streams.Out
	if nothingToDo(planned) {
		s.sayNothingToDo(planned)
		return nil
	}
	render.PlanHeading(out, planned)
	if detail.gates {
		render.Gates(out, planned)
	} else {
		render.GatesInBrief(out, planned)
	}
	var diffs func(v1alpha1.Step) ([]render.ObjectDiff, error)
	if detail.diffs {
		state := plan.NewProjection(snapshot)
		diffs = func(step v1alpha1.Step) ([]render.ObjectDiff, error) { return stepDiffs(state, step) }
	}
	if err := render.Steps(out, planned, diffs); err != nil {
		return err
	}
	render.Kept(out, planned.Kept)
	render.Gone(out, planned.Gone)
	return nil
}

func stepDiffs(state *plan.Projection, step v1alpha1.Step) ([]render.ObjectDiff, error) {
	var diffs []render.ObjectDiff
	for _, change := range step.Changes {
		before, after, err := state.Apply(change)
		if err != nil {
			return nil, err
		}
		diffs = append(diffs, render.ObjectDiff{Name: change.Object.String(), Before: before, After: after})
	}
	return diffs, nil
}
