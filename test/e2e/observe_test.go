package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// sidecar says whether a pod has an injected proxy, in either container list.
func sidecar(pod *corev1.Pod) bool {
	if pod.Annotations["inject.istio.io/templates"] == "gateway" {
		return false
	}
	isProxy := func(container corev1.Container) bool { return container.Name == "istio-proxy" }
	return slices.ContainsFunc(pod.Spec.Containers, isProxy) || slices.ContainsFunc(pod.Spec.InitContainers, isProxy)
}

// modeWatch follows the pods of a namespace and notes every one that changed
// mode before its workload's turn: the turn is when the template says so, which
// its pods carry as a label.
type modeWatch struct {
	mu         sync.Mutex
	seen       int
	violations []string
}

// watchModes watches until the test is over.
func (c *cluster) watchModes(t *testing.T, namespace string) *modeWatch {
	t.Helper()
	watch := &modeWatch{}
	factory := informers.NewSharedInformerFactoryWithOptions(c.kube, 0, informers.WithNamespace(namespace))
	informer := factory.Core().V1().Pods().Informer()
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { watch.look(object.(*corev1.Pod)) },
		UpdateFunc: func(_, object any) { watch.look(object.(*corev1.Pod)) },
	}
	if _, err := informer.AddEventHandler(handler); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(func() { stop(); factory.Shutdown() })
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		t.Fatal("the pods cannot be watched")
	}
	return watch
}

func (w *modeWatch) look(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen++
	_, waypoint := pod.Labels[gatewayName]
	if pod.Spec.HostNetwork || waypoint || pod.Annotations["inject.istio.io/templates"] == "gateway" {
		return
	}
	refused := pod.Labels["sidecar.istio.io/inject"] == "false"
	if sidecar(pod) == refused {
		w.violations = append(w.violations, fmt.Sprintf("pod %s: has sidecar: %v, its template refuses one: %v", pod.Name, sidecar(pod), refused))
	}
}

// want fails the test where a pod was in a mode that its template did not ask
// for.
func (w *modeWatch) want(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == 0 {
		t.Error("no pod was seen: nothing was tested")
	}
	slices.Sort(w.violations)
	for _, violation := range slices.Compact(w.violations) {
		t.Error(violation)
	}
}

// replicaSets returns the names of a Deployment's ReplicaSets that run pods.
func (c *cluster) replicaSets(t *testing.T, namespace string) []string {
	t.Helper()
	list, err := c.kube.AppsV1().ReplicaSets(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, set := range list.Items {
		if *set.Spec.Replicas > 0 {
			names = append(names, set.Name)
		}
	}
	slices.Sort(names)
	return names
}
