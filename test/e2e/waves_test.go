package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
)

// TestWaves moves two workloads at the same time, there and back, and kills the run
// each time when both are under way: whoever goes on or back finds both.
func TestWaves(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "waves"
	atOnce := []string{"-n", namespace, "--yes", "--max-parallel-restarts=2"}
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, smallShop)
	c.settled(t, namespace)
	before, replicaSets := c.state(t, namespace), c.replicaSets(t, namespace)
	modes := c.watchModes(t, namespace)

	c.killedAtOnce(t, namespace, false, append([]string{"enroll"}, atOnce...))
	c.wantRunning(t, namespace, 2)
	c.ambient(t, "enroll", "-n", namespace, "--yes", "--resume").want(t, 0)
	c.wantNoSidecars(t, namespace)
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
	modes.want(t)

	c.killedAtOnce(t, namespace, true, append([]string{"rollback"}, atOnce...))
	c.wantRunning(t, namespace, 2)
	c.ambient(t, append([]string{"rollback"}, atOnce...)...).want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
	c.wantSidecars(t, namespace)
	if diff := cmp.Diff(replicaSets, c.replicaSets(t, namespace)); diff != "" {
		t.Errorf("the former ReplicaSets did not come back (-before +now):\n%s", diff)
	}

	// Killed on the way there, they go back, too.
	c.killedAtOnce(t, namespace, false, append([]string{"enroll"}, atOnce...))
	c.ambient(t, append([]string{"rollback"}, atOnce...)...).want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
	c.wantSidecars(t, namespace)

	whole := c.ambient(t, append([]string{"enroll"}, atOnce...)...).want(t, 0)
	says(t, whole.stdout, "are taken at the same time")
	says(t, whole.stderr, "(restart deployment/cart without sidecars)", "(restart statefulset/db without sidecars)")
	c.ambient(t, append([]string{"rollback"}, atOnce...)...).want(t, 0)
	c.wantState(t, namespace, before)
}

// killedAtOnce kills a run when the new pods of both workloads of smallShop, with or
// without sidecars, are there and none is ready.
func (c *cluster) killedAtOnce(t *testing.T, namespace string, sidecars bool, arguments []string) {
	t.Helper()
	release := c.HoldReadiness(func(pod *corev1.Pod) bool { return pod.Namespace == namespace && sidecar(pod) == sidecars })
	run := c.startAmbient(t.Context(), t, nil, arguments...)
	c.eventually(t, "both workloads are under way", func(context.Context) error {
		apps := map[string]bool{}
		for _, pod := range c.pods(t, namespace) {
			if sidecar(&pod) == sidecars {
				apps[pod.Labels["app"]] = true
			}
		}
		if len(apps) < 2 {
			return fmt.Errorf("only %v", apps)
		}
		return nil
	})
	if err := run.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	run.wait(t)
	if err := release(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// wantRunning wants the newest record to say of so many steps that they are running.
func (c *cluster) wantRunning(t *testing.T, namespace string, want int) {
	t.Helper()
	var history v1alpha1.MigrationHistory
	decode(t, c.ambient(t, "history", "-n", namespace, "-o", "json").want(t, 0).stdout, &history)
	var run v1alpha1.MigrationRecord
	if err := json.Unmarshal([]byte(c.ambient(t, "history", "-n", namespace, history.Runs[0].ID, "-o", "json").want(t, 0).stdout), &run); err != nil {
		t.Fatal(err)
	}
	running := 0
	for _, step := range run.Steps {
		if step.State == v1alpha1.StepRunning {
			running++
		}
	}
	if running != want {
		t.Errorf("%d steps are recorded as running, not %d: %+v", running, want, run.Steps)
	}
}
