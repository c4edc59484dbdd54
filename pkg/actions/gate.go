package actions

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// errGivenUp is why a gate ends before its time.
var errGivenUp = errors.New("waiting longer cannot help")

// GateError says that a step's gate did not hold in time.
type GateError struct {
	Step v1alpha1.Step
	// Before is true where it is what the step requires, and the step was not begun.
	Before bool
	// Missing is what the gate still waited for.
	Missing []string
	// Events are the newest warnings about what it waited for.
	Events []string
	// Logs are the last lines of the containers that are not ready.
	Logs []string
	// Cause is why the waiting ended.
	Cause error
}

func (e *GateError) Error() string {
	if e.Before {
		why := ""
		if !errors.Is(e.Cause, errNotHeld) {
			why = cause(e.Cause) + ": "
		}
		return fmt.Sprintf("step %s was not begun, since what pods would come to rely on does not hold: %s%s; enroll again, which makes anew what is gone and names what somebody has changed, or roll back",
			e.Step.ID, why, summary(e.Missing))
	}
	return fmt.Sprintf("step %s: %s: %s", e.Step.ID, cause(e.Cause), summary(e.Missing))
}

func (e *GateError) Unwrap() error { return e.Cause }

func cause(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "timed out waiting"
	}
	if errors.Is(err, context.Canceled) {
		return "interrupted while waiting"
	}
	return err.Error()
}

// summary is the first of several things waited for, and how many more.
func summary(missing []string) string {
	switch len(missing) {
	case 0:
		return "nothing was missing"
	case 1:
		return missing[0]
	default:
		return fmt.Sprintf("%s (and %d more)", missing[0], len(missing)-1)
	}
}

// retryEvidence is how long ztunnel is given before it is asked again. It
// offers no watch.
const retryEvidence = 500 * time.Millisecond

// firstEvidence is how long it is given the first time: most often it only has not
// heard yet of what istiod has just told it.
const firstEvidence = 50 * time.Millisecond

// retryVerify is how long it is until all that verify asks is asked again: the whole mesh
// is read for it.
const retryVerify = 2 * time.Second

// restoredEvidence is how long ztunnels are given to say what they capture at the end
// of a rollback, which does not depend on it.
const restoredEvidence = 10 * time.Second

// retryEviction is how long an eviction that a PodDisruptionBudget refuses is
// put off; the budget's own status is not watched.
const retryEviction = 2 * time.Second

// verdict is what a look at the namespace says about a gate.
type verdict struct {
	// missing is empty where the gate holds.
	missing []string
	// failed is true where waiting longer cannot help.
	failed bool
	// retry asks for another look after this time, even if nothing changes.
	retry time.Duration
}

// lookAt looks at a gate once, and says whether it holds. The error is why it is not
// waited for any more.
func (r *Runner) lookAt(one *waiter, snapshot *mesh.Snapshot) (held bool, err error) {
	if one.look == nil {
		return true, nil
	}
	one.looked, one.next = true, time.Time{}
	if reverted := r.reverted(snapshot); len(reverted) > 0 {
		return false, r.gateError(one.ctx, one.step, reverted, errReverted)
	}
	verdict, err := one.look(one.ctx, snapshot, one.gate)
	if err != nil && one.ctx.Err() == nil {
		if r.Backoff.Steps == 0 || !Passing(err) {
			return false, fmt.Errorf("step %s: %w", one.step.ID, err)
		}
		verdict.missing, verdict.retry, err = []string{"the API server does not answer: " + err.Error()}, retryEvidence, nil
	}
	if err != nil {
		if len(one.last) == 0 {
			// What the watches tell says yes: what is slow is what is asked besides.
			one.last = []string{"ztunnel, or the API server, does not answer in time"}
		}
		return false, r.gateError(one.ctx, one.step, one.last, context.Cause(one.ctx))
	}
	if len(verdict.missing) == 0 {
		return true, nil
	}
	if !slices.Equal(one.last, verdict.missing) {
		r.Events.waiting(one.step, verdict.missing)
	}
	one.last = verdict.missing
	if verdict.failed {
		return false, r.gateError(one.ctx, one.step, one.last, errGivenUp)
	}
	one.postpone(verdict.retry)
	return false, nil
}

// postpone puts off what asks for another look by the clock: changes do not hurry it,
// since in a busy namespace ztunnel would be asked all the time.
func (w *waiter) postpone(retry time.Duration) {
	if retry <= 0 {
		return
	}
	if retry == retryEvidence {
		retry, w.patience = w.patience, min(2*w.patience, retryEvidence)
	}
	w.next = time.Now().Add(retry)
}

type look func(context.Context, *mesh.Snapshot, v1alpha1.Gate) (verdict, error)

func (r *Runner) gates() map[v1alpha1.GateKind]look {
	return map[v1alpha1.GateKind]look{
		v1alpha1.GateCaptured: r.lookCaptured,
		v1alpha1.GateReady:    r.lookReady,

		v1alpha1.GateSidecarsHBONE: r.lookRefreshed,

		v1alpha1.GateInjected: r.lookInjected,
		v1alpha1.GateReleased: r.lookReleased,
		v1alpha1.GateVerified: r.lookVerified,
		v1alpha1.GateRestored: r.lookRestored,

		v1alpha1.GateHandoverHolds:    r.lookHandover,
		v1alpha1.GateWaypointsReady:   r.objects(r.waypointReady),
		v1alpha1.GatePoliciesAccepted: r.objects(policyAccepted),
		v1alpha1.GateWaypointsBound:   r.objects(waypointBoundTo),
		v1alpha1.GateWaypointsUnbound: r.objects(waypointUnbound),
		v1alpha1.GateGone:             r.objects(objectGone),
	}
}

// objects makes a gate of what has to hold for each of its objects.
func (r *Runner) objects(each func(*mesh.Snapshot, v1alpha1.ObjectReference) (verdict, error)) look {
	return func(_ context.Context, snapshot *mesh.Snapshot, gate v1alpha1.Gate) (verdict, error) {
		var result verdict
		if _, err := r.namespace(snapshot); err != nil {
			return result, err
		}
		for _, reference := range gate.Objects {
			next, err := each(snapshot, reference)
			if err != nil {
				return result, err
			}
			result.missing, result.failed = append(result.missing, next.missing...), result.failed || next.failed
		}
		return result, nil
	}
}

// verdictOn is the verdict on an object of which a text says what it lacks; the
// empty text says nothing.
func verdictOn(reference v1alpha1.ObjectReference, text string) verdict {
	if text == "" {
		return verdict{}
	}
	return verdict{missing: []string{reference.String() + " " + text}}
}

// existing returns an object that a gate is about and that has to be there.
func existing(snapshot *mesh.Snapshot, reference v1alpha1.ObjectReference) (mesh.Object, error) {
	object, found := snapshot.Object(reference)
	if !found {
		return nil, fmt.Errorf("%s is gone: somebody has deleted it", reference)
	}
	return object, nil
}

// lookCaptured: the pods of the workloads named are ready, without sidecar and
// proxied by ztunnel; without any named, the pods that ztunnel should capture
// as the namespace is labelled now.
func (r *Runner) lookCaptured(ctx context.Context, snapshot *mesh.Snapshot, gate v1alpha1.Gate) (verdict, error) {
	namespace, err := r.namespace(snapshot)
	if err != nil {
		return verdict{}, err
	}
	if len(gate.Workloads) > 0 {
		result, err := r.moved(ctx, snapshot, namespace, gate)
		if err == nil && len(result.missing) == 0 {
			err = r.uncordonAll(ctx)
		}
		return result, err
	}
	rule, err := snapshot.EnrolmentRule()
	if err != nil {
		return verdict{}, err
	}
	// A pod that is not ready serves nobody yet; whatever ails it was there
	// before this step.
	pods := slices.DeleteFunc(snapshot.Pods(namespace.Name), func(pod mesh.Pod) bool {
		return pod.HasSidecar() || !pod.Ready || !rule.Captures(pod, namespace.Labels)
	})
	return r.captured(ctx, snapshot, namespace, pods)
}

func (r *Runner) moved(ctx context.Context, snapshot *mesh.Snapshot, namespace mesh.Namespace, gate v1alpha1.Gate) (verdict, error) {
	if gate.Replaces {
		result, err := r.renewed(ctx, snapshot, namespace, gate)
		if err != nil || len(result.missing) > 0 {
			return result, err
		}
	}
	rollouts, pods, err := r.rollouts(snapshot, gate.Workloads)
	if err != nil || len(rollouts.missing) > 0 {
		return rollouts, err
	}
	ending := r.stillEnding(ctx, endingWithSidecars(snapshot, gate.Workloads), "its sidecar calls past waypoints", "its sidecar calls past waypoints")
	if len(ending.missing) > 0 {
		return ending, nil
	}
	rule, err := snapshot.EnrolmentRule()
	if err != nil {
		return verdict{}, err
	}
	for _, pod := range pods {
		if !pod.HasSidecar() && !rule.Captures(pod, namespace.Labels) {
			return verdict{missing: []string{pod.String() + " is not to be captured: it says otherwise by its labels, or namespace " + r.Namespace + " is not labelled istio.io/dataplane-mode=ambient any more"}, failed: true}, nil
		}
	}
	return r.captured(ctx, snapshot, namespace, pods)
}

// endingWithSidecars are the pods of workloads that are on their way out with a sidecar.
func endingWithSidecars(snapshot *mesh.Snapshot, references []v1alpha1.ObjectReference) []mesh.Pod {
	var pods []mesh.Pod
	for _, reference := range references {
		if workload, found := snapshot.Workload(reference); found {
			pods = append(pods, snapshot.EndingOf(workload)...)
		}
	}
	return slices.DeleteFunc(pods, func(pod mesh.Pod) bool { return !pod.HasSidecar() })
}

// captured asks ztunnel only when everything that the API server knows says
// yes: its answer has to be fetched from each node.
func (r *Runner) captured(ctx context.Context, snapshot *mesh.Snapshot, namespace mesh.Namespace, pods []mesh.Pod) (verdict, error) {
	var missing []string
	nodes := map[string]bool{}
	for _, pod := range pods {
		switch {
		case pod.HasSidecar():
			missing = append(missing, pod.String()+" still has a sidecar")
		case !pod.Ready:
			missing = append(missing, notReady(pod))
		case !pod.Redirected():
			missing = append(missing, pod.String()+" is not redirected to ztunnel yet")
		default:
			nodes[pod.Node] = true
		}
	}
	if len(missing) > 0 || len(pods) == 0 {
		return verdict{missing: missing}, nil
	}
	evidence, err := r.Evidence(ctx, slices.Sorted(maps.Keys(nodes)))
	if err != nil {
		return verdict{}, err
	}
	for _, finding := range append(checks.Captured(pods, evidence), checks.ThroughWaypoints(snapshot, namespace, pods, evidence)...) {
		missing = append(missing, finding.Object.String()+": "+finding.Message)
	}
	if len(missing) == 0 {
		missing, err = r.policiesMissing(ctx, snapshot, namespace, evidence)
	}
	return verdict{missing: missing, retry: retryEvidence}, err
}

func notReady(pod mesh.Pod) string {
	if pod.Trouble == "" {
		return pod.String() + " is not ready"
	}
	return pod.String() + " is not ready: " + pod.Trouble
}

// rollouts says which of the workloads are not rolled out, and returns the
// pods of all of them.
func (r *Runner) rollouts(snapshot *mesh.Snapshot, references []v1alpha1.ObjectReference) (verdict, []mesh.Pod, error) {
	var result verdict
	var pods []mesh.Pod
	for _, reference := range references {
		workload, found := snapshot.Workload(reference)
		if !found {
			return result, nil, fmt.Errorf("%s is gone: somebody has deleted it", reference)
		}
		rollout := mesh.RolloutOf(workload)
		owned := snapshot.PodsOf(workload)
		pods = append(pods, owned...)
		if rollout.Complete && len(owned) < int(workload.Replicas) {
			// The workload and its pods are watched apart, so one can be seen
			// before the other.
			result.missing = append(result.missing, fmt.Sprintf("%s: %d of %d pods seen", reference, len(owned), workload.Replicas))
		}
		if rollout.Complete {
			continue
		}
		result.failed = result.failed || r.failedAnew(workload, rollout)
		for _, pod := range owned {
			if !pod.Ready && pod.Trouble != "" {
				result.missing = append(result.missing, notReady(pod))
			}
		}
		result.missing = append(result.missing, fmt.Sprintf("%s: %s", reference, rollout.Message))
	}
	return result, pods, nil
}

func (r *Runner) lookReady(_ context.Context, snapshot *mesh.Snapshot, gate v1alpha1.Gate) (verdict, error) {
	result, _, err := r.rollouts(snapshot, gate.Workloads)
	return result, err
}

// lookReleased: nothing is redirected to ztunnel that should not be.
func (r *Runner) lookReleased(_ context.Context, snapshot *mesh.Snapshot, _ v1alpha1.Gate) (verdict, error) {
	namespace, err := r.namespace(snapshot)
	if err != nil {
		return verdict{}, err
	}
	rule, err := snapshot.EnrolmentRule()
	if err != nil {
		return verdict{}, err
	}
	var missing []string
	for _, pod := range snapshot.Pods(namespace.Name) {
		if pod.Redirected() && !rule.Captures(pod, namespace.Labels) {
			missing = append(missing, pod.String()+" is still redirected to ztunnel")
		}
	}
	return verdict{missing: missing}, nil
}

// lookVerified makes the checks of verify that are about what a run has done. Istiod is
// asked after that: it answers for the whole mesh; and then all that verify asks.
func (r *Runner) lookVerified(ctx context.Context, snapshot *mesh.Snapshot, _ v1alpha1.Gate) (verdict, error) {
	namespace, err := r.namespace(snapshot)
	if err != nil {
		return verdict{}, err
	}
	evidence, err := r.Evidence(ctx, NodesOf(snapshot.Pods(namespace.Name)))
	if err != nil {
		return verdict{}, err
	}
	handed, err := r.handed(snapshot)
	if err != nil {
		return verdict{}, err
	}
	subject := checks.Subject{Snapshot: snapshot, Namespace: namespace, Evidence: evidence, Handed: handed, Accepts: r.accepts}
	missing := r.notArrived(subject)
	if len(missing) == 0 {
		if err := r.Istiods(ctx, evidence); err != nil {
			return verdict{}, err
		}
		missing = r.notArrived(subject)
	}
	if len(missing) == 0 && r.Verify != nil {
		missing, err := r.notVerified(ctx)
		return verdict{missing: missing, retry: retryVerify}, err
	}
	return verdict{missing: missing, retry: retryEvidence}, nil
}

// policiesMissing is what ztunnels lack of the policies that istiod gives them for the
// namespace and the mesh. Istiod answers for the whole mesh, so it is asked once, and
// again where ztunnels differ from what it has said, or the run has written policies
// since. One that cannot be asked holds nothing up, as at the end of an enrolment.
func (r *Runner) policiesMissing(ctx context.Context, snapshot *mesh.Snapshot, namespace mesh.Namespace, evidence *mesh.Evidence) ([]string, error) {
	evidence.Istiods = r.meant
	findings := checks.PoliciesOutOfStep(snapshot, namespace, evidence)
	if slices.ContainsFunc(findings, func(finding checks.Finding) bool { return finding.Status != v1alpha1.StatusSkip }) {
		if err := r.Istiods(ctx, evidence); err != nil {
			return nil, err
		}
		r.noteMeant(evidence.Istiods)
		findings = checks.PoliciesOutOfStep(snapshot, namespace, evidence)
	}
	var missing []string
	for _, finding := range findings {
		if finding.Status == v1alpha1.StatusFail {
			missing = append(missing, finding.Object.String()+": "+finding.Message)
		}
	}
	return missing, nil
}

// noteMeant keeps what istiods have said of policies, beside what they have said before:
// not every gate is about the same nodes.
func (r *Runner) noteMeant(istiods map[string]mesh.IstiodEvidence) {
	meant := maps.Clone(r.meant)
	if meant == nil {
		meant = map[string]mesh.IstiodEvidence{}
	}
	for address, istiod := range istiods {
		// What it says of pods and Services of the whole mesh is not needed again.
		istiod.DataPlaneView = mesh.DataPlaneView{Policies: istiod.Policies}
		meant[address] = istiod
	}
	r.meant = meant
}

// notArrived is what the end of an enrolment still waits for, of what the enrolment has
// made; what the mesh has attached to every waypoint may not have held before, either.
func (r *Runner) notArrived(subject checks.Subject) []string {
	var missing []string
	for _, result := range checks.Run(checks.ArrivalChecks(), subject) {
		if checks.HoldsUp(result, r.standing) {
			missing = append(missing, sayResult(result))
		}
	}
	return missing
}

// notVerified is what verify would fail on now, but for what the run goes on to delete,
// and what it would have failed on before.
func (r *Runner) notVerified(ctx context.Context) ([]string, error) {
	results, err := r.Verify(ctx)
	var missing []string
	for _, result := range results {
		ends := result.Object != nil && r.deletes[result.Object.Unversioned()]
		if !ends && checks.HoldsUp(result, r.standing) {
			missing = append(missing, sayResult(result))
		}
	}
	return missing, err
}

func sayResult(result v1alpha1.CheckResult) string {
	if result.Object == nil {
		return result.ID + ": " + result.Message
	}
	return result.ID + ": " + result.Object.String() + ": " + result.Message
}

// lookRestored makes the checks of verify of a namespace that was rolled back. What
// ztunnel does not say does not hold a rollback up, which may be made because there is
// none that answers: by then the sidecars are back, and what istio-cni says is known.
// It does not wait for what is left of an enrolment, which nothing is going to delete,
// nor for what cannot be read, which is so for as long as the run.
func (r *Runner) lookRestored(ctx context.Context, snapshot *mesh.Snapshot, gate v1alpha1.Gate) (verdict, error) {
	namespace, err := r.namespace(snapshot)
	if err != nil || gate.Restoration == nil {
		return verdict{}, err
	}
	asking, cancel := context.WithTimeout(ctx, restoredEvidence)
	defer cancel()
	evidence, err := r.Evidence(asking, NodesOf(snapshot.Pods(namespace.Name)))
	if ctx.Err() != nil {
		return verdict{}, context.Cause(ctx)
	}
	if err != nil {
		evidence = nil
	}
	subject := checks.Subject{
		Snapshot: snapshot, Namespace: namespace, Evidence: evidence, Returned: &checks.Returned{Restoration: *gate.Restoration, Kept: r.kept, Ending: true},
	}
	result := verdict{retry: retryEvidence}
	found := checks.Run(checks.ReturnChecks(), subject)
	for _, finding := range found {
		if !finding.Blocks() || finding.ID == checks.IDCaptureEnded && finding.Status == v1alpha1.StatusUnknown {
			continue
		}
		result.missing = append(result.missing, sayResult(finding))
		// The steps that delete have waited until what they delete is gone.
		result.failed = result.failed || finding.ID == checks.IDNothingLeft || finding.Status == v1alpha1.StatusUnknown
	}
	if len(result.missing) == 0 {
		r.noteWithoutSidecars(found)
	}
	return result, nil
}

// noteWithoutSidecars says at the end of a rollback what it cannot bring back to sidecars.
func (r *Runner) noteWithoutSidecars(found []v1alpha1.CheckResult) {
	for _, finding := range found {
		if finding.ID == checks.IDSidecarsBack && finding.Status == v1alpha1.StatusWarn {
			r.Events.note("%s", sayResult(finding))
		}
	}
}

// NodesOf returns the nodes that pods run on, by name.
func NodesOf(pods []mesh.Pod) []string {
	nodes := map[string]bool{}
	for _, pod := range pods {
		if pod.Node != "" {
			nodes[pod.Node] = true
		}
	}
	return slices.Sorted(maps.Keys(nodes))
}

func (r *Runner) namespace(snapshot *mesh.Snapshot) (mesh.Namespace, error) {
	namespace, found := snapshot.Namespace(r.Namespace)
	if !found {
		return namespace, fmt.Errorf("namespace %s is gone", r.Namespace)
	}
	if namespace.Terminating {
		return namespace, fmt.Errorf("namespace %s is being deleted", r.Namespace)
	}
	return namespace, nil
}

// gateError describes a gate that did not hold, with what the cluster itself
// said about it.
func (r *Runner) gateError(ctx context.Context, step v1alpha1.Step, missing []string, cause error) error {
	failure := &GateError{Step: step, Missing: missing, Cause: cause}
	// The context has ended, but the reason is worth one more request.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	text := strings.Join(missing, "\n")
	failure.Events = r.warnings(ctx, text)
	if snapshot, err := r.observer.snapshot(); err == nil {
		failure.Logs = r.lastLogs(ctx, snapshot, step.Gate, text)
	}
	return failure
}
