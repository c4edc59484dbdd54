package controlplane

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// sidecarIn returns the sidecar among the containers, or nil.
func sidecarIn(containers []corev1.Container) *corev1.Container {
	for i := range containers {
		if containers[i].Name == "istio-proxy" {
			return &containers[i]
		}
	}
	return nil
}

func TestNewKubeletsGetNativeSidecars(t *testing.T) {
	namespace := newNamespace(t, "native-sidecars", map[string]string{"istio-injection": "enabled"})
	apply(t, plane, namespace, echo(1))
	pod := readyPods(t, plane, namespace, "echo", 1)[0]

	sidecar := sidecarIn(pod.Spec.InitContainers)
	if sidecar == nil || sidecar.RestartPolicy == nil || *sidecar.RestartPolicy != corev1.ContainerRestartPolicyAlways {
		t.Fatal("the pod has no native sidecar")
	}
	if !HasSidecar(&pod) {
		t.Error("HasSidecar says that the pod has none")
	}
	for _, status := range pod.Status.InitContainerStatuses {
		native := status.Name == "istio-proxy"
		if running := status.State.Running != nil && status.Started != nil && *status.Started; !status.Ready || running != native {
			t.Errorf("init container %s: ready %v, running %v", status.Name, status.Ready, running)
		}
	}
	// The profile for ambient mode makes sidecars speak HBONE.
	if pod.Labels["networking.istio.io/tunnel"] != "http" {
		t.Errorf("the pod's labels do not say that it speaks HBONE: %v", pod.Labels)
	}
}
