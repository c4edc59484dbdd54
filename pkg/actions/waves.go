package actions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
)

// flight is a step whose changes are made and whose gate is waited for.
type flight struct {
	index   int
	step    v1alpha1.Step
	entry   *v1alpha1.StepRecord
	started time.Time
	land    context.CancelFunc
	waiter  *waiter
}

// steps takes the steps of a plan: those of a wave at the same time, all others one
// after another. It does so in one goroutine, in which the gates of a wave are looked
// at in turn: nothing that a step does has to reckon with another doing the same.
func (r *Runner) steps(ctx context.Context, run *v1alpha1.MigrationRecord, audit *auditor) error {
	steps, before := run.Plan.Steps, 0
	for first, end := range plan.Waves(steps) {
		if err := r.between(ctx, steps[before:first+1]); err != nil {
			return err
		}
		if err := r.wave(ctx, run, first, end); err != nil {
			return err
		}
		for i := first; i < end; i++ {
			audit.phaseDone(ctx, i)
		}
		if err := r.askAwaited(ctx, run); err != nil {
			return err
		}
		before = first
	}
	return nil
}

// between asks whether the run may go on from each of some steps to the next one.
func (r *Runner) between(ctx context.Context, steps []v1alpha1.Step) error {
	for i := 1; i < len(steps) && r.Between != nil; i++ {
		if err := r.Between(ctx, steps[i-1], steps[i]); err != nil {
			return err
		}
	}
	return nil
}

// wave begins steps, one after another, and waits until the gates of all hold. Once
// one has failed no other is begun, and those that were are waited for: what has
// become of them, the record has to say.
func (r *Runner) wave(ctx context.Context, run *v1alpha1.MigrationRecord, first, end int) error {
	var failures []error
	var flights []*flight
	for i := first; i < end && len(failures) == 0; i++ {
		begun, err := r.begin(ctx, run, i)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		flights = append(flights, begun)
	}
	waiting := map[*waiter]*flight{}
	for _, one := range flights {
		waiting[one.waiter] = one
	}
	r.waitAll(waitersOf(flights), func(done *waiter, err error) {
		one := waiting[done]
		delete(waiting, done)
		if err = r.end(ctx, run, one, err, len(waiting) > 0); err != nil {
			failures = append(failures, err)
		}
	})
	if len(failures) == 1 {
		return failures[0]
	}
	return errors.Join(failures...)
}

func waitersOf(flights []*flight) []*waiter {
	var waiters []*waiter
	for _, one := range flights {
		waiters = append(waiters, one.waiter)
	}
	return waiters
}

// begin waits for what a step requires, records what is about to change, and changes
// it.
func (r *Runner) begin(ctx context.Context, run *v1alpha1.MigrationRecord, index int) (*flight, error) {
	step, entry := run.Plan.Steps[index], &run.Steps[index]
	started := r.Now()
	r.Events.stepStarted(index+1, len(run.Plan.Steps), step)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("before step %s: %w", step.ID, context.Cause(ctx))
	}
	if err := r.require(ctx, step); err != nil {
		entry.Message = err.Error()
		return nil, err
	}
	if err := r.unused(ctx, step); err != nil {
		entry.Message = err.Error()
		return nil, err
	}
	images, present, err := r.beforeImages(ctx, step)
	if err != nil {
		return nil, fmt.Errorf("step %s: %w", step.ID, err)
	}
	if r.Backup != nil {
		if err := r.Backup(images); err != nil {
			return nil, fmt.Errorf("before step %s: %w", step.ID, err)
		}
	}
	entry.Before, step.Changes = images, present
	entry.State, entry.Started = v1alpha1.StepRunning, r.stamp()
	r.awaitGate(run, step)
	if err := r.store(ctx, run); err != nil {
		return nil, fmt.Errorf("before step %s: %w", step.ID, err)
	}
	// A step that cordons nodes shares its wave with none.
	r.noteCordon = func(ctx context.Context, node string) error {
		entry.Cordoned = append(entry.Cordoned, node)
		return r.store(ctx, run)
	}
	bounded, land := r.bounded(ctx)
	if err := r.noteFailures(step.Gate); err != nil {
		land()
		return nil, r.failed(entry, fmt.Errorf("step %s: %w", step.ID, err))
	}
	if err := r.change(bounded, step); err != nil {
		land()
		return nil, r.failed(entry, err)
	}
	return &flight{index: index, step: step, entry: entry, started: started, land: land, waiter: r.waiter(bounded, step, step.Gate)}, nil
}

// end records what has become of a step: at once where others are still under way.
func (r *Runner) end(ctx context.Context, run *v1alpha1.MigrationRecord, one *flight, failure error, others bool) error {
	one.land()
	if failure != nil {
		failure = r.failed(one.entry, failure)
		if others {
			return errors.Join(failure, r.store(ctx, run))
		}
		return failure
	}
	one.entry.State, one.entry.Finished = v1alpha1.StepDone, r.stamp()
	if err := r.holding.note(one.step.Changes); err != nil {
		return fmt.Errorf("after step %s: %w", one.step.ID, err)
	}
	if err := r.store(ctx, run); err != nil {
		return fmt.Errorf("after step %s: %w", one.step.ID, err)
	}
	r.Events.stepDone(one.index+1, len(run.Plan.Steps), one.step, r.Now().Sub(one.started))
	return nil
}

func (r *Runner) failed(entry *v1alpha1.StepRecord, err error) error {
	entry.State, entry.Finished, entry.Message = v1alpha1.StepFailed, r.stamp(), err.Error()
	return err
}

// waiter waits at one gate.
type waiter struct {
	ctx  context.Context
	step v1alpha1.Step
	gate v1alpha1.Gate
	look look
	// last is what was missing when it was looked at last, if it was.
	last   []string
	looked bool
	// next is when it is to be looked at again; zero means when something changes.
	next     time.Time
	patience time.Duration
}

func (r *Runner) waiter(ctx context.Context, step v1alpha1.Step, gate v1alpha1.Gate) *waiter {
	return &waiter{ctx: ctx, step: step, gate: gate, look: r.gates()[gate.Kind], patience: firstEvidence}
}

// wait looks at the namespace whenever something in it changes, until the gate
// holds, the context ends, or waiting cannot help.
func (r *Runner) wait(ctx context.Context, step v1alpha1.Step, gate v1alpha1.Gate) (failure error) {
	r.waitAll([]*waiter{r.waiter(ctx, step, gate)}, func(_ *waiter, err error) { failure = err })
	return failure
}

// waitAll waits at several gates at once, and says of each when it holds, or why it is
// not waited for any more.
func (r *Runner) waitAll(waiters []*waiter, done func(*waiter, error)) {
	wake := make(chan struct{}, 1)
	rouse := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	for _, one := range waiters {
		defer context.AfterFunc(one.ctx, rouse)()
	}
	for changed := true; len(waiters) > 0; {
		waiters = r.lookAll(waiters, changed, done)
		if len(waiters) == 0 {
			return
		}
		again := time.AfterFunc(untilNext(waiters), rouse)
		observed := r.observer.changed
		if !slices.ContainsFunc(waiters, func(one *waiter) bool { return one.next.IsZero() }) {
			observed = nil
		}
		select {
		case <-observed:
			changed = true
		case <-wake:
			changed = false
		}
		again.Stop()
	}
}

// lookAll looks at the gates whose turn it is, and returns the waiters that go on.
func (r *Runner) lookAll(waiters []*waiter, changed bool, done func(*waiter, error)) []*waiter {
	snapshot, err := r.observer.snapshot()
	var left []*waiter
	for _, one := range waiters {
		due := !one.looked || one.next.IsZero() && changed || !one.next.IsZero() && !time.Now().Before(one.next)
		switch {
		case err != nil:
			done(one, err)
		case one.looked && one.ctx.Err() != nil:
			done(one, r.gateError(one.ctx, one.step, one.last, context.Cause(one.ctx)))
		case !due:
			left = append(left, one)
		default:
			if held, err := r.lookAt(one, snapshot); held || err != nil {
				done(one, err)
			} else {
				left = append(left, one)
			}
		}
	}
	return left
}

// longest is how long it takes until gates are looked at again that wait for a change.
const longest = time.Hour

// untilNext is how long it takes until a gate is to be looked at again by the clock.
func untilNext(waiters []*waiter) time.Duration {
	until := longest
	for _, one := range waiters {
		if !one.next.IsZero() {
			until = min(until, max(time.Until(one.next), 0))
		}
	}
	return until
}
