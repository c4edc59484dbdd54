package controlplane

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/ztunnel"
)

func inNamespace(namespace string) PodMatcher {
	return func(pod *corev1.Pod) bool { return pod.Namespace == namespace }
}

// expectCapture waits until the pods look as said.
func expectCapture(t *testing.T, namespace, annotation string, state ztunnel.State) {
	t.Helper()
	eventually(t, fmt.Sprintf("the annotation is %q and the state %q", annotation, state), func(ctx context.Context) error {
		pods, err := podsOf(ctx, plane, namespace, "echo", 1)
		if err != nil {
			return err
		}
		if got := pods[0].Annotations[redirectionAnnotation]; got != annotation {
			return fmt.Errorf("the annotation is %q", got)
		}
		dump, err := dumpOf(ctx, plane, pods[0].Spec.NodeName)
		if err != nil {
			return err
		}
		if got := dump.WorkloadState[string(pods[0].UID)].State; got != state {
			return fmt.Errorf("the state is %q", got)
		}
		return nil
	})
}

func TestHoldCapture(t *testing.T) {
	namespace := newNamespace(t, "hold-capture", ambientLabels())
	release := plane.HoldCapture(inNamespace(namespace))
	apply(t, plane, namespace, echo(1))
	expectCapture(t, namespace, "pending", ztunnel.StatePending)
	release()
	allCaptured(t, namespace, 1)
}

func TestFeignCapture(t *testing.T) {
	namespace := newNamespace(t, "feign-capture", ambientLabels())
	apply(t, plane, namespace, echo(1))
	allCaptured(t, namespace, 1)
	release := plane.FeignCapture(inNamespace(namespace))
	expectCapture(t, namespace, "enabled", ztunnel.StatePending)
	release()
	allCaptured(t, namespace, 1)
}

func TestHoldReadiness(t *testing.T) {
	namespace := newNamespace(t, "hold-readiness", map[string]string{"istio-injection": "enabled"})
	release := plane.HoldReadiness(func(pod *corev1.Pod) bool {
		return pod.Namespace == namespace && HasSidecar(pod)
	})
	free := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "free", Labels: map[string]string{"app": "free", "sidecar.istio.io/inject": "false"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "free", Image: "free"}}},
	}
	if _, err := plane.Client().CoreV1().Pods(namespace).Create(t.Context(), free, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	apply(t, plane, namespace, echo(1))
	var held corev1.Pod
	eventually(t, "the pod runs", func(ctx context.Context) error {
		pods, err := podsOf(ctx, plane, namespace, "echo", 1)
		if err != nil {
			return err
		}
		held = pods[0]
		if held.Status.Phase != corev1.PodRunning || held.Status.PodIP == "" {
			return fmt.Errorf("its phase is %s", held.Status.Phase)
		}
		return nil
	})
	readyPods(t, plane, namespace, "free", 1)
	if current, err := podsOf(t.Context(), plane, namespace, "echo", 1); err != nil || podReady(&current[0]) {
		t.Fatalf("the pod is ready, or gone: %v", err)
	}
	if ready, err := readyEndpoints(t.Context(), namespace, "echo"); err != nil || ready != 0 {
		t.Errorf("%d endpoints are ready: %v", ready, err)
	}
	if err := release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if pod := readyPods(t, plane, namespace, "echo", 1)[0]; pod.UID != held.UID || pod.Status.PodIP != held.Status.PodIP {
		t.Error("another pod is ready, or it has another address")
	}
}

func TestRemoveZtunnel(t *testing.T) {
	const node = "node-3"
	namespace := newNamespace(t, "no-ztunnel", ambientLabels())
	restore, err := plane.RemoveZtunnel(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	create := func(name string) {
		t.Helper()
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "echo"}},
			Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "echo", Image: "echo"}}},
		}
		if _, err := plane.Client().CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create("echo")
	eventually(t, "the pod is pending", func(ctx context.Context) error {
		pods, err := podsOf(ctx, plane, namespace, "echo", 1)
		if err == nil && pods[0].Annotations[redirectionAnnotation] != "pending" {
			err = fmt.Errorf("it is %q", pods[0].Annotations[redirectionAnnotation])
		}
		return err
	})
	list, err := plane.Client().CoreV1().Pods(istioNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=ztunnel"})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range list.Items {
		if pod.Spec.NodeName == node {
			t.Errorf("ztunnel %s is on the node", pod.Name)
		}
	}
	if plane.Ztunnel("node-1") == nil {
		t.Error("another node has lost its ztunnel")
	}
	if err := restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	allCaptured(t, namespace, 1)
}
