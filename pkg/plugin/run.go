package plugin

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/actions"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/render"
	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

// runOptions are those of the commands that change the cluster: enroll, simplify and
// rollback.
type runOptions struct {
	namespaced
	// handover is that of enroll; of it the others have what is accepted.
	handover    handover
	yes         bool
	timeout     time.Duration
	gateTimeout time.Duration
	dryRun      cmdutil.DryRunStrategy
	backup      backup
	// reason is why somebody runs it, for whoever reads the record.
	reason string
	store  *record.Store
	hooks  hooks
	// again are the flags by which the same command goes on with a run that stopped.
	again string
}

// hooks are what a run of enroll does besides.
type hooks struct {
	// between agrees to a run going on from one step to the next.
	between func(ctx context.Context, done, next v1alpha1.Step) error
	// gate agrees to a run going on after a workload; nil where nothing is to be asked.
	gate func(context.Context, v1alpha1.AwaitedGate) error
	// undo prepares what undoes a run that fails; nil where nothing is to.
	undo func(context.Context, v1alpha1.MigrationRecord) (*prepared, error)
	// resumes is the record of the run that is gone on with.
	resumes *v1alpha1.MigrationRecord
	// stopped is the record of the run that had stopped before, whether it is gone on with
	// by name or by enrolling again.
	stopped *v1alpha1.MigrationRecord
}

// awaited are the gates that the run before was to ask and that have to hold before
// anything of a plan is done.
func (h hooks) awaited(planned v1alpha1.MigrationPlan) []v1alpha1.AwaitedGate {
	if h.gate == nil || h.stopped == nil || planned.Operation != v1alpha1.OperationEnroll {
		return nil
	}
	return record.Awaited(*h.stopped, planned)
}

// prepared is a run that is ready to be shown and carried out.
type prepared struct {
	content  mesh.Content
	snapshot *mesh.Snapshot
	plan     v1alpha1.MigrationPlan
	// undoes are the records that a rollback undoes.
	undoes []v1alpha1.MigrationRecord
	// remain is true where there are runs that it leaves as they are.
	remain bool
}

func (o *runOptions) addFlags(command *cobra.Command) {
	o.output.addFlag(command)
	cmdutil.AddDryRunFlag(command)
	o.backup.addFlag(command)
	command.Flags().BoolVarP(&o.yes, "yes", "y", false, "Do not ask before the first change")
	command.Flags().DurationVar(&o.timeout, "timeout", 30*time.Minute, "How long the whole run may take; 0 for no bound")
	command.Flags().StringVar(&o.reason, "reason", "", "Why, in a few words: `TEXT` for the record of the run")
	command.Flags().DurationVar(&o.gateTimeout, "gate-timeout", 10*time.Minute, "How long each step may take; 0 for no bound of its own")
}

func (o *runOptions) complete(command *cobra.Command) (err error) {
	if o.dryRun, err = cmdutil.GetDryRunStrategy(command); err != nil {
		return usageError("%w", err)
	}
	if o.timeout < 0 || o.gateTimeout < 0 {
		return usageError("--timeout and --gate-timeout cannot be negative")
	}
	if err := o.handover.validate(); err != nil {
		return err
	}
	if command.Flags().Changed(flagMaxParallel) && o.handover.maxParallel < 1 {
		return usageError("--%s is at least 1, which is one after another", flagMaxParallel)
	}
	if !o.yes && !o.InTerminal && o.dryRun == cmdutil.DryRunNone {
		return usageError("nobody can be asked, since stdin is not a terminal: pass --yes to go ahead without asking")
	}
	if err := o.backup.complete(o.dryRun); err != nil {
		return err
	}
	if err := o.namespaced.complete(); err != nil {
		return err
	}
	o.store = record.NewStore(o.kube.CoreV1(), o.name)
	return nil
}

// run prepares, shows, asks, and carries out.
func (o *runOptions) run(ctx context.Context, prepare func(context.Context) (*prepared, error)) error {
	timed, cancel := o.timed(ctx)
	defer cancel()
	run, err := prepare(timed)
	if err != nil {
		return o.explain(err)
	}
	if run.plan.Blocked || o.dryRun != cmdutil.DryRunNone || nothingToDo(run.plan) && len(run.undoes)+len(o.hooks.awaited(run.plan)) == 0 {
		return o.showOnly(timed, run)
	}
	if nothingToDo(run.plan) {
		// What the runs had changed is as it was before, by whoever: only their
		// records have to say so. Or all is done but to ask a gate.
		if err := o.permitted(timed, run); err != nil {
			return err
		}
		return o.carryOut(ctx, timed, run, prepare)
	}
	if o.output.human() {
		if err := o.show(run.snapshot, run.plan, false); err != nil {
			return err
		}
	}
	if err := o.permitted(timed, run); err != nil {
		return err
	}
	if err := o.confirm(timed, run.plan); err != nil {
		return err
	}
	return o.carryOut(ctx, timed, run, prepare)
}

// timed bounds a context by what the whole run may take.
func (o *runOptions) timed(ctx context.Context) (context.Context, context.CancelFunc) {
	if o.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, o.timeout)
}

// showOnly shows a plan that is not carried out.
func (o *runOptions) showOnly(ctx context.Context, run *prepared) error {
	if o.dryRun == cmdutil.DryRunServer && !run.plan.Blocked && !nothingToDo(run.plan) {
		return o.dryRunServer(ctx, run)
	}
	if !o.output.human() {
		if err := render.Document(o.Streams.Out, o.output.format, run.plan); err != nil {
			return err
		}
		return blockedBy(run.plan)
	}
	if err := o.show(run.snapshot, run.plan, o.dryRun != cmdutil.DryRunNone); err != nil {
		return err
	}
	if o.dryRun != cmdutil.DryRunNone && !nothingToDo(run.plan) {
		fmt.Fprintln(o.Streams.Out, "\nDry run: nothing was changed.")
	}
	return blockedBy(run.plan)
}

// dryRunServer lets the API server decide each change, admission included,
// and shows what it would have stored.
func (o *runOptions) dryRunServer(ctx context.Context, run *prepared) error {
	writer, err := o.writer()
	if err != nil {
		return err
	}
	trial := &dryRun{writer: writer, state: plan.NewProjection(run.snapshot), created: map[v1alpha1.ObjectReference]bool{}, changed: map[v1alpha1.ObjectReference]bool{}}
	diffs := func(step v1alpha1.Step) ([]render.ObjectDiff, error) {
		var diffs []render.ObjectDiff
		for _, change := range step.Changes {
			diff, err := trial.try(ctx, change)
			if err != nil {
				return nil, err
			}
			diffs = append(diffs, diff)
		}
		return diffs, nil
	}
	if !o.output.human() {
		for _, step := range run.plan.Steps {
			if _, err := diffs(step); err != nil {
				return err
			}
		}
		return render.Document(o.Streams.Out, o.output.format, run.plan)
	}
	render.PlanHeading(o.Streams.Out, run.plan)
	render.Gates(o.Streams.Out, run.plan, false)
	render.Access(o.Streams.Out, run.plan.Access, false)
	if err := render.Steps(o.Streams.Out, run.plan, diffs); err != nil {
		return err
	}
	o.sayLeftAlone(run.plan)
	if trial.untried > 0 {
		fmt.Fprintf(o.Streams.Out, "\nNot tried, since what they change is not there yet, or not as it would be by then: %d of the changes.\n", trial.untried)
	}
	fmt.Fprintln(o.Streams.Out, "\nDry run: the API server accepts every change; nothing was changed.")
	return nil
}

// confirm asks before the first change.
func (o *runOptions) confirm(ctx context.Context, planned v1alpha1.MigrationPlan) error {
	if o.yes {
		return nil
	}
	if !o.output.human() {
		return usageError("-o %s shows the plan with the result alone, so that there is nothing to be confirmed before: look at it with --dry-run=server or plan, and give --yes", o.output.format)
	}
	what := "namespace " + o.name
	if service := (v1alpha1.MigrationRecord{Plan: planned}).Service(); service != "" {
		what = service + " of " + what
	}
	fmt.Fprintf(o.Streams.ErrOut, "\n%s %s in context %s? [y/N] ", capitalized(planned.Operation), what, o.contextName())
	agreed, err := o.answer(ctx)
	if err != nil {
		return fmt.Errorf("nobody has confirmed, and nothing was changed: %w", err)
	}
	if !agreed {
		return errors.New("not confirmed: nothing was changed")
	}
	return nil
}

func capitalized(operation v1alpha1.Operation) string {
	switch operation {
	case v1alpha1.OperationRollback:
		return "Roll back"
	case v1alpha1.OperationSimplify:
		return "Simplify"
	default:
		return "Enroll"
	}
}

// carryOut takes the lock of the namespace and makes the run, as it is planned
// once nobody else can be changing the namespace: between the plan that was
// agreed to and the lock, another run may have ended, and what one that was killed has
// begun may have come about. The time of timed is the run's; what undoes a run that took
// too long has its own.
func (o *runOptions) carryOut(ctx, timed context.Context, agreed *prepared, prepare func(context.Context) (*prepared, error)) error {
	progress := render.NewProgress(o.Streams.ErrOut, o.ErrTerminal)
	id := newID(o.Now().UTC())
	locked, release, err := o.lock(ctx, timed, id, plan.Namespaces(agreed.plan), progress)
	if err != nil {
		return err
	}
	defer release()
	bounded := locked
	if deadline, has := timed.Deadline(); has {
		var cancel context.CancelFunc
		bounded, cancel = context.WithDeadline(locked, deadline)
		defer cancel()
	}
	run, err := prepare(bounded)
	if err != nil {
		return o.explain(err)
	}
	switch {
	case run.plan.Blocked:
		return o.showOnly(bounded, run)
	case nothingToDo(run.plan) && len(o.hooks.awaited(run.plan)) == 0:
		if err := o.closeRecords(bounded, run); err != nil {
			return err
		}
		return o.showOnly(bounded, run)
	case !nothingToDo(run.plan) && !plan.SameSteps(agreed.plan, run.plan) && !plan.Settled(agreed.plan, run.plan):
		return blockedError("namespace %s has changed since the plan was made, and nothing was done: run the command again to see what there is to do now", o.name)
	case plan.LetsInMore(agreed.snapshot, agreed.plan, run.plan):
		return blockedError("policies have changed since the plan was made, and it would let in other calls than it said; nothing was done: run the command again to see which")
	}
	started := o.Now()
	migration, failure := o.execute(bounded, id, run, progress)
	if migration == nil {
		return failure
	}
	if failure != nil && o.hooks.undo != nil {
		failure = o.undo(locked, migration, failure, plan.Namespaces(agreed.plan), progress)
	}
	if !o.output.human() {
		if err := render.Document(o.Streams.Out, o.output.format, migration); err != nil {
			return errors.Join(failure, err)
		}
	}
	if failure == nil && o.output.human() {
		o.sayDone(run, migration, o.Now().Sub(started))
	}
	return failure
}

// execute records the run and makes it. The record is nil where none was made.
func (o *runOptions) execute(ctx context.Context, id string, run *prepared, progress *render.Progress) (*v1alpha1.MigrationRecord, error) {
	writer, err := o.writer()
	if err != nil {
		return nil, err
	}
	migration := o.newRecord(ctx, id, run.plan)
	if migration.Baseline, err = o.baseline(ctx, run); err != nil {
		return nil, err
	}
	if err := actions.Patiently(ctx, actions.DefaultBackoff(), func() error { return o.store.Create(ctx, migration) }); err != nil {
		return nil, err
	}
	o.Changing()
	runner := &actions.Runner{
		Namespace: o.name, Writer: writer, Kube: o.kube, Store: o.store, Evidence: o.evidence, Istiods: o.reader.AskIstiods, Mesh: run.content,
		GateTimeout: o.gateTimeout, Backoff: actions.DefaultBackoff(), Now: o.Now, Backup: o.backup.of(run.snapshot, run.plan),
		Events: actions.Events{
			StepStarted: progress.StepStarted, Waiting: progress.Waiting, StepDone: progress.StepDone, Note: progress.Note,
		},
	}
	if run.plan.Operation == v1alpha1.OperationEnroll {
		verify := verifyOptions{namespaced: o.namespaced}
		runner.Verify = verify.now
		// Nobody is asked between the steps that undo a run which has failed.
		runner.Between, runner.Gate = o.hooks.between, o.hooks.gate
	}
	changed, failure := runner.Run(ctx, migration)
	progress.Clear()
	if failure == nil {
		failure = o.closeRecords(ctx, run)
	}
	if failure != nil {
		return migration, o.incomplete(migration, changed, failure)
	}
	return migration, nil
}

// undo rolls back a run that has failed, under the locks that it holds, of the namespaces
// named, and those that are needed besides. Where somebody has stopped it, they decide
// themselves.
func (o *runOptions) undo(ctx context.Context, failed *v1alpha1.MigrationRecord, failure error, locked []string, progress *render.Progress) error {
	if ExitStatus(failure) != StatusIncomplete || ctx.Err() != nil || errors.Is(failure, errNotContinued) || errors.Is(failure, errNobodyAnswered) {
		return failure
	}
	if failed.Resumes == "" && !begun(*failed) {
		// It was another run that has changed something.
		return failure
	}
	progress.Note("the run has failed and is rolled back: " + firstLine(failure))
	ctx, cancel := o.timed(ctx)
	defer cancel()
	ctx, release, run, err := o.prepareUndo(ctx, *failed, locked, progress)
	if err != nil {
		return &ExitError{Status: StatusIncomplete, Err: fmt.Errorf("%w\nIt was not rolled back: %w", failure, err)}
	}
	defer release()
	if !nothingToDo(run.plan) {
		if _, err := o.execute(ctx, newID(o.Now().UTC()), run, progress); err != nil {
			return &ExitError{Status: StatusIncomplete, Err: fmt.Errorf("%w\nThe rollback has failed, too: %w", failure, err)}
		}
	} else if err := o.closeRecords(ctx, run); err != nil {
		return &ExitError{Status: StatusIncomplete, Err: err}
	}
	failed.State = v1alpha1.RunRolledBack
	return o.undone(run.plan, failure)
}

// prepareUndo plans what undoes a run that has failed, under the locks of all namespaces
// that it writes: a run that was gone on with may have written some that the rest of its
// plan did not, and which are not locked yet. What was planned before their locks were
// held is planned anew.
func (o *runOptions) prepareUndo(ctx context.Context, failed v1alpha1.MigrationRecord, locked []string, progress *render.Progress) (context.Context, func(), *prepared, error) {
	var releases []func()
	releaseAll := func() {
		for _, release := range slices.Backward(releases) {
			release()
		}
	}
	for {
		run, err := o.hooks.undo(ctx, failed)
		if err == nil {
			err = blockedBy(run.plan)
		}
		if err != nil {
			releaseAll()
			return ctx, nil, nil, err
		}
		more := slices.DeleteFunc(plan.Namespaces(run.plan), func(name string) bool { return slices.Contains(locked, name) })
		if len(more) == 0 {
			return ctx, releaseAll, run, nil
		}
		held, release, err := o.lock(ctx, ctx, failed.ID, more, progress)
		if err != nil {
			releaseAll()
			return ctx, nil, nil, err
		}
		ctx, releases, locked = held, append(releases, release), slices.Concat(locked, more)
	}
}

// undone is the error of a run that has failed and was rolled back. A run that had stopped
// before, and was not gone on with by name, is not undone with it: the namespace is as
// that one has left it.
func (o *runOptions) undone(undoing v1alpha1.MigrationPlan, failure error) error {
	except := ""
	if len(undoing.Kept) > 0 {
		except = ", but for what somebody else has changed"
	}
	stopped := o.hooks.stopped
	if o.hooks.resumes != nil || !unverified(stopped) {
		return &ExitError{Status: StatusError, Err: fmt.Errorf("%s\nNamespace %s was rolled back and is what it was before%s", firstLine(failure), o.name, except)}
	}
	single := part{service: stopped.Service()}.flags()
	again := " --" + flagResume
	if single != "" {
		// A rollback of the Service alone may have taken it off since: --resume leaves it so.
		again = single + ", with the options of that run"
	}
	return &ExitError{Status: StatusIncomplete, Err: fmt.Errorf(
		"%s\nWhat this run had done in namespace %s was rolled back%s. Run %s, which stopped before it, is not complete: its record is ConfigMap %s/%s.\n"+
			"  to go on:     %s\n  to roll back: %s",
		firstLine(failure), o.name, except, stopped.ID, o.name, record.Name(stopped.ID), o.command("enroll")+again, o.command("rollback")+single)}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// lock takes the locks of the namespaces that a run writes, in order, so that two
// runs never wait for each other. Another run that is under way in one of them
// blocks. Only the waiting is bounded by the time of timed.
func (o *runOptions) lock(ctx, timed context.Context, id string, namespaces []string, progress *render.Progress) (context.Context, func(), error) {
	ctx, giveUp := context.WithCancelCause(ctx)
	stop := context.AfterFunc(timed, func() { giveUp(context.Cause(timed)) })
	defer stop()
	var releases []func()
	releaseAll := func() {
		for _, release := range slices.Backward(releases) {
			release()
		}
	}
	for _, namespace := range namespaces {
		locked, release, err := record.Lock(ctx, o.kube.CoordinationV1(), namespace, id, func(holder string) {
			progress.Note("waiting to see whether run " + holder + " is still alive")
		})
		if err != nil {
			releaseAll()
			if held := (*record.HeldError)(nil); errors.As(err, &held) {
				return nil, nil, &ExitError{Status: StatusBlocked, Err: err}
			}
			return nil, nil, err
		}
		ctx, releases = locked, append(releases, release)
	}
	return ctx, releaseAll, nil
}

// closeRecords marks in the records what a rollback has undone.
func (o *runOptions) closeRecords(ctx context.Context, run *prepared) error {
	for _, open := range run.undoes {
		undone := plan.UndoneBy(run.plan, open)
		if err := actions.Patiently(ctx, actions.DefaultBackoff(), func() error { return o.store.Update(ctx, &undone) }); err != nil {
			return fmt.Errorf("what run %s did is undone, but its record does not say so: %w", undone.ID, err)
		}
	}
	return nil
}

// newRecord is the record of a run that is about to start. What it is to create
// says by which run.
func (o *runOptions) newRecord(ctx context.Context, id string, planned v1alpha1.MigrationPlan) *v1alpha1.MigrationRecord {
	now := o.Now().UTC()
	migration := &v1alpha1.MigrationRecord{
		TypeMeta: v1alpha1.Document(v1alpha1.KindMigrationRecord), ID: id, Operation: planned.Operation, Namespace: o.name,
		State: v1alpha1.RunRunning, User: o.user(ctx), Why: o.reason, ToolVersion: o.Version, Started: now, Plan: plan.Stamped(planned, id),
	}
	if o.hooks.resumes != nil && planned.Operation == v1alpha1.OperationEnroll {
		migration.Resumes = o.hooks.resumes.ID
	}
	migration.Awaits = o.hooks.awaited(planned)
	for _, step := range planned.Steps {
		migration.Steps = append(migration.Steps, v1alpha1.StepRecord{ID: step.ID, State: v1alpha1.StepPending})
	}
	return migration
}

// newID is unique for all practical purposes and sorts by time.
func newID(now time.Time) string {
	var random [3]byte
	// crypto/rand never fails since Go 1.24.
	_, _ = rand.Read(random[:])
	return now.Format("20060102-150405") + "-" + hex.EncodeToString(random[:])
}

// user is who the API server takes us for; empty where it does not say.
func (o *runOptions) user(ctx context.Context) string {
	review, err := o.kube.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return ""
	}
	return review.Status.UserInfo.Username
}

// incomplete is the error of a run that stopped: why, what was done, and how
// to go on from there.
func (o *runOptions) incomplete(migration *v1alpha1.MigrationRecord, changed bool, failure error) error {
	var text strings.Builder
	text.WriteString(failure.Error())
	var gate *actions.GateError
	if errors.As(failure, &gate) {
		for _, missing := range gate.Missing[min(1, len(gate.Missing)):] {
			fmt.Fprintf(&text, "\n  also: %s", missing)
		}
		for _, event := range gate.Events {
			fmt.Fprintf(&text, "\n  event: %s", event)
		}
		for _, line := range gate.Logs {
			fmt.Fprintf(&text, "\n  log: %s", line)
		}
	}
	before := o.hooks.stopped
	switch {
	case !changed && migration.Operation == v1alpha1.OperationEnroll && unverified(before):
		// What the run before has changed is still there.
		fmt.Fprintf(&text, "\nNothing was changed but by run %s, which this one goes on with.", before.ID)
	case !changed:
		text.WriteString("\nNothing was changed.")
		return &ExitError{Status: ExitStatus(failure), Err: errors.New(text.String())}
	}
	done := 0
	for _, step := range migration.Steps {
		if step.State == v1alpha1.StepDone {
			done++
		}
	}
	fmt.Fprintf(&text, "\n%d of %d steps are done; the record is ConfigMap %s/%s.", done, len(migration.Steps), o.name, record.Name(migration.ID))
	resume := o.command(string(migration.Operation)) + o.again
	if migration.Operation == v1alpha1.OperationEnroll {
		resume += " --" + flagResume
	}
	fmt.Fprintf(&text, "\n  to go on:     %s", resume)
	if migration.Operation != v1alpha1.OperationRollback {
		fmt.Fprintf(&text, "\n  to roll back: %s", o.command("rollback")+part{service: migration.Service()}.flags())
	}
	return &ExitError{Status: StatusIncomplete, Err: &incompleteError{text: text.String(), cause: failure}}
}

// incompleteError says what has become of a run, and why it stopped.
type incompleteError struct {
	text  string
	cause error
}

func (e *incompleteError) Error() string { return e.text }

func (e *incompleteError) Unwrap() error { return e.cause }

// command is a command line that acts on the same namespace of the same
// cluster, as the same user. Tokens, passwords and keys are not repeated.
func (o *runOptions) command(verb string) string {
	line := displayName + " " + verb + " -n " + o.name
	for _, flag := range []struct {
		name  string
		value *string
	}{
		{"kubeconfig", o.flags.KubeConfig}, {"context", o.flags.Context}, {"cluster", o.flags.ClusterName},
		{"user", o.flags.AuthInfoName}, {"server", o.flags.APIServer}, {"tls-server-name", o.flags.TLSServerName},
		{"certificate-authority", o.flags.CAFile}, {"as", o.flags.Impersonate}, {"as-uid", o.flags.ImpersonateUID},
	} {
		if flag.value != nil && *flag.value != "" {
			line += " --" + flag.name + " " + quoted(*flag.value)
		}
	}
	if groups := o.flags.ImpersonateGroup; groups != nil {
		for _, group := range *groups {
			line += " --as-group " + quoted(group)
		}
	}
	if insecure := o.flags.Insecure; insecure != nil && *insecure {
		line += " --insecure-skip-tls-verify"
	}
	return line
}

// quoted writes a word as a shell reads it.
func quoted(word string) string {
	plain := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("/._:@%+=,-", r)
	}
	if strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

func (o *runOptions) sayDone(run *prepared, migration *v1alpha1.MigrationRecord, took time.Duration) {
	took = took.Round(time.Second)
	if migration.Operation == v1alpha1.OperationRollback {
		o.sayUndone(run, took)
		return
	}
	if workload := migration.Plan.Options.Workload; workload != "" {
		fmt.Fprintf(o.Streams.Out, "%s of namespace %s is in ambient mode, in %s; the other workloads are as they were.\n", workload, o.name, took)
		fmt.Fprintf(o.Streams.Out, "To go on with all: %s\nTo undo it:        %s\n", o.command("enroll"), o.command("rollback"))
		return
	}
	if service := migration.Service(); service != "" {
		fmt.Fprintf(o.Streams.Out, "Calls to %s of namespace %s go through its waypoint, in %s; the rest of the namespace is as it was.\n", service, o.name, took)
		fmt.Fprintf(o.Streams.Out, "To undo it: %s\n", o.command("rollback")+part{service: service}.flags())
		return
	}
	if migration.Operation == v1alpha1.OperationSimplify {
		fmt.Fprintf(o.Streams.Out, "What only sidecars needed is deleted from namespace %s, in %s.\n", o.name, took)
		fmt.Fprintf(o.Streams.Out, "To undo it, and the enrolment: %s\n", o.command("rollback"))
		return
	}
	if until := migration.Plan.Options.Until; until != "" && until != v1alpha1.PhaseVerify {
		fmt.Fprintf(o.Streams.Out, "The steps of namespace %s up to phase %s are done, in %s.\n", o.name, until, took)
		fmt.Fprintf(o.Streams.Out, "To go on:   %s --%s\n", o.command("enroll"), flagResume)
		fmt.Fprintf(o.Streams.Out, "To undo it: %s\n", o.command("rollback"))
		return
	}
	fmt.Fprintf(o.Streams.Out, "Namespace %s is in ambient mode, in %s.\n", o.name, took)
	fmt.Fprintf(o.Streams.Out, "To undo it: %s\n", o.command("rollback"))
}

func (o *runOptions) sayUndone(run *prepared, took time.Duration) {
	except := ""
	if len(run.plan.Kept) > 0 {
		except = " but for what was left alone"
	}
	switch {
	case run.plan.Unrecorded && !plan.Replaces(&run.plan):
		fmt.Fprintf(o.Streams.Out, "What an enrolment had left in namespace %s is taken away%s, in %s; its pods are as they were.\n", o.name, except, took)
		return
	case run.plan.Unrecorded:
		fmt.Fprintf(o.Streams.Out, "Namespace %s is back on sidecars%s, in %s. No record says what it was before: compare it with what is declared.\n", o.name, except, took)
		return
	case run.plan.Service != "":
		fmt.Fprintf(o.Streams.Out, "Calls to %s of namespace %s go past waypoints again%s, in %s; the rest of the namespace is as it was.\n", run.plan.Service, o.name, except, took)
		fmt.Fprintf(o.Streams.Out, "To put it on again: %s\n", o.command("enroll")+part{service: run.plan.Service}.flags())
		return
	case run.plan.To != "":
		fmt.Fprintf(o.Streams.Out, "Namespace %s is back to what phase %s of its enrolment left%s, in %s.\n", o.name, run.plan.To, except, took)
	case run.remain:
		oldest := run.undoes[len(run.undoes)-1].ID
		fmt.Fprintf(o.Streams.Out, "Namespace %s is back to what it was before run %s%s, in %s.\n", o.name, oldest, except, took)
	default:
		fmt.Fprintf(o.Streams.Out, "Namespace %s is back to what it was%s, in %s.\n", o.name, except, took)
		return
	}
	fmt.Fprintf(o.Streams.Out, "To undo the rest: %s\n", o.command("rollback"))
}

func nothingToDo(planned v1alpha1.MigrationPlan) bool { return len(planned.Steps) == 0 }

func (s *session) sayNothingToDo(planned v1alpha1.MigrationPlan) {
	switch {
	case planned.Blocked:
		fmt.Fprintf(s.Streams.Out, "Namespace %s has %s:\n\n", planned.Namespace, obstacle(planned))
		render.Gates(s.Streams.Out, planned, false)
		return
	case planned.Operation == v1alpha1.OperationRollback && len(planned.Kept) > 0:
		left := "is left to be undone"
		if slices.ContainsFunc(planned.Kept, func(kept v1alpha1.KeptField) bool { return kept.Later }) {
			left = "can be undone now"
		}
		fmt.Fprintf(s.Streams.Out, "Nothing that was done in namespace %s %s.\n", planned.Namespace, left)
		render.Kept(s.Streams.Out, planned.Kept)
		return
	case planned.Options != nil && planned.Options.Until == v1alpha1.PhaseRefreshSidecars:
		fmt.Fprintf(s.Streams.Out, "No sidecar of namespace %s predates HBONE: nothing to do.\n", planned.Namespace)
		return
	case planned.Options != nil && planned.Options.Service != "":
		fmt.Fprintf(s.Streams.Out, "%s of namespace %s has its waypoint: nothing to do.\n", planned.Options.Service, planned.Namespace)
		return
	case planned.Service != "":
		fmt.Fprintf(s.Streams.Out, "Nothing that a run has made for %s of namespace %s is left to be undone: nothing to do.\n", planned.Service, planned.Namespace)
		return
	case planned.Options != nil && planned.Options.Workload != "":
		fmt.Fprintf(s.Streams.Out, "%s of namespace %s is in ambient mode: nothing to do.\n", planned.Options.Workload, planned.Namespace)
		return
	case planned.Unrecorded:
		fmt.Fprintf(s.Streams.Out, "Nothing in namespace %s is of ambient mode: nothing to do.\n", planned.Namespace)
		return
	case planned.Operation == v1alpha1.OperationRollback && planned.To != "":
		fmt.Fprintf(s.Streams.Out, "Nothing that was done in namespace %s after phase %s is left to be undone: nothing to do.\n", planned.Namespace, planned.To)
		return
	case planned.Operation == v1alpha1.OperationRollback:
		fmt.Fprintf(s.Streams.Out, "Every migration of namespace %s has been rolled back: nothing to do.\n", planned.Namespace)
		return
	}
	if planned.Operation == v1alpha1.OperationSimplify {
		fmt.Fprintf(s.Streams.Out, "Namespace %s holds nothing that can be deleted: nothing to do.\n", planned.Namespace)
		if slices.ContainsFunc(planned.Gates, func(gate v1alpha1.CheckResult) bool { return gate.Status == v1alpha1.StatusWarn }) {
			// What is left to its owners is named all the same.
			fmt.Fprintln(s.Streams.Out)
			render.Gates(s.Streams.Out, planned, false)
		}
	} else {
		fmt.Fprintf(s.Streams.Out, "Namespace %s is in ambient mode: nothing to do.\n", planned.Namespace)
	}
	render.Retained(s.Streams.Out, planned.Kept)
}

// obstacle is why nothing can be done.
func obstacle(planned v1alpha1.MigrationPlan) string {
	if planned.Options != nil && planned.Options.Until == v1alpha1.PhaseRefreshSidecars {
		return "sidecars that predate HBONE and that no restart would replace by others"
	}
	if planned.Options != nil && planned.Options.Service != "" {
		return "a waypoint for " + planned.Options.Service + " that takes no traffic"
	}
	if planned.Operation == v1alpha1.OperationSimplify {
		return "not left its sidecars behind, and nothing is deleted"
	}
	return "pods that no step would move"
}

// blockedBy is the error of a plan whose gates do not hold.
func blockedBy(planned v1alpha1.MigrationPlan) error {
	if !planned.Blocked {
		return nil
	}
	return blockedError("namespace %s: %s", planned.Namespace, firstBlocking(planned.Gates))
}

// firstBlocking names the first finding that blocks, with its remedy, and
// counts the others.
func firstBlocking(results []v1alpha1.CheckResult) string {
	blocking := slices.DeleteFunc(slices.Clone(results), func(result v1alpha1.CheckResult) bool { return !result.Blocks() })
	if len(blocking) == 0 {
		return "nothing blocks"
	}
	first := blocking[0]
	text := fmt.Sprintf("%s (%s)", first.Message, first.ID)
	if first.Object != nil {
		text = first.Object.String() + ": " + text
	}
	if first.Remedy != "" {
		text += ": " + first.Remedy
	}
	if more := len(blocking) - 1; more > 0 {
		noun := "findings"
		if more == 1 {
			noun = "finding"
		}
		text += fmt.Sprintf(" (and %d more %s)", more, noun)
	}
	return text
}
