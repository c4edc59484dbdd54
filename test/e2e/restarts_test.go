package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// byHand are workloads whose controllers replace no pods when the template changes.
const byHand = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 3
  serviceName: db
  updateStrategy: {type: OnDelete}
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: db}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  updateStrategy: {type: OnDelete}
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: agent, image: agent}]}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: lone}
spec:
  replicas: 2
  selector: {matchLabels: {app: lone}}
  template:
    metadata: {labels: {app: lone}}
    spec: {containers: [{name: lone, image: lone}]}
`

// nodes is held by tests that cordon nodes of the shared mesh.
var nodes sync.Mutex

// TestRestartsByHand moves workloads whose pods the run has to replace itself there
// and back. It wants StatefulSets to go from the highest ordinal down, a
// PodDisruptionBudget to be heeded, every node to be schedulable in the end, and one
// that somebody else has cordoned not to be.
func TestRestartsByHand(t *testing.T) {
	t.Parallel()
	c := shared
	nodes.Lock()
	t.Cleanup(nodes.Unlock)
	const namespace = "on-delete"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, byHand)
	one := intstr.FromInt32(1)
	budget := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "db"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}},
	}
	if _, err := c.kube.PolicyV1().PodDisruptionBudgets(namespace).Create(t.Context(), budget, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.settledByHand(t, namespace)
	c.wantSidecars(t, namespace)
	before, cordoned := c.state(t, namespace), c.cordonOne(t)
	modes := c.watchModes(t, namespace)

	says(t, c.ambient(t, "plan", "-n", namespace, "--cordon").want(t, 0).stdout, "PodDisruptionBudgets", "the highest")
	enrolled := c.ambient(t, "enroll", "-n", namespace, "--yes", "--cordon").want(t, 0)
	inOrder(t, enrolled.stderr, "evicted Pod on-delete/db-2", "evicted Pod on-delete/db-1", "evicted Pod on-delete/db-0")
	c.wantNoSidecars(t, namespace)
	c.wantCordoned(t, cordoned)
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
	says(t, c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 0).stdout, "nothing to do")

	rolled := c.ambient(t, "rollback", "-n", namespace, "--yes", "--cordon").want(t, 0)
	inOrder(t, rolled.stderr, "evicted Pod on-delete/db-2", "evicted Pod on-delete/db-1", "evicted Pod on-delete/db-0")
	c.settledByHand(t, namespace)
	c.wantState(t, namespace, before)
	c.wantSidecars(t, namespace)
	c.wantCordoned(t, cordoned)
	modes.want(t)
}

// TestRestartsByHandKilled kills runs that are in the middle of a DaemonSet: the next
// one finds the node that was left cordoned, and goes on or back.
func TestRestartsByHandKilled(t *testing.T) {
	t.Parallel()
	c := shared
	nodes.Lock()
	t.Cleanup(nodes.Unlock)
	const namespace = "on-delete-killed"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, byHand)
	c.settledByHand(t, namespace)
	before := c.state(t, namespace)
	for _, on := range []string{"enroll", "rollback"} {
		release := c.HoldReadiness(withoutSidecar(namespace, "agent"))
		run := c.startAmbient(t.Context(), t, nil, "enroll", "-n", namespace, "--yes", "--cordon")
		c.eventually(t, "a pod of the DaemonSet is evicted", func(context.Context) error { return run.stderr.contains("evicted Pod on-delete-killed/agent") })
		if err := run.command.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		run.wait(t)
		if err := release(context.WithoutCancel(t.Context())); err != nil {
			t.Fatal(err)
		}
		if left := c.cordoned(t); len(left) != 1 {
			t.Fatalf("cordoned are %v", left)
		}
		if on == "enroll" {
			says(t, c.ambient(t, "enroll", "-n", namespace, "--yes", "--resume").want(t, 0).stdout, "uncordon node/")
			c.wantNoSidecars(t, namespace)
			c.wantCordoned(t, nil)
		}
		c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
		c.settledByHand(t, namespace)
		c.wantState(t, namespace, before)
		c.wantSidecars(t, namespace)
		c.wantCordoned(t, nil)
	}
}

// paused is a Deployment that is to be paused.
const paused = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: held}
spec:
  replicas: 2
  selector: {matchLabels: {app: held}}
  template:
    metadata: {labels: {app: held}}
    spec: {containers: [{name: held, image: held}]}
`

// TestRestartsPaused moves a paused Deployment there and back, when that was asked for.
func TestRestartsPaused(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "paused"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, paused)
	c.settled(t, namespace)
	if output, err := c.Kubectl(t.Context(), "rollout", "pause", "-n", namespace, "deployment/held"); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	c.settled(t, namespace)
	before, replicaSets := c.state(t, namespace), c.replicaSets(t, namespace)
	says(t, c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 3).stderr, "it is paused", "--resume-paused")
	c.wantState(t, namespace, before)

	enrolled := c.ambient(t, "enroll", "-n", namespace, "--yes", "--resume-paused").want(t, 0)
	says(t, enrolled.stdout, "pause deployment/held again")
	c.wantNoSidecars(t, namespace)
	if held, err := c.kube.AppsV1().Deployments(namespace).Get(t.Context(), "held", metav1.GetOptions{}); err != nil || !held.Spec.Paused || len(held.Annotations["ambient.kubectl-ambient.dev/resumed"]) > 0 {
		t.Errorf("the Deployment is not paused again: %v, %+v", err, held)
	}
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
	says(t, c.ambient(t, "enroll", "-n", namespace, "--yes", "--resume-paused").want(t, 0).stdout, "nothing to do")
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.wantState(t, namespace, before)
	c.wantSidecars(t, namespace)
	if diff := cmp.Diff(replicaSets, c.replicaSets(t, namespace)); diff != "" {
		t.Errorf("the former ReplicaSets did not come back (-before +now):\n%s", diff)
	}

	// Killed while it is resumed, it is paused again by whoever goes on or back.
	for _, on := range []string{"enroll", "rollback"} {
		release := c.HoldReadiness(withoutSidecar(namespace, "held"))
		run := c.startAmbient(t.Context(), t, nil, "enroll", "-n", namespace, "--yes", "--resume-paused")
		c.eventually(t, "the run waits for the Deployment", func(context.Context) error { return run.stderr.contains("waiting: ") })
		if err := run.command.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		run.wait(t)
		if err := release(context.WithoutCancel(t.Context())); err != nil {
			t.Fatal(err)
		}
		if on == "enroll" {
			c.ambient(t, "enroll", "-n", namespace, "--yes", "--resume").want(t, 0)
			c.wantNoSidecars(t, namespace)
		}
		c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
		c.wantState(t, namespace, before)
		c.wantSidecars(t, namespace)
	}
}

// settledByHand waits until all pods of byHand are ready.
func (c *cluster) settledByHand(t *testing.T, namespace string) {
	t.Helper()
	c.eventually(t, "namespace "+namespace+" settles", func(ctx context.Context) error {
		set, err := c.kube.AppsV1().ReplicaSets(namespace).Get(ctx, "lone", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if set.Status.ReadyReplicas != *set.Spec.Replicas {
			return fmt.Errorf("ReplicaSet lone is not ready: %+v", set.Status)
		}
		return c.unsettled(ctx, namespace)
	})
}

// inOrder fails the test unless the text contains every part, one after another.
func inOrder(t *testing.T, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, part := range parts {
		_, after, found := strings.Cut(rest, part)
		if !found {
			t.Fatalf("want %q, in this order, in:\n%s", parts, text)
		}
		rest = after
	}
}

// cordonOne cordons a node, as somebody else, until the test is over.
func (c *cluster) cordonOne(t *testing.T) []string {
	t.Helper()
	list, err := c.kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) == 0 {
		t.Fatal(errors.Join(err, errors.New("there are no nodes")))
	}
	name := list.Items[0].Name
	c.cordon(t, name)
	return []string{name}
}

// cordonAll cordons every node, until the test is over.
func (c *cluster) cordonAll(t *testing.T) []string {
	t.Helper()
	list, err := c.kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) == 0 {
		t.Fatal(errors.Join(err, errors.New("there are no nodes")))
	}
	var names []string
	for _, node := range list.Items {
		names = append(names, node.Name)
		c.cordon(t, node.Name)
	}
	return names
}

func (c *cluster) cordon(t *testing.T, name string) {
	t.Helper()
	if output, err := c.Kubectl(t.Context(), "cordon", name); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	t.Cleanup(func() {
		if output, err := c.Kubectl(context.Background(), "uncordon", name); err != nil {
			t.Errorf("%v\n%s", err, output)
		}
	})
}

func (c *cluster) cordoned(t *testing.T) []string {
	t.Helper()
	list, err := c.kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, node := range list.Items {
		if node.Spec.Unschedulable {
			names = append(names, node.Name)
		}
	}
	return names
}

func (c *cluster) wantCordoned(t *testing.T, want []string) {
	t.Helper()
	if got := c.cordoned(t); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("cordoned are %v, not %v", got, want)
	}
}
