package controlplane

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestRevisionsSideBySide(t *testing.T) {
	canary, err := plane.InstallIstio(t.Context(), IstioOptions{Profile: ProfileMinimal, Revision: "canary"})
	if err != nil {
		t.Fatal(err)
	}
	if canary.HTTPS == istio.HTTPS || canary.Revision != "canary" {
		t.Errorf("the canary is %+v", canary)
	}
	if _, err := plane.Istioctl(t.Context(), "tag", "set", "prod", "--revision", "canary"); err != nil {
		t.Fatal(err)
	}
	for name, expected := range map[string]struct {
		labels   map[string]string
		revision string
	}{
		"revision-default": {map[string]string{"istio-injection": "enabled"}, "default"},
		"revision-canary":  {map[string]string{"istio.io/rev": "canary"}, "canary"},
		"revision-tag":     {map[string]string{"istio.io/rev": "prod"}, "canary"},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := newNamespace(t, name, expected.labels)
			apply(t, plane, namespace, echo(1))
			pod := readyPods(t, plane, namespace, "echo", 1)[0]
			if got := revisionOf(&pod); got != expected.revision {
				t.Errorf("the pod was injected by %q, want %q", got, expected.revision)
			}
		})
	}
}

// revisionOf returns the revision that injected the pod.
func revisionOf(pod *corev1.Pod) string {
	_, rest, _ := strings.Cut(pod.Annotations["sidecar.istio.io/status"], `"revision":"`)
	revision, _, _ := strings.Cut(rest, `"`)
	return revision
}
