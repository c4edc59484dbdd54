package record

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// LeaseName is the name of the Lease that a run holds in its namespace.
const LeaseName = "kubectl-ambient"

// The times of the lock. A holder that was killed is found out by its Lease not
// being renewed, as seen by whoever waits: the clocks of the two do not matter.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = time.Second
	// patience is how long a lock is waited for: long enough to find out that
	// its holder is gone.
	patience = leaseDuration + 5*retryPeriod
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
// called. The context returned ends when the lock is lost. Where another run
// holds the lock, waiting is called once, and a HeldError returned if that run
// is still alive after some seconds.
func Lock(ctx context.Context, client coordinationv1client.LeasesGetter, namespace, run string, waiting func(holder string)) (held context.Context, release func(), err error) {
	lease := &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: namespace, Name: LeaseName}, Client: client,
		LockConfig: resourcelock.ResourceLockConfig{Identity: run},
	}
	held, lose := context.WithCancelCause(ctx)
	electing, stop := context.WithCancel(context.WithoutCancel(ctx))
	acquired, ended := make(chan struct{}), make(chan struct{})
	var holder string
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lease, LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod, ReleaseOnCancel: true, Name: LeaseName,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { close(acquired) },
			OnStoppedLeading: func() { lose(ErrLost) },
			OnNewLeader:      func(string) {},
		},
	})
	if err != nil {
		stop()
		return nil, nil, fmt.Errorf("lock namespace %s: %w", namespace, err)
	}
	go func() {
		defer close(ended)
		elector.Run(electing)
	}()
	release = func() {
		stop()
		<-ended
		deleteLease(context.WithoutCancel(ctx), client, namespace)
	}
	give := func(err error) (context.Context, func(), error) {
		stop()
		<-ended
		return nil, nil, err
	}
	timeout := time.After(patience)
	tick := time.NewTicker(retryPeriod)
	defer tick.Stop()
	for {
		select {
		case <-acquired:
			return held, release, nil
		case <-tick.C:
			if leader := elector.GetLeader(); leader != "" && leader != run && holder == "" {
				holder = leader
				waiting(holder)
			}
		case <-timeout:
			if holder == "" {
				return give(fmt.Errorf("lock namespace %s: Lease %s/%s could not be written in %s", namespace, namespace, LeaseName, patience))
			}
			return give(&HeldError{Namespace: namespace, Holder: holder})
		case <-ctx.Done():
			return give(fmt.Errorf("lock namespace %s: %w", namespace, context.Cause(ctx)))
		}
	}
}

// deleteLease leaves nothing behind, unless somebody has the lock again.
func deleteLease(ctx context.Context, client coordinationv1client.LeasesGetter, namespace string) {
	ctx, cancel := context.WithTimeout(ctx, renewDeadline)
	defer cancel()
	lease, err := client.Leases(namespace).Get(ctx, LeaseName, metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != "" {
		return
	}
	// Where this fails, the Lease says that nobody holds it, which is as good.
	_ = client.Leases(namespace).Delete(ctx, LeaseName, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &lease.UID, ResourceVersion: &lease.ResourceVersion},
	})
}
