package record_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// faulty is an API server that fails every request about Leases while failure is set.
type faulty struct {
	*fake.Clientset
	mu      sync.Mutex
	failure error
	// edited is true once somebody else has written the Lease: the fake tells no versions
	// apart.
	edited bool
}

func newFaulty() *faulty {
	f := &faulty{Clientset: fake.NewClientset()}
	f.PrependReactor("update", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.edited, nil, apierrors.NewConflict(schema.GroupResource{Resource: "leases"}, record.LeaseName, errors.New("modified"))
	})
	f.PrependReactor("*", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.failure != nil, nil, f.failure
	})
	return f
}

func (f *faulty) fail(failure error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failure = failure
}

// edit is what somebody else does to the Lease meanwhile.
func (f *faulty) edit(t *testing.T, edit func(*coordinationv1.Lease)) {
	t.Helper()
	f.mu.Lock()
	f.edited = true
	f.mu.Unlock()
	kind := coordinationv1.SchemeGroupVersion.WithResource("leases")
	stored, err := f.Tracker().Get(kind, "shop", record.LeaseName)
	if err != nil {
		t.Fatal(err)
	}
	changed := stored.(*coordinationv1.Lease).DeepCopy()
	edit(changed)
	if err := f.Tracker().Update(kind, changed, "shop"); err != nil {
		t.Fatal(err)
	}
}

func (f *faulty) delete(t *testing.T) {
	t.Helper()
	if err := f.Tracker().Delete(coordinationv1.SchemeGroupVersion.WithResource("leases"), "shop", record.LeaseName); err != nil {
		t.Fatal(err)
	}
}

var (
	away      = &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	refused   = apierrors.NewForbidden(schema.GroupResource{Resource: "leases"}, record.LeaseName, errors.New("not you"))
	restarted = apierrors.NewServiceUnavailable("it is starting")
)

// What becomes of a lock whose Lease cannot be renewed for a time. The time is the
// test's.
func TestLockThroughAnOutage(t *testing.T) {
	taken := func(t *testing.T, f *faulty) {
		other := "other"
		f.edit(t, func(lease *coordinationv1.Lease) { lease.Spec.HolderIdentity = &other })
	}
	for name, test := range map[string]struct {
		failure error
		lasts   time.Duration
		// meanwhile is what somebody else does.
		meanwhile func(*testing.T, *faulty)
		// lost is after how long the lock is lost; 0 where it is kept.
		lost time.Duration
	}{
		"a moment":                             {failure: away, lasts: 5 * time.Second},
		"not to be reached for a while":        {failure: away, lasts: 45 * time.Second},
		"restarting for a while":               {failure: restarted, lasts: 45 * time.Second},
		"for good":                             {failure: away, lasts: time.Hour, lost: 61 * time.Second},
		"taken meanwhile":                      {failure: away, lasts: 30 * time.Second, meanwhile: taken, lost: 30 * time.Second},
		"gone meanwhile, perhaps taken before": {failure: away, lasts: 30 * time.Second, meanwhile: func(t *testing.T, f *faulty) { f.delete(t) }, lost: 30 * time.Second},
		"deleted by hand":                      {failure: away, lasts: 5 * time.Second, meanwhile: func(t *testing.T, f *faulty) { f.delete(t) }},
		"refused":                              {failure: refused, lasts: time.Hour, lost: 11 * time.Second},
		"refused for a moment":                 {failure: refused, lasts: 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFaulty()
				held, release, err := record.Lock(t.Context(), f.CoordinationV1(), "shop", "one", func(string) { t.Error("it waits for nobody") })
				if err != nil {
					t.Fatal(err)
				}
				defer release()
				time.Sleep(3500 * time.Millisecond)
				began := time.Now()
				var ended atomic.Int64
				defer context.AfterFunc(held, func() { ended.Store(int64(time.Since(began))) })()
				f.fail(test.failure)
				if test.meanwhile != nil {
					test.meanwhile(t, f)
				}
				if err := record.Writable(held); err != nil || time.Since(began) > 0 {
					t.Errorf("writes are held back at once, %s, %v", time.Since(began), err)
				}
				time.AfterFunc(test.lasts, func() { f.fail(nil) })
				time.Sleep(10 * time.Second)
				if err := record.Writable(held); err != nil && held.Err() == nil {
					t.Error(err)
				}
				// Once they may be made, the Lease is renewed again or the lock lost.
				waited := time.Since(began)
				if over := min(test.lasts, 61*time.Second); held.Err() == nil && waited < over {
					t.Errorf("something may be written after %s, while the Lease is not renewed", waited)
				}
				synctest.Wait()
				lost := time.Duration(ended.Load())
				late := lost - test.lost
				if errors.Is(context.Cause(held), record.ErrLost) != (test.lost > 0) || test.lost > 0 && (late < -2*time.Second || late > 2*time.Second) {
					t.Errorf("the lock is lost after %s, want %s: %v", lost, test.lost, context.Cause(held))
				}
				if test.lost == 0 && waited > test.lasts+8*time.Second {
					t.Errorf("writes are held back for %s", waited)
				}
				f.fail(nil)
			})
		})
	}
}

// A write under the locks of two namespaces waits for both; what keeps the second lock
// does not wait for the first.
func TestLocksOfTwoNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := newFaulty(), newFaulty()
		held, releaseFirst, err := record.Lock(t.Context(), first.CoordinationV1(), "shop", "one", func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		defer releaseFirst()
		held, releaseSecond, err := record.Lock(held, second.CoordinationV1(), "books", "one", func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		defer releaseSecond()
		first.fail(away)
		time.AfterFunc(20*time.Second, func() { first.fail(nil) })
		time.Sleep(15 * time.Second)
		began := time.Now()
		if err := record.Writable(held); err != nil || time.Since(began) < 5*time.Second {
			t.Errorf("it waits for %s, %v", time.Since(began), err)
		}
		first.fail(away)
		time.Sleep(15 * time.Second)
		ended, cancel := context.WithTimeout(held, time.Second)
		defer cancel()
		if err := record.Writable(ended); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("whose time is up is told %v", err)
		}
		lease, err := second.CoordinationV1().Leases("books").Get(t.Context(), record.LeaseName, metav1.GetOptions{})
		if err != nil || time.Since(lease.Spec.RenewTime.Time) > 2*time.Second {
			t.Errorf("the other Lease is not renewed: %v, %v", lease, err)
		}
		first.fail(nil)
	})
}
