package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// readyInterval is how often a program that starts is asked whether it is ready.
const readyInterval = 50 * time.Millisecond

// Spec describes a program to run.
type Spec struct {
	// Name names the program in errors.
	Name string
	// Path is the program's binary.
	Path string
	// Arguments follow the program's name.
	Arguments []string
	// Environment is added to that of this process.
	Environment []string
	// Directory is the working directory, that of this process by default.
	Directory string
	// Log is the file that takes what the program writes.
	Log string
}

// Process is a program that was started.
type Process struct {
	name     string
	log      string
	command  *exec.Cmd
	lifeline io.Closer
	done     chan struct{}
	err      error
}

// Start starts a program that is meant to keep running.
func (l *Launcher) Start(spec Spec) (*Process, error) {
	log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", spec.Name, err)
	}
	defer func() { _ = log.Close() }()

	command := spec.command()
	command.Stdout, command.Stderr = log, log
	lifeline, err := l.start(command)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", spec.Name, err)
	}
	process := &Process{name: spec.Name, log: spec.Log, command: command, lifeline: lifeline, done: make(chan struct{})}
	go process.wait()
	return process, nil
}

func (s Spec) command() *exec.Cmd {
	command := exec.Command(s.Path, s.Arguments...)
	command.Dir = s.Directory
	command.Env = append(os.Environ(), s.Environment...)
	return command
}

func (p *Process) wait() {
	p.err = p.command.Wait()
	_ = p.lifeline.Close()
	close(p.done)
}

// ID is the operating system's id of the process.
func (p *Process) ID() int { return p.command.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Kill ends the process and its children and waits until it is gone. Killing a
// process that has ended does nothing: its id may belong to another one.
func (p *Process) Kill() {
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(-p.ID(), syscall.SIGKILL)
		<-p.done
	}
}

// WaitUntil asks whether the process is ready until it is, and fails when the
// process ends or the context does. Errors show the end of the program's log.
func (p *Process) WaitUntil(ctx context.Context, ready func(context.Context) error) error {
	ticker := time.NewTicker(readyInterval)
	defer ticker.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return p.ended()
		case <-ctx.Done():
			return fmt.Errorf("%s did not get ready: %w\n%s", p.name, errors.Join(ctx.Err(), err), Tail(p.log))
		case <-ticker.C:
		}
	}
}

// ended is the error of a process that was not meant to end.
func (p *Process) ended() error {
	status := "status 0"
	if p.err != nil {
		status = p.err.Error()
	}
	return &EndedError{Name: p.name, Status: status, Tail: Tail(p.log)}
}

// EndedError says that a program ended that was meant to keep running.
type EndedError struct {
	Name   string
	Status string
	// Tail is the end of the program's log.
	Tail string
}

func (e *EndedError) Error() string {
	return fmt.Sprintf("%s ended (%s), its log ends with:\n%s", e.Name, e.Status, e.Tail)
}
