package plugin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/spf13/cobra"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"sigs.k8s.io/yaml"
)

const flagBackup = "backup-dir"

// backup keeps the objects that a command changes or deletes, as they were before
// it, as files that need nothing but kubectl.
type backup struct {
	directory string
	// kept are the objects that there is a file of, or that need none, since a run
	// of the command has created them itself.
	kept map[v1alpha1.ObjectReference]bool
}

func (b *backup) addFlag(command *cobra.Command) {
	command.Flags().StringVar(&b.directory, flagBackup, "",
		"Write every object, as it was, to this `DIRECTORY` before it is changed or deleted; it must be empty or not exist. kubectl apply -f DIRECTORY puts them back, gates and pods that lack sidecars aside")
}

func (b *backup) complete(dryRun cmdutil.DryRunStrategy) error {
	if b.directory != "" && dryRun != cmdutil.DryRunNone {
		return usageError("--%s cannot be given with --dry-run, which changes nothing", flagBackup)
	}
	b.kept = map[v1alpha1.ObjectReference]bool{}
	return emptyDirectory(flagBackup, b.directory)
}

// of is what keeps the objects of a run; nil where none are to be kept.
func (b *backup) of(snapshot *mesh.Snapshot, planned v1alpha1.MigrationPlan) func([]v1alpha1.BeforeImage) error {
	if b.directory == "" {
		return nil
	}
	return func(images []v1alpha1.BeforeImage) error {
		for _, step := range planned.Steps {
			for _, change := range step.Changes {
				b.kept[change.Object] = b.kept[change.Object] || change.Create != nil
			}
		}
		for _, image := range images {
			if b.kept[image.Object] {
				continue
			}
			if err := b.write(plan.BackupName(image.Object), plan.Backup(snapshot, planned, image)); err != nil {
				return fmt.Errorf("--%s: %s cannot be kept, and is left as it is: %w", flagBackup, image.Object, err)
			}
			b.kept[image.Object] = true
		}
		return nil
	}
}

// write writes a new file. What is in it may not be for everybody: a template holds
// the environment of its containers.
func (b *backup) write(name string, object map[string]any) (err error) {
	data, err := yaml.Marshal(object)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.directory, 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(b.directory, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	text := slices.Concat([]byte("# As it was before it was changed. Fields that are null were not there: kubectl apply -f removes them.\n"), data)
	if _, err := file.Write(text); err != nil {
		return err
	}
	return file.Sync()
}
