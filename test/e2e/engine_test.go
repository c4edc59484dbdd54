package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// file writes a text to a file that is gone after the test.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// shop makes a namespace of two workloads with sidecars, and returns its state.
func (c *cluster) shop(t *testing.T, namespace string) map[string]any {
	t.Helper()
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, smallShop)
	c.settled(t, namespace)
	return c.state(t, namespace)
}

// TestReviewedPlan: what was reviewed is carried out just so, or not at all.
func TestReviewedPlan(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "reviewed"
	before := c.shop(t, namespace)
	reviewed := c.ambient(t, "plan", "-n", namespace, "-o", "yaml").want(t, 0).stdout
	plan := file(t, reviewed)

	says(t, c.ambient(t, "enroll", "-n", "other", "--plan", plan, "--yes").want(t, 2).stderr, "is for namespace reviewed, and -n names other")
	says(t, c.ambient(t, "enroll", "--plan", plan, "--waypoint=edge", "--yes").want(t, 2).stderr, "--waypoint cannot be given with --plan")
	says(t, c.ambient(t, "enroll", "--plan", file(t, "kind: MeshStatus"), "--yes").want(t, 1).stderr, "not a MigrationPlan")
	says(t, c.ambient(t, "enroll", "--plan", file(t, strings.Replace(reviewed, "steps:", "stepz:", 1)), "--yes").want(t, 1).stderr, "stepz")
	c.wantState(t, namespace, before)

	// Scaling is no departure from the plan, another image is.
	c.scale(t, namespace, "cart", 2)
	c.settled(t, namespace)
	c.ambient(t, "enroll", "--plan", plan, "--dry-run=client").want(t, 0)
	if output, err := c.Kubectl(t.Context(), "set", "image", "-n", namespace, "deployment/cart", "cart=cart:2"); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	c.settled(t, namespace)
	changed := c.state(t, namespace)
	refused := c.ambient(t, "enroll", "--plan", plan, "--yes").want(t, 3)
	says(t, refused.stderr, "Deployment reviewed/cart: it has changed since", "-      - image: cart\n", "+      - image: cart:2\n", "plan again")
	c.wantState(t, namespace, changed)

	fresh := file(t, c.ambient(t, "plan", "-n", namespace, "-o", "json").want(t, 0).stdout)
	c.ambient(t, "enroll", "--plan", fresh, "--yes", "--reason", "ticket 7").want(t, 0)
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
	says(t, c.ambient(t, "enroll", "--plan", fresh, "--yes").want(t, 3).stderr, "no step of a plan made now touches it")
	says(t, c.ambient(t, "history", "-n", namespace).want(t, 0).stdout, "enroll", "succeeded", "why: ticket 7")
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, changed)
}

// TestUntilAndResume goes phase by phase, with the options of the first run.
func TestUntilAndResume(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "until"
	before := c.shop(t, namespace)
	says(t, c.ambient(t, "enroll", "-n", namespace, "--resume", "--yes").want(t, 1).stderr, "no migration record: there is no run to resume")
	says(t, c.ambient(t, "enroll", "-n", namespace, "--until=lunch", "--yes").want(t, 2).stderr, `unknown phase "lunch"`)
	first := c.ambient(t, "enroll", "-n", namespace, "--waypoint=edge", "--waypoint-add=nothing", "--until=enable-ambient", "--yes")
	says(t, first.want(t, 2).stderr, "no Service until/nothing")
	first = c.ambient(t, "enroll", "-n", namespace, "--waypoint=edge", "--until=enable-ambient", "--yes").want(t, 0)
	says(t, first.stdout, "up to phase enable-ambient are done", "To go on:   kubectl ambient enroll -n until --resume")
	c.wantSidecars(t, namespace)
	failing := c.ambient(t, "enroll", "-n", namespace, "--resume", "--yes", "--gate-exec", `echo "after $KUBECTL_AMBIENT_WORKLOAD"; exit 7`).want(t, 4)
	says(t, failing.stderr, "after deployment/cart", "exit status 7", "to go on:     kubectl ambient enroll -n until --resume")
	says(t, c.ambient(t, "enroll", "-n", namespace, "--dry-run=client").want(t, 0).stderr, "with other options than these: --resume goes on with it")
	c.ambient(t, "enroll", "-n", namespace, "--resume", "--yes").want(t, 0)
	c.wantNoSidecars(t, namespace)
	says(t, c.ambient(t, "enroll", "-n", namespace, "--resume", "--yes").want(t, 0).stdout, "nothing to do")

	var history v1alpha1.MigrationHistory
	decode(t, c.ambient(t, "history", "-n", namespace, "-o", "json").want(t, 0).stdout, &history)
	if len(history.Runs) != 3 || history.Runs[0].Resumes != history.Runs[1].ID || history.Runs[2].Until != v1alpha1.PhaseEnableAmbient || !history.Runs[2].Open {
		t.Errorf("the history is %+v", history.Runs)
	}
	var record v1alpha1.MigrationRecord
	decode(t, c.ambient(t, "history", "-n", namespace, history.Runs[0].ID, "-o", "json").want(t, 0).stdout, &record)
	if record.Plan.Options == nil || record.Plan.Options.Waypoint != "edge" {
		t.Errorf("the resumed run has the options %+v", record.Plan.Options)
	}
	says(t, c.ambient(t, "history", "prune", "-n", namespace, "--yes").want(t, 0).stdout, "nothing to do")
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
	says(t, c.ambient(t, "history", "prune", "-n", namespace, "--yes").want(t, 0).stdout, "Deleted 4 records")
	says(t, c.ambient(t, "history", "-n", namespace).want(t, 0).stdout, "No run has changed namespace until.")
	events, err := c.Kubectl(t.Context(), "get", "events", "-n", namespace, "-o", "jsonpath={range .items[*]}{.reason}{\"\\n\"}{end}")
	if err != nil {
		t.Fatal(err)
	}
	says(t, events, "EnrollStarted", "EnrollPhaseDone", "EnrollStopped", "EnrollCompleted", "RollbackCompleted")
}

// TestGateBetweenWorkloads: a gate that has not held is asked again before anything else,
// by whichever run goes on, also where nothing but that is left to be done.
func TestGateBetweenWorkloads(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "gated"
	before := c.shop(t, namespace)
	log, open := filepath.Join(t.TempDir(), "asked"), filepath.Join(t.TempDir(), "open")
	if err := os.WriteFile(open, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	gate := fmt.Sprintf(`echo "$KUBECTL_AMBIENT_WORKLOAD" >>%s; grep -qx "$KUBECTL_AMBIENT_WORKLOAD" %s`, log, open)
	asked := func(want ...string) {
		t.Helper()
		text, err := os.ReadFile(log)
		if err != nil || !slices.Equal(strings.Fields(string(text)), want) {
			t.Errorf("it has asked after %q, want %q (%v)", text, want, err)
		}
		if err := os.WriteFile(log, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opens := func(workloads ...string) {
		t.Helper()
		if err := os.WriteFile(open, []byte(strings.Join(workloads, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	enroll := func(arguments ...string) result {
		return c.ambient(t, append([]string{"enroll", "-n", namespace, "--yes", "--gate-exec", gate}, arguments...)...)
	}
	var order []string
	var planned v1alpha1.MigrationPlan
	decode(t, c.ambient(t, "plan", "-n", namespace, "-o", "json").want(t, 0).stdout, &planned)
	for _, step := range planned.Steps {
		if workload, is := strings.CutPrefix(step.ID, "restart-workloads/"); is {
			order = append(order, workload)
		}
	}
	first, last := order[0], order[len(order)-1]
	says(t, enroll("--until=restart-workloads").want(t, 4).stderr, "after step restart-workloads/"+first+": --gate-exec", "to go on:")
	asked(first)
	halfway := c.state(t, namespace)
	for _, again := range [][]string{{"--resume"}, {"--until=restart-workloads"}} {
		says(t, enroll(again...).want(t, 4).stderr, "after step restart-workloads/"+first+": --gate-exec", "Nothing was changed but by run", "to go on:", "to roll back:")
		asked(first)
		c.wantState(t, namespace, halfway)
	}
	opens(order[:len(order)-1]...)
	says(t, enroll("--resume").want(t, 4).stderr, "after step restart-workloads/"+last)
	asked(order...)
	says(t, enroll("--resume").want(t, 4).stderr, "after step restart-workloads/"+last, "Nothing was changed but by run")
	asked(last)
	opens(last)
	says(t, enroll("--resume").want(t, 0).stdout, "up to phase restart-workloads are done")
	asked(last)
	enroll("--resume").want(t, 0)
	asked()
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
}

// TestRollbackOnFailure: a run that fails is undone at once, and says so in one
// document.
func TestRollbackOnFailure(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "undone"
	before := c.shop(t, namespace)
	c.holdReadiness(t, namespace, "db")
	run := c.ambient(t, "enroll", "-n", namespace, "--yes", "--rollback-on-failure", "--gate-timeout=20s", "-o", "json",
		"--gate-exec", `echo "asked after $KUBECTL_AMBIENT_WORKLOAD"`).want(t, 1)
	says(t, run.stderr, "timed out waiting: Pod undone/db-0", "was rolled back and is what it was before")
	// Both directions replace its pods; only the run that has failed asks.
	if asked := strings.Count(run.stderr, "asked after deployment/cart"); asked != 1 {
		t.Errorf("the gate between workloads was asked %d times after deployment/cart:\n%s", asked, run.stderr)
	}
	var record v1alpha1.MigrationRecord
	decode(t, run.stdout, &record)
	if record.State != v1alpha1.RunRolledBack || record.Operation != v1alpha1.OperationEnroll {
		t.Errorf("the record says %s %s", record.Operation, record.State)
	}
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
	c.wantSidecars(t, namespace)
}

// TestDeadlineExceeded has workloads exceed the deadline of their controllers, which go on
// saying so for a while when the former template is back: that fails no rollback.
func TestDeadlineExceeded(t *testing.T) {
	t.Parallel()
	c := shared
	for _, test := range []struct{ namespace, spec string }{
		{"deadline-one", "replicas: 1"},
		{"deadline-recreate", "replicas: 2, strategy: {type: Recreate}"},
	} {
		t.Run(test.namespace, func(t *testing.T) {
			t.Parallel()
			c.namespace(t, test.namespace, map[string]string{"istio-injection": "enabled"})
			c.applyText(t, test.namespace, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: slow}
spec: {`+test.spec+`, progressDeadlineSeconds: 5, revisionHistoryLimit: 0, selector: {matchLabels: {app: slow}}, template: {metadata: {labels: {app: slow}}, spec: {containers: [{name: slow, image: slow}]}}}`)
			c.settled(t, test.namespace)
			before := c.state(t, test.namespace)
			c.holdReadiness(t, test.namespace, "slow")
			enroll := []string{"enroll", "-n", test.namespace, "--yes", "--gate-timeout=30s"}
			// One rollout by Recreate in twenty never exceeds its deadline, and its run times
			// out: the controller creates the ReplicaSet before it writes that a rollout is
			// under way, and where that write meets a conflict, or the ReplicaSet is one of
			// before, it takes the Deployment for complete (getNewReplicaSet and
			// syncRolloutStatus, kubernetes/pkg/controller/deployment/sync.go). Such a
			// rollout is made again, when the ReplicaSet is gone.
			for attempts := 1; ; attempts++ {
				said := c.ambient(t, append(enroll, "--rollback-on-failure")...).want(t, 1).stderr
				says(t, said, "was rolled back and is what it was before")
				c.settled(t, test.namespace)
				c.wantState(t, test.namespace, before)
				c.eventually(t, "the ReplicaSet of the run is gone", func(ctx context.Context) error {
					sets, err := c.kube.AppsV1().ReplicaSets(test.namespace).List(ctx, metav1.ListOptions{})
					if err == nil && len(sets.Items) != 1 {
						err = fmt.Errorf("%d ReplicaSets", len(sets.Items))
					}
					return err
				})
				if attempts < 5 && strings.Contains(test.spec, "Recreate") && strings.Contains(said, "timed out waiting: Pod "+test.namespace+"/slow-") {
					continue
				}
				says(t, said, "waiting longer cannot help", "Progress deadline exceeded")
				break
			}
			c.ambient(t, enroll...).want(t, 4)
			c.ambient(t, "rollback", "-n", test.namespace, "--yes").want(t, 0)
			c.settled(t, test.namespace)
			c.wantState(t, test.namespace, before)
			c.wantSidecars(t, test.namespace)
		})
	}
}

// TestRollbackOnFailureOfTheLaterRun has a run fail in a namespace that has been in ambient
// mode before: what it has done itself is undone, and nothing else.
func TestRollbackOnFailureOfTheLaterRun(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "undone-later"
	before := c.shop(t, namespace)
	c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 0)
	c.applyText(t, namespace, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: late}
spec:
  selector: {matchLabels: {app: late}}
  template:
    metadata: {labels: {app: late, sidecar.istio.io/inject: "true"}}
    spec: {containers: [{name: late, image: late}]}
`)
	c.settled(t, namespace)
	enrolled := c.state(t, namespace)
	c.holdReadiness(t, namespace, "late")
	run := c.ambient(t, "enroll", "-n", namespace, "--yes", "--rollback-on-failure", "--gate-timeout=20s").want(t, 1)
	says(t, run.stderr, "was rolled back and is what it was before")
	c.settled(t, namespace)
	c.wantState(t, namespace, enrolled)
	for _, pod := range c.pods(t, namespace) {
		if late := pod.Labels["app"] == "late"; sidecar(&pod) != late || redirected(&pod) == late {
			t.Errorf("pod %s: has sidecar: %v, is captured: %v", pod.Name, sidecar(&pod), redirected(&pod))
		}
	}
	c.kubectlIn(namespace)(t, "delete", "deployment", "late")
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
	c.wantSidecars(t, namespace)
}

// TestRoles runs everything as somebody who has the roles that the project
// recommends, and nothing else.
func TestRoles(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "roles"
	path, err := filepath.Abs(filepath.Join("..", "..", "docs", "rbac.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if output, err := c.Kubectl(t.Context(), "apply", "-f", path); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, strings.ReplaceAll(protected, "NAMESPACE", namespace))
	c.settled(t, namespace)
	before := c.state(t, namespace)
	for _, user := range []string{"onlooker", "operator"} {
		binding := &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: user}, Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kubectl-ambient-viewer"},
		}
		if _, err := c.kube.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// The operator's is bound in the one namespace that is to be migrated.
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "operator", Namespace: namespace}, Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "operator"}},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kubectl-ambient-operator"},
	}
	if _, err := c.kube.RbacV1().RoleBindings(namespace).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	enroll := []string{"enroll", "-n", namespace, "--mixed-callers=deny", "--yes"}
	for _, command := range [][]string{{"status"}, {"plan", "-n", namespace, "--mixed-callers=deny"}, {"snapshot", "-n", namespace}, {"history", "-n", namespace}} {
		c.ambient(t, append(command, "--as=onlooker")...).want(t, 0)
	}
	refused := c.ambient(t, append(enroll, "--as=onlooker")...).want(t, 3)
	says(t, refused.stderr, "you may not", "kind: ClusterRole", "  name: kubectl-ambient-roles", "  - authorizationpolicies\n")
	c.wantState(t, namespace, before)
	done := c.ambient(t, append(enroll, "--as=operator")...).want(t, 0)
	if strings.Contains(done.stderr, "no Events are left") {
		t.Errorf("it could not leave Events:\n%s", done.stderr)
	}
	c.ambient(t, "verify", "-n", namespace, "--as=onlooker").want(t, 0)
	c.ambient(t, "rollback", "-n", namespace, "--yes", "--as=operator").want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
	var history v1alpha1.MigrationHistory
	if err := json.Unmarshal([]byte(c.ambient(t, "history", "-n", namespace, "-o", "json", "--as=onlooker").want(t, 0).stdout), &history); err != nil {
		t.Fatal(err)
	}
	for _, run := range history.Runs {
		if run.User != "operator" {
			t.Errorf("run %s is by %q", run.ID, run.User)
		}
	}
}
