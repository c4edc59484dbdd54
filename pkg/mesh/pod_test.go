package mesh_test

import (
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestHasSidecar(t *testing.T) {
	proxy := func(pod *corev1.Pod) {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "istio-proxy"})
	}
	nativeProxy := func(pod *corev1.Pod) {
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: "istio-proxy"})
	}
	ofDaemonSet := func(pod *corev1.Pod) {
		owner := fixture.DaemonSet("istio-system", "ztunnel").ObjectMeta
		pod.OwnerReferences = []metav1.OwnerReference{fixture.Owner("DaemonSet", "apps/v1", &owner)}
	}
	tests := []struct {
		name  string
		edits []func(*corev1.Pod)
		want  bool
	}{
		{"an application alone", nil, false},
		{"a classic sidecar", []func(*corev1.Pod){fixture.Sidecar}, true},
		{"a native sidecar", []func(*corev1.Pod){fixture.NativeSidecar}, true},
		{"a classic sidecar without annotation, as kube-inject once wrote it", []func(*corev1.Pod){proxy}, true},
		{"a native sidecar without annotation", []func(*corev1.Pod){nativeProxy}, true},
		{"an ambient pod", []func(*corev1.Pod){fixture.Ambient}, false},
		{"istio-init alone is not a sidecar", []func(*corev1.Pod){func(pod *corev1.Pod) {
			pod.Spec.InitContainers = []corev1.Container{{Name: "istio-init"}}
		}}, false},
		{"an injected gateway", []func(*corev1.Pod){proxy, fixture.Annotated("inject.istio.io/templates", "gateway"), fixture.Annotated("sidecar.istio.io/status", "{}")}, false},
		{"an injected gateway with a template of its own, written with a space", []func(*corev1.Pod){proxy, fixture.Annotated("inject.istio.io/templates", "custom, gateway")}, false},
		{"a sidecar with a template of its own", []func(*corev1.Pod){proxy, fixture.Annotated("inject.istio.io/templates", "sidecar,custom")}, true},
		{"a waypoint", []func(*corev1.Pod){proxy, fixture.Labelled("gateway.networking.k8s.io/gateway-name", "waypoint")}, false},
		{"a gateway that istiod manages", []func(*corev1.Pod){proxy, fixture.Labelled("gateway.istio.io/managed", "istio.io-gateway-controller")}, false},
		{"ztunnel, whose container has the proxy's name", []func(*corev1.Pod){proxy, fixture.Labelled("app", "ztunnel"), ofDaemonSet}, false},
		{"a pod that only bears ztunnel's label", []func(*corev1.Pod){proxy, fixture.Labelled("app", "ztunnel")}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			object := fixture.Pod("shop", "cart", test.edits...)
			if got := mesh.PodFromObject(object).HasSidecar(); got != test.want {
				t.Errorf("HasSidecar is %t, want %t", got, test.want)
			}
		})
	}
}

func TestHasSidecarByTheAnnotationWhereOnlyMetadataWasRead(t *testing.T) {
	for _, edit := range []func(*corev1.Pod){fixture.Sidecar, fixture.NativeSidecar} {
		object := fixture.Pod("shop", "cart", edit)
		if !mesh.PodFromMetadata(object.ObjectMeta).HasSidecar() {
			t.Error("the sidecar was not seen")
		}
	}
	if mesh.PodFromMetadata(fixture.Pod("shop", "cart").ObjectMeta).HasSidecar() {
		t.Error("a sidecar was seen that is not there")
	}
}

func TestPodFromObject(t *testing.T) {
	set := fixture.StatefulSet("shop", "db")
	object := fixture.Pod("shop", "db-0", fixture.Of("StatefulSet", "apps/v1", &set.ObjectMeta, set.Spec.Template), fixture.NativeSidecar)
	pod := mesh.PodFromObject(object)
	switch {
	case !pod.Detailed, !pod.Ready, !pod.Live(), !pod.Tunnels(), pod.Redirected(), pod.Trouble != "":
		t.Errorf("the pod is %+v", pod)
	case pod.Node != fixture.Node, pod.ServiceAccount != "db", pod.Controller.Name != "db", !pod.Created.Equal(fixture.Created):
		t.Errorf("the pod is %+v", pod)
	case pod.String() != "Pod shop/db-0":
		t.Errorf("it is called %q", pod)
	}
	for phase, finished := range map[corev1.PodPhase]bool{corev1.PodRunning: false, corev1.PodPending: false, corev1.PodSucceeded: true, corev1.PodFailed: true} {
		object.Status.Phase = phase
		if pod := mesh.PodFromObject(object); pod.Finished() != finished || pod.Live() == finished {
			t.Errorf("in phase %s Finished is %t and Live %t", phase, pod.Finished(), pod.Live())
		}
	}
	object.Status.Phase = corev1.PodRunning
	now := metav1.NewTime(fixture.Created)
	object.DeletionTimestamp = &now
	if mesh.PodFromObject(object).Live() {
		t.Error("a pod on its way out counts as live")
	}
}

func TestPodTrouble(t *testing.T) {
	waiting := func(reason, message string) []corev1.ContainerStatus {
		return []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}
	}
	ended := func(code int32, reason string) []corev1.ContainerStatus {
		return []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason}}}}
	}
	condition := func(kind corev1.PodConditionType, reason, message string) corev1.PodCondition {
		return corev1.PodCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: message}
	}
	tests := []struct {
		name   string
		status corev1.PodStatus
		want   string
	}{
		{"nothing is said", corev1.PodStatus{}, ""},
		{"a container waits", corev1.PodStatus{ContainerStatuses: waiting("ImagePullBackOff", "not found")}, "container main: ImagePullBackOff: not found"},
		{"an init container waits", corev1.PodStatus{InitContainerStatuses: waiting("CrashLoopBackOff", ""), ContainerStatuses: waiting("PodInitializing", "")}, "container main: CrashLoopBackOff"},
		{"a container only starts", corev1.PodStatus{ContainerStatuses: waiting("ContainerCreating", "")}, ""},
		{"a container failed", corev1.PodStatus{ContainerStatuses: ended(1, "Error")}, "container main: Error"},
		{"a container ended well", corev1.PodStatus{ContainerStatuses: ended(0, "Completed")}, ""},
		{"the scheduler says why", corev1.PodStatus{Conditions: []corev1.PodCondition{
			condition(corev1.PodReady, "ContainersNotReady", "later"), condition(corev1.PodScheduled, "Unschedulable", "0/1 nodes are available"),
		}}, "Unschedulable: 0/1 nodes are available"},
		{"a container says more than the conditions", corev1.PodStatus{
			ContainerStatuses: waiting("ErrImagePull", ""), Conditions: []corev1.PodCondition{condition(corev1.PodReady, "ContainersNotReady", "")},
		}, "container main: ErrImagePull"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			object := fixture.Pod("shop", "cart", func(pod *corev1.Pod) { pod.Status = test.status })
			if got := mesh.PodFromObject(object).Trouble; got != test.want {
				t.Errorf("Trouble is %q, want %q", got, test.want)
			}
		})
	}
}
