package mesh_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// Whatever a container executes may hold a password.
func TestOfEveryCommandOnlyItsWordsAboutIstioAreKept(t *testing.T) {
	const secret = "hunter2"
	executes := func() *corev1.ExecAction {
		return &corev1.ExecAction{Command: []string{"login", secret, "curl localhost:15020/quitquitquit -u " + secret}}
	}
	deployment := fixture.Deployment("shop", "cart", func(d *appsv1.Deployment) {
		container := &d.Spec.Template.Spec.Containers[0]
		container.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: executes()}, PreStop: &corev1.LifecycleHandler{Exec: executes()}}
		container.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: executes()}}
		container.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: executes()}}
		container.StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: executes()}}
		container.Command, container.Args = executes().Command, executes().Command
		d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: "install-cni"})
		d.Spec.Template.Spec.Containers[1].Env = []corev1.EnvVar{{Name: "HOST_PROBE_SNAT_IP", Value: "169.254.1.1"}, {Name: "HOST_PROBE_SNAT_IPV6", Value: "fd00::1"}, {Name: "HOST_PROBE_SNAT_IPX", Value: secret}}
	})
	snapshot := fixture.Snapshot(deployment)
	workload := snapshot.Workloads("shop")[0]
	if text := jsonText(t, workload.Object); strings.Contains(text, secret) || strings.Contains(text, "login") {
		t.Errorf("it is kept in %s", text)
	}
	want := []string{mesh.Redacted, mesh.Redacted, "15020 quitquitquit"}
	container := workload.Template.Spec.Containers[0]
	for name, got := range map[string][]string{
		"command": container.Command, "args": container.Args,
		"postStart": container.Lifecycle.PostStart.Exec.Command, "preStop": container.Lifecycle.PreStop.Exec.Command,
		"livenessProbe": container.LivenessProbe.Exec.Command, "readinessProbe": container.ReadinessProbe.Exec.Command, "startupProbe": container.StartupProbe.Exec.Command,
	} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
	for name, want := range map[string]string{"HOST_PROBE_SNAT_IP": "169.254.1.1", "HOST_PROBE_SNAT_IPV6": "fd00::1", "HOST_PROBE_SNAT_IPX": ""} {
		if got, _ := mesh.Setting(workload.Template, name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	original, found := snapshot.Original(workload.Reference)
	if !found || !strings.Contains(jsonText(t, original), secret) {
		t.Error("what is to be written back is lost")
	}
}

func TestOfAnInstallationsValuesItsWaypointsSettingsAreKept(t *testing.T) {
	const text = `{"global": {"proxy": {"image": "x"}, "waypoint": {"resources": {"requests": {"cpu": "10m"}}, "nodeSelector": {"a": "b"}}}, "gateways": {"seccompProfile": {"type": "RuntimeDefault"}, "securityContext": {"runAsUser": 1}}}`
	snapshot := fixture.Snapshot("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio-sidecar-injector, namespace: istio-system, labels: {istio.io/rev: default}}\ndata: {values: '" + text + "'}")
	kept := snapshot.ConfigMaps()[0].Data["values"]
	for _, part := range []string{"10m", "RuntimeDefault"} {
		if !strings.Contains(kept, part) {
			t.Errorf("%s is not among\n%s", part, kept)
		}
	}
	for _, part := range []string{"image", "nodeSelector", "runAsUser"} {
		if strings.Contains(kept, part) {
			t.Errorf("%s is among\n%s", part, kept)
		}
	}
}

func jsonText(t *testing.T, object mesh.Object) string {
	t.Helper()
	data, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
