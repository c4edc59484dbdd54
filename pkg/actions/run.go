package actions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

// Runner carries out plans for one namespace.
type Runner struct {
	Namespace string
	Writer    Writer
	Kube      kubernetes.Interface
	Store     *record.Store
	// Evidence asks the ztunnels of nodes.
	Evidence func(ctx context.Context, nodes []string) (*mesh.Evidence, error)
	// Istiods adds to evidence what istiod means the ztunnels to know.
	Istiods func(ctx context.Context, evidence *mesh.Evidence) error
	// Verify, where set, makes all checks of verify, of the mesh as it is now: the last
	// gate wants what the run is not excused from to hold.
	Verify func(ctx context.Context) ([]v1alpha1.CheckResult, error)
	// Mesh is the mesh as it was read when the plan was made.
	Mesh mesh.Content
	// GateTimeout bounds the wait at each gate; 0 means no bound of its own.
	GateTimeout time.Duration
	// Backoff is how requests are repeated that fail for reasons that pass;
	// the zero value repeats none.
	Backoff wait.Backoff
	Events  Events
	// Between, where set, is asked before each step but the first whether the run
	// may go on; its error stops the run. Within a wave it is asked when all of that
	// is done.
	Between func(ctx context.Context, done, next v1alpha1.Step) error
	// Gate, where set, is asked after each step that restarts workloads, also the last
	// one, before anything else is done; its error stops the run. Within a wave it is
	// asked for one after another when all of that is done, and before the first step for
	// what the record awaits from runs before.
	Gate func(context.Context, v1alpha1.AwaitedGate) error
	// Backup, where set, is given the objects that a step changes or deletes, as they
	// are, before anything of the step is written; its error stops the run.
	Backup func([]v1alpha1.BeforeImage) error
	// Now is the clock that the record's times are read from.
	Now func() time.Time

	observer *observer
	// holding is what the steps so far have handed over; nil where a plan says
	// nothing of it.
	holding *holding
	// kept is what the plan leaves alone.
	kept []v1alpha1.KeptField
	// accepts says which findings the plan has accepted; nil for none.
	accepts func(v1alpha1.CheckResult) bool
	// meant is what istiods have said of the policies that they give ztunnels, since the
	// run has last written one.
	meant map[string]mesh.IstiodEvidence
	// standing is what verify would have failed on before, deletes are the objects that
	// the plan deletes, changes those that it changes.
	standing         []v1alpha1.StandingFinding
	deletes, changes map[v1alpha1.ObjectReference]bool
	// written are the fields that the steps so far have written.
	written []writtenField
	changed bool
	// replaced are the pods that were evicted or deleted; replacements counts
	// them by workload.
	replaced     map[types.UID]bool
	replacements map[types.UID]int
	// failures are those of rollouts that were there when their step began.
	failures map[v1alpha1.ObjectReference]string
	// named are the pods that a note was made of.
	named map[types.UID]bool
	// ending are the pods on their way out, and since when they have been seen so.
	ending map[types.UID]time.Time
	// unready says since when pods are seen that are not ready.
	unready map[types.UID]time.Time
	// cordoned are the nodes that the run has cordoned and not uncordoned.
	cordoned []string
	// noteCordon records that a node is about to be cordoned; nil between steps.
	noteCordon func(ctx context.Context, node string) error
}

// recordGrace is how long a record may be written after the run's own time is
// over: it must be true even then.
const recordGrace = 10 * time.Second

// Run carries out the plan of a record that was created in the store, step by
// step, or wave by wave, and keeps the record true. It stops at the first error and
// says whether anything in the cluster was changed.
func (r *Runner) Run(ctx context.Context, run *v1alpha1.MigrationRecord) (changed bool, err error) {
	r.changed, r.written, r.meant, r.kept, r.accepts = false, nil, nil, run.Plan.Kept, plan.Accepts(run.Plan.Accepted)
	r.standing = nil
	r.deletes = touchedBy(run.Plan, func(change v1alpha1.Change) bool { return change.Delete })
	r.changes = touchedBy(run.Plan, func(change v1alpha1.Change) bool { return len(change.Fields) > 0 })
	if run.Baseline != nil {
		r.standing = run.Baseline.Standing
	}
	r.failures = map[v1alpha1.ObjectReference]string{}
	r.replaced, r.replacements, r.named = map[types.UID]bool{}, map[types.UID]int{}, map[types.UID]bool{}
	r.ending, r.unready = map[types.UID]time.Time{}, map[types.UID]time.Time{}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	watches, err := WatchesOf(run.Plan, r.Namespace, r.Writer.Mapper)
	if err != nil {
		return false, r.finish(ctx, run, err)
	}
	if r.observer, err = observe(watching, r.Writer.Dynamic, watches, r.Mesh); err != nil {
		return false, r.finish(ctx, run, err)
	}
	if r.holding, err = hold(run.Plan, r.Mesh); err != nil {
		return false, r.finish(ctx, run, err)
	}
	audit := &auditor{runner: r, run: run}
	audit.started(ctx)
	if err = r.askAwaited(ctx, run); err == nil {
		err = r.steps(ctx, run, audit)
	}
	if left := r.uncordonLeft(ctx); left != nil {
		err = errors.Join(err, left)
	}
	err = r.finish(ctx, run, err)
	audit.ended(ctx, err)
	return r.changed, err
}

// touchedBy are the objects that a plan touches in a way that is meant.
func touchedBy(planned v1alpha1.MigrationPlan, meant func(v1alpha1.Change) bool) map[v1alpha1.ObjectReference]bool {
	touched := map[v1alpha1.ObjectReference]bool{}
	for _, step := range planned.Steps {
		for _, change := range step.Changes {
			if meant(change) {
				touched[change.Object.Unversioned()] = true
			}
		}
	}
	return touched
}

// beforeImages reads each object that a step changes or deletes, as it is. Of
// those that are gone there is nothing to be changed; for one to be created there
// is nothing to be kept. It returns the changes that are left.
func (r *Runner) beforeImages(ctx context.Context, step v1alpha1.Step) (images []v1alpha1.BeforeImage, present []v1alpha1.Change, err error) {
	for _, change := range step.Changes {
		if change.Create != nil {
			present = append(present, change)
			continue
		}
		var live *unstructured.Unstructured
		err := r.patiently(ctx, func() (err error) {
			live, err = r.Writer.Get(ctx, change.Object)
			return err
		})
		if mayBeGone(change) && apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		live.SetManagedFields(nil)
		images = append(images, v1alpha1.BeforeImage{Object: change.Object, Content: live.Object})
		present = append(present, change)
	}
	return images, present, nil
}

// mayBeGone says whether a change is done where its object is not there: pods
// come and go, and what is to be deleted may have been.
func mayBeGone(change v1alpha1.Change) bool {
	return change.Object.Kind == mesh.KindPod || change.Delete
}

func (r *Runner) store(ctx context.Context, run *v1alpha1.MigrationRecord) error {
	return r.patiently(ctx, func() error { return r.Store.Update(ctx, run) })
}

// change makes the changes of a step, and waits until the watches show them.
func (r *Runner) change(ctx context.Context, step v1alpha1.Step) error {
	written := map[v1alpha1.ObjectReference]writing{}
	if slices.ContainsFunc(step.Changes, func(change v1alpha1.Change) bool { return isPolicy(change.Object) }) {
		r.meant = nil
	}
	for _, change := range step.Changes {
		var after *unstructured.Unstructured
		err := r.patiently(ctx, func() error {
			object, changed, err := r.write(ctx, change)
			after, r.changed = object, r.changed || changed
			return err
		})
		if mayBeGone(change) && apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("step %s: %w", step.ID, err)
		}
		if after != nil {
			written[change.Object] = writing{version: after.GetResourceVersion(), created: change.Create != nil}
		}
	}
	if err := r.await(ctx, written); err != nil {
		return fmt.Errorf("step %s: %w", step.ID, err)
	}
	r.noteWritten(step.Changes)
	return nil
}

// bounded gives a step, or what it requires, its time.
func (r *Runner) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if r.GateTimeout > 0 {
		return context.WithTimeout(ctx, r.GateTimeout)
	}
	return ctx, func() {}
}

// write makes one change. It returns the object as it is afterwards, nil where it
// is deleted, and whether anything was written, or may have been.
func (r *Runner) write(ctx context.Context, change v1alpha1.Change) (after *unstructured.Unstructured, written bool, err error) {
	switch {
	case change.Create != nil:
		return r.Writer.Create(ctx, change, false)
	case change.Delete:
		written, err = r.Writer.Delete(ctx, change, false)
		return nil, written, err
	default:
		return r.Writer.Change(ctx, change, false)
	}
}

// await waits until the watches have caught up with what was just written. A
// gate that judged the state of before would hold at once.
func (r *Runner) await(ctx context.Context, written map[v1alpha1.ObjectReference]writing) error {
	for {
		if seen(r.observer.object, written) {
			return nil
		}
		select {
		case <-r.observer.changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting to see what was written: %w", context.Cause(ctx))
		}
	}
}

// writing is what became of an object by a write: its resource version, and
// whether it was not there before.
type writing struct {
	version string
	created bool
}

// seen says whether each object is shown as it was written, or newer. Resource
// versions are numbers that grow (KEP-5504).
func seen(object func(v1alpha1.ObjectReference) (mesh.Object, bool), written map[v1alpha1.ObjectReference]writing) bool {
	for reference, writing := range written {
		object, found := object(reference)
		if !found && writing.created {
			return false
		}
		if !found {
			// Deleted since; whether that matters is the gate's question.
			continue
		}
		shown, _ := plan.Lookup(object, "/metadata/resourceVersion").(string)
		order, err := resourceversion.CompareResourceVersion(shown, writing.version)
		if err != nil && shown != writing.version || err == nil && order < 0 {
			return false
		}
	}
	return true
}

// finish writes how the run ended, even where its time is over. The record of
// a run that failed and changed nothing is taken away again: there is nothing
// to roll back.
func (r *Runner) finish(ctx context.Context, run *v1alpha1.MigrationRecord, failure error) error {
	run.State, run.Finished = v1alpha1.RunSucceeded, r.stamp()
	if failure != nil {
		run.State, run.Reason = v1alpha1.RunIncomplete, failure.Error()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordGrace)
	defer cancel()
	write := r.Store.Update
	if failure != nil && !r.changed {
		write = r.Store.Delete
	}
	if err := r.patiently(ctx, func() error { return write(ctx, run) }); err != nil {
		return errors.Join(failure, fmt.Errorf("at the end of the run: %w", err))
	}
	return failure
}

func (r *Runner) stamp() *time.Time {
	now := r.Now().UTC()
	return &now
}
