package e2e

import (
	"slices"
	"strings"
	"testing"
)

// TestCanary moves one workload of a namespace that keeps its sidecars: its pods are in
// ambient mode by their own label, behind a waypoint that is bound. The namespace takes
// it up without a restart, and a rollback undoes everything.
func TestCanary(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "canary-first"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, strings.ReplaceAll(protected, "NAMESPACE", namespace))
	c.settled(t, namespace)
	before := c.state(t, namespace)
	says(t, c.ambient(t, "enroll", "deployment/none", "-n", namespace, "--yes").want(t, 2).stderr, "there is no deployment/none in namespace canary-first")
	c.ambient(t, "enroll", "deploy/web", "-n", namespace, "--mixed-callers=deny", "--dry-run=server").want(t, 0)
	c.wantState(t, namespace, before)

	moved := c.ambient(t, "enroll", "deploy/web", "-n", namespace, "--mixed-callers=deny", "--yes").want(t, 0)
	says(t, moved.stdout, "deployment/web of namespace canary-first is in ambient mode", "rollback -n canary-first")
	c.settled(t, namespace)
	c.wantModes(t, namespace, "web")
	c.wantBound(t, namespace)
	says(t, c.ambient(t, "enroll", "deploy/web", "-n", namespace, "--mixed-callers=deny", "--yes").want(t, 0).stdout, "nothing to do")

	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
	c.wantSidecars(t, namespace)

	c.ambient(t, "enroll", "deploy/web", "-n", namespace, "--mixed-callers=deny", "--yes").want(t, 0)
	sets := c.replicaSets(t, namespace)
	c.ambient(t, "enroll", "-n", namespace, "--mixed-callers=deny", "--yes").want(t, 0)
	c.wantNoSidecars(t, namespace)
	for _, name := range sets {
		if strings.HasPrefix(name, "web-") && !slices.Contains(c.replicaSets(t, namespace), name) {
			t.Errorf("the workload was restarted once more: %s is not in use any more", name)
		}
	}
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
	c.wantSidecars(t, namespace)
}

// wantModes fails the test where the pods of an application are not in ambient mode,
// or where those of others are, or lack their sidecars.
func (c *cluster) wantModes(t *testing.T, namespace, ambient string) {
	t.Helper()
	for _, pod := range c.pods(t, namespace) {
		app := pod.Labels["app"]
		captured := pod.Annotations["ambient.istio.io/redirection"] == "enabled"
		if app != "" && (captured != (app == ambient) || sidecar(&pod) == (app == ambient)) {
			t.Errorf("pod %s: has sidecar: %v, is captured: %v", pod.Name, sidecar(&pod), captured)
		}
	}
}
