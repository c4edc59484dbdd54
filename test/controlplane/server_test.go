package controlplane

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/internal/process"
)

// withProgram returns the programs of the tests, one of them replaced by a
// script.
func withProgram(t *testing.T, name, script string) Programs {
	t.Helper()
	directory := t.TempDir()
	for _, program := range controlPlane.programs {
		if err := os.Symlink(plane.Programs().Path(program.name), filepath.Join(directory, program.name)); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(directory, name)
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return Programs{Directory: directory, manifests: plane.Programs().manifests}
}

func TestStartNamesTheProgramThatFails(t *testing.T) {
	state, kept := filepath.Join(t.TempDir(), "state"), t.TempDir()
	_, err := Start(t.Context(), Options{
		Directory: state,
		KeepLogs:  kept,
		Programs:  withProgram(t, "kube-apiserver", "echo unknown flag >&2; exit 2"),
	})
	if err == nil || !strings.Contains(err.Error(), "kube-apiserver ended (exit status 2)") || !strings.Contains(err.Error(), "unknown flag") {
		t.Errorf("the error is %v", err)
	}
	if content, err := os.ReadFile(filepath.Join(kept, "kube-apiserver.log")); err != nil || string(content) != "unknown flag\n" {
		t.Errorf("the log that was kept is %q: %v", content, err)
	}
}

func TestServersAreStartedAnewWhenTheirPortIsTaken(t *testing.T) {
	directory := t.TempDir()
	c := &ControlPlane{
		options: Options{Programs: withProgram(t, "etcd", `
echo "$1" >> ports
if [ "$(wc -l < ports)" -lt 3 ]; then
	echo "listen tcp 127.0.0.1:$1: bind: address already in use" >&2
	exit 1
fi
touch ready
exec sleep 1000
`)},
		directory: directory,
		launcher:  process.NewLauncher(),
	}
	defer c.launcher.Close()
	if err := os.MkdirAll(c.Logs(), 0o700); err != nil {
		t.Fatal(err)
	}
	started, err := c.launch(t.Context(), server{
		name:      "etcd",
		ports:     1,
		directory: directory,
		arguments: func(ports []int) []string { return []string{loopback(ports[0])} },
		ready: func(context.Context, []int) error {
			_, err := os.Stat(filepath.Join(directory, "ready"))
			return err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	started.stop()
	tried, err := os.ReadFile(filepath.Join(directory, "ports"))
	if err != nil {
		t.Fatal(err)
	}
	attempts := strings.Fields(string(tried))
	if len(attempts) != 3 || attempts[2] != loopback(started.ports.Ports[0]) {
		t.Errorf("the ports %v were tried, %v was reserved", attempts, started.ports.Ports)
	}
}
