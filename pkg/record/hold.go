package record

import (
	"context"
	"sync"
	"time"
)

// hold is a lock that is held, as those see it who write under it.
type hold struct {
	// outer is the lock that was held before, if any: a run holds one of each namespace
	// that it writes.
	outer *hold

	mu      sync.Mutex
	renewed time.Time
	ended   bool
	// changed is closed when the Lease is renewed, or the lock has ended.
	changed chan struct{}
}

// holdKey is under what a context has the lock that it was made for.
type holdKey struct{}

func newHold(ctx context.Context, renewed time.Time) *hold {
	outer, _ := ctx.Value(holdKey{}).(*hold)
	return &hold{outer: outer, renewed: renewed, changed: make(chan struct{})}
}

// Writable returns once something may be written under the locks that a context was
// made for: at once as a rule, and while the Lease of one cannot be renewed not before
// it is again, since somebody else might have taken it. The error is why the context
// ended first. Under a lock that was lost nothing is waited for any more: what is left
// to be written then is what a run says of itself.
func Writable(ctx context.Context) error {
	held, _ := ctx.Value(holdKey{}).(*hold)
	for held != nil {
		fresh, changed := held.look()
		if fresh {
			held = held.outer
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (h *hold) look() (fresh bool, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ended || since(h.renewed) < renewDeadline, h.changed
}

// age is how long ago the Lease was renewed.
func (h *hold) age() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return since(h.renewed)
}

// since is how long ago a time was: by the clock that only runs while the machine does
// (documentation of Go's package time, Monotonic Clocks), or by the one on its wall,
// which goes on while it sleeps, whichever says more. A wall clock that was set forward
// holds writes back until the Lease is renewed, and no longer.
func since(then time.Time) time.Duration {
	return max(time.Since(then), time.Now().Round(0).Sub(then.Round(0)))
}

func (h *hold) renew(at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.renewed = at
	h.tell()
}

func (h *hold) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	h.tell()
}

func (h *hold) tell() {
	close(h.changed)
	h.changed = make(chan struct{})
}
