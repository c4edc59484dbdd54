package record

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// LeaseName is the name of the Lease that a run holds in its namespace.
const LeaseName = "kubectl-ambient"

// The times of the lock. A holder that was killed is found out by its Lease not
// being renewed, as seen by whoever waits: the clocks of the two do not matter.
const (
	leaseDuration = 15 * time.Second
	// renewDeadline is how long after its Lease was renewed last a run writes: by then
	// nobody else can have seen it lie still for as long as it lasts.
	renewDeadline = 10 * time.Second
	retryPeriod   = time.Second
	// requestTime bounds one request about the Lease, so that one that hangs is not
	// all that is tried.
	requestTime = 5 * time.Second
	// patience is how long a lock is waited for: long enough to find out that
	// its holder is gone.
	patience = leaseDuration + 5*retryPeriod
	// outage is how long an API server may not answer before the lock counts as lost,
	// although nobody is known to have taken it: as long as writes are repeated.
	outage = time.Minute
)

// ErrLost is why a run's context ends when its lock was lost: somebody else has
// taken it, or it could not be renewed in time.
var ErrLost = errors.New("the lock of the namespace was lost")

// HeldError says that another run holds the lock.
type HeldError struct {
	Namespace, Holder string
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("namespace %s is being changed by run %s: wait until it has ended", e.Namespace, e.Holder)
}

// Lock takes the lock of a namespace for a run and keeps it until release is
// called. The context returned ends when the lock is lost; Writable says of it whether
// something may be written under the lock. Where another run holds the lock, waiting is
// called once, and a HeldError returned if that run is still alive after some seconds.
func Lock(ctx context.Context, client coordinationv1client.LeasesGetter, namespace, run string, waiting func(holder string)) (held context.Context, release func(), err error) {
	lease := &lease{client: client.Leases(namespace), namespace: namespace, run: run}
	// A lock that is held besides must not hold back what keeps this one.
	unhindered := context.WithValue(context.WithoutCancel(ctx), holdKey{}, (*hold)(nil))
	renewed, err := acquire(ctx, lease, waiting)
	if err != nil {
		lease.giveBack(unhindered)
		return nil, nil, err
	}
	kept := newHold(ctx, renewed)
	held, lose := context.WithCancelCause(context.WithValue(ctx, holdKey{}, kept))
	keeping, stop := context.WithCancel(unhindered)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		lose(keep(keeping, lease, kept))
		kept.end()
	}()
	release = func() {
		stop()
		<-ended
		lease.giveBack(unhindered)
	}
	return held, release, nil
}

// acquire takes a Lease, and says when. It waits for another holder for as long as it
// takes to find out that it is gone.
func acquire(ctx context.Context, lease *lease, waiting func(holder string)) (time.Time, error) {
	timeout := time.After(patience)
	tick := time.NewTicker(retryPeriod)
	defer tick.Stop()
	told := false
	for {
		began := time.Now()
		err := lease.take(ctx)
		if err == nil {
			return began, nil
		}
		if apierrors.IsForbidden(err) {
			return began, fmt.Errorf("lock namespace %s: %w", lease.namespace, err)
		}
		other := (*HeldError)(nil)
		if errors.As(err, &other) && !told {
			told = true
			waiting(other.Holder)
		}
		select {
		case <-tick.C:
		case <-timeout:
			if other != nil {
				return began, other
			}
			return began, fmt.Errorf("lock namespace %s: Lease %s/%s could not be written in %s: %w", lease.namespace, lease.namespace, LeaseName, patience, err)
		case <-ctx.Done():
			return began, fmt.Errorf("lock namespace %s: %w", lease.namespace, context.Cause(ctx))
		}
	}
}

// keep renews a Lease until the context ends, or the lock is lost; it returns why.
func keep(ctx context.Context, lease *lease, kept *hold) error {
	tick := time.NewTicker(retryPeriod)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ErrLost
		}
		began := time.Now()
		err := lease.renew(ctx, kept.age())
		switch {
		case err == nil:
			kept.renew(began)
		case errors.Is(err, errTaken), kept.age() > outage, kept.age() > renewDeadline && answered(err):
			return fmt.Errorf("%w: %w", ErrLost, err)
		}
	}
}

// answered says whether an error is what the API server has decided, and not that it is
// busy, restarting or not to be reached.
func answered(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && !apierrors.IsServerTimeout(err) && !apierrors.IsTimeout(err) && !apierrors.IsTooManyRequests(err) &&
		!apierrors.IsInternalError(err) && !apierrors.IsServiceUnavailable(err)
}
