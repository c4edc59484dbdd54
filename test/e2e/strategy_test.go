package e2e

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// ownedWeb is a Deployment whose template is not to be written, as those of byHand.
const ownedWeb = `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {kustomize.toolkit.fluxcd.io/name: shop}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web}]}
`

// TestStrategyNamespace moves workloads there and back whose templates somebody else
// writes: no workload is written, and every pod is evicted, as its budget allows.
func TestStrategyNamespace(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "owned"
	byLabels := []string{"enroll", "-n", namespace, "--yes", "--strategy=namespace"}
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, byHand+ownedWeb)
	one := intstr.FromInt32(1)
	budget := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
	}
	if _, err := c.kube.PolicyV1().PodDisruptionBudgets(namespace).Create(t.Context(), budget, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.settledByHand(t, namespace)
	c.wantSidecars(t, namespace)
	before, workloads := c.state(t, namespace), c.generations(t, namespace)

	says(t, c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 3).stdout, "Flux Kustomization")
	enrolled := c.ambient(t, byLabels...).want(t, 0)
	says(t, enrolled.stdout, "evict the pods with sidecars of deployment/web", "PodDisruptionBudgets respected")
	inOrder(t, enrolled.stderr, "evicted Pod owned/web-", "evicted Pod owned/web-", "evicted Pod owned/db-2", "evicted Pod owned/db-1", "evicted Pod owned/db-0")
	c.wantNoSidecars(t, namespace)
	c.wantGenerations(t, namespace, workloads)
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
	says(t, c.ambient(t, byLabels...).want(t, 0).stdout, "nothing to do")

	rolled := c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	inOrder(t, rolled.stderr, "evicted Pod owned/db-2", "evicted Pod owned/db-0", "evicted Pod owned/web-", "evicted Pod owned/web-")
	c.settledByHand(t, namespace)
	c.wantState(t, namespace, before)
	c.wantSidecars(t, namespace)
	c.wantGenerations(t, namespace, workloads)

	// Killed in the middle, it is gone on with, there and back.
	c.killedEvicting(t, namespace, false, byLabels)
	c.ambient(t, "enroll", "-n", namespace, "--yes", "--resume").want(t, 0)
	c.wantNoSidecars(t, namespace)
	c.killedEvicting(t, namespace, true, []string{"rollback", "-n", namespace, "--yes"})
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.settledByHand(t, namespace)
	c.wantState(t, namespace, before)
	c.wantSidecars(t, namespace)

	c.killedEvicting(t, namespace, false, append(byLabels, "--max-parallel-restarts=2"))
	c.ambient(t, "rollback", "-n", namespace, "--yes", "--max-parallel-restarts=3").want(t, 0)
	c.settledByHand(t, namespace)
	c.wantState(t, namespace, before)
	c.wantSidecars(t, namespace)
	c.wantGenerations(t, namespace, workloads)
}

// killedEvicting kills a run when the first pod that it has evicted was made anew, with
// or without a sidecar.
func (c *cluster) killedEvicting(t *testing.T, namespace string, sidecars bool, arguments []string) {
	t.Helper()
	release := c.HoldReadiness(func(pod *corev1.Pod) bool { return pod.Namespace == namespace && sidecar(pod) == sidecars })
	run := c.startAmbient(t.Context(), t, nil, arguments...)
	c.eventually(t, "a pod is evicted", func(context.Context) error { return run.stderr.contains("evicted Pod " + namespace + "/") })
	if err := run.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	run.wait(t)
	if err := release(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// generations are those of the workloads of byHand and ownedWeb: they tell whether
// anybody has written their specs.
func (c *cluster) generations(t *testing.T, namespace string) map[string]int64 {
	t.Helper()
	generations := map[string]int64{}
	web, err := c.kube.AppsV1().Deployments(namespace).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	db, err := c.kube.AppsV1().StatefulSets(namespace).Get(t.Context(), "db", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	agent, err := c.kube.AppsV1().DaemonSets(namespace).Get(t.Context(), "agent", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	lone, err := c.kube.AppsV1().ReplicaSets(namespace).Get(t.Context(), "lone", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	generations["web"], generations["db"], generations["agent"], generations["lone"] = web.Generation, db.Generation, agent.Generation, lone.Generation
	return generations
}

func (c *cluster) wantGenerations(t *testing.T, namespace string, want map[string]int64) {
	t.Helper()
	if diff := cmp.Diff(want, c.generations(t, namespace)); diff != "" {
		t.Errorf("somebody has written the workloads (-before +now):\n%s", diff)
	}
}
