package record

import (
	"context"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// lease is the Lease of a namespace as one run uses it, by the rules of client-go's
// leader election (tools/leaderelection), with which earlier versions held it. That gives
// a Lease back, or up, as soon as it cannot be renewed; here the run waits.
type lease struct {
	client         coordinationv1client.LeaseInterface
	namespace, run string
	// now is the Lease as it was last read or written.
	now *coordinationv1.Lease
	// since is when it was first seen to be as it is.
	since time.Time
	// tried is true once a request was sent that may have taken it.
	tried bool
}

// errTaken is why a Lease is not renewed that somebody else has, or may have had.
var errTaken = errors.New("somebody else has taken it")

func holderOf(lease *coordinationv1.Lease) string {
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// lasts is how long a Lease holds that is not renewed.
func lasts(lease *coordinationv1.Lease) time.Duration {
	if lease.Spec.LeaseDurationSeconds == nil {
		return leaseDuration
	}
	return time.Duration(*lease.Spec.LeaseDurationSeconds) * time.Second
}

// take tries once to take the Lease. It returns a HeldError where another run has it
// that may be alive.
func (l *lease) take(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	read, err := l.client.Get(ctx, LeaseName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return l.create(ctx)
	case err != nil:
		return fmt.Errorf("get Lease %s/%s: %w", l.namespace, LeaseName, err)
	}
	if l.now == nil || l.now.UID != read.UID || !equality.Semantic.DeepEqual(l.now.Spec, read.Spec) {
		l.since = time.Now()
	}
	l.now = read
	holder := holderOf(read)
	if holder != "" && holder != l.run && time.Since(l.since) < lasts(read) {
		return &HeldError{Namespace: l.namespace, Holder: holder}
	}
	next := read.DeepCopy()
	if holder != l.run {
		transitions := int32(1)
		if before := next.Spec.LeaseTransitions; before != nil {
			transitions += *before
		}
		acquired := metav1.NowMicro()
		next.Spec.LeaseTransitions, next.Spec.AcquireTime = &transitions, &acquired
	}
	return l.update(ctx, next)
}

// renew says once more that the run is alive; age is how long ago it last did. It returns
// errTaken where that comes too late.
func (l *lease) renew(ctx context.Context, age time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	err := l.update(ctx, l.now.DeepCopy())
	if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return err
	}
	read, err := l.client.Get(ctx, LeaseName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) && age < leaseDuration:
		// It was deleted by hand: nobody can have found it lying still for so long.
		return l.create(ctx)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w: Lease %s/%s was not renewed for %s and is gone", errTaken, l.namespace, LeaseName, age.Round(time.Second))
	case err != nil:
		return fmt.Errorf("get Lease %s/%s: %w", l.namespace, LeaseName, err)
	case holderOf(read) != l.run:
		return fmt.Errorf("%w: Lease %s/%s is held by %q", errTaken, l.namespace, LeaseName, holderOf(read))
	}
	// An earlier try was carried out although its answer was lost.
	return l.update(ctx, read.DeepCopy())
}

func (l *lease) create(ctx context.Context) error {
	l.tried = true
	now := metav1.NowMicro()
	created := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: LeaseName}, Spec: coordinationv1.LeaseSpec{AcquireTime: &now}}
	l.hold(created)
	created, err := l.client.Create(ctx, created, metav1.CreateOptions{FieldManager: FieldManager})
	if err != nil {
		return fmt.Errorf("create Lease %s/%s: %w", l.namespace, LeaseName, err)
	}
	l.now = created
	return nil
}

func (l *lease) update(ctx context.Context, next *coordinationv1.Lease) error {
	l.tried = true
	l.hold(next)
	updated, err := l.client.Update(ctx, next, metav1.UpdateOptions{FieldManager: FieldManager})
	if err != nil {
		return fmt.Errorf("update Lease %s/%s: %w", l.namespace, LeaseName, err)
	}
	l.now = updated
	return nil
}

// hold writes into a Lease that the run has it, and is alive.
func (l *lease) hold(next *coordinationv1.Lease) {
	seconds, now := int32(leaseDuration/time.Second), metav1.NowMicro()
	next.Spec.HolderIdentity, next.Spec.LeaseDurationSeconds, next.Spec.RenewTime = &l.run, &seconds, &now
}

// free writes into the Lease that nobody has it; nil where it is not the run's.
func (l *lease) free(ctx context.Context) (*coordinationv1.Lease, error) {
	read, err := l.client.Get(ctx, LeaseName, metav1.GetOptions{})
	if err != nil || holderOf(read) != l.run {
		return nil, err
	}
	nobody, second := "", int32(1)
	read.Spec.HolderIdentity, read.Spec.LeaseDurationSeconds = &nobody, &second
	return l.client.Update(ctx, read, metav1.UpdateOptions{FieldManager: FieldManager})
}

// giveBack leaves nothing behind, unless somebody else has the Lease.
func (l *lease) giveBack(ctx context.Context) {
	if !l.tried {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, renewDeadline)
	defer cancel()
	free, err := l.free(ctx)
	if apierrors.IsConflict(err) {
		// A renewal that was given up has been carried out after all.
		free, err = l.free(ctx)
	}
	if free == nil || err != nil {
		// It lies still from now on, and whoever waits finds that out.
		return
	}
	// Where this fails, the Lease says that nobody holds it, which is as good.
	_ = l.client.Delete(ctx, LeaseName, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &free.UID, ResourceVersion: &free.ResourceVersion}})
}
