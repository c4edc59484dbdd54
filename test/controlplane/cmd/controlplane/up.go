package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// reportVariable tells a supervisor the file descriptor to which it reports.
const reportVariable = "CONTROLPLANE_REPORT"

// reportDescriptor is the first of exec.Cmd.ExtraFiles.
const reportDescriptor = 3

// report is one line from a supervisor to the command that started it.
type report struct {
	Progress string `json:"progress,omitempty"`
	Ready    *state `json:"ready,omitempty"`
	Failure  string `json:"failure,omitempty"`
}

// up starts a supervisor that outlives this process, unless one runs.
func up(ctx context.Context, arguments []string) error {
	parsed, err := parseSettings("up", arguments)
	if err != nil {
		return err
	}
	if os.Getenv(reportVariable) != "" {
		return superviseDetached(ctx, parsed)
	}
	running, err := findRunning(parsed.name)
	if err != nil {
		return err
	}
	if running != nil {
		say(fmt.Sprintf("control plane %q is already up (istio %s, %d nodes)", parsed.name, running.Istio, running.Nodes))
		printHints(parsed.name, *running)
		return nil
	}
	ready, err := startSupervisor(ctx, parsed)
	if err != nil {
		return err
	}
	printHints(parsed.name, ready)
	return nil
}

// findRunning returns the state of the supervisor that lives, if one does. One
// that is still starting cannot be waited for.
func findRunning(name string) (*state, error) {
	instance, err := newInstance(name)
	if err != nil {
		return nil, err
	}
	lock, err := instance.lock()
	if err != nil {
		return nil, err
	}
	if lock != nil {
		lock.Release()
		return nil, nil
	}
	found, exists, err := instance.read()
	if err != nil {
		return nil, err
	}
	if !exists || found.Kubeconfig == "" {
		return nil, fmt.Errorf("control plane %q is being started or stopped by another process", name)
	}
	return &found, nil
}

// startSupervisor runs this program again, detached, and passes on what it says
// until it is ready.
func startSupervisor(ctx context.Context, parsed settings) (state, error) {
	executable, err := os.Executable()
	if err != nil {
		return state{}, fmt.Errorf("starting the supervisor: %w", err)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return state{}, fmt.Errorf("starting the supervisor: %w", err)
	}
	defer func() { _ = reader.Close() }()
	log, err := supervisorLog(parsed.name)
	if err != nil {
		return state{}, fmt.Errorf("starting the supervisor: %w", err)
	}
	defer func() { _ = log.Close() }()

	command := exec.Command(executable, append([]string{"up"}, parsed.arguments()...)...) //nolint:gosec // This program starts itself.
	command.Env = append(os.Environ(), reportVariable+"=1")
	command.ExtraFiles = []*os.File{writer}
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return state{}, fmt.Errorf("starting the supervisor: %w", err)
	}
	_ = writer.Close()
	interrupted := context.AfterFunc(ctx, func() { _ = command.Process.Signal(syscall.SIGTERM) })
	defer interrupted()
	ready, err := follow(reader)
	if err != nil {
		return state{}, fmt.Errorf("%w (log: %s)", err, log.Name())
	}
	return ready, command.Process.Release()
}

func supervisorLog(name string) (*os.File, error) {
	instance, err := newInstance(name)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(instance.directory), 0o750); err != nil {
		return nil, err
	}
	return os.Create(instance.directory + ".log")
}

func follow(reports io.Reader) (state, error) {
	scanner := bufio.NewScanner(reports)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var line report
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			return state{}, fmt.Errorf("following the supervisor: %w", err)
		}
		switch {
		case line.Ready != nil:
			return *line.Ready, nil
		case line.Failure != "":
			return state{}, errors.New(line.Failure)
		default:
			say(line.Progress)
		}
	}
	return state{}, errors.Join(errors.New("the supervisor ended"), scanner.Err())
}

// superviseDetached is what the detached process does.
func superviseDetached(ctx context.Context, parsed settings) error {
	// The programs of the control plane must not inherit the pipe, or the
	// command at its other end would not see it close.
	syscall.CloseOnExec(reportDescriptor)
	pipe := os.NewFile(reportDescriptor, "report")
	defer func() { _ = pipe.Close() }()
	send := func(line report) {
		if content, err := json.Marshal(line); err == nil {
			_, _ = pipe.Write(append(content, '\n'))
		}
	}
	err := supervise(ctx, parsed,
		func(message string) {
			say(message)
			send(report{Progress: message})
		},
		func(s state) {
			send(report{Ready: &s})
			_ = pipe.Close()
		})
	if err != nil {
		send(report{Failure: err.Error()})
	}
	return err
}

// printHints writes what a shell evaluates to standard output, and the rest for
// people to standard error.
func printHints(name string, s state) {
	say(fmt.Sprintf("for kubectl and istioctl: export PATH=%q:\"$PATH\"", s.Programs))
	say(fmt.Sprintf("logs are in %s", s.Logs))
	say(fmt.Sprintf("to end it: controlplane down --name %s", name))
	answer("export KUBECONFIG=%q\n", s.Kubeconfig)
}
