package controlplane

import (
	"context"
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"istio.io/api/annotation"
)

// waitForWebhooks returns when istiod validates and injects. Istiod itself
// turns the failure policy of its validating webhooks to Fail, once it has seen
// that an invalid object is refused (pkg/webhooks/validation/controller).
func (c *ControlPlane) waitForWebhooks(ctx context.Context, istio *Istio) error {
	err := until(ctx, "istiod "+istio.Revision+" validates", func(ctx context.Context) error {
		return c.validates(ctx, istio.Revision)
	})
	if err != nil {
		return err
	}
	return until(ctx, "istiod "+istio.Revision+" injects", func(ctx context.Context) error {
		return c.injects(ctx, istio.Revision)
	})
}

func (c *ControlPlane) validates(ctx context.Context, revision string) error {
	configurations, err := c.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().List(ctx,
		metav1.ListOptions{LabelSelector: "istio.io/rev=" + revision})
	if err != nil {
		return err
	}
	if len(configurations.Items) == 0 {
		return errors.New("there is no validating webhook of this revision")
	}
	for _, configuration := range configurations.Items {
		for _, webhook := range configuration.Webhooks {
			if webhook.FailurePolicy == nil || *webhook.FailurePolicy != admissionv1.Fail {
				return fmt.Errorf("webhook %s of %s does not fail yet", webhook.Name, configuration.Name)
			}
		}
	}
	return nil
}

// injects asks for the injection of a pod that is not kept.
func (c *ControlPlane) injects(ctx context.Context, revision string) error {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:   "controlplane-injection-probe",
			Labels: map[string]string{"sidecar.istio.io/inject": "true", "istio.io/rev": revision},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "probe", Image: "probe"}}},
	}
	created, err := c.client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return err
	}
	if created.Annotations[annotation.SidecarStatus.Name] == "" {
		return errors.New("a pod is not injected")
	}
	return nil
}
