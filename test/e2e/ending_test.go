package e2e

import (
	"context"
	"strings"
	"testing"

	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestPodsThatEndLate: pods that take their time to end still serve and call. A restart
// waits for those with sidecars, and a namespace is not taken out of ambient mode before
// those that only ztunnel protects. The kubelets here end pods at once; a finalizer keeps
// them.
func TestPodsThatEndLate(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "ending"
	before := c.shop(t, namespace)
	for _, move := range []struct {
		verb, waits, then string
		before            map[string]any
	}{
		{"enroll", "and its sidecar calls past waypoints until it has", "ambient", nil},
		{"rollback", "and nothing but ztunnel protects it until it has", "ambient", before},
	} {
		pod := c.keep(t, namespace, "app=cart")
		run := c.startAmbient(t.Context(), t, nil, move.verb, "-n", namespace, "--yes")
		t.Cleanup(func() { _ = run.command.Wait() })
		c.eventually(t, move.verb+" waits for the pod", func(context.Context) error {
			return run.stderr.contains("Pod " + namespace + "/" + pod + " still ends, " + move.waits)
		})
		live, err := c.kube.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if mode := live.Labels[label.IoIstioDataplaneMode.Name]; mode != move.then {
			t.Errorf("%s: the namespace is in mode %q before the pod has ended", move.verb, mode)
		}
		c.release(t, namespace, pod)
		result := run.wait(t).want(t, 0)
		if strings.Contains(result.stderr, "is not waited for") {
			t.Errorf("%s has not waited: %s", move.verb, result.stderr)
		}
		c.settled(t, namespace)
		if move.before != nil {
			c.wantState(t, namespace, move.before)
			c.wantSidecars(t, namespace)
		}
	}
}

const kept = "e2e.kubectl-ambient.dev/kept"

// keep has a pod stay when it is deleted, until it is released, and returns its name.
func (c *cluster) keep(t *testing.T, namespace, selector string) string {
	t.Helper()
	pods, err := c.kube.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("%d pods of %s: %v", len(pods.Items), selector, err)
	}
	c.finalizers(t, &pods.Items[0], `["`+kept+`"]`)
	return pods.Items[0].Name
}

func (c *cluster) release(t *testing.T, namespace, pod string) {
	t.Helper()
	c.finalizers(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pod}}, "null")
}

func (c *cluster) finalizers(t *testing.T, pod *corev1.Pod, list string) {
	t.Helper()
	patch := []byte(`{"metadata":{"finalizers":` + list + `}}`)
	if _, err := c.kube.CoreV1().Pods(pod.Namespace).Patch(context.WithoutCancel(t.Context()), pod.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatalf("finalizers of Pod %s/%s: %v", pod.Namespace, pod.Name, err)
	}
}
