package plugin

import (
	"context"
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	"github.com/spf13/cobra"
)

func newRollbackCommand(session *session) *cobra.Command {
	options := &runOptions{namespaced: namespaced{session: session}}
	command := &cobra.Command{
		Use:   "rollback",
		Short: "Put a namespace back to exactly what it was before it was enrolled",
		Long: `Put a namespace back to exactly what it was before it was enrolled, by the
records that enroll left in it: labels, policies and pod templates as they were,
every pod that should have a sidecar replaced until it has one, and what enroll
created deleted. What somebody else has changed since, or has come to use, is left
alone and named.`,
		Example: "  kubectl ambient rollback -n shop --dry-run=client\n  kubectl ambient rollback -n shop --yes",
		Args:    noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := options.complete(command); err != nil {
				return err
			}
			return options.run(command.Context(), options.prepareRollback)
		},
	}
	options.addFlags(command)
	options.handover.addAcceptFlag(command)
	options.handover.addCordonFlag(command)
	return command
}

// prepareRollback reads the mesh and the namespace's records, and plans to
// undo those that were not undone yet.
func (o *runOptions) prepareRollback(ctx context.Context) (*prepared, error) {
	records, err := o.store.List(ctx)
	if err != nil {
		return nil, o.explain(err)
	}
	content, snapshot, err := o.readSharing(ctx, o.name, writtenBeside(o.name, record.Open(records))...)
	if err != nil {
		return nil, err
	}
	namespace, err := o.find(snapshot, o.name)
	if err != nil {
		return nil, err
	}
	if len(records) == 0 {
		return nil, fmt.Errorf("namespace %s holds no migration record: enroll did not change it, so there is nothing to put back", o.name)
	}
	open := record.Open(records)
	if len(open) == 0 {
		return &prepared{plan: v1alpha1.MigrationPlan{
			TypeMeta: v1alpha1.Document(v1alpha1.KindMigrationPlan), Operation: v1alpha1.OperationRollback, Namespace: o.name,
			Gates: []v1alpha1.CheckResult{}, Steps: []v1alpha1.Step{},
		}}, nil
	}
	planned, err := plan.Rollback(snapshot, namespace, open, o.handover.accept...)
	if err != nil {
		return nil, err
	}
	if o.handover.cordon {
		plan.Cordoning(snapshot, &planned)
	}
	return &prepared{content: content, snapshot: snapshot, plan: planned, undoes: open}, nil
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
