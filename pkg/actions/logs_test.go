package actions

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
)

func TestLastLogs(t *testing.T) {
	failing := func(restarts int32) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			fixture.NotReady(pod)
			pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "migrate", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}}
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", RestartCount: restarts}, {Name: "helper", Ready: true}}
		}
	}
	deployment := switched(fixture.Replicas(1))
	for name, test := range map[string]struct {
		edit func(*corev1.Pod)
		gate v1alpha1.Gate
		text string
		want []string
	}{
		"a pod of the gate's workload": {failing(0), gateOf(v1alpha1.GateCaptured, reference("Deployment", "cart")), "", []string{"Pod shop/cart-5d8f7-0 main: fake logs"}},
		"one that has restarted": {failing(3), gateOf(v1alpha1.GateCaptured, reference("Deployment", "cart")), "", []string{
			"Pod shop/cart-5d8f7-0 main before its restart: fake logs", "Pod shop/cart-5d8f7-0 main: fake logs",
		}},
		"a pod that is named":     {failing(0), gateOf(v1alpha1.GateInjected), "Pod shop/cart-5d8f7-0 is not ready", []string{"Pod shop/cart-5d8f7-0 main: fake logs"}},
		"one of a longer name":    {failing(0), gateOf(v1alpha1.GateInjected), "Pod shop/cart-5d8f7-01 is not ready", nil},
		"one that is ready":       {fixture.Ambient, gateOf(v1alpha1.GateCaptured, reference("Deployment", "cart")), "", nil},
		"one that has not begun":  {fixture.NotReady, gateOf(v1alpha1.GateCaptured, reference("Deployment", "cart")), "", nil},
		"nothing of the workload": {failing(0), gateOf(v1alpha1.GateCaptured, reference("Deployment", "other")), "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			snapshot := fixture.Snapshot(deployment, fixture.PodsOf(deployment, test.edit))
			runner, _ := looker(snapshot)
			if diff := cmp.Diff(test.want, runner.lastLogs(t.Context(), snapshot, test.gate, test.text)); diff != "" {
				t.Errorf("the logs are (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLogsAreOfFewPods(t *testing.T) {
	deployment := switched(fixture.Replicas(5))
	failing := func(pod *corev1.Pod) {
		fixture.NotReady(pod)
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main"}}
	}
	snapshot := fixture.Snapshot(deployment, fixture.PodsOf(deployment, failing))
	runner, _ := looker(snapshot)
	if got := runner.lastLogs(t.Context(), snapshot, gateOf(v1alpha1.GateCaptured, reference("Deployment", "cart")), ""); len(got) != mostLogPods {
		t.Errorf("the logs are %q", got)
	}
}

func TestPrintable(t *testing.T) {
	if got := printable("\x1b[31mfailed:\tno\x07 database\u009b\r"); got != "[31mfailed:\tno database" {
		t.Errorf("it prints %q", got)
	}
}
