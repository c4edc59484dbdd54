package controlplane

import (
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
)

func TestResolve(t *testing.T) {
	istiodLabels := map[string]string{"app": "istiod", "istio.io/rev": "default"}
	n := &network{
		kubelet: "127.0.0.1:1",
		client: fake.NewClientset(
			&corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "istiod-1", Labels: istiodLabels},
				Status: corev1.PodStatus{
					PodIP:      "10.244.0.9",
					Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
				},
			},
			&corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "istiod"},
				Spec: corev1.ServiceSpec{
					ClusterIP: "10.96.0.9", Selector: istiodLabels,
					Ports: []corev1.ServicePort{{Port: 443, TargetPort: intstr.FromInt32(15017)}, {Port: 15010}},
				},
			},
			&corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "empty"},
				Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.8", Selector: map[string]string{"app": "empty"}, Ports: []corev1.ServicePort{{Port: 443}}},
			},
		),
		pods: func(pod *corev1.Pod, port int) (string, error) {
			if port == 1 {
				return "", errors.New("nothing listens")
			}
			return fmt.Sprintf("%s:%d", pod.Name, port), nil
		},
	}
	tests := []struct{ address, want string }{
		{"172.18.0.2:10250", "127.0.0.1:1"},
		{"172.18.0.2:22", ""},
		{"10.96.0.9:443", "istiod-1:15017"},
		{"istiod.istio-system.svc:443", "istiod-1:15017"},
		{"istiod.istio-system.svc.cluster.local:15010", "istiod-1:15010"},
		{"10.96.0.9:80", ""},
		{"10.96.0.8:443", ""},
		{"10.96.0.7:443", ""},
		{"missing.istio-system.svc:443", ""},
		{"10.244.0.9:8080", "istiod-1:8080"},
		{"10.244.0.9:1", ""},
		{"10.244.0.10:8080", ""},
		{"192.0.2.1:443", ""},
		{"no port", ""},
	}
	for _, test := range tests {
		t.Run(test.address, func(t *testing.T) {
			got, err := n.resolve(t.Context(), test.address)
			if got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("got %q, error %v", got, err)
			}
		})
	}
}
