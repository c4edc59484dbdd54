package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// holdAnnotation keeps a ReplicaSet from being scaled down. In the middle of a
// rollout there are then pods of both kinds, ready and called, for as long as a
// test looks at them.
const holdAnnotation = "e2e.kubectl-ambient.dev/hold"

const holdPolicy = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: hold}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [UPDATE], resources: [replicasets, replicasets/scale]}
  matchConditions:
  - {name: held, expression: 'has(oldObject.metadata.annotations) && "` + holdAnnotation + `" in oldObject.metadata.annotations'}
  validations:
  - {expression: 'object.spec.replicas >= oldObject.spec.replicas', message: it is held}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: hold}
spec: {policyName: hold, validationActions: [Deny]}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: held, annotations: {` + holdAnnotation + `: "true"}}
spec:
  replicas: 1
  selector: {matchLabels: {app: held}}
  template:
    metadata: {labels: {app: held}}
    spec: {containers: [{name: held, image: held}]}
`

// installHold returns when the hold works: the API server takes a moment to heed
// a new policy.
func (w *accessWorld) installHold(t *testing.T) {
	t.Helper()
	w.namespace(t, "hold", nil)
	w.applyText(t, "hold", holdPolicy)
	w.eventually(t, "ReplicaSets are held", func(ctx context.Context) error {
		patch := []byte(`{"spec":{"replicas":0}}`)
		_, err := w.kube.AppsV1().ReplicaSets("hold").Patch(ctx, "held", types.MergePatchType, patch, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
			return nil
		}
		return fmt.Errorf("scaled down: %w", err)
	})
}

// hold keeps the pods that a Deployment has now.
func (w *accessWorld) hold(ctx context.Context, namespace, name string) (release func(context.Context) error, err error) {
	sets, err := w.replicaSetsOf(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	mark := func(ctx context.Context, value string) error {
		var failures []error
		for _, set := range sets {
			patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%s}}}`, holdAnnotation, value)
			_, err := w.kube.AppsV1().ReplicaSets(namespace).Patch(ctx, set.Name, types.MergePatchType, patch, metav1.PatchOptions{})
			failures = append(failures, err)
		}
		return errors.Join(failures...)
	}
	return func(ctx context.Context) error { return mark(ctx, "null") }, mark(ctx, `"true"`)
}

// replicaSetsOf are those with pods.
func (w *accessWorld) replicaSetsOf(ctx context.Context, namespace, name string) ([]appsv1.ReplicaSet, error) {
	list, err := w.kube.AppsV1().ReplicaSets(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var found []appsv1.ReplicaSet
	for _, set := range list.Items {
		owner := metav1.GetControllerOf(&set)
		if owner != nil && owner.Name == name && set.Status.Replicas > 0 {
			found = append(found, set)
		}
	}
	return found, nil
}

// bothKinds returns nil when a Deployment has ready pods with and without sidecar.
func (w *accessWorld) bothKinds(ctx context.Context, namespace, app string) error {
	pods, err := w.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil {
		return err
	}
	with, without := 0, 0
	for i := range pods.Items {
		switch pod := &pods.Items[i]; {
		case pod.DeletionTimestamp != nil || !ready(pod):
			return fmt.Errorf("pod %s is not ready", pod.Name)
		case sidecar(pod):
			with++
		case !redirected(pod):
			return fmt.Errorf("pod %s is not captured", pod.Name)
		default:
			without++
		}
	}
	if with == 0 || without == 0 {
		return fmt.Errorf("%d pods of %s with sidecar, %d without", with, app, without)
	}
	return nil
}

func redirected(pod *corev1.Pod) bool {
	return pod.Annotations["ambient.istio.io/redirection"] == "enabled"
}
