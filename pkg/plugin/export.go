package plugin

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"sigs.k8s.io/yaml"
)

// emptyDirectory wants a directory that holds nothing, so that no file of an
// earlier command is taken for one of this.
func emptyDirectory(flag, path string) error {
	if path == "" {
		return nil
	}
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("--%s: %w", flag, err)
	case len(entries) > 0:
		return fmt.Errorf("--%s: %s is not empty: name a new directory", flag, path)
	default:
		return nil
	}
}

// export writes the manifests of the phases asked for. Those of a blocked plan
// are written only with --ignore-failures, and say that it is blocked.
func (o *planOptions) export(snapshot *mesh.Snapshot, whole v1alpha1.MigrationPlan) error {
	if o.outputDir == "" || nothingToDo(whole) {
		return nil
	}
	if whole.Blocked && !o.ignoreFailures {
		fmt.Fprintf(o.Streams.ErrOut, "%s is not written while gates block: --ignore-failures writes it\n", o.outputDir)
		return nil
	}
	phases, err := plan.Export(snapshot, whole)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.outputDir, 0o750); err != nil {
		return fmt.Errorf("--output-dir: %w", err)
	}
	for i, phase := range phases {
		if !o.span().Holds(phase.Phase) {
			continue
		}
		text, err := o.manifests(phase, whole.Blocked)
		if err != nil {
			return err
		}
		path := filepath.Join(o.outputDir, fmt.Sprintf("%02d-%s.yaml", i+1, phase.Phase))
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return fmt.Errorf("--output-dir: %w", err)
		}
		fmt.Fprintf(o.Streams.ErrOut, "written: %s\n", path)
	}
	return nil
}

// manifests are the file of a phase.
func (o *planOptions) manifests(phase plan.Manifests, blocked bool) ([]byte, error) {
	var text bytes.Buffer
	fmt.Fprintf(&text, "# Phase %s of enrolling namespace %s, planned by %s.\n", phase.Phase, o.name, displayName)
	if blocked {
		fmt.Fprintln(&text, "# BLOCKED: gates do not hold. This is what would be done if they did.")
	}
	fmt.Fprintln(&text, "# Fields that are null are to be removed: kubectl apply -f does so. In a\n# repository whose tool applies server-side, delete those lines instead.")
	fmt.Fprintf(&text, "# Before the next phase, wait until this one has been rolled out: %s status -n %s.\n", displayName, o.name)
	for _, change := range phase.Live {
		for _, field := range change.Fields {
			segments := plan.Segments(field.Path)
			fmt.Fprintf(&text, "# Running pods need: kubectl -n %s label pod %s %s=%v\n", o.name, change.Object.Name, segments[len(segments)-1], field.After)
		}
	}
	for _, object := range phase.Deleted {
		fmt.Fprintf(&text, "# To be deleted: kubectl -n %s delete %s %s\n", object.Namespace, strings.ToLower(object.Kind), object.Name)
	}
	for _, object := range phase.Objects {
		data, err := yaml.Marshal(object)
		if err != nil {
			return nil, fmt.Errorf("write phase %s: %w", phase.Phase, err)
		}
		fmt.Fprintln(&text, "---")
		text.Write(data)
	}
	return text.Bytes(), nil
}
