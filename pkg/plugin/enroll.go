package plugin

import (
	"context"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/spf13/cobra"
)

func newEnrollCommand(session *session) *cobra.Command {
	options := &runOptions{namespaced: namespaced{session: session}}
	command := &cobra.Command{
		Use:   "enroll",
		Short: "Move a namespace from sidecars to ambient mode",
		Long: `Move a namespace from sidecars to ambient mode, in the steps that plan shows.
Each step is recorded before it is taken and waited for afterwards; the next one
starts when every pod concerned is ready, without sidecar, and proxied by the
ztunnel of its node. On an error or Ctrl-C the run stops where it is: enroll
again to go on, with the same options, or rollback to undo it.

What sidecars do for Services at layer 7 (policies that look at requests, JSON Web
Tokens, routing) is handed over to a waypoint, which is created; the flags with
waypoint in their names say which one, and for whom. A gate that fails or cannot
be seen blocks, unless --accept names its finding. Options are not remembered
from one run to the next.`,
		Example: "  kubectl ambient enroll -n shop --dry-run=client\n  kubectl ambient enroll -n shop --yes --timeout=20m",
		Args:    noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := options.complete(command); err != nil {
				return err
			}
			return options.run(command.Context(), options.prepareEnroll)
		},
	}
	options.addFlags(command)
	options.handover.addFlags(command)
	options.handover.addAcceptFlag(command)
	options.handover.addIncludeFlag(command)
	return command
}

// prepareEnroll reads the mesh and plans the enrolment.
func (o *runOptions) prepareEnroll(ctx context.Context) (*prepared, error) {
	content, snapshot, err := o.read(ctx, o.name, o.handover.include...)
	if err != nil {
		return nil, err
	}
	namespace, err := o.find(snapshot, o.name)
	if err != nil {
		return nil, err
	}
	planned, err := plan.Enroll(snapshot, namespace, o.handover.options())
	if err != nil {
		return nil, plannedError(err)
	}
	return &prepared{content: content, snapshot: snapshot, plan: planned}, nil
}
