package plugin

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// The exit statuses. They never depend on -o.
const (
	StatusDone = 0
	// StatusError: it could not be done; nothing was changed.
	StatusError = 1
	StatusUsage = 2
	// StatusBlocked: a gate fails or could not be seen, or verification failed
	// or could not be made.
	StatusBlocked = 3
	// StatusIncomplete: something was changed and the run is not complete,
	// whatever the cause.
	StatusIncomplete = 4
	// StatusTimeout and StatusInterrupted: nothing was changed.
	StatusTimeout     = 124
	StatusInterrupted = 130
)

// ExitError is an error with the exit status that it means.
type ExitError struct {
	Status int
	Err    error
}

func (e *ExitError) Error() string { return e.Err.Error() }

func (e *ExitError) Unwrap() error { return e.Err }

func usageError(format string, arguments ...any) error {
	return &ExitError{Status: StatusUsage, Err: fmt.Errorf(format, arguments...)}
}

func blockedError(format string, arguments ...any) error {
	return &ExitError{Status: StatusBlocked, Err: fmt.Errorf(format, arguments...)}
}

// ExitStatus is the exit status that an error of a command means.
func ExitStatus(err error) int {
	var exit *ExitError
	switch {
	case err == nil:
		return StatusDone
	case errors.As(err, &exit):
		return exit.Status
	case outOfTime(err):
		return StatusTimeout
	case errors.Is(err, context.Canceled):
		return StatusInterrupted
	default:
		return StatusError
	}
}

// outOfTime says whether an error is that --timeout was over, or would have been.
func outOfTime(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || wouldBeOutOfTime(err)
}

// wouldBeOutOfTime says whether a request was not made because --timeout would have been
// over before it: the limiter of requests does not wait for what it knows to come too
// late, and has no error of its own for that (golang.org/x/time/rate, Limiter.WaitN).
func wouldBeOutOfTime(err error) bool {
	return err != nil && strings.Contains(err.Error(), "would exceed context deadline")
}
