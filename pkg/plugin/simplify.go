package plugin

import (
	"context"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	"github.com/spf13/cobra"
)

func newSimplifyCommand(session *session) *cobra.Command {
	options := &runOptions{namespaced: namespaced{session: session}}
	command := &cobra.Command{
		Use:   "simplify",
		Short: "Delete what only the sidecars of an enrolled namespace needed",
		Long: `Delete what only the sidecars of an enrolled namespace needed: policies and
extensions by selector whose effect lives on at waypoints and in guards, EnvoyFilters
for nothing but sidecars, Sidecar resources; VirtualServices that an accepted HTTPRoute
says the same as, and subsets that no route names. It is blocked as long as a pod has a
sidecar or anything is left to be enrolled. No call is decided differently
afterwards: what still decides one is kept, and named with that call. What waypoints
follow and nothing stands in for is kept, and named, too. Policies of the root namespace
are never touched.

Annotations for sidecars in templates are named; taking them out is a restart, which
--restart makes, one workload after another. Routes that no proxy follows any more, and
what the whole mesh no longer needs, are named, and left to their owners.

What is deleted is in the record of the run: rollback makes it again, before it puts
everything else back as it was.`,
		Example: "  kubectl ambient simplify -n shop --dry-run=client\n  kubectl ambient simplify -n shop --yes",
		Args:    noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := options.complete(command); err != nil {
				return err
			}
			if options.handover.cleanTemplates {
				options.again = " --" + flagRestart
			}
			return options.run(command.Context(), options.prepareSimplify)
		},
	}
	options.addFlags(command)
	options.handover.addAcceptFlag(command)
	command.Flags().BoolVar(&options.handover.cleanTemplates, flagRestart, false,
		"Also take annotations that only sidecars read out of templates, which restarts their workloads, one after another")
	return command
}

// prepareSimplify reads the mesh, and plans with what the newest run was made with.
func (o *runOptions) prepareSimplify(ctx context.Context) (*prepared, error) {
	records, err := o.store.List(ctx)
	if err != nil {
		return nil, o.explain(err)
	}
	options := plan.Options{}
	whole := slices.DeleteFunc(record.Open(records), func(run v1alpha1.MigrationRecord) bool { return run.Service() != "" })
	if len(whole) > 0 {
		options = plan.OptionsOf(record.Whole(records, whole[0]))
	}
	options.Accept, options.CleanTemplates = o.handover.accept, o.handover.cleanTemplates
	content, snapshot, err := o.readSharing(ctx, o.name, options.Include...)
	if err != nil {
		return nil, err
	}
	namespace, err := o.find(snapshot, o.name)
	if err != nil {
		return nil, err
	}
	planned, err := plan.Simplify(snapshot, namespace, options)
	if err != nil {
		return nil, plannedError(err)
	}
	return &prepared{content: content, snapshot: snapshot, plan: planned}, nil
}
