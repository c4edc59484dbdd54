package controlplane

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var portForwards = schema.GroupVersionResource{Group: "kwok.x-k8s.io", Version: "v1alpha1", Resource: "portforwards"}

// forward makes kwok lead port-forwards to the ports of a pod to addresses on
// loopback. The object that tells kwok so goes away with the pod.
func (c *ControlPlane) forward(ctx context.Context, pod *corev1.Pod, backends map[int]string) error {
	object, err := newPortForward(pod, backends)
	if err != nil {
		return err
	}
	options := metav1.ApplyOptions{FieldManager: fieldManager, Force: true}
	if _, err := c.dynamic.Resource(portForwards).Namespace(pod.Namespace).Apply(ctx, pod.Name, object, options); err != nil {
		return fmt.Errorf("forwarding the ports of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

func newPortForward(pod *corev1.Pod, backends map[int]string) (*unstructured.Unstructured, error) {
	var forwards []any
	for _, port := range slices.Sorted(maps.Keys(backends)) {
		host, target, err := splitAddress(backends[port])
		if err != nil {
			return nil, fmt.Errorf("forwarding port %d of pod %s/%s: %w", port, pod.Namespace, pod.Name, err)
		}
		forwards = append(forwards, map[string]any{
			"ports":  []any{int64(port)},
			"target": map[string]any{"address": host, "port": int64(target)},
		})
	}
	object := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"forwards": forwards}}}
	object.SetAPIVersion(portForwards.GroupVersion().String())
	object.SetKind("PortForward")
	object.SetNamespace(pod.Namespace)
	object.SetName(pod.Name)
	object.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}})
	return object, nil
}
