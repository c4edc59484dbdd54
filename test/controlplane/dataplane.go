package controlplane

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// waitForDataPlane returns when each ztunnel of the cluster knows the mesh and
// answers at its port.
func (c *ControlPlane) waitForDataPlane(ctx context.Context) error {
	return until(ctx, "every ztunnel answers", func(ctx context.Context) error {
		pods, err := c.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{LabelSelector: "app=ztunnel"})
		if err != nil {
			return err
		}
		for _, pod := range pods.Items {
			if err := c.ztunnelAnswers(ctx, &pod); err != nil {
				return fmt.Errorf("ztunnel on node %s: %w", pod.Spec.NodeName, err)
			}
		}
		return nil
	})
}

func (c *ControlPlane) ztunnelAnswers(ctx context.Context, pod *corev1.Pod) error {
	instance := c.Ztunnel(pod.Spec.NodeName)
	if instance == nil {
		return errors.New("it does not run")
	}
	select {
	case <-instance.Synced():
	default:
		return errors.New("istiod has not answered it")
	}
	address, stop, err := c.PortForward(ctx, pod.Namespace, pod.Name, 15000)
	if err != nil {
		return err
	}
	defer stop()
	return answers(ctx, c.plain, "http://"+address+"/config_dump")
}
