package controlplane

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
)

var rollouts = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "rollouts"}

const rolloutYAML = `
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: cart}
spec:
  replicas: 2
  selector: {matchLabels: {app: cart}}
  strategy: {canary: {maxUnavailable: 1, steps: [{setWeight: 50}, {pause: {duration: 1}}]}}
  template:
    metadata: {labels: {app: cart}}
    spec: {containers: [{name: cart, image: cart}]}
`

// TestRolloutsRestart has Argo Rollouts replace pods by their age: a time one second after
// the newest was made replaces all, and another one before that none. That it is taken
// back replaces none either.
func TestRolloutsRestart(t *testing.T) {
	stop, err := plane.RunArgoRollouts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	namespace := newNamespace(t, "argo", nil)
	path, err := plane.writeState("rollout.yaml", []byte(rolloutYAML))
	if err != nil {
		t.Fatal(err)
	}
	if output, err := plane.Kubectl(t.Context(), "apply", "-n", namespace, "-f", path); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	first, newest := rolloutPods(t, namespace)
	at := newest.Add(time.Second).UTC().Format(time.RFC3339)
	restartRollout(t, namespace, `"`+at+`"`)
	second, _ := rolloutPods(t, namespace)
	if second.HasAny(first.UnsortedList()...) {
		t.Errorf("the pods are %v, and were %v", second, first)
	}
	for _, text := range []string{`"2026-01-01T00:00:00Z"`, "null"} {
		restartRollout(t, namespace, text)
		if third, _ := rolloutPods(t, namespace); !third.Equal(second) {
			t.Errorf("with restartAt %s the pods are %v, and were %v", text, third, second)
		}
	}
}

func restartRollout(t *testing.T, namespace, at string) {
	t.Helper()
	patch := fmt.Sprintf(`{"spec":{"restartAt":%s}}`, at)
	if _, err := plane.dynamic.Resource(rollouts).Namespace(namespace).Patch(t.Context(), "cart", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// rolloutPods are the pods of the Rollout once it is done with what was written, and when
// the newest of them was made.
func rolloutPods(t *testing.T, namespace string) (uids sets.Set[types.UID], newest time.Time) {
	t.Helper()
	eventually(t, "the Rollout is healthy", func(ctx context.Context) error {
		object, err := plane.dynamic.Resource(rollouts).Namespace(namespace).Get(ctx, "cart", metav1.GetOptions{})
		if err != nil {
			return err
		}
		phase, _, _ := unstructured.NestedString(object.Object, "status", "phase")
		seen, _, _ := unstructured.NestedString(object.Object, "status", "observedGeneration")
		wanted, _, _ := unstructured.NestedString(object.Object, "spec", "restartAt")
		restarted, _, _ := unstructured.NestedString(object.Object, "status", "restartedAt")
		if phase != "Healthy" || seen != fmt.Sprint(object.GetGeneration()) || wanted != "" && wanted != restarted {
			return fmt.Errorf("its phase is %s, generation %s of %d, restarted at %s", phase, seen, object.GetGeneration(), restarted)
		}
		pods, err := plane.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=cart"})
		if err != nil {
			return err
		}
		uids, newest = sets.New[types.UID](), time.Time{}
		for i := range pods.Items {
			uids.Insert(pods.Items[i].UID)
			if made := pods.Items[i].CreationTimestamp.Time; made.After(newest) {
				newest = made
			}
		}
		if len(uids) != 2 {
			return fmt.Errorf("it has %d pods", len(uids))
		}
		return nil
	})
	return uids, newest
}
