package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// enrollOptions are those of enroll besides what every run has.
type enrollOptions struct {
	runOptions
	object
	contract contract
	between  between
	resume   bool
	until    string
	// rollbackOnFailure undoes what a run that fails has done.
	rollbackOnFailure bool
	// continues is the plan of the run that is gone on with, with the options that it
	// would be made with now.
	continues v1alpha1.MigrationPlan
	// given is when the command was given.
	given time.Time
	// noted is true once it was said that another run has stopped.
	noted bool
	// outdated is true once it was said that what was accepted does not hold any more.
	outdated bool
}

func newEnrollCommand(session *session) *cobra.Command {
	options := &enrollOptions{runOptions: runOptions{namespaced: namespaced{session: session}}}
	command := &cobra.Command{
		Use:   "enroll [TYPE/NAME]",
		Short: "Move a namespace from sidecars to ambient mode",
		Long: `Move a namespace from sidecars to ambient mode, in the steps that plan shows.
Each step is recorded before it is taken and waited for afterwards; the next one
starts when every pod concerned is ready, without sidecar, and proxied by the
ztunnel of its node. With --max-parallel-restarts workloads that need not wait for
each other are restarted at the same time. On an error or Ctrl-C the run stops where it is: enroll
--resume goes on with the same options, and rollback undoes it.

With --plan exactly that plan is carried out, as plan -o yaml wrote it: where
anything that it touches has changed since, nothing is done, and the difference is
shown.

With TYPE/NAME, a deployment, statefulset or daemonset as kubectl names them, only
that workload is moved, by labels of its own: the waypoint and policies come first,
the namespace is not labelled, and other workloads keep their sidecars. The namespace
can be enrolled afterwards, which does not restart the workload again, and rollback
undoes it.

With --strategy=namespace no template is written, for whoever owns those would put
them back: once all gates hold, the namespace is labelled and no longer asks for
sidecars, and then the pods of one workload after another are evicted, as far as
PodDisruptionBudgets let them. From that label on any pod that is made anew for
another reason is in ambient mode before its turn.

With service/NAME, only that Service gets a waypoint, whether the namespace has moved,
has begun to or has not: its waypoint, its policies there and the label that names it.
No pod is restarted and the namespace is not labelled. rollback service/NAME takes it
off again.

What sidecars do for Services at layer 7 (policies that look at requests, JSON Web
Tokens, routing) is handed over to a waypoint, which is created; the flags with
waypoint in their names say which one, and for whom. A gate that fails or cannot
be seen blocks, unless --accept names its finding.`,
		Example: "  kubectl ambient enroll -n shop --dry-run=client\n  kubectl ambient enroll -n shop --yes --timeout=20m\n" +
			"  kubectl ambient plan -n shop -o yaml >shop.yaml\n  kubectl ambient enroll -n shop --plan shop.yaml\n" +
			"  kubectl ambient enroll -n shop deployment/cart\n  kubectl ambient enroll -n shop service/cart",
		Args: mostOneObject,
		RunE: func(command *cobra.Command, arguments []string) error {
			if err := options.complete(command, arguments); err != nil {
				return err
			}
			return options.run(command.Context())
		},
	}
	options.addFlags(command)
	options.handover.addFlags(command)
	options.handover.addAcceptFlag(command)
	options.handover.addIncludeFlag(command)
	options.handover.addCordonFlag(command)
	options.handover.addMaxParallelFlag(command)
	options.handover.addStrategyFlag(command)
	options.handover.addSimplifyFlag(command)
	options.contract.addFlag(command)
	options.between.addFlags(command)
	flags := command.Flags()
	flags.BoolVar(&options.resume, flagResume, false, "Go on with the last run, which stopped, was to stop after a phase, or of which something was taken away since, with the options that it was given")
	flags.StringVar(&options.until, flagUntil, "", "Stop after this `PHASE`; enroll again to go on from there")
	flags.BoolVar(&options.rollbackOnFailure, "rollback-on-failure", false,
		"Undo at once what the run has done where it fails after it has changed something; Ctrl-C only stops it")
	return command
}

// The flags' names.
const (
	flagPlan   = "plan"
	flagResume = "resume"
	flagFrom   = "from"
	flagUntil  = "until"
)

func (o *enrollOptions) complete(command *cobra.Command, arguments []string) error {
	whole := []given{{flagPlan, o.contract.file != ""}, {flagResume, o.resume}, {flagUntil, o.until != ""}}
	if err := o.object.complete(command, arguments, whole); err != nil {
		return err
	}
	if err := o.contract.read(o.session); err != nil {
		return err
	}
	if err := o.runOptions.complete(command); err != nil {
		return err
	}
	if err := (plan.Span{Until: v1alpha1.Phase(o.until)}).Validate(); err != nil {
		return usageError("--%s: %w", flagUntil, err)
	}
	if err := o.between.complete(o.session); err != nil {
		return err
	}
	if o.contract.file == "" && !o.resume {
		return nil
	}
	// What the plan, or the run, was made with is not to be chosen again.
	instead := flagPlan
	if o.resume {
		instead = flagResume
	}
	chosen := []string{
		flagScope, flagSkip, flagAdd, flagWaypoint, flagWaypointNamespace, flagReplicas, flagMixedCallers, flagEnvoyFilters, flagInclude, flagCordon, flagResumePaused, flagSimplify, flagMaxParallel, flagStrategy,
	}
	if o.resume {
		chosen = append(chosen, flagPlan)
	} else {
		chosen = append(chosen, flagUntil, flagAccept)
	}
	for _, name := range chosen {
		if command.Flags().Changed(name) {
			return usageError("--%s cannot be given with --%s, which brings its own", name, instead)
		}
	}
	return nil
}

func (o *enrollOptions) run(ctx context.Context) error {
	o.hooks = hooks{between: o.between.pass}
	if o.between.gated() {
		o.hooks.gate = o.between.gate
	}
	if o.rollbackOnFailure {
		o.hooks.undo = o.prepareRollback
	}
	return o.runOptions.run(ctx, o.prepare)
}

// options are what was chosen by flags, in the plan that was given, or for the run
// that is gone on with.
func (o *enrollOptions) options() plan.Options {
	switch {
	case o.contract.file != "":
		return plan.OptionsOf(o.contract.reviewed)
	case o.hooks.resumes != nil:
		options := plan.OptionsOf(o.continues)
		if o.until != "" || o.hooks.resumes.State == v1alpha1.RunSucceeded {
			options.Until = v1alpha1.Phase(o.until)
		}
		options.RestartedAt = o.restartedAt()
		return options
	default:
		options := o.handover.options()
		options.Until, options.Workload, options.Service = v1alpha1.Phase(o.until), o.workload, o.service
		options.RestartedAt = o.restartedAt()
		return options
	}
}

// restartedAt is when the command was given: the plan is made anew under the lock, and
// has to be the same then.
func (o *enrollOptions) restartedAt() string {
	if o.given.IsZero() {
		o.given = o.Now()
	}
	return o.given.UTC().Format(time.RFC3339)
}

// prepare reads the mesh and plans the enrolment.
func (o *enrollOptions) prepare(ctx context.Context) (*prepared, error) {
	if err := o.lookBefore(ctx); err != nil {
		return nil, err
	}
	options := o.options()
	options.Unverified = o.contract.file == "" && unverified(o.hooks.stopped)
	// What undoes the run goes about it in the same way.
	o.handover.cordon, o.handover.maxParallel = options.Cordon, options.MaxParallelRestarts
	content, snapshot, err := o.readSharing(ctx, o.name, options.Beside()...)
	if err != nil {
		return nil, err
	}
	namespace, err := o.find(snapshot, o.name)
	if err != nil {
		return nil, err
	}
	if err := o.acceptAgain(&options, snapshot, namespace); err != nil {
		return nil, err
	}
	planned, err := plan.Enroll(snapshot, namespace, options)
	if err != nil {
		return nil, plannedError(err)
	}
	if err := o.contract.holds(o.session, plan.WithObjects(snapshot, planned)); err != nil {
		return nil, err
	}
	o.between.tellUnasked(planned.Steps)
	return &prepared{content: content, snapshot: snapshot, plan: planned}, nil
}

// unverified says whether a run has stopped after it, or one that it went on with, had
// begun to change the namespace, so that its last gate has not held.
func unverified(stopped *v1alpha1.MigrationRecord) bool {
	return stopped != nil && stopped.State != v1alpha1.RunSucceeded && (stopped.Resumes != "" || len(stopped.Awaits) > 0 ||
		slices.ContainsFunc(stopped.Steps, v1alpha1.StepRecord.Begun))
}

// begun says whether a run may have changed something that it has not undone.
func begun(run v1alpha1.MigrationRecord) bool {
	for i, planned := range run.Plan.Steps {
		if i < len(run.Steps) && run.Steps[i].Begun() && (len(planned.Changes) > 0 || planned.Gate.Replaces || planned.Gate.Evicts) {
			return true
		}
	}
	return false
}

// acceptAgain takes out of the options of a plan that was given, or of the run that is
// gone on with, what does not hold any more of what was accepted, and adds what is
// accepted now.
func (o *enrollOptions) acceptAgain(options *plan.Options, snapshot *mesh.Snapshot, namespace mesh.Namespace) error {
	var made v1alpha1.MigrationPlan
	switch {
	case o.contract.file != "":
		made = o.contract.reviewed
	case o.hooks.resumes != nil:
		made = o.hooks.resumes.Plan
	default:
		return nil
	}
	outdated, because, err := plan.Outdated(snapshot, namespace, made)
	if err != nil {
		return err
	}
	options.Accept = slices.DeleteFunc(slices.Clone(options.Accept), func(accepted string) bool { return slices.Contains(outdated, accepted) })
	options.Accept = append(options.Accept, o.handover.accept...)
	if len(outdated) > 0 && !o.outdated {
		o.outdated = true
		fmt.Fprintf(o.Streams.ErrOut, "%s has come, gone or changed since what was accepted about calls was looked at: it does not hold any more (--%s %s).\n",
			because, flagAccept, strings.Join(outdated, ","))
	}
	return nil
}

// lookBefore finds the run before, once, and looks what has become of it each time that
// the plan is made again.
func (o *enrollOptions) lookBefore(ctx context.Context) error {
	switch {
	case o.hooks.stopped != nil:
		return o.readStopped(ctx)
	case o.resume:
		return o.findStopped(ctx)
	case !o.noted:
		return o.noteStopped(ctx)
	default:
		return nil
	}
}

// findStopped finds the run that is to be gone on with: the newest enrolment that was
// not rolled back. One that has ended well is gone on with where it was to stop
// after a phase, or somebody has taken away since what it made.
func (o *enrollOptions) findStopped(ctx context.Context) error {
	records, err := o.store.List(ctx)
	if err != nil {
		return o.explain(err)
	}
	if len(records) == 0 {
		return fmt.Errorf("namespace %s holds no migration record: there is no run to resume", o.name)
	}
	newest, open := records[0], record.Open(records)
	if newest.Operation == v1alpha1.OperationRollback && newest.State != v1alpha1.RunSucceeded {
		return fmt.Errorf("run %s, a rollback, has not ended: go on with %s",
			newest.ID, o.command(string(v1alpha1.OperationRollback))+goOn(newest, records))
	}
	if len(open) > 0 && open[0].Operation == v1alpha1.OperationSimplify && open[0].State != v1alpha1.RunSucceeded {
		return fmt.Errorf("run %s, which was to simplify what is there, has not ended: go on with %s", open[0].ID, o.command(string(v1alpha1.OperationSimplify)))
	}
	// What was done for a single Service has ended, or what was done last was undone: what
	// is gone on with is the rest, which is planned from what is there now in any case.
	undone := newest.Operation == v1alpha1.OperationRollback || newest.State == v1alpha1.RunRolledBack
	if single := newest.Service() != ""; undone || single && newest.State == v1alpha1.RunSucceeded {
		continued, found := record.Continued(records)
		switch {
		case !found && single:
			return fmt.Errorf("the last run in namespace %s was for %s alone, and no enrolment holds: there is none to resume", o.name, newest.Service())
		case !found:
			return fmt.Errorf("what was done in namespace %s was rolled back, and no enrolment before it holds: there is none to resume; to begin anew: %s", o.name, o.command("enroll"))
		case undone && !single:
			fmt.Fprintf(o.Streams.ErrOut, "What was done last in namespace %s was rolled back: this goes on with run %s.\n", o.name, continued.ID)
		}
		newest = continued
	}
	o.hooks.resumes, o.continues = &newest, record.Whole(records, newest)
	o.goesOnAfter(newest)
	return nil
}

// goesOnAfter has the gates asked first that the run before was to ask, and says which are
// not where none is given.
func (o *enrollOptions) goesOnAfter(stopped v1alpha1.MigrationRecord) {
	o.hooks.stopped = &stopped
	if o.hooks.gate != nil || len(stopped.Awaits) == 0 {
		return
	}
	var steps []string
	for _, gate := range stopped.Awaits {
		steps = append(steps, gate.Step)
	}
	fmt.Fprintf(o.Streams.ErrOut, "Run %s stopped before its gate after %s had held; it is not asked again, since neither --%s nor --%s is given.\n",
		stopped.ID, strings.Join(steps, ", "), flagGateExec, flagGatePrometheus)
}

// noteStopped says where a run has stopped that was made with other options: what
// it has begun is not gone on with but by chance. A record that cannot be read is in the
// way of an enrolment: whether it builds on another one, which a rollback has to undo,
// cannot be told.
func (o *enrollOptions) noteStopped(ctx context.Context) error {
	records, err := o.store.List(ctx)
	if err != nil && !apierrors.IsForbidden(err) {
		return o.explain(err)
	}
	// Where they may not be listed there are none: that is said when a record is to be
	// written.
	o.noted = true
	stopped, found := o.lastBefore(records)
	if off := record.TakenOff(records); o.service == "" && len(off) > 0 {
		fmt.Fprintf(o.Streams.ErrOut, "A rollback has taken Service %s off its waypoint: this enrolment gives it one again where it needs one; --%s leaves it so.\n", strings.Join(off, ", "), flagSkip)
	}
	if !found || stopped.Operation != v1alpha1.OperationEnroll || stopped.State == v1alpha1.RunSucceeded || stopped.Plan.Options == nil {
		return nil
	}
	o.goesOnAfter(stopped)
	if !plan.SameOptions(*stopped.Plan.Options, o.options().Chosen()) {
		fmt.Fprintf(o.Streams.ErrOut, "Run %s stopped before it was complete, with other options than these: --%s goes on with it.\n", stopped.ID, flagResume)
	}
	return nil
}

// lastBefore is the run that this one comes after: what was done since for single
// Services, and has ended well, does not hide one of the namespace that has not.
func (o *enrollOptions) lastBefore(records []v1alpha1.MigrationRecord) (v1alpha1.MigrationRecord, bool) {
	if o.service == "" {
		return record.Continued(records)
	}
	open := record.Open(records)
	if len(open) == 0 {
		return v1alpha1.MigrationRecord{}, false
	}
	return open[0], true
}

// readStopped reads the record of the run before once more: while the lock was waited for
// that may have gone on.
func (o *enrollOptions) readStopped(ctx context.Context) error {
	records, err := o.store.List(ctx)
	if err != nil {
		return o.explain(err)
	}
	at := slices.IndexFunc(records, func(run v1alpha1.MigrationRecord) bool { return run.ID == o.hooks.stopped.ID })
	if at < 0 {
		return nil
	}
	o.hooks.stopped = &records[at]
	if o.hooks.resumes != nil {
		o.hooks.resumes, o.continues = &records[at], record.Whole(records, records[at])
	}
	return nil
}
