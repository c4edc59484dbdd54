package plugin

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/render"
	"github.com/spf13/cobra"
)

type planOptions struct {
	namespaced
	object
	source         source
	shaping        shaping
	handover       handover
	diff           bool
	ignoreFailures bool
	from, until    string
	outputDir      string
}

func newPlanCommand(session *session) *cobra.Command {
	options := &planOptions{namespaced: namespaced{session: session, output: output{too: []render.Format{render.FormatWide}}}}
	command := &cobra.Command{
		Use:   "plan [TYPE/NAME]",
		Short: "Show what enrolling would do, and what stands in the way",
		Long: `Show what enrolling a namespace would do: first what changes, what restarts, what
stands in the way and what is different afterwards; then the gates, each of which
must hold; then the steps in order, each with the diff of what it changes.
Nothing is changed. The exit status is 3 where a gate blocks.

With the name of a workload or a Service it is what enroll does with the same: one
workload that is moved alone, or one Service that gets a waypoint.

With -f the mesh is read from files, and no cluster is needed. With --output-dir
each phase is written as a file of manifests, for a repository or for kubectl
apply.`,
		Example: "  kubectl ambient plan -n shop\n  kubectl ambient plan -n shop -o yaml\n  kubectl ambient plan -n shop --output-dir phases\n" +
			"  kubectl ambient plan -n shop deployment/cart\n  kubectl ambient plan -n shop service/cart\n" +
			"  kubectl ambient plan -n shop -f mesh.yaml --ignore-failures",
		Args: mostOneObject,
		RunE: func(command *cobra.Command, arguments []string) error {
			whole := []given{{flagFrom, options.from != ""}, {flagUntil, options.until != ""}}
			if err := options.object.complete(command, arguments, whole); err != nil {
				return err
			}
			if err := options.complete(); err != nil {
				return err
			}
			return options.run(command.Context())
		},
	}
	options.output.addFlag(command)
	options.source.addFlags(command)
	options.shaping.addFlags(command, string(v1alpha1.SeverityError), ", which includes errors")
	options.handover.addFlags(command)
	options.handover.addAcceptFlag(command)
	options.handover.addIncludeFlag(command)
	options.handover.addCordonFlag(command)
	options.handover.addMaxParallelFlag(command)
	options.handover.addStrategyFlag(command)
	options.handover.addSimplifyFlag(command)
	flags := command.Flags()
	flags.BoolVar(&options.diff, "diff", true, "Show the diff of each step")
	flags.BoolVar(&options.ignoreFailures, "ignore-failures", false, "Show the steps although gates block; the exit status stays 3")
	flags.StringVar(&options.from, flagFrom, "", "Show the steps from this phase on")
	flags.StringVar(&options.until, flagUntil, "", "Show the steps up to this phase, inclusive")
	flags.StringVar(&options.outputDir, "output-dir", "", "Write the manifests of each phase to files in this directory, which must be empty or not exist")
	return command
}

func (o *planOptions) span() plan.Span {
	return plan.Span{From: v1alpha1.Phase(o.from), Until: v1alpha1.Phase(o.until)}
}

func (o *planOptions) complete() error {
	if err := o.source.validate(); err != nil {
		return err
	}
	if err := o.shaping.validate(); err != nil {
		return err
	}
	if err := o.handover.validate(); err != nil {
		return err
	}
	if o.shaping.failOn == "" {
		return usageError("unknown value %q of --fail-on: use error or warning", o.shaping.failOn)
	}
	if err := o.span().Validate(); err != nil {
		return usageError("--from, --until: %w", err)
	}
	if !o.source.fromFiles() {
		return o.namespaced.complete()
	}
	o.name = *o.flags.Namespace
	return o.output.complete()
}

func (o *planOptions) run(ctx context.Context) error {
	if err := emptyDirectory("output-dir", o.outputDir); err != nil {
		return err
	}
	snapshot, err := o.readMesh(ctx)
	if err != nil {
		return err
	}
	if o.name == "" {
		o.name = snapshot.Scope().Namespace
	}
	if o.name == "" {
		return usageError("the files are of a whole mesh: name the namespace with -n")
	}
	namespace, err := o.findIn(o.source, snapshot, o.name)
	if err != nil {
		return err
	}
	options := o.handover.options()
	options.RestartedAt = o.Now().UTC().Format(time.RFC3339)
	options.Workload, options.Service = o.workload, o.service
	if refresh := v1alpha1.PhaseRefreshSidecars; v1alpha1.Phase(o.until) == refresh {
		// It has gates of its own.
		options.Until = refresh
	}
	whole, err := plan.Enroll(snapshot, namespace, options)
	if err != nil {
		return plannedError(err)
	}
	shown := o.shape(whole, snapshot, namespace)
	if !o.output.human() {
		err = render.Document(o.Streams.Out, o.output.format, o.reviewable(snapshot, shown))
	} else {
		err = o.showShaped(snapshot, whole, shown)
		render.Unrecognized(o.Streams.ErrOut, unrecognized(snapshot))
	}
	if err != nil {
		return err
	}
	if err := o.export(snapshot, whole); err != nil {
		return err
	}
	return o.verdict(whole, shown)
}

// readMesh reads the mesh from wherever it is to be read.
func (o *planOptions) readMesh(ctx context.Context) (*mesh.Snapshot, error) {
	if o.source.fromFiles() {
		return o.take(ctx, o.source, mesh.Scope{})
	}
	_, snapshot, err := o.readSharing(ctx, o.name, o.handover.options().Beside()...)
	return snapshot, err
}

// shape leaves out of a plan what it was not asked for.
func (o *planOptions) shape(whole v1alpha1.MigrationPlan, snapshot *mesh.Snapshot, namespace mesh.Namespace) v1alpha1.MigrationPlan {
	shown := whole
	shown.Gates = o.shaping.Apply(whole.Gates, snapshot, namespace)
	shown.Summary = v1alpha1.Summarize(shown.Gates)
	shown.Withheld = whole.Blocked && !o.ignoreFailures && len(whole.Steps) > 0
	shown.Steps = []v1alpha1.Step{}
	for _, step := range whole.Steps {
		if !shown.Withheld && o.span().Holds(step.Phase) {
			shown.Steps = append(shown.Steps, step)
		}
	}
	return shown
}

// reviewable is a plan that can be handed back to enroll.
func (o *planOptions) reviewable(snapshot *mesh.Snapshot, shown v1alpha1.MigrationPlan) v1alpha1.MigrationPlan {
	if shown.Options != nil {
		options := *shown.Options
		options.From, options.Until = v1alpha1.Phase(o.from), v1alpha1.Phase(o.until)
		shown.Options = &options
	}
	return plan.WithObjects(snapshot, shown)
}

func (o *planOptions) showShaped(snapshot *mesh.Snapshot, whole, shown v1alpha1.MigrationPlan) error {
	out := o.Streams.Out
	if nothingToDo(whole) {
		o.sayNothingToDo(shown)
		return nil
	}
	render.PlanHeading(out, shown)
	render.Gates(out, shown, o.output.format == render.FormatWide)
	switch hidden := hiddenFindings(shown.Gates); hidden {
	case 0:
	case 1:
		fmt.Fprintln(out, "1 finding is hidden; enroll goes by it all the same.")
	default:
		fmt.Fprintf(out, "%d findings are hidden; enroll goes by them all the same.\n", hidden)
	}
	render.Access(out, shown.Access, o.output.format == render.FormatWide)
	if err := render.Steps(out, shown, o.diffs(snapshot, whole)); err != nil {
		return err
	}
	render.Retained(out, shown.Kept)
	return nil
}

func hiddenFindings(gates []v1alpha1.CheckResult) int {
	return len(slices.DeleteFunc(slices.Clone(gates), func(gate v1alpha1.CheckResult) bool { return gate.Suppressed == "" }))
}

// diffs are those of the steps that are shown, each made after the steps before
// it, shown or not.
func (o *planOptions) diffs(snapshot *mesh.Snapshot, whole v1alpha1.MigrationPlan) func(v1alpha1.Step) ([]render.ObjectDiff, error) {
	if !o.diff {
		return nil
	}
	state, next := plan.NewProjection(snapshot), 0
	return func(step v1alpha1.Step) ([]render.ObjectDiff, error) {
		for whole.Steps[next].ID != step.ID {
			if _, err := stepDiffs(state, whole.Steps[next]); err != nil {
				return nil, err
			}
			next++
		}
		next++
		return stepDiffs(state, step)
	}
}

// verdict is the exit status of a plan: that of the whole one, whatever of it is
// shown, and that of warnings where they count.
func (o *planOptions) verdict(whole, shown v1alpha1.MigrationPlan) error {
	if err := blockedBy(whole); err != nil {
		return err
	}
	warned := slices.ContainsFunc(shown.Gates, func(gate v1alpha1.CheckResult) bool { return gate.Status == v1alpha1.StatusWarn })
	if o.shaping.onWarning() && warned {
		return blockedError("namespace %s: %d checks warn, and --fail-on=warning was given", o.name, shown.Summary.Warned)
	}
	return nil
}

// show writes a plan that is to be carried out, or could be.
func (s *session) show(snapshot *mesh.Snapshot, planned v1alpha1.MigrationPlan, withDiffs bool) error {
	out := s.Streams.Out
	if nothingToDo(planned) {
		s.sayNothingToDo(planned)
		return nil
	}
	render.PlanHeading(out, planned)
	render.Gates(out, planned, false)
	render.Access(out, planned.Access, false)
	var diffs func(v1alpha1.Step) ([]render.ObjectDiff, error)
	if withDiffs {
		state := plan.NewProjection(snapshot)
		diffs = func(step v1alpha1.Step) ([]render.ObjectDiff, error) { return stepDiffs(state, step) }
	}
	if err := render.Steps(out, planned, diffs); err != nil {
		return err
	}
	s.sayLeftAlone(planned)
	return nil
}

// sayLeftAlone names what a plan does not touch although it is about it.
func (s *session) sayLeftAlone(planned v1alpha1.MigrationPlan) {
	if planned.Operation == v1alpha1.OperationRollback {
		render.Kept(s.Streams.Out, planned.Kept)
	} else {
		render.Retained(s.Streams.Out, planned.Kept)
	}
	render.Gone(s.Streams.Out, planned.Gone)
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
