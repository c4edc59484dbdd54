package actions

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
)

// lookRefreshed: the workloads named are rolled out, their pods are ready, and each has
// a sidecar that accepts HBONE, of the revision that injects it; without any named, no
// sidecar of the namespace lacks that.
func (r *Runner) lookRefreshed(ctx context.Context, snapshot *mesh.Snapshot, gate v1alpha1.Gate) (verdict, error) {
	namespace, err := r.namespace(snapshot)
	if err != nil {
		return verdict{}, err
	}
	if len(gate.Workloads) == 0 {
		return verdict{missing: withoutTunnel(snapshot.Pods(namespace.Name))}, nil
	}
	if gate.Replaces {
		result, err := r.refreshByHand(ctx, snapshot, gate)
		if err != nil || len(result.missing) > 0 {
			return result, err
		}
	}
	result, pods, err := r.rollouts(snapshot, gate.Workloads)
	if err != nil || len(result.missing) > 0 {
		return result, err
	}
	result.missing = withoutTunnel(pods)
	for _, reference := range gate.Workloads {
		// It was there a moment ago.
		workload, _ := snapshot.Workload(reference)
		result.missing = append(result.missing, unlikeInjected(snapshot, namespace, workload)...)
	}
	if len(result.missing) == 0 {
		return result, r.uncordonAll(ctx)
	}
	return result, nil
}

// withoutTunnel names pods whose sidecars accept no HBONE.
func withoutTunnel(pods []mesh.Pod) []string {
	var missing []string
	for _, pod := range pods {
		if pod.Live() && checks.LacksTunnel(pod) {
			missing = append(missing, pod.String()+" has a sidecar that does not accept HBONE")
		}
	}
	return missing
}

// unlikeInjected names pods of a workload that are not ready with a sidecar of the
// revision that injects it.
func unlikeInjected(snapshot *mesh.Snapshot, namespace mesh.Namespace, workload mesh.Workload) []string {
	template := workload.Template
	injector, _ := snapshot.Injectors().Injecting(namespace.Labels, template.Labels, template.Annotations, template.Spec.HostNetwork)
	wanted := cmp.Or(injector.Revision, mesh.DefaultRevision)
	var missing []string
	for _, pod := range snapshot.PodsOf(workload) {
		revision := pod.Annotations[label.IoIstioRev.Name]
		switch {
		case !pod.HasSidecar():
			missing = append(missing, pod.String()+" has no sidecar")
		case !pod.Ready:
			missing = append(missing, notReady(pod))
		case revision != "" && revision != wanted:
			missing = append(missing, fmt.Sprintf("%s has a sidecar of revision %s, not of %s", pod, revision, wanted))
		}
	}
	return missing
}

// refreshByHand replaces pods whose sidecars accept no HBONE and whose controller
// replaces none, or is not to, one at a time: the next one goes when all others are ready.
func (r *Runner) refreshByHand(ctx context.Context, snapshot *mesh.Snapshot, gate v1alpha1.Gate) (verdict, error) {
	for _, reference := range gate.Workloads {
		workload, found := snapshot.Workload(reference)
		if !found || !workload.ByHand() && !gate.Evicts {
			continue
		}
		pods := inTurn(workload, snapshot.PodsOf(workload))
		left := slices.DeleteFunc(slices.Clone(pods), func(pod mesh.Pod) bool { return !checks.LacksTunnel(pod) })
		if len(left) == 0 {
			continue
		}
		if missing := unsound(workload, pods, pods); len(missing) > 0 {
			return verdict{missing: missing}, nil
		}
		return r.renewNext(ctx, workload, left, gate)
	}
	return verdict{}, nil
}
