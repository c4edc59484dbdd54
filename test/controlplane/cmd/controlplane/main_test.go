package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// commandVariable makes the test binary act as the command.
const commandVariable = "CONTROLPLANE_TEST_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(commandVariable) == "" {
		os.Exit(m.Run())
	}
	os.Exit(execute(os.Args[1:]))
}

// runCommand runs the command as a process and returns what it writes.
func runCommand(t *testing.T, arguments ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	var out, errs strings.Builder
	command := exec.CommandContext(ctx, os.Args[0], arguments...)
	command.Env = append(os.Environ(), commandVariable+"=1")
	command.Stdout, command.Stderr = &out, &errs
	err = command.Run()
	return out.String(), errs.String(), err
}

func TestUpAndDown(t *testing.T) {
	name := fmt.Sprintf("test-%d", os.Getpid())
	stop := func() (stderr string) {
		_, stderr, err := runCommand(t, "down", "--name", name)
		if err != nil {
			t.Errorf("down: %v\n%s", err, stderr)
		}
		return stderr
	}
	t.Cleanup(func() {
		stop()
		removeTraces(t, name)
	})
	first, stderr, err := runCommand(t, "up", "--name", name, "--istio", "none", "--nodes", "1")
	if err != nil {
		t.Fatalf("up: %v\n%s", err, stderr)
	}
	found := regexp.MustCompile(`(?m)\Aexport KUBECONFIG="(.+)"\n\z`).FindStringSubmatch(first)
	if found == nil {
		t.Fatalf("up writes %q", first)
	}
	if _, err := os.Stat(found[1]); err != nil {
		t.Error(err)
	}
	second, stderr, err := runCommand(t, "up", "--name", name)
	if err != nil || second != first || !strings.Contains(stderr, "already up") {
		t.Errorf("a second up writes %q and %q: %v", second, stderr, err)
	}
	if stdout, _, err := runCommand(t, "status"); err != nil || !strings.Contains(stdout, name) || !strings.Contains(stdout, found[1]) {
		t.Errorf("status writes %q: %v", stdout, err)
	}
	if stderr := stop(); !strings.Contains(stderr, "is down") {
		t.Errorf("down writes %q", stderr)
	}
	if _, err := os.Stat(found[1]); !os.IsNotExist(err) {
		t.Errorf("the state is still there: %v", err)
	}
	if stderr := stop(); !strings.Contains(stderr, "is not up") {
		t.Errorf("a second down writes %q", stderr)
	}
}

// removeTraces removes what is kept of a control plane that is down.
func removeTraces(t *testing.T, name string) {
	t.Helper()
	instance, err := newInstance(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{".lock", ".log", ".logs"} {
		if err := os.RemoveAll(instance.directory + suffix); err != nil {
			t.Error(err)
		}
	}
}

func TestParseSettings(t *testing.T) {
	tests := []struct {
		arguments []string
		want      settings
		fails     bool
	}{
		{want: settings{name: "default", istio: "ambient", nodes: 3}},
		{arguments: []string{"--name", "a", "--istio", "sidecar", "--nodes", "5"}, want: settings{name: "a", istio: "sidecar", nodes: 5}},
		{arguments: []string{"--istio", "linkerd"}, fails: true},
		{arguments: []string{"--nodes", "0"}, fails: true},
		{arguments: []string{"--name", "../a"}, fails: true},
		{arguments: []string{"--name", ""}, fails: true},
		{arguments: []string{"--unknown"}, fails: true},
	}
	for _, test := range tests {
		got, err := parseSettings("up", test.arguments)
		if test.fails {
			if err == nil {
				t.Errorf("%v: no error", test.arguments)
			}
			continue
		}
		if err != nil || got != test.want {
			t.Errorf("%v: got %+v, %v", test.arguments, got, err)
		}
		again, err := parseSettings("up", got.arguments())
		if err != nil || again != got {
			t.Errorf("%v: the arguments %v parse to %+v, %v", test.arguments, got.arguments(), again, err)
		}
	}
}

func TestUnknownCommands(t *testing.T) {
	for _, arguments := range [][]string{{}, {"sideways"}} {
		if _, stderr, err := runCommand(t, arguments...); err == nil || !strings.Contains(stderr, "usage:") {
			t.Errorf("%v: %q, %v", arguments, stderr, err)
		}
	}
	for _, command := range []string{"up", "down", "status", "build", "run"} {
		if !slices.Contains(strings.Fields(usage), command) {
			t.Errorf("the usage does not mention %s", command)
		}
	}
}
