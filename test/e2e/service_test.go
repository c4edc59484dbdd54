package e2e

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestServiceOnSidecars gives one Service of a namespace that has not moved a waypoint:
// its pods keep their sidecars and are not restarted, and a rollback leaves nothing.
func TestServiceOnSidecars(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "fronted-first"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, strings.ReplaceAll(protected, "NAMESPACE", namespace))
	c.settled(t, namespace)
	before := c.state(t, namespace)
	sets := c.replicaSets(t, namespace)
	says(t, c.ambient(t, "enroll", "svc/none", "-n", namespace, "--yes").want(t, 2).stderr, "there is no Service none in namespace fronted-first")
	c.ambient(t, "enroll", "svc/web", "-n", namespace, "--dry-run=server").want(t, 0)
	c.wantState(t, namespace, before)

	says(t, c.ambient(t, "enroll", "svc/web", "-n", namespace, "--yes").want(t, 0).stdout, "Calls to service/web of namespace fronted-first go through its waypoint", "rollback -n fronted-first service/web")
	c.wantBound(t, namespace)
	c.wantUses(t, namespace, map[string]bool{"web": true})
	c.wantSidecars(t, namespace)
	// The waypoint has one of its own.
	for _, name := range sets {
		if !strings.Contains(strings.Join(c.replicaSets(t, namespace), " "), name) {
			t.Errorf("ReplicaSet %s is not in use any more", name)
		}
	}
	says(t, c.ambient(t, "enroll", "svc/web", "-n", namespace, "--yes").want(t, 0).stdout, "has its waypoint: nothing to do")
	c.ambient(t, "rollback", "svc/web", "-n", namespace, "--yes").want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
	says(t, c.ambient(t, "rollback", "svc/web", "-n", namespace, "--yes").want(t, 0).stdout, "nothing to do")
}

// TestServiceThereAndBack takes one Service of an enrolled namespace off its waypoint:
// nothing puts it on again but who asks for it, and the whole is rolled back to what it
// was, whether it is on or off.
func TestServiceThereAndBack(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "fronted-later"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, strings.ReplaceAll(protected, "NAMESPACE", namespace))
	c.settled(t, namespace)
	before := c.state(t, namespace)
	c.ambient(t, "enroll", "-n", namespace, "--mixed-callers=deny", "--yes").want(t, 0)
	whole := c.state(t, namespace)

	arguments := []string{"rollback", "service/web", "-n", namespace, "--accept=calls-newly-allowed,guards-stay"}
	c.ambient(t, append(arguments, "--dry-run=server")...).want(t, 0)
	c.wantState(t, namespace, whole)
	says(t, c.ambient(t, append(arguments, "--yes")...).want(t, 0).stdout, "Calls to service/web of namespace fronted-later go past waypoints again")
	c.wantUses(t, namespace, map[string]bool{"cart": true, "cart-admin": true})
	c.wantNoSidecars(t, namespace)
	off := c.state(t, namespace)
	says(t, c.ambient(t, "verify", "-n", namespace).want(t, 0).stdout, "a rollback has taken it off its waypoint")
	says(t, c.ambient(t, "status", "-n", namespace).want(t, 0).stdout, "a rollback has taken it off its waypoint")
	c.ambient(t, "enroll", "-n", namespace, "--resume", "--yes").want(t, 0)
	c.wantState(t, namespace, off)

	c.ambient(t, "enroll", "service/web", "-n", namespace, "--mixed-callers=deny", "--yes", "--accept=calls-newly-allowed").want(t, 0)
	c.wantUses(t, namespace, map[string]bool{"cart": true, "cart-admin": true, "web": true})
	c.wantBound(t, namespace)
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
	c.ambient(t, append(arguments, "--yes")...).want(t, 0)
	c.wantState(t, namespace, off)
	var history v1alpha1.MigrationHistory
	decode(t, c.ambient(t, "history", "-n", namespace, "-o", "json").want(t, 0).stdout, &history)
	if last := history.Runs[0]; last.Service != "service/web" || last.Operation != v1alpha1.OperationRollback || !history.Runs[len(history.Runs)-1].Open {
		t.Errorf("the history begins with %+v and ends with %+v", last, history.Runs[len(history.Runs)-1])
	}
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
	c.wantSidecars(t, namespace)
}

// wantUses fails the test unless just these Services name a waypoint.
func (c *cluster) wantUses(t *testing.T, namespace string, want map[string]bool) {
	t.Helper()
	services, err := c.kube.CoreV1().Services(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	uses := map[string]bool{}
	for _, service := range services.Items {
		if service.Labels["istio.io/use-waypoint"] != "" {
			uses[service.Name] = true
		}
	}
	if diff := cmp.Diff(want, uses); diff != "" {
		t.Errorf("the Services that name a waypoint are (-want +got):\n%s", diff)
	}
}
