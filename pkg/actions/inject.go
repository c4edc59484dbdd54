package actions

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// lookInjected: every pod of the workloads that should have a sidecar has one
// and is ready; without any workload named, of all of the namespace. Pods that
// should have one and lack it are replaced on the way: the controller does not
// know that they are not what their template would become.
func (r *Runner) lookInjected(ctx context.Context, snapshot *mesh.Snapshot, gate v1alpha1.Gate) (verdict, error) {
	namespace, err := r.namespace(snapshot)
	if err != nil {
		return verdict{}, err
	}
	// A workload that nothing asks a sidecar for has only to be ready.
	result, _, err := r.rollouts(snapshot, slices.DeleteFunc(slices.Clone(gate.Workloads), func(reference v1alpha1.ObjectReference) bool {
		workload, found := snapshot.Workload(reference)
		return !found || workload.Injected(snapshot.Injectors(), namespace.Labels)
	}))
	if err != nil {
		return verdict{}, err
	}
	// An eviction has no surge, so one workload comes after the other: the next is not
	// touched before the pods that were replaced of the one before are ready.
	replacing := false
	for _, workload := range r.injectable(snapshot, namespace, gate) {
		next, lacking := r.restored(snapshot, workload, workload.Injected(snapshot.Injectors(), namespace.Labels), gate)
		if len(lacking) > 0 && !replacing {
			if next, err = r.replaceOne(ctx, workload, snapshot.PodsOf(workload), lacking, next, gate); err != nil {
				return verdict{}, err
			}
		}
		replacing = replacing || len(lacking) > 0 || r.replacements[workload.UID] > 0 && len(next.missing) > 0
		result.missing = append(result.missing, next.missing...)
		result.failed = result.failed || next.failed
		result.retry = max(result.retry, next.retry)
	}
	if len(gate.Workloads) == 0 {
		r.nameStrays(snapshot, namespace, since(gate))
	}
	if len(gate.Workloads) == 0 && len(result.missing) == 0 {
		// The last gate before the namespace is taken out of ambient mode: istio-cni then
		// releases a pod that still ends, too (istio cni/pkg/nodeagent/informers.go spares
		// finished ones only).
		ending := slices.DeleteFunc(snapshot.Ending(namespace.Name), func(pod mesh.Pod) bool { return !pod.Redirected() || pod.HasSidecar() })
		result = r.stillEnding(ctx, ending, "nothing but ztunnel protects it", "once the namespace is released, it is without mTLS and policies")
	}
	if len(result.missing) == 0 {
		return result, r.uncordonAll(ctx)
	}
	return result, nil
}

// nameStrays says which pods made during the migration lack their sidecar and
// are not replaced: nothing controls them, or something that is not known here.
func (r *Runner) nameStrays(snapshot *mesh.Snapshot, namespace mesh.Namespace, since time.Time) {
	known := map[types.UID]bool{}
	for _, workload := range snapshot.Workloads(namespace.Name) {
		if workload.Reference.Kind != mesh.KindJob && workload.Reference.Kind != mesh.KindCronJob {
			for _, pod := range snapshot.PodsOf(workload) {
				known[pod.UID] = true
			}
		}
	}
	for _, pod := range snapshot.Pods(namespace.Name) {
		if known[pod.UID] || r.named[pod.UID] || pod.HasSidecar() || pod.Created.Before(since) || !snapshot.RestartDue(pod, namespace) {
			continue
		}
		r.named[pod.UID] = true
		r.Events.note("%s has no sidecar and is not replaced, since nothing would bring it back: it is outside the mesh until you make it anew", pod)
	}
}

// since is when the migration began; a gate that does not say is about all
// pods.
func since(gate v1alpha1.Gate) time.Time {
	if gate.Since == nil {
		return time.Time{}
	}
	return *gate.Since
}

// injectable returns the workloads, among those named or all, whose pods should have
// sidecars, or have to be replaced by hand. A workload that was deleted since has no
// pods to wait for.
func (r *Runner) injectable(snapshot *mesh.Snapshot, namespace mesh.Namespace, gate v1alpha1.Gate) []mesh.Workload {
	workloads := snapshot.Workloads(namespace.Name)
	return slices.DeleteFunc(slices.Clone(workloads), func(workload mesh.Workload) bool {
		named := len(gate.Workloads) == 0 || slices.Contains(gate.Workloads, workload.Reference)
		outdated := slices.ContainsFunc(snapshot.PodsOf(workload), func(pod mesh.Pod) bool { return outdated(workload, pod, since(gate)) })
		return !named || workload.IsGateway() || workload.CarriesProxy() || workload.Reference.Kind == mesh.KindJob ||
			workload.Reference.Kind == mesh.KindCronJob || !outdated && !workload.Injected(snapshot.Injectors(), namespace.Labels)
	})
}

// restored looks at one workload, and says which of its pods are to be replaced.
func (r *Runner) restored(snapshot *mesh.Snapshot, workload mesh.Workload, injected bool, gate v1alpha1.Gate) (verdict, []mesh.Pod) {
	rollout := mesh.RolloutOf(workload)
	pods := snapshot.PodsOf(workload)
	result := verdict{failed: r.failedAnew(workload, rollout)}
	if !rollout.Complete {
		result.missing = append(result.missing, fmt.Sprintf("%s: %s", workload.Reference, rollout.Message))
	} else if len(pods) < int(workload.Replicas) {
		result.missing = append(result.missing, fmt.Sprintf("%s: %d of %d pods seen", workload.Reference, len(pods), workload.Replicas))
	}
	var lacking []mesh.Pod
	for _, pod := range inTurn(workload, pods) {
		r.noteReadiness(pod)
		switch {
		// A pod that was there before the migration lacks its sidecar for a
		// reason of its own.
		case injected && !pod.HasSidecar() && !pod.Created.Before(since(gate)):
			lacking = append(lacking, pod)
			result.missing = append(result.missing, pod.String()+" has no sidecar")
		case outdated(workload, pod, since(gate)):
			lacking = append(lacking, pod)
			result.missing = append(result.missing, pod.String()+" is from an earlier template")
		case !pod.Ready:
			result.missing = append(result.missing, notReady(pod))
		}
	}
	return result, lacking
}

// replaceOne replaces one pod that lacks its sidecar, where its controller
// would not do so by itself: it belongs to the template as it is now, or it is
// the pod of a former template that a StatefulSet waits for, or the controller
// replaces none.
func (r *Runner) replaceOne(
	ctx context.Context, workload mesh.Workload, pods, lacking []mesh.Pod, result verdict, gate v1alpha1.Gate,
) (verdict, error) {
	if workload.ByHand() && !workload.Observed() {
		// What is deleted now could come back from the earlier template.
		return result, nil
	}
	// Others first: a pod in service is evicted only while every other one is.
	whole := mesh.RolloutOf(workload).Complete && len(result.missing) == len(lacking)
	if !whole && workload.Reference.Kind != mesh.KindStatefulSet && !workload.ByHand() && !workload.Updated() {
		// Its controller replaces pods by itself.
		return result, nil
	}
	underWay := slices.ContainsFunc(lacking, func(pod mesh.Pod) bool { return r.replaced[pod.UID] })
	if whole && !underWay {
		if err := r.uncordonAll(ctx); err != nil {
			return result, err
		}
	}
	for _, pod := range lacking {
		// A pod that was evicted may still be seen for a moment; its successor
		// has to be ready before another one in service goes.
		if r.replaced[pod.UID] || pod.Ready && (!whole || underWay) {
			continue
		}
		othersBack := !underWay && areBack(workload, pods, lacking)
		if !pod.Ready && !othersBack && !r.stuck(pod) {
			result.missing = append(result.missing, fmt.Sprintf("%s: it is replaced when the others of its workload are back, or once it was not ready for %s", pod, r.stuckAfter()))
			result.retry = retryEviction
			continue
		}
		if r.replacements[workload.UID] >= mostReplacements(workload) {
			// Replacing it again would only take the workload down.
			result.failed = true
			result.missing = []string{pod.String() + " came up without a sidecar again, although one is asked for: look at the injector"}
			return result, nil
		}
		if err := r.makeRoom(ctx, workload, pod, gate); err != nil {
			return result, err
		}
		othersServe := !slices.ContainsFunc(pods, func(other mesh.Pod) bool { return other.UID != pod.UID && !other.Ready })
		reason, err := r.replace(ctx, pod, othersBack && othersServe || r.stuck(pod))
		if err != nil {
			return result, err
		}
		if reason != "" {
			result.missing = append(result.missing, pod.String()+": "+reason)
			result.retry = retryEviction
			return result, nil
		}
		r.replaced[pod.UID] = true
		r.replacements[workload.UID]++
		return result, nil
	}
	return result, nil
}

// areBack says whether all pods of a workload are there, and all that lack no sidecar are
// ready.
func areBack(workload mesh.Workload, pods, lacking []mesh.Pod) bool {
	return len(pods) >= int(workload.Replicas) && !slices.ContainsFunc(pods, func(pod mesh.Pod) bool {
		return !pod.Ready && !slices.ContainsFunc(lacking, func(one mesh.Pod) bool { return one.UID == pod.UID })
	})
}

// mostReplacements bounds how often a workload's pods are replaced: each once,
// and once more for what a controller made of its former template meanwhile.
func mostReplacements(workload mesh.Workload) int { return 2 * int(max(workload.Replicas, 1)) }

// replace evicts a pod. One that is not ready serves nobody, and may have its eviction
// refused for ever: it may be deleted where it is the only one that is missing, or stuck.
// It returns why it was refused, if a PodDisruptionBudget did, or another write.
func (r *Runner) replace(ctx context.Context, pod mesh.Pod, mayDelete bool) (reason string, err error) {
	reason, err = r.evict(ctx, pod, "which had come up without its sidecar")
	if err != nil || reason == "" || reason == conflicted || pod.Ready || !mayDelete {
		return reason, err
	}
	return r.deletePod(ctx, pod)
}

// noteReadiness keeps since when a pod is not ready, by this machine's clock.
func (r *Runner) noteReadiness(pod mesh.Pod) {
	if _, noted := r.unready[pod.UID]; pod.Ready {
		delete(r.unready, pod.UID)
	} else if !noted {
		r.unready[pod.UID] = r.Now()
	}
}

// stuck says whether a pod has not been ready for so long that it is not taken for one that
// wavers: a member of a quorum is often not ready since another one is away, and comes
// back with it. One that the move itself broke does not.
func (r *Runner) stuck(pod mesh.Pod) bool {
	since, noted := r.unready[pod.UID]
	return noted && !pod.Ready && r.Now().Sub(since) >= r.stuckAfter()
}

// longestWavering is how long a pod may waver at most.
const longestWavering = 5 * time.Minute

// stuckAfter leaves half of a gate's time for what comes in place of a stuck pod.
func (r *Runner) stuckAfter() time.Duration {
	if r.GateTimeout == 0 {
		return longestWavering
	}
	return min(longestWavering, r.GateTimeout/2)
}

// conflicted is why a pod was not replaced where the API server says that it is not what was
// meant. If another one has its name by now, the watch tells; if not, it is tried again.
const conflicted = "another write came in between"

// evict asks for a pod to be replaced, and says why. It returns why that was refused,
// if a PodDisruptionBudget did, or another write.
func (r *Runner) evict(ctx context.Context, pod mesh.Pod, why string) (reason string, err error) {
	err = r.Kube.PolicyV1().Evictions(pod.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))},
	})
	switch {
	case err == nil:
		r.changed = true
		r.Events.note("evicted %s, %s", pod, why)
		return "", nil
	case apierrors.IsTooManyRequests(err):
		return "its PodDisruptionBudget allows no eviction now", nil
	case severalBudgets(err):
		return "more than one PodDisruptionBudget selects it, and the API server evicts no such pod: leave it one of them", nil
	case apierrors.IsConflict(err):
		return conflicted, nil
	case apierrors.IsNotFound(err):
		return "", nil
	default:
		// It may have been done all the same.
		r.changed = r.changed || !refused(err)
		return "", fmt.Errorf("evict %s: %w", pod, err)
	}
}

// severalBudgets says whether the API server refuses to evict a pod because several
// budgets select it: it answers 500 and tells by the words alone (kubernetes
// pkg/registry/core/pod/storage/eviction.go, Create). That passes only when somebody
// changes the budgets.
func severalBudgets(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Code == http.StatusInternalServerError &&
		strings.Contains(status.Status().Message, "more than one PodDisruptionBudget")
}

func (r *Runner) deletePod(ctx context.Context, pod mesh.Pod) (reason string, err error) {
	// As it was seen, or not at all: it may have got ready meanwhile.
	preconditions := metav1.NewUIDPreconditions(string(pod.UID))
	if version, _, _ := unstructured.NestedString(pod.Object, "metadata", "resourceVersion"); version != "" {
		preconditions.ResourceVersion = &version
	}
	err = r.Kube.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: preconditions})
	switch {
	case err == nil:
		r.changed = true
		r.Events.note("deleted %s, which was not ready and had no sidecar", pod)
		return "", nil
	case apierrors.IsConflict(err):
		return conflicted, nil
	case apierrors.IsNotFound(err):
		return "", nil
	default:
		r.changed = r.changed || !refused(err)
		return "", fmt.Errorf("delete %s: %w", pod, err)
	}
}
