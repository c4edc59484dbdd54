package controlplane

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/internal/filelock"
	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/internal/process"
)

// Build provides the programs of the control plane. It builds those that are
// missing into a cache of the current user, which takes minutes the first time.
// Several processes may build at once: one does the work, the others wait.
// Progress is reported in short sentences; it may be nil.
func Build(ctx context.Context, progress func(string)) (Programs, error) {
	return build(ctx, controlPlane, progress)
}

// BuildMetricsServer provides metrics-server, which ServeMetrics runs, as Build does the
// programs of the control plane.
func BuildMetricsServer(ctx context.Context, progress func(string)) (Programs, error) {
	return build(ctx, measuring, progress)
}

// BuildArgoRollouts provides the controller of Argo Rollouts, which RunArgoRollouts runs,
// as Build does the programs of the control plane.
func BuildArgoRollouts(ctx context.Context, progress func(string)) (Programs, error) {
	return build(ctx, rollingOut, progress)
}

func build(ctx context.Context, wanted set, progress func(string)) (Programs, error) {
	if progress == nil {
		progress = func(string) {}
	}
	launcher := process.NewLauncher()
	defer launcher.Close()

	module, err := moduleOf(ctx, launcher, wanted.directory)
	if err != nil {
		return Programs{}, err
	}
	built, err := newPrograms(module, wanted)
	if err != nil {
		return Programs{}, err
	}
	if built.complete(wanted) {
		return built, nil
	}
	builder := builder{launcher: launcher, module: module, wanted: wanted, programs: built, progress: progress}
	return built, builder.build(ctx)
}

// complete tells whether nothing is left to build. The manifests are copied
// last, all in one step.
func (p Programs) complete(wanted set) bool {
	for _, program := range wanted.programs {
		if _, err := os.Stat(p.Path(program.name)); err != nil {
			return false
		}
	}
	_, err := os.Stat(p.manifests)
	return err == nil
}

type builder struct {
	launcher *process.Launcher
	module   string
	wanted   set
	programs Programs
	progress func(string)
}

func (b builder) build(ctx context.Context) error {
	if err := os.MkdirAll(b.programs.Directory, 0o750); err != nil {
		return fmt.Errorf("building the programs: %w", err)
	}
	unlock, err := b.lock(ctx)
	if err != nil {
		return fmt.Errorf("building the programs: %w", err)
	}
	defer unlock()

	for i, program := range b.wanted.programs {
		if err := b.buildProgram(ctx, program, fmt.Sprintf("%d/%d %s", i+1, len(b.wanted.programs), program.name)); err != nil {
			return err
		}
	}
	if err := b.copyManifests(ctx); err != nil {
		return fmt.Errorf("copying the manifests: %w", err)
	}
	return nil
}

// lock waits until no other process builds the same programs.
func (b builder) lock(ctx context.Context) (unlock func(), err error) {
	path := b.programs.Directory + ".lock"
	lock, err := filelock.Try(path)
	if err == nil && lock == nil {
		b.progress("waiting for another process that builds the programs")
		lock, err = filelock.Wait(ctx, path)
	}
	if err != nil {
		return nil, err
	}
	return lock.Release, nil
}

func (b builder) buildProgram(ctx context.Context, program program, title string) error {
	target := b.programs.Path(program.name)
	if _, err := os.Stat(target); err == nil {
		return nil
	}
	b.progress("building " + title)
	started := time.Now()
	scratch, err := os.MkdirTemp(filepath.Dir(b.programs.Directory), ".build-*")
	if err != nil {
		return fmt.Errorf("building %s: %w", program.name, err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()

	binary := filepath.Join(scratch, program.name)
	_, err = b.launcher.Run(ctx, process.Spec{
		Name:        "go",
		Path:        goCommand(),
		Arguments:   []string{"build", "-trimpath", "-ldflags", linkFlags, "-o", binary, program.importPath},
		Environment: b.environment(),
		Directory:   b.module,
	})
	if err != nil {
		return fmt.Errorf("building %s: %w", program.name, err)
	}
	if err := os.Rename(binary, target); err != nil {
		return fmt.Errorf("building %s: %w", program.name, err)
	}
	b.progress(fmt.Sprintf("built %s (%s)", title, time.Since(started).Round(time.Second)))
	return nil
}

// environment shields the build from a workspace and from flags that would
// change the binaries without changing their key.
func (b builder) environment() []string {
	return []string{"CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly"}
}

func (b builder) copyManifests(ctx context.Context) error {
	scratch, err := os.MkdirTemp(filepath.Dir(b.programs.manifests), ".manifests-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	for _, manifest := range b.wanted.manifests {
		source, err := b.moduleDirectory(ctx, manifest.module)
		if err != nil {
			return err
		}
		files, err := filepath.Glob(filepath.Join(source, filepath.FromSlash(manifest.glob)))
		if err != nil {
			return err
		}
		target := filepath.Join(scratch, manifest.name)
		if err := os.Mkdir(target, 0o750); err != nil {
			return err
		}
		for _, file := range files {
			if err := copyFile(file, filepath.Join(target, filepath.Base(file))); err != nil {
				return err
			}
		}
	}
	if err := os.RemoveAll(b.programs.manifests); err != nil {
		return err
	}
	return os.Rename(scratch, b.programs.manifests)
}

func (b builder) moduleDirectory(ctx context.Context, module string) (string, error) {
	directory, err := b.launcher.Run(ctx, process.Spec{
		Name:        "go",
		Path:        goCommand(),
		Arguments:   []string{"list", "-m", "-f", "{{.Dir}}", module},
		Environment: b.environment(),
		Directory:   b.module,
	})
	return strings.TrimSpace(directory), err
}
