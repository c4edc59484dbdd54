package controlplane

import (
	"context"
	"path/filepath"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/internal/process"
)

// Kubectl runs kubectl as an administrator and returns its output.
func (c *ControlPlane) Kubectl(ctx context.Context, arguments ...string) (string, error) {
	return c.run(ctx, "kubectl", arguments)
}

// Istioctl runs istioctl as an administrator and returns its output.
func (c *ControlPlane) Istioctl(ctx context.Context, arguments ...string) (string, error) {
	return c.run(ctx, "istioctl", arguments)
}

func (c *ControlPlane) run(ctx context.Context, program string, arguments []string) (string, error) {
	return c.launcher.Run(ctx, process.Spec{
		Name:        program,
		Path:        c.options.Programs.Path(program),
		Arguments:   arguments,
		Environment: c.Environment(),
		Directory:   c.directory,
	})
}

// Environment returns what a client of this control plane, such as kubectl,
// needs in its environment. The home directory is one of its own because
// clients cache there what a server at the same address serves, and addresses
// are used again by other control planes.
func (c *ControlPlane) Environment() []string {
	return []string{
		"KUBECONFIG=" + c.kubeconfig,
		"HOME=" + filepath.Join(c.directory, "home"),
	}
}
