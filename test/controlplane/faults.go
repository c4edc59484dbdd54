package controlplane

import (
	"context"
	"errors"
	"fmt"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/cni"
)

// PodMatcher selects the pods to which something is to happen. It must not
// change the pod, and may be called at any time from several goroutines.
type PodMatcher func(pod *corev1.Pod) bool

// faults are the things that are made to go wrong at the moment.
type faults struct {
	mutex sync.Mutex
	next  int
	// captures, unready and barred are independent of each other.
	captures map[int]captureFault
	unready  map[int]PodMatcher
	barred   map[string]int
}

type captureFault struct {
	kind    cni.Fault
	matches PodMatcher
}

func newFaults() *faults {
	return &faults{captures: map[int]captureFault{}, unready: map[int]PodMatcher{}, barred: map[string]int{}}
}

// of returns what is to go wrong with the capture of a pod.
func (f *faults) of(pod *corev1.Pod) cni.Fault {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	result := cni.NoFault
	for _, fault := range f.captures {
		if fault.matches(pod) {
			result = max(result, fault.kind)
		}
	}
	return result
}

// holds tells whether a new pod is to be kept from becoming ready.
func (f *faults) holds(pod *corev1.Pod) bool {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	for _, matches := range f.unready {
		if matches(pod) {
			return true
		}
	}
	return false
}

// bars tells whether a node is to have no ztunnel.
func (f *faults) bars(node string) bool {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.barred[node] > 0
}

func (f *faults) bar(node string, count int) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.barred[node] += count
}

// add stores an entry and returns the function that removes it again.
func add[T any](f *faults, entries map[int]T, entry T) (remove func()) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	id := f.next
	f.next++
	entries[id] = entry
	return func() {
		f.mutex.Lock()
		defer f.mutex.Unlock()
		delete(entries, id)
	}
}

// HoldCapture keeps ztunnel from capturing the pods that match, those captured
// already included: their workloadState is Pending and so is the annotation
// ambient.istio.io/redirection. Release ends that.
func (c *ControlPlane) HoldCapture(matches PodMatcher) (release func()) {
	return c.failCapture(cni.HoldCapture, matches)
}

// FeignCapture is HoldCapture unknown to the CNI agent: workloadState is Pending
// although the annotation says enabled, as after a restart of a node.
func (c *ControlPlane) FeignCapture(matches PodMatcher) (release func()) {
	return c.failCapture(cni.FeignCapture, matches)
}

func (c *ControlPlane) failCapture(kind cni.Fault, matches PodMatcher) (release func()) {
	remove := add(c.faults, c.faults.captures, captureFault{kind, matches})
	c.agent.Resync("")
	return func() {
		remove()
		c.agent.Resync("")
	}
}

// HoldReadiness keeps pods from becoming ready that are created from now on and
// match. They run, as if their readiness probes failed. The matcher sees a pod
// as it is stored, after injection, but without a name if that is generated.
// Release lets the pods become ready that were held back by this call or others.
func (c *ControlPlane) HoldReadiness(matches PodMatcher) (release func(context.Context) error) {
	remove := add(c.faults, c.faults.unready, matches)
	return func(ctx context.Context) error {
		remove()
		return c.releaseReadiness(ctx)
	}
}

// releaseReadiness takes the annotation from the pods that nothing holds back
// any more, which lets kwok make them ready.
func (c *ControlPlane) releaseReadiness(ctx context.Context) error {
	pods, err := c.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("releasing pods: %w", err)
	}
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:null}}}`, unreadyAnnotation)
	var failures []error
	for _, pod := range pods.Items {
		if _, held := pod.Annotations[unreadyAnnotation]; !held || c.faults.holds(&pod) {
			continue
		}
		_, err := c.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			failures = append(failures, fmt.Errorf("releasing pod %s/%s: %w", pod.Namespace, pod.Name, err))
		}
	}
	return errors.Join(failures...)
}

// RemoveZtunnel removes ztunnel from a node and keeps its DaemonSet from putting
// another one there until the returned function is called, which waits until
// ztunnel is back.
func (c *ControlPlane) RemoveZtunnel(ctx context.Context, node string) (restore func(context.Context) error, err error) {
	c.faults.bar(node, 1)
	if err := c.deleteZtunnel(ctx, node); err != nil {
		c.faults.bar(node, -1)
		return nil, fmt.Errorf("removing ztunnel from node %s: %w", node, err)
	}
	return func(ctx context.Context) error {
		c.faults.bar(node, -1)
		if err := c.restoreZtunnel(ctx, node); err != nil {
			return fmt.Errorf("restoring ztunnel on node %s: %w", node, err)
		}
		return nil
	}, nil
}

// RestartZtunnel has ztunnel's process on a node end, and the kubelet start another in the
// same container: what the old one has counted is gone, and its log is the previous one.
func (c *ControlPlane) RestartZtunnel(ctx context.Context, node string) error {
	instance := c.Ztunnel(node)
	if instance == nil {
		return fmt.Errorf("restarting ztunnel on node %s: it does not run", node)
	}
	if err := instance.Restart(); err != nil {
		return fmt.Errorf("restarting ztunnel on node %s: %w", node, err)
	}
	of := instance.Pod()
	pod, err := c.client.CoreV1().Pods(of.Namespace).Get(ctx, of.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("restarting ztunnel on node %s: %w", node, err)
	}
	for i := range pod.Status.ContainerStatuses {
		pod.Status.ContainerStatuses[i].RestartCount++
	}
	if _, err := c.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("restarting ztunnel on node %s: %w", node, err)
	}
	return nil
}

// deleteZtunnel deletes the ztunnels of a node until none is left: one that the
// scheduler was about to put there may still come.
func (c *ControlPlane) deleteZtunnel(ctx context.Context, node string) error {
	immediately := int64(0)
	return until(ctx, "ztunnel is gone", func(ctx context.Context) error {
		pods, err := c.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{LabelSelector: "app=ztunnel"})
		if err != nil {
			return err
		}
		left := 0
		for _, pod := range pods.Items {
			if !isZtunnel(&pod) || daemonNode(&pod) != node {
				continue
			}
			left++
			err := c.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &immediately})
			if err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
		if left > 0 || c.Ztunnel(node) != nil {
			return errors.New("it is still there")
		}
		return nil
	})
}

// restoreZtunnel touches the DaemonSet, whose controller would otherwise wait
// longer and longer between its attempts to create the pod.
func (c *ControlPlane) restoreZtunnel(ctx context.Context, node string) error {
	sets, err := c.client.AppsV1().DaemonSets("").List(ctx, metav1.ListOptions{LabelSelector: "app=ztunnel"})
	if err != nil {
		return err
	}
	for _, set := range sets.Items {
		if err := c.touch(ctx, &set); err != nil {
			return err
		}
	}
	return until(ctx, "ztunnel is back", func(context.Context) error {
		if c.Ztunnel(node) == nil && !c.faults.bars(node) {
			return errors.New("it is not there yet")
		}
		return nil
	})
}

func (c *ControlPlane) touch(ctx context.Context, set *appsv1.DaemonSet) error {
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"controlplane.kubectl-ambient.dev/touched":%q}}}`, set.ResourceVersion)
	_, err := c.client.AppsV1().DaemonSets(set.Namespace).Patch(ctx, set.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}
