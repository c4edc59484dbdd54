package record_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestLockIsReleasedWithoutATrace(t *testing.T) {
	client := fake.NewClientset()
	for range 2 {
		held, release, err := record.Lock(t.Context(), client.CoordinationV1(), "shop", "one", func(string) { t.Error("it waits for nobody") })
		if err != nil {
			t.Fatal(err)
		}
		if held.Err() != nil {
			t.Errorf("the context has ended: %v", context.Cause(held))
		}
		release()
		_, err = client.CoordinationV1().Leases("shop").Get(t.Context(), record.LeaseName, metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			t.Errorf("the Lease is left behind: %v", err)
		}
		if !errors.Is(context.Cause(held), record.ErrLost) {
			t.Error("who still goes on after the release is not told")
		}
	}
}

func lease(holder string, renewed time.Time) *coordinationv1.Lease {
	seconds, at := int32(15), metav1.NewMicroTime(renewed)
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: record.LeaseName},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &at, AcquireTime: &at},
	}
}

func TestLockIsHeldByOneOnly(t *testing.T) {
	client := fake.NewClientset()
	_, release, err := record.Lock(t.Context(), client.CoordinationV1(), "shop", "one", func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var holder string
	_, _, err = record.Lock(ctx, client.CoordinationV1(), "shop", "two", func(run string) {
		holder = run
		cancel()
	})
	if holder != "one" || !errors.Is(err, context.Canceled) {
		t.Errorf("the holder is %q, the error %v", holder, err)
	}
	// Another namespace is another lock.
	_, other, err := record.Lock(t.Context(), client.CoordinationV1(), "books", "two", func(string) { t.Error("it waits") })
	if err != nil {
		t.Fatal(err)
	}
	other()
}

// A holder that was killed does not renew its Lease. That is found out by
// watching it, whatever the two clocks say: here the dead one's is far ahead.
// The watching takes no real time, since the clock is the test's.
func TestLockOfADeadHolderIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		abandoned := lease("dead", time.Now().Add(time.Hour))
		dead, err := client.CoordinationV1().Leases("shop").Create(t.Context(), abandoned, metav1.CreateOptions{})
		if err != nil || dead.Name != record.LeaseName {
			t.Fatal(err)
		}
		waited, started := false, time.Now()
		_, release, err := record.Lock(t.Context(), client.CoordinationV1(), "shop", "two", func(run string) { waited = run == "dead" })
		if err != nil {
			t.Fatal(err)
		}
		release()
		if !waited {
			t.Error("it does not say whom it waits for")
		}
		if took, held := time.Since(started), time.Duration(*abandoned.Spec.LeaseDurationSeconds)*time.Second; took < held {
			t.Errorf("the lock is taken away after %s, although it is held for %s", took, held)
		}
	})
}
