package cni

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/ztunnel"
)

func TestDecide(t *testing.T) {
	tests := []struct {
		name string
		situation
		want decision
	}{
		{"captured", situation{enrols: true, connected: true}, decision{"enabled", ztunnel.StateUp}},
		{"not to be enrolled", situation{connected: true}, decision{}},
		{"not to be enrolled, without ztunnel", situation{}, decision{}},
		{"terminated", situation{enrols: true, terminated: true, connected: true}, decision{}},
		{"without ztunnel", situation{enrols: true}, decision{annotation: "pending"}},
		{"captured, then without ztunnel", situation{enrols: true, annotated: "enabled"}, decision{annotation: "enabled"}},
		{"pending, then without ztunnel", situation{enrols: true, annotated: "pending"}, decision{annotation: "pending"}},
		{"no longer to be enrolled, without ztunnel", situation{annotated: "enabled"}, decision{}},
		{"held", situation{enrols: true, connected: true, fault: HoldCapture}, decision{"pending", ztunnel.StatePending}},
		{"feigned", situation{enrols: true, connected: true, fault: FeignCapture}, decision{"enabled", ztunnel.StatePending}},
		{"feigned, without ztunnel", situation{enrols: true, fault: FeignCapture}, decision{annotation: "pending"}},
		{"held, but not to be enrolled", situation{connected: true, fault: HoldCapture}, decision{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := decide(test.situation); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestTerminated(t *testing.T) {
	for phase, want := range map[corev1.PodPhase]bool{
		corev1.PodPending: false, corev1.PodRunning: false, corev1.PodUnknown: false,
		corev1.PodSucceeded: true, corev1.PodFailed: true,
	} {
		if got := terminated(&corev1.Pod{Status: corev1.PodStatus{Phase: phase}}); got != want {
			t.Errorf("a pod in phase %s is terminated: %v", phase, got)
		}
	}
}

func TestRedirectionPatch(t *testing.T) {
	for value, want := range map[string]string{
		"enabled": `{"metadata":{"annotations":{"ambient.istio.io/redirection":"enabled"}}}`,
		"pending": `{"metadata":{"annotations":{"ambient.istio.io/redirection":"pending"}}}`,
		"":        `{"metadata":{"annotations":{"ambient.istio.io/redirection":null}}}`,
	} {
		got, err := redirectionPatch(value)
		if err != nil || string(got) != want {
			t.Errorf("the patch for %q is %s (%v), want %s", value, got, err, want)
		}
	}
}
