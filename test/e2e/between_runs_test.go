package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestEditedBetweenRuns has somebody edit what a first run has written, before a second
// one writes it again: what the edit has made stays, and what both runs have made of it is
// undone, be it at once or one run after the other.
func TestEditedBetweenRuns(t *testing.T) {
	t.Parallel()
	for namespace, apart := range map[string]bool{"edited-between": false, "edited-apart": true} {
		t.Run(namespace, func(t *testing.T) {
			t.Parallel()
			c := shared
			c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
			c.applyText(t, namespace, strings.ReplaceAll(protected, "NAMESPACE", namespace))
			c.settled(t, namespace)
			want := c.state(t, namespace)
			c.ambient(t, "enroll", "deployment/web", "-n", namespace, "--mixed-callers=deny", "--yes").want(t, 0)

			// The second rule does not let the waypoint through, as the first one does by now.
			account := "cluster.local/ns/" + namespace + "/sa/"
			rules := fmt.Sprintf(`[{"from": [{"source": {"notPrincipals": [%q, %q]}}], "to": [{"operation": {"paths": ["/admin*"], "ports": ["8080"]}}]},
				{"from": [{"source": {"notPrincipals": [%q]}}], "to": [{"operation": {"paths": ["/debug*"], "ports": ["8080"]}}]}]`, account+"web", account+"waypoint", account+"web")
			kubectl := c.kubectlIn(namespace)
			kubectl(t, "patch", "authorizationpolicy", "only-web-to-admin", "--type=merge", "-p", `{"spec": {"rules": `+rules+`}}`)
			kubectl(t, "patch", "deployment", "web", "--type=merge", "-p", `{"spec": {"template": {"metadata": {"annotations": {"build": "2"}}}}}`)
			kubectl(t, "label", "service", "web", "istio.io/ingress-use-waypoint=false", "team=web", "--overwrite")
			c.settled(t, namespace)
			between := c.state(t, namespace)
			setEdited(t, want, account)
			policy := v1alpha1.ObjectReference{APIVersion: "security.istio.io/v1", Kind: "AuthorizationPolicy", Namespace: namespace, Name: "only-web-to-admin"}
			service := v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: namespace, Name: "web"}

			var second v1alpha1.MigrationRecord
			decode(t, c.ambient(t, "enroll", "-n", namespace, "--mixed-callers=deny", "--yes", "-o", "json").want(t, 0).stdout, &second)
			if !writesField(second.Plan, policy, "/spec") {
				t.Fatal("the second run has not written the policy again")
			}
			var planned v1alpha1.MigrationPlan
			decode(t, c.ambient(t, "rollback", "-n", namespace, "--dry-run=client", "-o", "json").want(t, 0).stdout, &planned)
			wantNote(t, planned, v1alpha1.PhaseRestorePolicies, policy.String()+": somebody has changed /spec between the runs, and it goes back to what they made of it")
			wantKept(t, planned, service, "/metadata/labels/istio.io~1ingress-use-waypoint")
			if apart {
				c.ambient(t, "rollback", "-n", namespace, "--run", second.ID, "--yes").want(t, 0)
				c.settled(t, namespace)
				c.wantState(t, namespace, between)
			}
			rolled := c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
			says(t, rolled.stdout, "LEFT ALONE", "ingress-use-waypoint is \"false\"", "is back to what it was but for what was left alone")
			c.settled(t, namespace)
			c.wantStateSoon(t, namespace, want)
			c.wantSidecars(t, namespace)
		})
	}
}

// writesField says whether a plan writes a field of an object.
func writesField(planned v1alpha1.MigrationPlan, object v1alpha1.ObjectReference, path string) bool {
	for _, step := range planned.Steps {
		for _, change := range step.Changes {
			if change.Object == object && slices.ContainsFunc(change.Fields, func(field v1alpha1.FieldChange) bool { return field.Path == path }) {
				return true
			}
		}
	}
	return false
}

// wantNote wants a step of a phase to say something.
func wantNote(t *testing.T, planned v1alpha1.MigrationPlan, phase v1alpha1.Phase, note string) {
	t.Helper()
	var notes []string
	for _, step := range planned.Steps {
		if step.Phase == phase {
			notes = append(notes, step.Notes...)
		}
	}
	if !slices.Contains(notes, note) {
		t.Errorf("want %q among what %s says: %q", note, phase, notes)
	}
}

// wantKept wants just this field of an object to be left alone.
func wantKept(t *testing.T, planned v1alpha1.MigrationPlan, object v1alpha1.ObjectReference, path string) {
	t.Helper()
	if len(planned.Kept) != 1 || planned.Kept[0].Object != object || planned.Kept[0].Path != path {
		t.Errorf("want %s of %s to be left alone, got %+v", path, object, planned.Kept)
	}
}

// setEdited makes of a state what is to be left of the edits.
func setEdited(t *testing.T, state map[string]any, account string) {
	t.Helper()
	rule := func(path string) any {
		return map[string]any{
			"from": []any{map[string]any{"source": map[string]any{"notPrincipals": []any{account + "web"}}}},
			"to":   []any{map[string]any{"operation": map[string]any{"paths": []any{path}, "ports": []any{"8080"}}}},
		}
	}
	for _, err := range []error{
		unstructured.SetNestedSlice(state, []any{rule("/admin*"), rule("/debug*")}, "authorizationpolicies/only-web-to-admin", "spec", "rules"),
		unstructured.SetNestedField(state, "2", "deployments/web", "spec", "template", "metadata", "annotations", "build"),
		unstructured.SetNestedStringMap(state, map[string]string{"istio.io/ingress-use-waypoint": "false", "team": "web"}, "services/web", "metadata", "labels"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestWaypointComesToBeUsed has somebody in another namespace come to use a waypoint
// while a rollback is about to delete it: the rollback stops. Once nobody uses it any more
// it is gone on with; while somebody does, the waypoint is left, and what is left of it
// can be deleted later.
func TestWaypointComesToBeUsed(t *testing.T) {
	t.Parallel()
	for namespace, leaves := range map[string]bool{"lent-briefly": true, "lent-on": false} {
		t.Run(namespace, func(t *testing.T) {
			t.Parallel()
			c := shared
			guest := namespace + "-guest"
			c.namespace(t, guest, nil)
			c.applyText(t, guest, echoService)
			c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
			c.applyText(t, namespace, strings.ReplaceAll(protected, "NAMESPACE", namespace))
			c.settled(t, namespace)
			before := c.state(t, namespace)
			c.ambient(t, "enroll", "-n", namespace, "--mixed-callers=deny", "--yes").want(t, 0)
			leave := func() {
				c.kubectlIn(guest)(t, "label", "service", "echo", "istio.io/use-waypoint-", "istio.io/use-waypoint-namespace-")
			}

			somebody := &meddler{
				at: 1,
				of: func(request *http.Request) bool {
					return request.Method == http.MethodPatch && strings.Contains(request.URL.Path, "/namespaces/"+namespace+"/services/")
				},
				act: func(ctx context.Context) error {
					_, err := c.Kubectl(context.WithoutCancel(ctx), "label", "-n", guest, "service", "echo", "istio.io/use-waypoint=waypoint", "istio.io/use-waypoint-namespace="+namespace)
					return err
				},
			}
			stopped := c.ambientIn(t, []string{"KUBECONFIG=" + c.behind(t, somebody.decide)}, "rollback", "-n", namespace, "--yes").want(t, 4)
			if !somebody.acted || somebody.err != nil {
				t.Fatalf("nobody has come to use it: %v", somebody.err)
			}
			used := "Gateway " + namespace + "/waypoint is used by Service " + guest + "/echo since the plan was made"
			says(t, stopped.stderr, "step remove-waypoints was not begun: "+used, "to go on:     kubectl ambient rollback -n "+namespace)
			c.wantIncomplete(t, namespace, used)
			if err := c.waypointPods(t.Context(), namespace, 1); err != nil {
				t.Error(err)
			}
			c.wantSidecars(t, namespace)

			if leaves {
				leave()
				says(t, c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0).stdout, "Namespace "+namespace+" is back to what it was, in")
			} else {
				says(t, c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0).stdout,
					"LEFT ALONE", "it is used by Service "+guest+"/echo, which the rollback does not change", "is back to what it was but for what was left alone")
				if err := c.waypointPods(t.Context(), namespace, 1); err != nil {
					t.Error(err)
				}
				leave()
				c.ambient(t, "rollback", "-n", namespace, "--without-record", "--yes").want(t, 0)
			}
			c.settled(t, namespace)
			c.wantStateSoon(t, namespace, before)
			c.wantSidecars(t, namespace)
		})
	}
}

// TestResumeAfterAnotherWasUndone goes on with a run that stopped, after a later one was
// rolled back: what that one had done is no part of it.
func TestResumeAfterAnotherWasUndone(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "resumed-later"
	before := c.shop(t, namespace)
	enroll := func(arguments ...string) result {
		return c.ambient(t, append([]string{"enroll", "-n", namespace, "--yes"}, arguments...)...)
	}
	enroll("--waypoint=edge", "--gate-exec", "exit 7").want(t, 4)
	halfway := c.state(t, namespace)
	release := c.HoldReadiness(withoutSidecar(namespace, "db"))
	failed := enroll("--rollback-on-failure", "--gate-timeout=10s").want(t, 4)
	if err := release(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	says(t, failed.stderr, "What this run had done in namespace "+namespace+" was rolled back", "to go on:     kubectl ambient enroll -n "+namespace+" --resume")
	c.settled(t, namespace)
	c.wantState(t, namespace, halfway)

	says(t, enroll("--resume").want(t, 0).stderr, "What was done last in namespace "+namespace+" was rolled back: this goes on with run")
	c.wantNoSidecars(t, namespace)
	var history v1alpha1.MigrationHistory
	decode(t, c.ambient(t, "history", "-n", namespace, "-o", "json").want(t, 0).stdout, &history)
	stopped := history.Runs[len(history.Runs)-1]
	if len(history.Runs) != 4 || history.Runs[0].Resumes != stopped.ID || !stopped.Open {
		t.Errorf("the history is %+v", history.Runs)
	}
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
	c.wantSidecars(t, namespace)
	says(t, c.ambient(t, "enroll", "-n", namespace, "--resume", "--yes").want(t, 1).stderr, "no enrolment before it holds", "to begin anew:")
}
