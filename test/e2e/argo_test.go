package e2e

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
)

// podTemplateHash is the label by which Argo Rollouts tells the pods of its ReplicaSets.
const podTemplateHash = "rollouts-pod-template-hash"

const rollout = `
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: canary}
spec:
  replicas: 2
  selector: {matchLabels: {app: canary}}
  strategy: {canary: {steps: [{setWeight: 50}, {pause: {duration: 1}}]}}
  template:
    metadata: {labels: {app: canary}}
    spec: {containers: [{name: canary, image: canary}]}
`

var rollouts = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "rollouts"}

// argo runs the controller of Argo Rollouts, with its types, until the test is over.
func (c *cluster) argo(t *testing.T) {
	t.Helper()
	stop, err := c.RunArgoRollouts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		if output, err := c.Kubectl(context.Background(), "delete", "crd", "rollouts.argoproj.io", "experiments.argoproj.io", "analysisruns.argoproj.io",
			"analysistemplates.argoproj.io", "clusteranalysistemplates.argoproj.io"); err != nil {
			t.Errorf("%v\n%s", err, output)
		}
	})
}

// TestRestartsRollout moves a Rollout there and back, by the controller of Argo Rollouts.
func TestRestartsRollout(t *testing.T) {
	c := shared
	const namespace = "rollouts"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.argo(t)
	c.applyText(t, namespace, rollout)
	c.healthy(t, namespace)
	before := c.rolloutSpec(t, namespace)
	c.wantSidecars(t, namespace)

	c.rolloutPause(t, namespace, `{}`)
	says(t, c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 3).stderr, "waits there for somebody to promote it")
	c.rolloutPause(t, namespace, `{"duration":1}`)
	c.healthy(t, namespace)
	state := c.state(t, namespace)

	says(t, c.ambient(t, "plan", "-n", namespace).want(t, 0).stdout, "restart rollout/canary without sidecars")
	c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 0)
	c.wantNoSidecars(t, namespace)
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
	says(t, c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 0).stdout, "nothing to do")
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.healthy(t, namespace)
	c.wantSidecars(t, namespace)
	c.wantState(t, namespace, state)
	if after := c.rolloutSpec(t, namespace); after != before {
		t.Errorf("the Rollout is\n%s\nnot\n%s", after, before)
	}
}

func (c *cluster) rolloutPause(t *testing.T, namespace, pause string) {
	t.Helper()
	patch := fmt.Sprintf(`[{"op":"replace","path":"/spec/strategy/canary/steps/1/pause","value":%s}]`, pause)
	if output, err := c.Kubectl(t.Context(), "patch", "-n", namespace, "rollout", "canary", "--type=json", "-p", patch); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
}

func (c *cluster) rolloutSpec(t *testing.T, namespace string) string {
	t.Helper()
	object, err := c.dynamic.Resource(rollouts).Namespace(namespace).Get(t.Context(), "canary", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(object.Object["spec"])
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// healthy waits until the Rollout has seen what was written and is done with it.
func (c *cluster) healthy(t *testing.T, namespace string) {
	t.Helper()
	c.eventually(t, "the Rollout is healthy", func(ctx context.Context) error {
		object, err := c.dynamic.Resource(rollouts).Namespace(namespace).Get(ctx, "canary", metav1.GetOptions{})
		if err != nil {
			return err
		}
		status, _, _ := unstructured.NestedMap(object.Object, "status")
		if status["phase"] != "Healthy" || status["observedGeneration"] != strconv.FormatInt(object.GetGeneration(), 10) {
			return fmt.Errorf("its status is %v", status)
		}
		pods, err := c.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(pods.Items) != 2 {
			return fmt.Errorf("there are %d pods", len(pods.Items))
		}
		return nil
	})
}
