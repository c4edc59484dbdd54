package plugin

import (
	"context"
	"fmt"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/spf13/cobra"
)

// source is where a command takes the mesh from: the cluster, or files.
type source struct {
	files    []string
	complete bool
}

func (s *source) addFlags(command *cobra.Command) {
	command.Flags().StringSliceVarP(&s.files, "filename", "f", nil,
		"Read the mesh from files, directories or - (stdin) instead of a cluster: what snapshot wrote, kubectl get -o yaml, manifests")
	command.Flags().BoolVar(&s.complete, "assume-complete", false,
		"With -f: take plain files for all there is, so that what they do not hold counts as absent, not as unknown")
}

// fromFiles says whether no cluster is asked.
func (s *source) fromFiles() bool { return len(s.files) > 0 }

func (s *source) validate() error {
	if s.complete && !s.fromFiles() {
		return usageError("--assume-complete says something about the files of -f, and there are none")
	}
	return nil
}

// take reads the mesh from wherever it is to be read.
func (s *session) take(ctx context.Context, source source, scope mesh.Scope) (*mesh.Snapshot, error) {
	if !source.fromFiles() {
		_, snapshot, err := s.readCluster(ctx, scope)
		return snapshot, err
	}
	content, err := mesh.ReadFiles(ctx, mesh.Files{
		Names: source.files, Stdin: s.Streams.In, Namespace: *s.flags.Namespace, Complete: source.complete,
	})
	if err != nil {
		return nil, err
	}
	snapshot, err := mesh.NewSnapshot(content)
	return snapshot, content.Positions(err)
}

// readCluster reads the mesh from the cluster.
func (s *session) readCluster(ctx context.Context, scope mesh.Scope) (mesh.Content, *mesh.Snapshot, error) {
	cluster := mesh.Cluster{Dynamic: s.dyn, Metadata: s.meta, Discovery: s.kube.Discovery()}
	content, err := mesh.Read(ctx, cluster, scope)
	if err != nil {
		return content, nil, s.explain(err)
	}
	snapshot, err := mesh.NewSnapshot(content)
	return content, snapshot, err
}

// findIn returns a namespace of a snapshot, or why it is not there.
func (s *session) findIn(source source, snapshot *mesh.Snapshot, name string) (mesh.Namespace, error) {
	if !source.fromFiles() {
		return s.find(snapshot, name)
	}
	namespace, found := snapshot.Namespace(name)
	if !found {
		return namespace, fmt.Errorf("namespace %s is not in the files: name another with -n, or add the manifest of the namespace", name)
	}
	return namespace, nil
}
