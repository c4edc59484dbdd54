package plugin

import (
	"context"
	"fmt"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/render"
	"github.com/spf13/cobra"
)

type statusOptions struct {
	*session
	output output
	// only is the namespace asked for; empty for all of the mesh.
	only string
}

func newStatusCommand(session *session) *cobra.Command {
	options := &statusOptions{session: session}
	command := &cobra.Command{
		Use:   "status",
		Short: "Show where every namespace of the mesh stands",
		Long: `Show where every namespace of the mesh stands: what carries its traffic, which
labels ask for what, its waypoints, its pods by kind, and how many of them a
restart would move to another mode. With -n only that namespace.`,
		Example: "  kubectl ambient status\n  kubectl ambient status -n shop -o json",
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

func (o *statusOptions) complete() error {
	if err := o.output.complete(); err != nil {
		return err
	}
	if o.namespaceGiven() {
		name, err := o.namespace()
		if err != nil {
			return err
		}
		o.only = name
	}
	return o.connect()
}

func (o *statusOptions) run(ctx context.Context) error {
	_, snapshot, err := o.read(ctx, "")
	if err != nil {
		return err
	}
	if err := o.findIstio(snapshot); err != nil {
		return err
	}
	status := v1alpha1.MeshStatus{TypeMeta: v1alpha1.Document(v1alpha1.KindMeshStatus), Namespaces: []v1alpha1.NamespaceStatus{}}
	namespaces := snapshot.Namespaces()
	if o.only != "" {
		namespace, err := o.find(snapshot, o.only)
		if err != nil {
			return err
		}
		namespaces = []mesh.Namespace{namespace}
	}
	records, err := record.Newest(ctx, o.kube.CoreV1())
	if err != nil {
		status.Unknown = append(status.Unknown, err.Error())
	}
	for _, key := range []string{"Namespace", mesh.PodsMeshWide, "MutatingWebhookConfiguration", "Gateway", mesh.WaypointEndpoints} {
		if coverage := snapshot.Coverage(key, o.only); !coverage.Known() {
			status.Unknown = append(status.Unknown, fmt.Sprintf("%s: %s", key, coverage.Reason))
		}
	}
	for _, namespace := range namespaces {
		row := snapshot.Status(namespace)
		if newest, found := records[namespace.Name]; found {
			row.Record = &newest
		}
		if o.only != "" || mesh.InMesh(row) || row.Record != nil {
			status.Namespaces = append(status.Namespaces, row)
		}
	}
	return o.print(status)
}

// findIstio refuses to report on a cluster without Istio, unless it cannot be
// told whether there is one.
func (o *statusOptions) findIstio(snapshot *mesh.Snapshot) error {
	seen := snapshot.Coverage(mesh.IstiodDeployments, "").Known() && snapshot.Coverage(mesh.KindMutatingWebhookConfiguration, "").Known()
	if len(snapshot.Istiods()) > 0 || len(snapshot.Injectors()) > 0 || !seen {
		return nil
	}
	return fmt.Errorf("no Istio in the cluster of context %s: no Deployment labelled app=istiod in any namespace: install Istio, or choose another --context", o.contextName())
}

func (o *statusOptions) print(status v1alpha1.MeshStatus) error {
	if len(status.Namespaces) == 0 && len(status.Unknown) > 0 {
		return fmt.Errorf("the mesh cannot be read: %s: ask for permission to list it", status.Unknown[0])
	}
	if !o.output.human() {
		return render.Document(o.Streams.Out, o.output.format, status)
	}
	if err := render.Status(o.Streams.Out, status); err != nil {
		return err
	}
	for _, unknown := range status.Unknown {
		fmt.Fprintf(o.Streams.ErrOut, "unknown: %s\n", unknown)
	}
	return nil
}
