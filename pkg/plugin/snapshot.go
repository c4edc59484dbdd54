package plugin

import (
	"context"
	"fmt"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/render"
	"github.com/spf13/cobra"
)

type snapshotOptions struct {
	*session
	output output
	scope  mesh.Scope
}

func newSnapshotCommand(session *session) *cobra.Command {
	options := &snapshotOptions{session: session}
	command := &cobra.Command{
		Use:   "snapshot",
		Short: "Write what the other commands read, for work without the cluster",
		Long: `Write everything that status and plan read of the cluster as one document: for
work without the cluster, or to go with the report of a bug. plan -f says of it what
plan says of the cluster itself, and status -f the same but for recorded runs.

Secrets are never read. Values of environment variables, command lines and the
data of ConfigMaps are taken out, unless they configure Istio or the CNI plugin.
Istio's own objects are whole: look through EnvoyFilters and WasmPlugins for
tokens before you hand the document on. With -n the pods and workloads of that
namespace only are in it.`,
		Example: "  kubectl ambient snapshot > mesh.yaml\n  kubectl ambient plan -n shop -f mesh.yaml",
		Args:    noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := options.complete(); err != nil {
				return err
			}
			return options.run(command.Context())
		},
	}
	options.output.addFlag(command)
	return command
}

func (o *snapshotOptions) complete() error {
	if err := o.output.complete(); err != nil {
		return err
	}
	if o.output.human() {
		o.output.format = render.FormatYAML
	}
	o.scope = mesh.Scope{All: true}
	if o.namespaceGiven() {
		name, err := o.namespace()
		if err != nil {
			return err
		}
		o.scope = mesh.Scope{Namespace: name}
	}
	return o.connect()
}

func (o *snapshotOptions) run(ctx context.Context) error {
	content, snapshot, err := o.readCluster(ctx, o.scope)
	if err != nil {
		return err
	}
	if o.scope.Namespace != "" {
		if _, err := o.find(snapshot, o.scope.Namespace); err != nil {
			return err
		}
	}
	dump, err := mesh.Dump(content)
	if err != nil {
		return err
	}
	dump.ToolVersion, dump.Taken = o.Version, o.Now().UTC()
	if err := render.Document(o.Streams.Out, o.output.format, dump); err != nil {
		return err
	}
	for _, coverage := range dump.Coverage {
		if coverage.Reason != "" {
			fmt.Fprintf(o.Streams.ErrOut, "not in it: %s: %s\n", coverage.Key, coverage.Reason)
		}
	}
	return nil
}
