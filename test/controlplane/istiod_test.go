package controlplane

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestIstiodEnvironment(t *testing.T) {
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "istiod-canary"},
		Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			ServiceAccountName: "istiod-canary",
			Containers: []corev1.Container{{Env: []corev1.EnvVar{
				{Name: "REVISION", Value: "canary"},
				{Name: "KUBECONFIG", Value: "/var/run/secrets/remote/config"},
				{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
				{Name: "GOMAXPROCS", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}},
				{Name: "PILOT_TRACE_SAMPLING", Value: "1"},
			}}},
		}}},
	}
	got := istiodEnvironment(deployment, map[string]string{"PILOT_TRACE_SAMPLING": "2"})
	want := []string{
		"PILOT_TRACE_SAMPLING=2", "POD_NAME=istiod-canary", "POD_NAMESPACE=istio-system", "REVISION=canary", "SERVICE_ACCOUNT=istiod-canary",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestRevisionNames(t *testing.T) {
	for revision, want := range map[string][2]string{
		"":        {"default", "istiod"},
		"default": {"default", "istiod"},
		"canary":  {"canary", "istiod-canary"},
	} {
		if got := [2]string{revisionName(revision), revisioned("istiod", revision)}; got != want {
			t.Errorf("%q: got %v, want %v", revision, got, want)
		}
	}
}

func TestIstiodRevision(t *testing.T) {
	for _, test := range []struct {
		labels   map[string]string
		revision string
		ok       bool
	}{
		{map[string]string{"app": "istiod", "istio.io/rev": "canary"}, "canary", true},
		{map[string]string{"app": "istiod"}, "default", true},
		{map[string]string{"app": "echo", "istio.io/rev": "canary"}, "", false},
	} {
		revision, ok := istiodRevision(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: test.labels}})
		if revision != test.revision || ok != test.ok {
			t.Errorf("%v: got %q, %v", test.labels, revision, ok)
		}
	}
}
