package plugin

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

func TestBackupKeepsEachObjectOnceAsItWas(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "deep", "backup")
	kept := &backup{directory: directory}
	if err := kept.complete(cmdutil.DryRunNone); err != nil {
		t.Fatal(err)
	}
	old := v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: "shop", Name: "cart"}
	made := v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: "shop", Name: "made"}
	image := func(object v1alpha1.ObjectReference, labels map[string]any) []v1alpha1.BeforeImage {
		return []v1alpha1.BeforeImage{{Object: object, Content: map[string]any{"kind": "Service", "metadata": map[string]any{"name": object.Name, "labels": labels}}}}
	}
	planned := v1alpha1.MigrationPlan{Steps: []v1alpha1.Step{{Changes: []v1alpha1.Change{
		{Object: made, Create: map[string]any{}}, {Object: old, Fields: []v1alpha1.FieldChange{{Path: "/metadata/labels/use", After: "waypoint"}}},
	}}}}
	keep := kept.of(fixture.Snapshot(), planned)
	for _, images := range [][]v1alpha1.BeforeImage{image(old, map[string]any{"app": "cart"}), image(made, nil), image(old, map[string]any{"app": "cart", "use": "waypoint"})} {
		if err := keep(images); err != nil {
			t.Fatal(err)
		}
	}
	// What undoes the run finds what the run has made, which was not there before.
	undo := kept.of(fixture.Snapshot(), v1alpha1.MigrationPlan{})
	if err := undo(slices.Concat(image(made, nil), image(old, nil))); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(directory)
	if err != nil || len(files) != 1 {
		t.Fatalf("there are %v, %v", files, err)
	}
	text, err := os.ReadFile(filepath.Join(directory, files[0].Name()))
	if err != nil || !strings.HasSuffix(string(text), "kind: Service\nmetadata:\n  labels:\n    app: cart\n    use: null\n  name: cart\n") {
		t.Errorf("%v, it holds:\n%s", err, text)
	}
	if info, err := os.Stat(filepath.Join(directory, files[0].Name())); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read it: %v, %v", info.Mode(), err)
	}
}

func TestBackupNeedsADirectoryOfItsOwn(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		directory string
		dryRun    cmdutil.DryRunStrategy
		status    int
		want      string
	}{
		"one that is not empty":    {full, cmdutil.DryRunNone, StatusError, "is not empty: name a new directory"},
		"one that is a file":       {filepath.Join(full, "notes"), cmdutil.DryRunNone, StatusError, "not a directory"},
		"nothing is to be changed": {t.TempDir(), cmdutil.DryRunClient, StatusUsage, "--backup-dir cannot be given with --dry-run"},
	} {
		t.Run(name, func(t *testing.T) {
			err := (&backup{directory: test.directory}).complete(test.dryRun)
			if ExitStatus(err) != test.status || !strings.Contains(err.Error(), test.want) {
				t.Errorf("status %d: %v", ExitStatus(err), err)
			}
		})
	}
	// A file that came in between is nobody's backup.
	kept := &backup{directory: full, kept: map[v1alpha1.ObjectReference]bool{}}
	object := v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: "shop", Name: "cart"}
	if err := os.WriteFile(filepath.Join(full, "4_service_shop_cart.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := kept.of(fixture.Snapshot(), v1alpha1.MigrationPlan{})([]v1alpha1.BeforeImage{{Object: object, Content: map[string]any{}}})
	if err == nil || !strings.Contains(err.Error(), "Service shop/cart cannot be kept, and is left as it is") {
		t.Errorf("the error is %v", err)
	}
}
