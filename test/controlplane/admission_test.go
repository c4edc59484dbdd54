package controlplane

import (
	"encoding/json"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// daemonPod is a pod as the controller of a DaemonSet creates it.
func daemonPod(app, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Args: []string{"proxy", app}}},
			Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
				}}},
			}},
		},
	}
}

func TestAdmit(t *testing.T) {
	c := &ControlPlane{faults: newFaults()}
	c.faults.bar("node-1", 1)
	add(c.faults, c.faults.unready, PodMatcher(func(pod *corev1.Pod) bool { return pod.Namespace == "held" }))
	tests := []struct {
		name      string
		namespace string
		pod       *corev1.Pod
		allowed   bool
		patch     string
	}{
		{name: "any pod", pod: &corev1.Pod{}, allowed: true},
		{name: "ztunnel on a barred node", pod: daemonPod("ztunnel", "node-1")},
		{name: "ztunnel on another node", pod: daemonPod("ztunnel", "node-2"), allowed: true},
		{name: "another daemon on a barred node", pod: daemonPod("other", "node-1"), allowed: true},
		{name: "held back", namespace: "held", pod: &corev1.Pod{}, allowed: true,
			patch: `[{"op":"add","path":"/metadata/annotations","value":{"controlplane.kubectl-ambient.dev/unready":""}}]`},
		{name: "held back, with annotations", namespace: "held", allowed: true,
			pod:   &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"a": "b"}}},
			patch: `[{"op":"add","path":"/metadata/annotations","value":{"a":"b","controlplane.kubectl-ambient.dev/unready":""}}]`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			raw, err := json.Marshal(test.pod)
			if err != nil {
				t.Fatal(err)
			}
			response := c.admit(&admissionv1.AdmissionRequest{Namespace: test.namespace, Object: runtime.RawExtension{Raw: raw}})
			if response.Allowed != test.allowed || string(response.Patch) != test.patch {
				t.Errorf("the response is %v, patch %s", response.Allowed, response.Patch)
			}
		})
	}
}

func TestAdmitRefusesWhatIsNoPod(t *testing.T) {
	response := (&ControlPlane{faults: newFaults()}).admit(&admissionv1.AdmissionRequest{Object: runtime.RawExtension{Raw: []byte("{")}})
	if response.Allowed || !strings.Contains(response.Result.Message, "JSON") {
		t.Errorf("the response is %+v", response)
	}
}

func TestDaemonNode(t *testing.T) {
	for want, pod := range map[string]*corev1.Pod{
		"node-7": daemonPod("ztunnel", "node-7"),
		"":       {Spec: corev1.PodSpec{Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{}}}},
	} {
		if got := daemonNode(pod); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := daemonNode(&corev1.Pod{}); got != "" {
		t.Errorf("got %q for a pod without affinity", got)
	}
}
