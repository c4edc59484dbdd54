package e2e

import (
	"context"
	"fmt"
	"hash/fnv"
	"strconv"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/wait"
)

// rolloutDefinition is as much of the CustomResourceDefinition of Argo Rollouts as
// its objects need to be stored as they are.
const rolloutDefinition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: rollouts.argoproj.io}
spec:
  group: argoproj.io
  names: {kind: Rollout, plural: rollouts, singular: rollout, shortNames: [ro]}
  scope: Namespaced
  versions:
  - name: v1alpha1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

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

// TestRestartsRollout moves a Rollout there and back. Its controller is a double: it
// makes a ReplicaSet for each template, scales it up and the former ones down, and
// tells of it in the status as the real one does.
func TestRestartsRollout(t *testing.T) {
	c := shared
	const namespace = "rollouts"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, rolloutDefinition)
	t.Cleanup(func() {
		if output, err := c.Kubectl(context.Background(), "delete", "crd", "rollouts.argoproj.io"); err != nil {
			t.Errorf("%v\n%s", err, output)
		}
	})
	if output, err := c.Kubectl(t.Context(), "wait", "--for=condition=Established", "crd/rollouts.argoproj.io"); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	c.applyText(t, namespace, rollout)
	c.playArgo(t, namespace)
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

// playArgo plays the controller of Argo Rollouts in a namespace until the test is over.
func (c *cluster) playArgo(t *testing.T, namespace string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			// What fails is tried again; a test that waits says what it lacks.
			_ = c.rollOut(ctx, namespace, "canary")
			return false, nil
		})
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
}

const podTemplateHash = "rollouts-pod-template-hash"

// rollOut goes one step on with a Rollout.
func (c *cluster) rollOut(ctx context.Context, namespace, name string) error {
	object, err := c.dynamic.Resource(rollouts).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	var template corev1.PodTemplateSpec
	raw, _, err := unstructured.NestedMap(object.Object, "spec", "template")
	if err != nil {
		return err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &template); err != nil {
		return err
	}
	replicas, _, err := unstructured.NestedInt64(object.Object, "spec", "replicas")
	if err != nil {
		return err
	}
	hash, err := hashOf(raw)
	if err != nil {
		return err
	}
	wanted := int32(replicas)
	sets := c.kube.AppsV1().ReplicaSets(namespace)
	current, err := sets.Get(ctx, name+"-"+hash, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		current, err = sets.Create(ctx, replicaSetFor(object, template, hash), metav1.CreateOptions{})
	}
	if err != nil {
		return err
	}
	if *current.Spec.Replicas != wanted {
		current.Spec.Replicas = &wanted
		if current, err = sets.Update(ctx, current, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	all, err := sets.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	ready := current.Status.ObservedGeneration == current.Generation && current.Status.ReadyReplicas == wanted
	others := int32(0)
	for i := range all.Items {
		former := &all.Items[i]
		if former.Name == current.Name || !metav1.IsControlledBy(former, object) {
			continue
		}
		others += former.Status.Replicas
		if none := int32(0); ready && *former.Spec.Replicas != none {
			former.Spec.Replicas = &none
			if _, err := sets.Update(ctx, former, metav1.UpdateOptions{}); err != nil {
				return err
			}
		}
	}
	phase := "Progressing"
	if ready && others == 0 {
		phase = "Healthy"
	}
	object.Object["status"] = map[string]any{
		"phase": phase, "observedGeneration": strconv.FormatInt(object.GetGeneration(), 10), "currentPodHash": hash,
		"replicas": int64(current.Status.Replicas + others), "updatedReplicas": int64(current.Status.Replicas),
		"readyReplicas": int64(current.Status.ReadyReplicas + others), "availableReplicas": int64(current.Status.AvailableReplicas + others),
	}
	_, err = c.dynamic.Resource(rollouts).Namespace(namespace).UpdateStatus(ctx, object, metav1.UpdateOptions{})
	return err
}

func hashOf(template map[string]any) (string, error) {
	text, err := json.Marshal(template)
	if err != nil {
		return "", err
	}
	hash := fnv.New32a()
	_, _ = hash.Write(text)
	return strconv.FormatUint(uint64(hash.Sum32()), 36), nil
}

func replicaSetFor(object *unstructured.Unstructured, template corev1.PodTemplateSpec, hash string) *appsv1.ReplicaSet {
	template.Labels[podTemplateHash] = hash
	none := int32(0)
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: object.GetName() + "-" + hash, Labels: template.Labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(object, object.GroupVersionKind())},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: &none, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{podTemplateHash: hash}}, Template: template},
	}
}
