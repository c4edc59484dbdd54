package plugin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	"github.com/spf13/cobra"
	"istio.io/api/label"
)

// rollbackOptions are those of rollback besides what every run has.
type rollbackOptions struct {
	runOptions
	part       part
	unrecorded unrecorded
}

// unrecorded is what is chosen about a rollback that has no record to go by.
type unrecorded struct {
	chosen   bool
	revision string
}

// part is what of the enrolments of a namespace a rollback undoes; the zero value is
// all of them.
type part struct {
	// run is the oldest run that is undone.
	run string
	// to is the last phase that is not.
	to string
	// service is the only one that is taken off its waypoint, as plans name it.
	service string
}

// The flags' names.
const (
	flagRun        = "run"
	flagTo         = "to"
	flagUnrecorded = "without-record"
	flagRevision   = "revision"
)

func newRollbackCommand(session *session) *cobra.Command {
	options := &rollbackOptions{runOptions: runOptions{namespaced: namespaced{session: session}}}
	command := &cobra.Command{
		Use:   "rollback [service/NAME]",
		Short: "Put a namespace back to exactly what it was before it was enrolled",
		Long: `Put a namespace back to exactly what it was before it was enrolled, by the
records that enroll left in it: labels, policies and pod templates as they were,
every pod that should have a sidecar replaced until it has one, and what enroll
created deleted. What somebody else has changed since, or has come to use, is left
alone and named.

With --run only that run is undone, and those made after it, which build on it. With
--to what was done in the phases after that one is undone, so that the namespace is
as enroll --until leaves it; rollback without it undoes the rest.

With service/NAME only that Service is taken off its waypoint: its labels, its
policies there, and what nothing else needs any more, the waypoint included if a run
has made it. Pods stay as they are. Where they have lost their sidecars, what needed
the waypoint is enforced by nobody any more: the plan names each call that this lets
in, and blocks unless that is accepted.

Where there is no record, since a namespace was moved by hand or its records were
deleted, --without-record derives the steps from what is there now: the namespace
asks for sidecars again, templates no longer refuse them, pods are replaced, what
names waypoints no longer does, and what bears the label of an enrolment is deleted.
That this is exactly what was there before cannot be promised.`,
		Example: "  kubectl ambient rollback -n shop --dry-run=client\n  kubectl ambient rollback -n shop --yes\n" +
			"  kubectl ambient rollback -n shop --to=activate-waypoints\n  kubectl ambient rollback -n shop service/cart\n  kubectl ambient rollback -n shop --run=20260801-120000-1a2b3c\n" +
			"  kubectl ambient rollback -n shop --without-record --revision=default --dry-run=client",
		Args: mostOneObject,
		RunE: func(command *cobra.Command, arguments []string) error {
			if err := options.complete(command, arguments); err != nil {
				return err
			}
			return options.run(command.Context(), options.prepare)
		},
	}
	options.addFlags(command)
	options.handover.addAcceptFlag(command)
	options.handover.addCordonFlag(command)
	options.handover.addMaxParallelFlag(command)
	flags := command.Flags()
	flags.StringVar(&options.part.run, flagRun, "", "Undo this run and those made after it only: its `ID`, as history shows it")
	flags.StringVar(&options.part.to, flagTo, "", "Undo only what was done in the phases after this `PHASE` of an enrolment")
	flags.BoolVar(&options.unrecorded.chosen, flagUnrecorded, false, "Go by what is there now, since no record says what was there before")
	flags.StringVar(&options.unrecorded.revision, flagRevision, "",
		"With --without-record, the `REVISION` or tag that is to inject the namespace, or default for istio-injection=enabled; needed where the mesh leaves a choice")
	return command
}

func (o *rollbackOptions) complete(command *cobra.Command, arguments []string) error {
	if err := o.completeService(arguments); err != nil {
		return err
	}
	if err := o.part.validate(); err != nil {
		return err
	}
	if err := o.unrecorded.validate(o.part); err != nil {
		return err
	}
	o.again = o.part.flags() + o.unrecorded.flags()
	return o.runOptions.complete(command)
}

// completeService reads which Service is to be taken off its waypoint alone.
func (o *rollbackOptions) completeService(arguments []string) (err error) {
	if len(arguments) == 0 {
		return nil
	}
	named, is, err := plan.ServiceNamed(arguments[0])
	switch {
	case err != nil:
		return usageError("%w", err)
	case !is:
		return usageError("%q is nothing that can be rolled back alone: name a service/NAME; a workload that was moved alone goes back with --%s", arguments[0], flagRun)
	}
	o.part.service = named
	return nil
}

func (p part) validate() error {
	if p.service != "" && (p.run != "" || p.to != "") {
		return usageError("--%s and --%s cannot be given with %s: they are about whole runs", flagRun, flagTo, p.service)
	}
	if p.run != "" && p.to != "" {
		return usageError("--%s cannot be given with --%s: roll back whole runs, or the phases of all", flagRun, flagTo)
	}
	if err := (plan.Span{Until: v1alpha1.Phase(p.to)}).Validate(); err != nil {
		return usageError("--%s: %w", flagTo, err)
	}
	return nil
}

func (u unrecorded) validate(among part) error {
	switch {
	case u.revision != "" && !u.chosen:
		return usageError("--%s is for --%s: a record says which revision it was", flagRevision, flagUnrecorded)
	case u.chosen && among.service != "":
		return usageError("--%s cannot be given with %s: what runs have made for it only records tell", flagUnrecorded, among.service)
	case u.chosen && among != (part{}):
		return usageError("--%s cannot be given with --%s or --%s, which choose among records", flagUnrecorded, flagRun, flagTo)
	default:
		return nil
	}
}

// flags are those that choose the same again. Which revision it was, the namespace may
// say itself by then.
func (u unrecorded) flags() string {
	if !u.chosen {
		return ""
	}
	return " --" + flagUnrecorded
}

// flags are those that choose the part again, as a shell reads them.
func (p part) flags() string {
	flags := ""
	if p.run != "" {
		flags += " --" + flagRun + " " + quoted(p.run)
	}
	if p.to != "" {
		flags += " --" + flagTo + " " + quoted(p.to)
	}
	if p.service != "" {
		flags += " " + quoted(p.service)
	}
	return flags
}

// goOn are the flags by which a rollback that was begun is gone on with, given all
// records of the namespace.
func goOn(begun v1alpha1.MigrationRecord, records []v1alpha1.MigrationRecord) string {
	undoes := begun.Plan.Undoes
	beyond := slices.ContainsFunc(record.ToUndo(records), func(run v1alpha1.MigrationRecord) bool { return !slices.Contains(undoes, run.ID) })
	switch {
	case begun.Plan.Unrecorded:
		return unrecorded{chosen: true}.flags()
	case begun.Plan.Service != "":
		return part{service: begun.Plan.Service}.flags()
	case begun.Plan.To != "":
		return part{to: string(begun.Plan.To)}.flags()
	case len(undoes) > 0 && beyond:
		return part{run: undoes[len(undoes)-1]}.flags()
	default:
		return ""
	}
}

// of are the runs that have something to be undone in the part.
func (p part) of(records []v1alpha1.MigrationRecord) ([]v1alpha1.MigrationRecord, error) {
	if p.run != "" {
		return record.DownTo(records, p.run)
	}
	return plan.ToBeUndone(record.ToUndo(records), v1alpha1.Phase(p.to)), nil
}

func (o *rollbackOptions) prepare(ctx context.Context) (*prepared, error) {
	if o.unrecorded.chosen {
		return o.prepareUnrecorded(ctx)
	}
	return o.prepareUndoing(ctx, o.part)
}

// prepareUnrecorded reads the mesh and plans to put the namespace back by what is
// there. Where there is a record, that is what to go by.
func (o *rollbackOptions) prepareUnrecorded(ctx context.Context) (*prepared, error) {
	records, err := o.store.List(ctx)
	if err != nil {
		return nil, o.explain(err)
	}
	if open := record.Open(records); len(open) > 0 {
		return nil, fmt.Errorf("namespace %s holds the record of run %s, by which it can be put back exactly: leave out --%s", o.name, open[0].ID, flagUnrecorded)
	}
	content, snapshot, err := o.readSharing(ctx, o.name)
	if err != nil {
		return nil, err
	}
	namespace, err := o.find(snapshot, o.name)
	if err != nil {
		return nil, err
	}
	planned, err := plan.RollbackUnrecorded(snapshot, namespace, plan.Unrecorded{
		Revision: o.unrecorded.revision, Accept: o.handover.accept, Begun: stoppedUnrecorded(records), MaxParallelRestarts: o.handover.maxParallel,
	})
	if err != nil {
		return nil, revisionError(err)
	}
	if err := plan.Concluding(&planned, nil); err != nil {
		return nil, err
	}
	return &prepared{content: content, snapshot: snapshot, plan: planned}, nil
}

// stoppedUnrecorded is the plan of the last run, where that was a rollback without a
// record and has not ended.
func stoppedUnrecorded(records []v1alpha1.MigrationRecord) *v1alpha1.MigrationPlan {
	if len(records) == 0 || !records[0].Plan.Unrecorded || records[0].State == v1alpha1.RunSucceeded {
		return nil
	}
	return &records[0].Plan
}

// revisionError names the flag by which a revision is chosen.
func revisionError(err error) error {
	var option *translate.OptionError
	if errors.As(err, &option) {
		return usageError("%w: see --%s", err, flagRevision)
	}
	return err
}

// prepareRollback prepares to undo a run that has failed, and those that it went on with:
// what runs before have made of the namespace stays.
func (o *runOptions) prepareRollback(ctx context.Context, failed v1alpha1.MigrationRecord) (*prepared, error) {
	records, _, err := o.store.Read(ctx)
	if err != nil {
		return nil, o.explain(err)
	}
	return o.prepareUndoing(ctx, part{run: record.Begun(records, failed).ID})
}

// recordsFor reads the records that the rollback of a part goes by. One that cannot be
// read may be of the newest run, on which nobody knows what builds: only runs that were
// made after it are undone all the same, where they are asked for by name. The second
// value is true where there is one.
func (o *runOptions) recordsFor(ctx context.Context, part part) ([]v1alpha1.MigrationRecord, bool, error) {
	records, unread, err := o.store.Read(ctx)
	if err != nil || len(unread) == 0 {
		return records, false, err
	}
	failure := &record.UnreadableError{Records: unread}
	since := record.ToUndo(failure.Past(records))
	if part.run != "" && slices.ContainsFunc(since, func(run v1alpha1.MigrationRecord) bool { return run.ID == part.run }) {
		return records, true, nil
	}
	if len(since) > 0 {
		return nil, true, fmt.Errorf("%w; --%s %s undoes no more than was done after it", failure, flagRun, since[len(since)-1].ID)
	}
	return nil, true, failure
}

// prepareUndoing reads the mesh and the namespace's records, and plans to undo a
// part of what they hold.
func (o *runOptions) prepareUndoing(ctx context.Context, part part) (*prepared, error) {
	records, unread, err := o.recordsFor(ctx, part)
	if err != nil {
		return nil, o.explain(err)
	}
	content, snapshot, err := o.readSharing(ctx, o.name, writtenBeside(o.name, record.ToUndo(records))...)
	if err != nil {
		return nil, err
	}
	namespace, err := o.find(snapshot, o.name)
	if err != nil {
		return nil, err
	}
	if len(records) == 0 {
		return nil, fmt.Errorf("namespace %s holds no migration record: where it was in ambient mode before, there is nothing to put back; where it was moved by hand, or its records were deleted, rollback --%s goes by what is there now, which need not lead to exactly what was there before", o.name, flagUnrecorded)
	}
	if part.service != "" {
		return o.prepareService(content, snapshot, namespace, records, part.service)
	}
	undoes, err := part.of(records)
	if err != nil {
		return nil, fmt.Errorf("namespace %s: %w", o.name, err)
	}
	if len(undoes) == 0 {
		nothing := plan.NothingToRollBack(o.name)
		nothing.To = v1alpha1.Phase(part.to)
		if nothing.To == "" && (stoppedUnrecorded(records) != nil || namespace.Labels[label.IoIstioDataplaneMode.Name] == mesh.DataplaneAmbient) {
			fmt.Fprintf(o.Streams.ErrOut, "No record says what was there before namespace %s was in ambient mode: rollback --%s goes by what is there now.\n", o.name, flagUnrecorded)
		}
		return &prepared{plan: nothing}, nil
	}
	planned, err := plan.RollbackAs(snapshot, namespace, undoes, plan.Undoing{
		To: v1alpha1.Phase(part.to), Accept: o.handover.accept, MaxParallelRestarts: o.handover.maxParallel,
	})
	if err != nil {
		return nil, fmt.Errorf("namespace %s: %w", o.name, err)
	}
	if o.handover.cordon {
		plan.Cordoning(snapshot, &planned)
	}
	remain := unread || len(undoes) < len(record.ToUndo(records))
	if !remain && part.to == "" {
		if err := plan.Concluding(&planned, undoes); err != nil {
			return nil, fmt.Errorf("namespace %s: %w", o.name, err)
		}
	}
	return &prepared{content: content, snapshot: snapshot, plan: planned, undoes: undoes, remain: remain}, nil
}

// prepareService plans to take a single Service off its waypoint.
func (o *runOptions) prepareService(
	content mesh.Content, snapshot *mesh.Snapshot, namespace mesh.Namespace, records []v1alpha1.MigrationRecord, service string,
) (*prepared, error) {
	open := record.Open(records)
	planned, err := plan.RollbackService(snapshot, namespace, open, service, o.handover.accept...)
	if err != nil {
		return nil, fmt.Errorf("namespace %s: %w", o.name, err)
	}
	undoes := slices.DeleteFunc(open, func(run v1alpha1.MigrationRecord) bool { return !slices.Contains(planned.Undoes, run.ID) })
	return &prepared{content: content, snapshot: snapshot, plan: planned, undoes: undoes, remain: true}, nil
}

// writtenBeside are the namespaces besides one that recorded runs have written in.
func writtenBeside(name string, records []v1alpha1.MigrationRecord) []string {
	var beside []string
	for _, one := range records {
		for _, namespace := range plan.Namespaces(one.Plan) {
			if namespace != name && !slices.Contains(beside, namespace) {
				beside = append(beside, namespace)
			}
		}
	}
	slices.Sort(beside)
	return beside
}
