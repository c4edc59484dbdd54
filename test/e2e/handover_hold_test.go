package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

var gatewayResource = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways"}

// lateDeny is a policy about requests that nobody has planned with.
const lateDeny = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: late}
spec:
  selector: {matchLabels: {app: cart}}
  action: DENY
  rules: [{to: [{operation: {paths: ["/late*"]}}]}]
`

// made returns a policy that runs have made in a namespace, by what it has to be like.
func (c *cluster) made(t *testing.T, namespace string, like func(unstructured.Unstructured) bool) string {
	t.Helper()
	list, err := c.dynamic.Resource(authorizationPolicies).Namespace(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: v1alpha1.OriginLabel})
	if err != nil {
		t.Fatal(err)
	}
	for _, policy := range list.Items {
		if like(policy) {
			return policy.GetName()
		}
	}
	t.Fatalf("no run has made such a policy in namespace %s", namespace)
	return ""
}

// attached says whether a policy is attached to something.
func attached(policy unstructured.Unstructured) bool {
	targets, _, _ := unstructured.NestedSlice(policy.Object, "spec", "targetRefs")
	return len(targets) > 0
}

func (c *cluster) deleteWaypoint(t *testing.T, namespace string) {
	t.Helper()
	c.observer.excuse(namespace, takesPods)
	if err := c.dynamic.Resource(gatewayResource).Namespace(namespace).Delete(t.Context(), "waypoint", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually(t, "the waypoint is gone", func(ctx context.Context) error {
		_, err := c.dynamic.Resource(gatewayResource).Namespace(namespace).Get(ctx, "waypoint", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return c.waypointPods(ctx, namespace, 0)
		}
		return errors.Join(err, errors.New("it is still there"))
	})
}

func (c *cluster) deletePolicy(t *testing.T, namespace, name string) {
	t.Helper()
	if err := c.dynamic.Resource(authorizationPolicies).Namespace(namespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// scaleWaypoint says how many pods the waypoint is to have, and waits for them.
func (c *cluster) scaleWaypoint(t *testing.T, namespace string, replicas int) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	if _, err := c.kube.AppsV1().Deployments(namespace).Patch(t.Context(), "waypoint", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually(t, "the waypoint is scaled", func(ctx context.Context) error { return c.waypointPods(ctx, namespace, replicas) })
}

// enrollHeldAt starts an enrolment of protected and returns when it waits for the
// pods of cart: web, which comes after it, has not been touched.
func (c *cluster) enrollHeldAt(t *testing.T, namespace string) (run *underWay, release func()) {
	t.Helper()
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, strings.ReplaceAll(protected, "NAMESPACE", namespace))
	c.settled(t, namespace)
	unhold := c.HoldReadiness(func(pod *corev1.Pod) bool {
		return pod.Namespace == namespace && pod.Labels["app"] == "cart" && !sidecar(pod)
	})
	released := false
	release = func() {
		if released {
			return
		}
		released = true
		if err := unhold(context.Background()); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(release)
	run = c.startAmbient(t.Context(), t, nil, "enroll", "-n", namespace, "--yes", "--mixed-callers=deny")
	// Where the test has not waited for it, the end of its context ends the run.
	t.Cleanup(func() { _ = run.command.Wait() })
	c.eventually(t, "the run waits for cart", func(context.Context) error {
		return run.stderr.contains("waiting: Pod " + namespace + "/cart-")
	})
	return run, release
}

// TestHandoverIsLost: what somebody takes away, changes or adds while workloads
// restart stops the run before the next one, which keeps its sidecars; enrolling
// again repairs it and goes on.
func TestHandoverIsLost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		namespace string
		harm      func(*testing.T, *cluster, string)
		says      []string
		// mend is what somebody has to do before enrolling again.
		mend func(t *testing.T, c *cluster, again []string)
	}{
		{"lost-waypoint", func(t *testing.T, c *cluster, namespace string) { c.deleteWaypoint(t, namespace) }, []string{"Gateway lost-waypoint/waypoint is gone"}, nil},
		{"lost-copy", func(t *testing.T, c *cluster, namespace string) {
			c.deletePolicy(t, namespace, c.made(t, namespace, attached))
		}, []string{"AuthorizationPolicy lost-copy/", "is gone: somebody has deleted it"}, nil},
		{"lost-guard", func(t *testing.T, c *cluster, namespace string) {
			name := c.made(t, namespace, guards)
			patch := []byte(`{"spec":{"selector":{"matchLabels":{"app":"nobody"}}}}`)
			if _, err := c.dynamic.Resource(authorizationPolicies).Namespace(namespace).Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
		}, []string{"AuthorizationPolicy lost-guard/", `spec.selector.matchLabels.app is "nobody"`}, func(t *testing.T, c *cluster, again []string) {
			// It is theirs to put back, or to delete.
			says(t, c.ambient(t, again...).want(t, 3).stderr, "has changed it since", "(carried-over)", "delete it, and it is made anew")
			c.deletePolicy(t, "lost-guard", c.made(t, "lost-guard", func(policy unstructured.Unstructured) bool {
				app, _, _ := unstructured.NestedString(policy.Object, "spec", "selector", "matchLabels", "app")
				return guards(policy) && app == "nobody"
			}))
		}},
		{"late-policy", func(t *testing.T, c *cluster, namespace string) { c.applyText(t, namespace, lateDeny) }, []string{"AuthorizationPolicy late-policy/late has been made since"}, nil},
	} {
		t.Run(test.namespace, func(t *testing.T) {
			t.Parallel()
			c := shared
			run, release := c.enrollHeldAt(t, test.namespace)
			test.harm(t, c, test.namespace)
			release()
			stopped := run.wait(t).want(t, 4)
			says(t, stopped.stderr, append(test.says, "step restart-workloads/deployment/web was not begun", "enroll again, which makes anew what is gone", "to go on:", "to roll back:")...)
			c.wantIncomplete(t, test.namespace, "was not begun")
			c.settled(t, test.namespace)
			for _, pod := range c.pods(t, test.namespace) {
				if pod.Labels["app"] == "web" && !sidecar(&pod) {
					t.Errorf("pod %s has lost its sidecar", pod.Name)
				}
			}

			again := []string{"enroll", "-n", test.namespace, "--yes", "--mixed-callers=deny"}
			if test.mend != nil {
				test.mend(t, c, again)
			}
			c.ambient(t, again...).want(t, 0)
			c.wantNoSidecars(t, test.namespace)
			c.wantBound(t, test.namespace)
			c.ambient(t, "verify", "-n", test.namespace).want(t, 0)
			says(t, c.ambient(t, again...).want(t, 0).stdout, "nothing to do")
		})
	}
}

// guards says whether a policy refuses at the pods themselves.
func guards(policy unstructured.Unstructured) bool {
	action, _, _ := unstructured.NestedString(policy.Object, "spec", "action")
	return !attached(policy) && action == "DENY"
}

// TestHandoverComesBack: a waypoint without pods is waited for.
func TestHandoverComesBack(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "scaled-waypoint"
	run, release := c.enrollHeldAt(t, namespace)
	c.scaleWaypoint(t, namespace, 0)
	release()
	c.eventually(t, "the run waits for the waypoint", func(context.Context) error {
		// istiod may take the address from it, before or after its endpoint is gone.
		return run.stderr.containsAfter("restart deployment/web", "waiting: Gateway "+namespace+"/waypoint ")
	})
	c.scaleWaypoint(t, namespace, 1)
	run.wait(t).want(t, 0)
	c.wantNoSidecars(t, namespace)
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
}

// TestVerifyFindsWhatWasLost: on a namespace that was moved, verify names what was
// taken away since, first the waypoint; enroll makes it again.
func TestVerifyFindsWhatWasLost(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "lost-later"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, strings.ReplaceAll(protected, "NAMESPACE", namespace))
	c.settled(t, namespace)
	before := c.state(t, namespace)
	enroll := []string{"enroll", "-n", namespace, "--yes", "--mixed-callers=deny"}
	c.ambient(t, enroll...).want(t, 0)
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
	repaired := func() {
		t.Helper()
		c.ambient(t, enroll...).want(t, 0)
		c.ambient(t, "verify", "-n", namespace).want(t, 0)
	}

	c.deleteWaypoint(t, namespace)
	lost := c.ambient(t, "verify", "-n", namespace).want(t, 3)
	says(t, lost.stderr, "waypoint "+namespace+"/waypoint does not exist", "(waypoint-missing)", "kubectl ambient enroll -n "+namespace)
	says(t, c.ambient(t, "plan", "-n", namespace, "--mixed-callers=deny").want(t, 0).stdout, "waypoint-missing", "makes it again", "deploy waypoint "+namespace+"/waypoint")
	says(t, c.ambient(t, "status", "-n", namespace).want(t, 0).stdout, namespace+"/waypoint (missing")
	repaired()

	name := c.made(t, namespace, attached)
	c.deletePolicy(t, namespace, name)
	says(t, c.ambient(t, "verify", "-n", namespace).want(t, 3).stderr, "AuthorizationPolicy "+namespace+"/"+name, "handed-over", "kubectl ambient enroll -n "+namespace)
	repaired()

	c.applyText(t, namespace, lateDeny)
	says(t, c.ambient(t, "verify", "-n", namespace).want(t, 3).stderr, "AuthorizationPolicy "+namespace+"/late", "layer7-enforced")
	repaired()
	c.deletePolicy(t, namespace, "late")

	// Only a copy refuses by now what that one said.
	says(t, c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 3).stdout, "calls-newly-allowed", "GET /late")
	c.ambient(t, "rollback", "-n", namespace, "--yes", "--accept=calls-newly-allowed").want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
}
