package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const aged = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
`

// TestRefreshSidecars gives a workload newer sidecars whose sidecars are of before the
// mesh had the ambient profile: alone, and as the first steps of an enrolment. It is not
// parallel: such sidecars keep every namespace of the mesh from being enrolled.
func TestRefreshSidecars(t *testing.T) {
	c := shared
	t.Run("alone", func(t *testing.T) {
		const namespace = "aged"
		c.aged(t, namespace)
		refresh := []string{"enroll", "-n", namespace, "--until", string(v1alpha1.PhaseRefreshSidecars)}
		c.ambient(t, append(refresh, "--dry-run=server")...).want(t, 0)
		c.wantTunnels(t, namespace, false)
		says(t, c.ambient(t, append(refresh, "--yes")...).want(t, 0).stdout, "up to phase refresh-sidecars are done")
		c.settled(t, namespace)
		c.wantTunnels(t, namespace, true)
		after := c.state(t, namespace)
		says(t, c.ambient(t, append(refresh, "--yes")...).want(t, 0).stdout, "No sidecar of namespace aged predates HBONE: nothing to do")
		says(t, c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0).stdout, "LEFT ALONE", "restartedAt")
		c.wantState(t, namespace, after)
		c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 0)
		c.wantNoSidecars(t, namespace)
		c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
		c.settled(t, namespace)
		c.wantState(t, namespace, after)
		c.wantTunnels(t, namespace, true)
	})
	t.Run("first", func(t *testing.T) {
		const namespace = "aged-first"
		c.aged(t, namespace)
		before, sets := c.state(t, namespace), c.replicaSets(t, namespace)
		enrolled := c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 0)
		says(t, enrolled.stdout+enrolled.stderr, "restart deployment/web for sidecars that accept HBONE", "restart deployment/web without sidecars")
		c.wantNoSidecars(t, namespace)
		c.ambient(t, "verify", "-n", namespace).want(t, 0)
		c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
		c.settled(t, namespace)
		c.wantState(t, namespace, before)
		c.wantTunnels(t, namespace, true)
		if now := c.replicaSets(t, namespace); strings.Join(now, " ") != strings.Join(sets, " ") {
			t.Errorf("the ReplicaSets in use are %v, and were %v", now, sets)
		}
	})
}

// aged makes a namespace with a Deployment whose pods have sidecars that predate HBONE:
// they are made as an injector of then would have, before their ReplicaSet, which adopts
// them.
func (c *cluster) aged(t *testing.T, namespace string) {
	t.Helper()
	c.namespace(t, namespace, nil)
	// Before those are adopted the ReplicaSet makes pods of its own, without sidecars.
	c.observer.excuse(namespace, takesCapture)
	labels := c.templateLabels(t, namespace)
	const replicas = 2
	for i := range replicas {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("web-aged-%d", i), Labels: map[string]string{"security.istio.io/tlsMode": "istio"}, Annotations: map[string]string{
				"sidecar.istio.io/status": `{"containers":["istio-proxy"],"revision":"default"}`, "istio.io/rev": "default",
			}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web"}, {Name: "istio-proxy", Image: "docker.io/istio/proxyv2:1.31.1"}}},
		}
		for key, value := range labels {
			pod.Labels[key] = value
		}
		if _, err := c.kube.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	c.applyText(t, namespace, strings.Replace(aged, "replicas: 0", fmt.Sprintf("replicas: %d", replicas), 1))
	c.eventually(t, "the pods are adopted", func(ctx context.Context) error {
		if err := c.unsettled(ctx, namespace); err != nil {
			return err
		}
		for _, pod := range c.pods(t, namespace) {
			if !strings.HasPrefix(pod.Name, "web-aged-") || metav1.GetControllerOf(&pod) == nil {
				return errors.New("pod " + pod.Name + " is not adopted, or another one")
			}
		}
		return nil
	})
	patch := []byte(`{"metadata":{"labels":{"istio-injection":"enabled"}}}`)
	if _, err := c.kube.CoreV1().Namespaces().Patch(t.Context(), namespace, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// templateLabels are those that the ReplicaSet gives its pods, whose hash is that of the
// template. Nothing of it is left.
func (c *cluster) templateLabels(t *testing.T, namespace string) map[string]string {
	t.Helper()
	c.applyText(t, namespace, aged)
	var labels map[string]string
	c.eventually(t, "the Deployment has its ReplicaSet", func(ctx context.Context) error {
		sets, err := c.kube.AppsV1().ReplicaSets(namespace).List(ctx, metav1.ListOptions{})
		if err == nil && len(sets.Items) != 1 {
			err = fmt.Errorf("there are %d", len(sets.Items))
		}
		if err == nil {
			labels = sets.Items[0].Spec.Template.Labels
		}
		return err
	})
	if output, err := c.Kubectl(t.Context(), "delete", "deployment", "web", "-n", namespace, "--cascade=foreground", "--wait"); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return labels
}

// wantTunnels fails the test where pods have no sidecars, or those accept HBONE although
// they are not to, or the other way round.
func (c *cluster) wantTunnels(t *testing.T, namespace string, want bool) {
	t.Helper()
	for _, pod := range c.pods(t, namespace) {
		if !sidecar(&pod) || (pod.Labels["networking.istio.io/tunnel"] == "http") != want {
			t.Errorf("pod %s: has sidecar: %v, labels %v", pod.Name, sidecar(&pod), pod.Labels)
		}
	}
}
