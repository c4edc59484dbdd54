package actions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
)

// DefaultBackoff is how a request is repeated that the API server did not
// answer: the first time after a fifth of a second, then further and further
// apart, for about a minute.
func DefaultBackoff() wait.Backoff {
	return wait.Backoff{Duration: 200 * time.Millisecond, Factor: 1.5, Jitter: 0.1, Steps: 13}
}

func (r *Runner) patiently(ctx context.Context, do func() error) error {
	return Patiently(ctx, r.Backoff, do)
}

// Patiently repeats what fails for reasons that pass: a broken connection, an
// API server that is busy or restarting. What is repeated must be harmless to
// do twice. A zero backoff repeats nothing.
func Patiently(ctx context.Context, backoff wait.Backoff, do func() error) error {
	if backoff.Steps == 0 {
		return do()
	}
	var last error
	err := wait.ExponentialBackoffWithContext(ctx, backoff, func(context.Context) (bool, error) {
		last = do()
		if last != nil && Passing(last) && ctx.Err() == nil {
			return false, nil
		}
		return true, last
	})
	switch {
	case last == nil || !wait.Interrupted(err):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", context.Cause(ctx), last)
	default:
		return last
	}
}

// Passing says whether an error is worth another try.
func Passing(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var changed *ChangedError
	var taken *plan.TakenError
	if errors.As(err, &changed) || errors.As(err, &taken) {
		return false
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
			apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err)
	}
	// An answer that breaks off is no error of the network to client-go.
	return errors.As(err, new(interface{ Timeout() bool })) || errors.Is(err, io.ErrUnexpectedEOF) || utilnet.IsProbableEOF(err)
}
