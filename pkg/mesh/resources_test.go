package mesh_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
)

func TestResourcesOf(t *testing.T) {
	ranges := parsed[[]corev1.LimitRange](t, `[{spec: {limits: [{type: Container, default: {cpu: 2, memory: 2Gi}, defaultRequest: {cpu: 50m}}, {type: Pod, default: {cpu: 9}}]}}]`)
	tests := []struct {
		name, spec       string
		ranges           []corev1.LimitRange
		requests, limits string
	}{
		{"a sum", "{containers: [{resources: {requests: {cpu: 100m}}}, {resources: {requests: {cpu: 200m}, limits: {cpu: 1}}}]}", nil, "cpu=300m", "cpu=1"},
		{"a limit stands for the request", "{containers: [{resources: {limits: {memory: 1Gi}}}]}", nil, "memory=1Gi", "memory=1Gi"},
		{"an init container that needs more", "{initContainers: [{resources: {requests: {cpu: 1}}}], containers: [{resources: {requests: {cpu: 100m}}}]}", nil, "cpu=1", ""},
		{"an init container that stays", "{initContainers: [{restartPolicy: Always, resources: {requests: {cpu: 1}}}], containers: [{resources: {requests: {cpu: 100m}}}]}", nil, "cpu=1100m", ""},
		{"defaults", "{containers: [{}, {resources: {requests: {cpu: 1}, limits: {memory: 1Gi}}}]}", ranges, "cpu=1050m,memory=1Gi", "cpu=4,memory=3Gi"},
		{"of the pod as a whole", "{resources: {requests: {cpu: 3}}, containers: [{resources: {requests: {cpu: 100m}}}]}", nil, "cpu=3", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			template := corev1.PodTemplateSpec{Spec: parsed[corev1.PodSpec](t, test.spec)}
			before := template.DeepCopy()
			got := mesh.ResourcesOf(template, test.ranges)
			if diff := cmp.Diff(*before, template); diff != "" {
				t.Errorf("it changes the template:\n%s", diff)
			}
			if text := written(got.Requests); text != test.requests {
				t.Errorf("it requests %s", text)
			}
			if text := written(got.Limits); text != test.limits {
				t.Errorf("its limits are %s", text)
			}
		})
	}
}

func written(list corev1.ResourceList) string {
	text := ""
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if quantity, set := list[name]; set {
			if text != "" {
				text += ","
			}
			text += string(name) + "=" + quantity.String()
		}
	}
	return text
}

func TestLastingRequest(t *testing.T) {
	ranges := parsed[[]corev1.LimitRange](t, `[{spec: {limits: [{type: Container, defaultRequest: {cpu: 50m}}]}}]`)
	template := corev1.PodTemplateSpec{Spec: parsed[corev1.PodSpec](t, `{
		initContainers: [{resources: {requests: {cpu: 9}}}, {restartPolicy: Always, resources: {requests: {cpu: 1}}}],
		containers: [{resources: {requests: {cpu: 100m}}}, {}]}`)}
	if _, complete := mesh.LastingRequest(template, nil, corev1.ResourceCPU); complete {
		t.Error("a container that requests nothing is overlooked")
	}
	total, complete := mesh.LastingRequest(template, ranges, corev1.ResourceCPU)
	if !complete || total.String() != "1150m" {
		t.Errorf("it is %s (%t)", total.String(), complete)
	}
}

func TestWaypointPods(t *testing.T) {
	values := func(revision, text string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio-sidecar-injector-" + revision + ", namespace: istio-system, labels: {istio.io/rev: " + revision + "}}\ndata: {values: '" + text + "'}"
	}
	const seccomp = `"gateways": {"seccompProfile": {"type": "RuntimeDefault"}, "securityContext": {"runAsUser": 1}}`
	const small = `"global": {"proxy": {"image": "x"}, "waypoint": {"resources": {"requests": {"cpu": "10m"}, "limits": {"memory": "64Mi"}}}}`
	tests := []struct {
		name    string
		objects []any
		seccomp bool
		request string
	}{
		{"no values", nil, false, "cpu=100m,memory=128Mi"},
		{"values that say nothing", []any{values("a", "{}")}, false, "cpu=100m,memory=128Mi"},
		{"values that are none", []any{values("a", "- {")}, false, "cpu=100m,memory=128Mi"},
		{"a profile", []any{values("a", "{"+seccomp+"}")}, true, "cpu=100m,memory=128Mi"},
		{"a profile that is empty", []any{values("a", `{"gateways": {"seccompProfile": {}}}`)}, false, "cpu=100m,memory=128Mi"},
		{"resources", []any{values("a", "{"+small+"}")}, false, "cpu=10m"},
		{"one revision without profile", []any{values("a", "{"+seccomp+"}"), values("b", "{}")}, false, "cpu=100m,memory=128Mi"},
		{"another revision without profile", []any{values("a", "{"+small+"}"), values("b", "{"+seccomp+"}")}, false, "cpu=10m"},
		{"both with profiles", []any{values("a", "{"+seccomp+"}"), values("b", "{"+seccomp+","+small+"}")}, true, "cpu=100m,memory=128Mi"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := fixture.Snapshot(test.objects...).WaypointPods()
			if got.Seccomp != test.seccomp || written(got.Resources.Requests) != test.request {
				t.Errorf("it is %t and %s", got.Seccomp, written(got.Resources.Requests))
			}
		})
	}
}
