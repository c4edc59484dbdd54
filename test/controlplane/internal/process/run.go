package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Run runs a program to its end and returns what it wrote to standard output.
// The error shows what it wrote to standard error.
func (l *Launcher) Run(ctx context.Context, spec Spec) (string, error) {
	var stdout, stderr bytes.Buffer
	command := spec.command()
	command.Stdout, command.Stderr = &stdout, &stderr
	lifeline, err := l.start(command)
	if err != nil {
		return "", fmt.Errorf("starting %s: %w", spec.Name, err)
	}
	defer func() { _ = lifeline.Close() }()

	kill := context.AfterFunc(ctx, func() { _ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) })
	defer kill()
	if err := command.Wait(); err != nil {
		invocation := strings.Join(append([]string{spec.Name}, spec.Arguments...), " ")
		return stdout.String(), fmt.Errorf("%s: %w\n%s", invocation, errors.Join(ctx.Err(), err), strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
