package cni

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// installed is the ConfigMap as Istio's chart renders it by default.
func installed() map[string]string {
	return map[string]string{
		"AMBIENT_ENABLED":    "true",
		"EXCLUDE_NAMESPACES": "kube-system, legacy",
		"AMBIENT_ENABLEMENT_SELECTOR": `
- podSelector:
    matchLabels:
      istio.io/dataplane-mode: ambient
- namespaceSelector:
    matchLabels:
      istio.io/dataplane-mode: ambient
  podSelector:
    matchExpressions:
    - key: istio.io/dataplane-mode
      operator: NotIn
      values:
      - none
`,
	}
}

func TestEnrols(t *testing.T) {
	const mode = "istio.io/dataplane-mode"
	ambient := map[string]string{mode: "ambient"}
	tests := []struct {
		name      string
		namespace string
		labels    map[string]string
		pod       corev1.Pod
		want      bool
	}{
		{name: "no label at all"},
		{name: "label of the namespace", labels: ambient, want: true},
		{name: "another label of the namespace", labels: map[string]string{mode: "sidecar"}},
		{name: "label of the pod", pod: labelled(mode, "ambient"), want: true},
		{name: "the pod opts out", labels: ambient, pod: labelled(mode, "none")},
		{name: "the pod opts in where the namespace opts out", labels: map[string]string{mode: "none"}, pod: labelled(mode, "ambient"), want: true},
		{name: "an unknown value does not opt out", labels: ambient, pod: labelled(mode, "other"), want: true},
		{name: "an unknown value does not opt in", pod: labelled(mode, "other")},
		{name: "excluded namespace", namespace: "kube-system", labels: ambient},
		{name: "excluded namespace, label of the pod", namespace: "legacy", pod: labelled(mode, "ambient")},
		{name: "host network", labels: ambient, pod: corev1.Pod{Spec: corev1.PodSpec{HostNetwork: true}}},
		{name: "injected sidecar", labels: ambient, pod: annotated("sidecar.istio.io/status", "{}")},
		{name: "injected sidecar, label of the pod", pod: func() corev1.Pod {
			pod := annotated("sidecar.istio.io/status", "")
			pod.Labels = ambient
			return pod
		}()},
		{name: "injection wanted but not done", labels: ambient, pod: labelled("sidecar.istio.io/inject", "true"), want: true},
	}
	config, err := NewConfig(installed())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.pod.Namespace = test.namespace
			if got := config.Enrols(&test.pod, test.labels); got != test.want {
				t.Errorf("Enrols says %v", got)
			}
		})
	}
}

func labelled(name, value string) corev1.Pod {
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{name: value}}}
}

func annotated(name, value string) corev1.Pod {
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{name: value}}}
}

func TestNewConfig(t *testing.T) {
	tests := []struct {
		name    string
		change  map[string]string
		ambient bool
		fails   bool
	}{
		{name: "as installed", ambient: true},
		{name: "without ambient mode", change: map[string]string{"AMBIENT_ENABLED": "false"}},
		{name: "without exclusions", change: map[string]string{"EXCLUDE_NAMESPACES": ""}, ambient: true},
		{name: "no selectors", change: map[string]string{"AMBIENT_ENABLEMENT_SELECTOR": ""}, ambient: true},
		{name: "broken selectors", change: map[string]string{"AMBIENT_ENABLEMENT_SELECTOR": "}"}, fails: true},
		{name: "impossible selector", change: map[string]string{
			"AMBIENT_ENABLEMENT_SELECTOR": `[{podSelector: {matchExpressions: [{key: a, operator: Near}]}}]`,
		}, fails: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			data := installed()
			for name, value := range test.change {
				data[name] = value
			}
			config, err := NewConfig(data)
			if (err != nil) != test.fails {
				t.Fatalf("the error is %v", err)
			}
			if config.Ambient != test.ambient {
				t.Errorf("Ambient is %v", config.Ambient)
			}
		})
	}
}

func TestSelectorsOfTheirOwn(t *testing.T) {
	data := installed()
	data["AMBIENT_ENABLEMENT_SELECTOR"] = `[{podSelector: {matchLabels: {mesh: "on"}}, namespaceSelector: {matchLabels: {team: a}}}]`
	config, err := NewConfig(data)
	if err != nil {
		t.Fatal(err)
	}
	pod := labelled("mesh", "on")
	if !config.Enrols(&pod, map[string]string{"team": "a"}) {
		t.Error("a pod that both selectors match is not enrolled")
	}
	if config.Enrols(&pod, map[string]string{"team": "b", "istio.io/dataplane-mode": "ambient"}) {
		t.Error("a pod that one selector does not match is enrolled")
	}
}
