package controlplane

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// waitForPods returns when a pod has become ready, which takes the service
// account and its controller, the scheduler, a node and kwok. The programs
// themselves offer nothing that says as much.
func (c *ControlPlane) waitForPods(ctx context.Context) error {
	if len(c.options.Nodes) == 0 {
		return nil
	}
	const namespace, name = metav1.NamespaceSystem, "controlplane-probe"
	pods := c.client.CoreV1().Pods(namespace)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			Containers:  []corev1.Container{{Name: "probe", Image: "probe"}},
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		},
	}
	err := until(ctx, "a pod can be created", func(ctx context.Context) error {
		_, err := pods.Create(ctx, pod, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	err = until(ctx, "a pod is ready", func(ctx context.Context) error {
		current, err := pods.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !podReady(current) {
			return fmt.Errorf("pod %s/%s: %s", namespace, name, current.Status.String())
		}
		return nil
	})
	if err != nil {
		return err
	}
	immediately := int64(0)
	if err := pods.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &immediately}); err != nil {
		return fmt.Errorf("deleting pod %s/%s: %w", namespace, name, err)
	}
	return nil
}

func podReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}
