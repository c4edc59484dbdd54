package actions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"istio.io/api/label"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// outdated says whether a pod has to be replaced by hand to be from its workload's
// template. What was there before the migration began is from the template of before.
func outdated(workload mesh.Workload, pod mesh.Pod, since time.Time) bool {
	return workload.ByHand() && workload.Outdated(pod) && !pod.Created.Before(since)
}

// renewed replaces by hand the pods of workloads that are from an earlier template,
// one at a time: the next one goes when all that are from the new one are in ambient
// mode, and those that are left serve.
func (r *Runner) renewed(ctx context.Context, snapshot *mesh.Snapshot, namespace mesh.Namespace, gate v1alpha1.Gate) (verdict, error) {
	for _, reference := range gate.Workloads {
		workload, found := snapshot.Workload(reference)
		if !found || !workload.ByHand() && !gate.Evicts {
			continue
		}
		stale := workload.Outdated
		if gate.Evicts {
			stale = mesh.Pod.HasSidecar
		}
		pods := inTurn(workload, snapshot.PodsOf(workload))
		left := slices.DeleteFunc(slices.Clone(pods), func(pod mesh.Pod) bool { return !stale(pod) })
		if len(left) == 0 {
			continue
		}
		if lost := unlabelled(snapshot, namespace, workload); gate.Evicts && lost != "" {
			return verdict{missing: []string{lost}, failed: true}, nil
		}
		fresh := slices.DeleteFunc(slices.Clone(pods), stale)
		result, err := r.captured(ctx, snapshot, namespace, fresh)
		if err != nil || len(result.missing) > 0 {
			return result, err
		}
		if result.missing = unsound(workload, pods, left); len(result.missing) > 0 {
			return result, nil
		}
		return r.renewNext(ctx, workload, left, gate)
	}
	return verdict{}, nil
}

// unlabelled says why a pod that is evicted now would not come back in ambient mode by
// the namespace's labels.
func unlabelled(snapshot *mesh.Snapshot, namespace mesh.Namespace, workload mesh.Workload) string {
	switch {
	case workload.Injected(snapshot.Injectors(), namespace.Labels):
		return fmt.Sprintf("%s: pods that are evicted now would have a sidecar again: namespace %s, or its template, asks for one", workload.Reference, namespace.Name)
	case namespace.Labels[label.IoIstioDataplaneMode.Name] != mesh.DataplaneAmbient:
		return fmt.Sprintf("%s: pods that are evicted now would not be captured: namespace %s is not labelled %s=%s any more",
			workload.Reference, namespace.Name, label.IoIstioDataplaneMode.Name, mesh.DataplaneAmbient)
	default:
		return ""
	}
}

// unsound says why no pod of a workload may be taken away now.
func unsound(workload mesh.Workload, pods, left []mesh.Pod) []string {
	if !workload.Observed() {
		// A pod that is deleted now could come back from the earlier template.
		return []string{fmt.Sprintf("%s: its controller has not seen its new template yet", workload.Reference)}
	}
	if len(pods) < int(workload.Replicas) {
		return []string{fmt.Sprintf("%s: %d of %d pods seen", workload.Reference, len(pods), workload.Replicas)}
	}
	var missing []string
	for _, pod := range left {
		if !pod.Ready {
			missing = append(missing, notReady(pod))
		}
	}
	return missing
}

// renewNext evicts the first of the pods that are left, once the one before it is gone.
func (r *Runner) renewNext(ctx context.Context, workload mesh.Workload, left []mesh.Pod, gate v1alpha1.Gate) (verdict, error) {
	if i := slices.IndexFunc(left, func(pod mesh.Pod) bool { return r.replaced[pod.UID] }); i >= 0 {
		// It may still be seen for a moment.
		return verdict{missing: []string{left[i].String() + " is being replaced"}}, nil
	}
	if err := r.uncordonAll(ctx); err != nil {
		return verdict{}, err
	}
	return r.renewOne(ctx, workload, left[0], gate)
}

// renewOne evicts a pod of an earlier template.
func (r *Runner) renewOne(ctx context.Context, workload mesh.Workload, pod mesh.Pod, gate v1alpha1.Gate) (verdict, error) {
	if r.replacements[workload.UID] >= mostReplacements(workload) {
		what := " came back from an earlier template again: look at what controls it"
		switch {
		case gate.Kind == v1alpha1.GateSidecarsHBONE:
			what = " came back with a sidecar that accepts no HBONE again: look at the injector"
		case gate.Evicts:
			what = " came back with a sidecar again: look at the injector"
		}
		return verdict{missing: []string{pod.String() + what}, failed: true}, nil
	}
	if err := r.makeRoom(ctx, workload, pod, gate); err != nil {
		return verdict{}, err
	}
	why := "to be made anew from its new template"
	switch {
	case gate.Kind == v1alpha1.GateSidecarsHBONE:
		why = "to be made anew with a sidecar that accepts HBONE"
	case gate.Evicts:
		why = "to be made anew without its sidecar"
	}
	reason, err := r.evict(ctx, pod, why)
	if err != nil {
		return verdict{}, err
	}
	if reason != "" {
		return verdict{missing: []string{pod.String() + ": " + reason}, retry: retryEviction}, nil
	}
	r.replaced[pod.UID] = true
	r.replacements[workload.UID]++
	return verdict{missing: []string{pod.String() + " is being replaced"}}, nil
}

// inTurn are the pods in the order in which they are replaced: those of a StatefulSet
// from the highest ordinal down, as its controller does.
func inTurn(workload mesh.Workload, pods []mesh.Pod) []mesh.Pod {
	if workload.Reference.Kind == mesh.KindStatefulSet {
		slices.SortStableFunc(pods, func(a, b mesh.Pod) int { return cmp.Compare(ordinal(b), ordinal(a)) })
	}
	return pods
}

func ordinal(pod mesh.Pod) int {
	n, err := strconv.Atoi(pod.Name[strings.LastIndex(pod.Name, "-")+1:])
	if err != nil {
		return -1
	}
	return n
}

// makeRoom cordons the node of a pod that is to be replaced, where that was asked
// for. A node that is cordoned already stays as it is, also afterwards.
func (r *Runner) makeRoom(ctx context.Context, workload mesh.Workload, pod mesh.Pod, gate v1alpha1.Gate) error {
	if !gate.Cordon || workload.Reference.Kind != mesh.KindDaemonSet || !workload.ByHand() || slices.Contains(r.cordoned, pod.Node) {
		return nil
	}
	node, err := r.Writer.Get(ctx, plan.NodeReference(pod.Node))
	if err != nil {
		return err
	}
	if cordoned, _ := plan.Lookup(node.Object, "/spec/unschedulable").(bool); cordoned {
		return nil
	}
	if err := r.noteCordon(ctx, pod.Node); err != nil {
		return err
	}
	_, written, err := r.Writer.Change(ctx, plan.Cordon(pod.Node, r.Namespace), false)
	if written {
		r.changed = true
		r.cordoned = append(r.cordoned, pod.Node)
	}
	if changed := (*ChangedError)(nil); errors.As(err, &changed) {
		// Somebody else was faster.
		return nil
	}
	return err
}

// uncordonAll uncordons the nodes that the run has cordoned.
func (r *Runner) uncordonAll(ctx context.Context) error {
	for len(r.cordoned) > 0 {
		node := r.cordoned[0]
		if err := r.patiently(ctx, func() error { return r.uncordon(ctx, node) }); err != nil {
			return fmt.Errorf("uncordon node %s: %w", node, err)
		}
		r.cordoned = r.cordoned[1:]
	}
	return nil
}

// uncordon uncordons a node that still says that the run has cordoned it. One that is
// gone, or that somebody else has taken over, is left alone.
func (r *Runner) uncordon(ctx context.Context, name string) error {
	change := plan.Uncordon(name, r.Namespace)
	node, err := r.Writer.Get(ctx, change.Object)
	if err == nil && node.GetAnnotations()[v1alpha1.CordonedAnnotation] == r.Namespace {
		_, _, err = r.Writer.Change(ctx, change, false)
	}
	if changed := (*ChangedError)(nil); errors.As(err, &changed) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// uncordonLeft uncordons what a run that has failed left cordoned, even where its
// time is over.
func (r *Runner) uncordonLeft(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordGrace)
	defer cancel()
	return r.uncordonAll(ctx)
}
