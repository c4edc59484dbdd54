package e2e

import (
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// TestRollbackInParts undoes an enrolment phase by phase, from its last one back: in
// between the namespace is as an enrolment until that phase leaves it.
func TestRollbackInParts(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "parts"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, strings.ReplaceAll(protected, "NAMESPACE", namespace))
	c.settled(t, namespace)
	states := map[v1alpha1.Phase]map[string]any{"": c.state(t, namespace)}
	phases := []v1alpha1.Phase{v1alpha1.PhaseMigratePolicies, v1alpha1.PhaseActivateWaypoints, v1alpha1.PhaseEnableAmbient, v1alpha1.PhaseRestartWorkloads}
	for _, phase := range phases {
		c.ambient(t, "enroll", "-n", namespace, "--mixed-callers=deny", "--until", string(phase), "--yes").want(t, 0)
		states[phase] = c.state(t, namespace)
	}
	c.ambient(t, "enroll", "-n", namespace, "--mixed-callers=deny", "--yes").want(t, 0)
	c.wantNoSidecars(t, namespace)
	says(t, c.ambient(t, "rollback", "-n", namespace, "--to=disable-injection", "--yes").want(t, 0).stdout, "after phase disable-injection is left to be undone")

	for _, phase := range []v1alpha1.Phase{v1alpha1.PhaseRestartWorkloads, v1alpha1.PhaseActivateWaypoints, v1alpha1.PhaseMigratePolicies} {
		c.ambient(t, "rollback", "-n", namespace, "--to", string(phase), "--dry-run=server").want(t, 0)
		undone := c.ambient(t, "rollback", "-n", namespace, "--to", string(phase), "--yes").want(t, 0)
		says(t, undone.stdout, "is back to what phase "+string(phase)+" of its enrolment left", "To undo the rest: kubectl ambient rollback -n parts")
		c.settled(t, namespace)
		c.wantState(t, namespace, states[phase])
		says(t, c.ambient(t, "rollback", "-n", namespace, "--to", string(phase), "--yes").want(t, 0).stdout, "nothing to do")
	}
	var history v1alpha1.MigrationHistory
	decode(t, c.ambient(t, "history", "-n", namespace, "-o", "json").want(t, 0).stdout, &history)
	if last := history.Runs[0]; last.To != v1alpha1.PhaseMigratePolicies || len(last.Undoes) == 0 || !history.Runs[len(history.Runs)-1].Open {
		t.Errorf("the history begins with %+v and ends with %+v", last, history.Runs[len(history.Runs)-1])
	}
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, states[""])
}

// TestRollbackOfARun undoes the newest runs, and the rest afterwards.
func TestRollbackOfARun(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "newest"
	before := c.shop(t, namespace)
	c.ambient(t, "enroll", "-n", namespace, "--until=enable-ambient", "--yes").want(t, 0)
	between := c.state(t, namespace)
	c.ambient(t, "enroll", "-n", namespace, "--until=restart-workloads", "--yes").want(t, 0)
	c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 0)
	c.wantNoSidecars(t, namespace)
	var history v1alpha1.MigrationHistory
	decode(t, c.ambient(t, "history", "-n", namespace, "-o", "json").want(t, 0).stdout, &history)
	if len(history.Runs) != 3 {
		t.Fatalf("there are %d runs", len(history.Runs))
	}
	second := history.Runs[1].ID
	says(t, c.ambient(t, "rollback", "-n", namespace, "--run=none", "--yes").want(t, 1).stderr, "no record of a run none", second)
	says(t, c.ambient(t, "rollback", "-n", namespace, "--run", second, "--yes").want(t, 0).stdout, "is back to what it was before run "+second)
	c.settled(t, namespace)
	c.wantState(t, namespace, between)
	says(t, c.ambient(t, "rollback", "-n", namespace, "--run", second, "--yes").want(t, 1).stderr, "was rolled back already")
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
	c.wantSidecars(t, namespace)
}

// TestRollbackWithoutRecord puts back a namespace that was moved by hand, in the order
// that Istio's documentation has, and one whose records were deleted.
func TestRollbackWithoutRecord(t *testing.T) {
	t.Parallel()
	c := shared
	t.Run("by-hand", func(t *testing.T) {
		t.Parallel()
		const namespace = "by-hand"
		before := c.shop(t, namespace)
		c.wantSidecars(t, namespace)
		for _, command := range []string{
			"label namespace by-hand istio-injection- istio.io/dataplane-mode=ambient", "rollout restart deployment,statefulset -n by-hand",
		} {
			if output, err := c.Kubectl(t.Context(), strings.Fields(command)...); err != nil {
				t.Fatalf("%s: %v\n%s", command, err, output)
			}
		}
		c.settled(t, namespace)
		c.wantNoSidecars(t, namespace)
		restarted := c.state(t, namespace)
		says(t, c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 1).stderr, "holds no migration record", "--without-record")
		says(t, c.ambient(t, "rollback", "-n", namespace, "--without-record", "--yes").want(t, 2).stderr, "choose one, of canary, default: see --revision")
		c.wantState(t, namespace, restarted)
		arguments := []string{"rollback", "-n", namespace, "--without-record", "--revision=default"}
		says(t, c.ambient(t, append(arguments, "--dry-run=server")...).want(t, 0).stdout, "No record says what was there before")
		says(t, c.ambient(t, append(arguments, "--yes")...).want(t, 0).stdout, "Namespace by-hand is back on sidecars", "No record says what it was before")
		c.settled(t, namespace)
		c.wantSidecars(t, namespace)
		restarted["namespaces/"+namespace] = before["namespaces/"+namespace]
		c.wantState(t, namespace, restarted)
		says(t, c.ambient(t, "rollback", "-n", namespace, "--without-record", "--yes").want(t, 0).stdout, "nothing to do")
	})
	t.Run("pruned", func(t *testing.T) {
		t.Parallel()
		const namespace = "pruned"
		c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
		c.applyText(t, namespace, strings.ReplaceAll(protected, "NAMESPACE", namespace))
		c.settled(t, namespace)
		before := c.state(t, namespace)
		c.ambient(t, "enroll", "-n", namespace, "--mixed-callers=deny", "--yes").want(t, 0)
		says(t, c.ambient(t, "rollback", "-n", namespace, "--without-record", "--yes").want(t, 1).stderr, "holds the record of run", "leave out --without-record")
		c.ambient(t, "history", "prune", "-n", namespace, "--all", "--yes").want(t, 0)
		c.ambient(t, "rollback", "-n", namespace, "--without-record", "--revision=default", "--yes").want(t, 0)
		c.settled(t, namespace)
		c.wantSidecars(t, namespace)
		c.wantState(t, namespace, before)
	})
}
