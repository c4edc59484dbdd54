package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/render"
	"github.com/spf13/cobra"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

type historyOptions struct{ namespaced }

func newHistoryCommand(session *session) *cobra.Command {
	options := &historyOptions{namespaced{session: session, output: output{too: []render.Format{render.FormatName}}}}
	command := &cobra.Command{
		Use:   "history [RUN]",
		Short: "List the runs that have changed a namespace",
		Long: `List the runs that have changed a namespace, by the records that they left in it,
newest first; or show one of them, step by step. With -o yaml a single run is shown
with its plan and with every object as it was before.`,
		Example: "  kubectl ambient history -n shop\n  kubectl ambient history -n shop 20260801-120000-1a2b3c -o yaml\n  kubectl ambient history prune -n shop",
		Args:    mostOneArgument,
		RunE: func(command *cobra.Command, arguments []string) error {
			if err := options.complete(); err != nil {
				return err
			}
			return options.run(command.Context(), arguments)
		},
	}
	options.output.addFlag(command)
	command.AddCommand(newPruneCommand(session))
	return command
}

// mostOneArgument takes the ID of a run.
func mostOneArgument(command *cobra.Command, arguments []string) error {
	if len(arguments) > 1 {
		return usageError("superfluous argument %q: name one run; see '%s --help'", arguments[1], command.CommandPath())
	}
	return nil
}

func (o *historyOptions) run(ctx context.Context, arguments []string) error {
	records, unread, err := record.NewStore(o.kube.CoreV1(), o.name).Read(ctx)
	if err != nil {
		return o.explain(err)
	}
	if len(arguments) > 0 {
		return o.showRun(records, unread, arguments[0])
	}
	history := record.History(o.name, records, unread)
	switch {
	case o.output.format == render.FormatName:
		sayUnread(o.Streams.ErrOut, unread)
		for _, run := range history.Runs {
			fmt.Fprintln(o.Streams.Out, run.ID)
		}
		return nil
	case !o.output.human():
		return render.Document(o.Streams.Out, o.output.format, history)
	case len(history.Runs)+len(history.Unreadable) == 0:
		fmt.Fprintf(o.Streams.Out, "No run has changed namespace %s.\n", o.name)
		return nil
	default:
		return render.History(o.Streams.Out, history, o.Now())
	}
}

// sayUnread names records that cannot be read, and what can be done about them.
func sayUnread(out io.Writer, unread []record.Unreadable) {
	for _, one := range unread {
		fmt.Fprintf(out, "%v: %s\n", one.Err, one.Remedy())
	}
}

func (o *historyOptions) showRun(records []v1alpha1.MigrationRecord, unread []record.Unreadable, id string) error {
	for _, one := range unread {
		if one.ID == id {
			return fmt.Errorf("%w: %s", one.Err, one.Remedy())
		}
	}
	i := slices.IndexFunc(records, func(run v1alpha1.MigrationRecord) bool { return run.ID == id })
	if i < 0 {
		return fmt.Errorf("there is no record of run %s in namespace %s: list them with %s history -n %s", id, o.name, displayName, o.name)
	}
	if o.output.format == render.FormatName {
		fmt.Fprintln(o.Streams.Out, records[i].ID)
		return nil
	}
	if !o.output.human() {
		return render.Document(o.Streams.Out, o.output.format, records[i])
	}
	return render.Run(o.Streams.Out, records[i])
}

type pruneOptions struct {
	namespaced
	olderThan time.Duration
	all, yes  bool
	dryRun    cmdutil.DryRunStrategy
}

func newPruneCommand(session *session) *cobra.Command {
	options := &pruneOptions{namespaced: namespaced{session: session}}
	command := &cobra.Command{
		Use:   "prune",
		Short: "Delete the records that no rollback needs",
		Long: `Delete the records that no rollback needs: those of enrolments that were rolled
back, and of the rollbacks. With --all also those of enrolments that hold; these can
then not be rolled back any more. A record that cannot be read is named and left alone.`,
		Example: "  kubectl ambient history prune -n shop --older-than=720h",
		Args:    noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := options.complete(command); err != nil {
				return err
			}
			return options.run(command.Context())
		},
	}
	flags := command.Flags()
	flags.DurationVar(&options.olderThan, "older-than", 0, "Keep the records of runs that began less than this long ago")
	flags.BoolVar(&options.all, "all", false, "Delete also the records of enrolments that hold: there is no rollback of them afterwards")
	flags.BoolVarP(&options.yes, "yes", "y", false, "Do not ask before deleting")
	cmdutil.AddDryRunFlag(command)
	return command
}

func (o *pruneOptions) complete(command *cobra.Command) (err error) {
	if o.dryRun, err = cmdutil.GetDryRunStrategy(command); err != nil {
		return usageError("%w", err)
	}
	if o.olderThan < 0 {
		return usageError("--older-than cannot be negative")
	}
	if !o.yes && !o.InTerminal && o.dryRun == cmdutil.DryRunNone {
		return usageError("nobody can be asked, since stdin is not a terminal: pass --yes to go ahead without asking")
	}
	return o.namespaced.complete()
}

func (o *pruneOptions) run(ctx context.Context) error {
	store := record.NewStore(o.kube.CoreV1(), o.name)
	records, unread, err := store.Read(ctx)
	if err != nil {
		return o.explain(err)
	}
	prunable := record.Prunable(records, unread, o.all, o.Now().Add(-o.olderThan))
	strays, err := store.Strays(ctx, records, unread)
	if err != nil {
		return o.explain(err)
	}
	if len(unread) > 0 {
		fmt.Fprintln(o.Streams.ErrOut, "Left alone, since it cannot be read:")
		sayUnread(o.Streams.ErrOut, unread)
	}
	if len(prunable)+len(strays) == 0 {
		fmt.Fprintf(o.Streams.Out, "Namespace %s holds no record that is not needed: nothing to do.\n", o.name)
		return nil
	}
	for _, run := range prunable {
		fmt.Fprintf(o.Streams.Out, "%s %s, %s\n", run.Operation, run.ID, run.State)
	}
	if o.dryRun != cmdutil.DryRunNone {
		fmt.Fprintf(o.Streams.Out, "Dry run: %d records would be deleted; nothing was.\n", len(prunable))
		return nil
	}
	if !o.yes {
		fmt.Fprintf(o.Streams.ErrOut, "\nDelete %d records of namespace %s in context %s? [y/N] ", len(prunable), o.name, o.contextName())
		agreed, err := o.answer(ctx)
		if err != nil {
			return fmt.Errorf("nobody has confirmed, and nothing was deleted: %w", err)
		}
		if !agreed {
			return errors.New("not confirmed: nothing was deleted")
		}
	}
	return o.prune(ctx, store, prunable, strays)
}

// still are those of the records and of the stray parts that may still be deleted.
func (o *pruneOptions) still(ctx context.Context, store *record.Store, prunable []v1alpha1.MigrationRecord, strays []string) ([]v1alpha1.MigrationRecord, []string, error) {
	records, unread, err := store.Read(ctx)
	if err != nil {
		return nil, nil, err
	}
	now, err := store.Strays(ctx, records, unread)
	if err != nil {
		return nil, nil, err
	}
	allowed := record.Prunable(records, unread, o.all, o.Now().Add(-o.olderThan))
	prunable = slices.DeleteFunc(slices.Clone(prunable), func(run v1alpha1.MigrationRecord) bool {
		return !slices.ContainsFunc(allowed, func(other v1alpha1.MigrationRecord) bool { return other.ID == run.ID })
	})
	strays = slices.DeleteFunc(slices.Clone(strays), func(name string) bool { return !slices.Contains(now, name) })
	return prunable, strays, nil
}

// prune deletes records under the lock: a run that is under way needs its own.
func (o *pruneOptions) prune(ctx context.Context, store *record.Store, prunable []v1alpha1.MigrationRecord, strays []string) error {
	ctx, release, err := record.Lock(ctx, o.kube.CoordinationV1(), o.name, newID(o.Now().UTC()), func(string) {})
	if err != nil {
		return err
	}
	defer release()
	// Runs may have begun and ended while somebody was asked, or the lock was waited for.
	if prunable, strays, err = o.still(ctx, store, prunable, strays); err != nil {
		return o.explain(err)
	}
	for i := range prunable {
		if err := store.Delete(ctx, &prunable[i]); err != nil {
			return o.explain(err)
		}
	}
	if err := store.DeleteStrays(ctx, strays); err != nil {
		return o.explain(err)
	}
	fmt.Fprintf(o.Streams.Out, "Deleted %d records.\n", len(prunable))
	return nil
}
