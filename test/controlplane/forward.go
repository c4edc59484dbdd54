package controlplane

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// What tells kwok how to answer for a pod. These objects go away with their pod.
var (
	portForwards = schema.GroupVersionResource{Group: "kwok.x-k8s.io", Version: "v1alpha1", Resource: "portforwards"}
	podLogs      = schema.GroupVersionResource{Group: "kwok.x-k8s.io", Version: "v1alpha1", Resource: "logs"}
)

// forward makes kwok lead port-forwards to the ports of a pod to addresses on
// loopback.
func (c *ControlPlane) forward(ctx context.Context, pod *corev1.Pod, backends map[int]string) error {
	spec, err := newPortForward(backends)
	if err == nil {
		err = c.tellKwok(ctx, pod, portForwards, "PortForward", spec)
	}
	if err != nil {
		return fmt.Errorf("forwarding the ports of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

func newPortForward(backends map[int]string) (map[string]any, error) {
	var forwards []any
	for _, port := range slices.Sorted(maps.Keys(backends)) {
		host, target, err := splitAddress(backends[port])
		if err != nil {
			return nil, fmt.Errorf("port %d: %w", port, err)
		}
		forwards = append(forwards, map[string]any{
			"ports":  []any{int64(port)},
			"target": map[string]any{"address": host, "port": int64(target)},
		})
	}
	return map[string]any{"forwards": forwards}, nil
}

// serveLog makes kwok serve files as the logs of a pod, whatever its containers are
// called: that of what runs, and that of what ran before.
func (c *ControlPlane) serveLog(ctx context.Context, pod *corev1.Pod, log, previous string) error {
	spec := map[string]any{"logs": []any{map[string]any{"logsFile": log, "previousLogsFile": previous}}}
	if err := c.tellKwok(ctx, pod, podLogs, "Logs", spec); err != nil {
		return fmt.Errorf("serving the log of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

// containerLog is where the log of a pod's only container is kept.
func (c *ControlPlane) containerLog(pod *corev1.Pod) (string, error) {
	directory := filepath.Join(c.directory, "containers")
	if err := os.MkdirAll(directory, 0o750); err != nil {
		return "", fmt.Errorf("keeping the log of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return filepath.Join(directory, string(pod.UID)+".log"), nil
}

// tellKwok applies an object about a pod, under the pod's name.
func (c *ControlPlane) tellKwok(ctx context.Context, pod *corev1.Pod, resource schema.GroupVersionResource, kind string, spec map[string]any) error {
	object := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	object.SetAPIVersion(resource.GroupVersion().String())
	object.SetKind(kind)
	object.SetNamespace(pod.Namespace)
	object.SetName(pod.Name)
	object.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}})
	options := metav1.ApplyOptions{FieldManager: fieldManager, Force: true}
	_, err := c.dynamic.Resource(resource).Namespace(pod.Namespace).Apply(ctx, pod.Name, object, options)
	return err
}
