// Package e2e runs the plugin, as built, on a real control plane: kubectl finds
// it in the PATH, istiod injects and validates, controllers roll out. Only the
// kubelets, istio-cni's agent and ztunnel are played by doubles.
package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane"
)

// shared is the mesh that most tests run on: the ambient profile with revision
// default, and a second revision, canary. Each test has namespaces of its own.
var shared *cluster

// pluginDirectory holds the plugin as built.
var pluginDirectory string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx, cancel := untilTimeout()
	defer cancel()
	directory, err := os.MkdirTemp("", "kubectl-ambient-e2e-")
	if err != nil {
		return complain(err)
	}
	defer func() { _ = os.RemoveAll(directory) }()
	pluginDirectory = directory
	if err := buildPlugin(ctx); err != nil {
		return complain(err)
	}
	shared, err = start(ctx, controlplane.Options{})
	if err != nil {
		return complain(err)
	}
	defer shared.stop()
	for _, revision := range []string{"", "canary"} {
		if _, err := shared.InstallIstio(ctx, controlplane.IstioOptions{Revision: revision}); err != nil {
			return complain(err)
		}
	}
	code := m.Run()
	fmt.Println(shared.observer)
	if code != 0 {
		shared.keepLogs("shared")
	}
	return code
}

// untilTimeout ends a moment before go test gives up on all tests and ends the process,
// which would leave the programs of the control plane behind.
func untilTimeout() (context.Context, context.CancelFunc) {
	const moment = 20 * time.Second
	if given, is := flag.Lookup("test.timeout").Value.(flag.Getter); is {
		if timeout, is := given.Get().(time.Duration); is && timeout > moment {
			return context.WithTimeout(context.Background(), timeout-moment)
		}
	}
	return context.WithCancel(context.Background())
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func buildPlugin(ctx context.Context) error {
	command := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(pluginDirectory, "kubectl-ambient"), "./cmd/kubectl-ambient")
	command.Dir = filepath.Join("..", "..")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build the plugin: %w\n%s", err, output)
	}
	return nil
}
