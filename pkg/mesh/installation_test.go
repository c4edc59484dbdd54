package mesh_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestInstallationOf(t *testing.T) {
	type text = map[string]string
	tests := []struct {
		name   string
		object metav1.ObjectMeta
		want   mesh.Installation
	}{
		{"nothing", metav1.ObjectMeta{}, mesh.Installation{}},
		{
			"a chart rendered by whatever", metav1.ObjectMeta{Labels: text{"app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "istiod-1.31.1"}},
			mesh.Installation{Version: "1.31.1"},
		},
		{"a chart of a vendor", metav1.ObjectMeta{Labels: text{"helm.sh/chart": "istio-cni-1.31.1-solo"}}, mesh.Installation{Version: "1.31.1-solo"}},
		{"a chart that istioctl holds", metav1.ObjectMeta{Labels: text{"helm.sh/chart": "istiod-1.0.0"}}, mesh.Installation{}},
		{"a label that is none", metav1.ObjectMeta{Labels: text{"helm.sh/chart": "istiod"}}, mesh.Installation{}},
		{"Helm", metav1.ObjectMeta{Annotations: text{"meta.helm.sh/release-name": "mesh"}}, mesh.Installation{Installer: mesh.InstallerHelm, Release: "mesh"}},
		{"istioctl", metav1.ObjectMeta{Labels: text{"operator.istio.io/managed": "Reconcile"}}, mesh.Installation{Installer: mesh.InstallerIstioctl}},
		{
			"the Sail operator, which uses Helm", metav1.ObjectMeta{
				Annotations:     text{"meta.helm.sh/release-name": "default-istiod"},
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Name: "x"}, {APIVersion: "sailoperator.io/v1", Kind: "IstioRevision", Name: "default"}},
			}, mesh.Installation{Installer: mesh.InstallerSail, Release: "default"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, mesh.InstallationOf(test.object)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSetting(t *testing.T) {
	elsewhere := &corev1.EnvVarSource{}
	tests := []struct {
		name       string
		containers []corev1.Container
		value      string
		state      mesh.SettingState
	}{
		{"none", nil, "", mesh.SettingAbsent},
		{"another", []corev1.Container{{Env: []corev1.EnvVar{{Name: "B", Value: "x"}}}}, "", mesh.SettingAbsent},
		{"written", []corev1.Container{{Env: []corev1.EnvVar{{Name: "A", Value: "x"}}}}, "x", mesh.SettingSet},
		{"empty", []corev1.Container{{Env: []corev1.EnvVar{{Name: "A"}}}}, "", mesh.SettingSet},
		{"the last one counts", []corev1.Container{{Env: []corev1.EnvVar{{Name: "A", Value: "x"}, {Name: "A", Value: "y"}}}}, "y", mesh.SettingSet},
		{"from elsewhere", []corev1.Container{{Env: []corev1.EnvVar{{Name: "A", ValueFrom: elsewhere}}}}, "", mesh.SettingHidden},
		{"from elsewhere at last", []corev1.Container{{Env: []corev1.EnvVar{{Name: "A", Value: "x"}, {Name: "A", ValueFrom: elsewhere}}}}, "", mesh.SettingHidden},
		{"redacted", []corev1.Container{{Env: []corev1.EnvVar{{Name: "A", Value: mesh.Redacted}}}}, "", mesh.SettingHidden},
		{"perhaps from elsewhere", []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{}}}}, "", mesh.SettingHidden},
		{"what is written wins", []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{}}, Env: []corev1.EnvVar{{Name: "A", Value: "x"}}}}, "x", mesh.SettingSet},
		{"in another container", []corev1.Container{{Env: []corev1.EnvVar{{Name: "A", Value: "x"}}}, {EnvFrom: []corev1.EnvFromSource{{}}}}, "x", mesh.SettingSet},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			value, state := mesh.Setting(corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: test.containers}}, "A")
			if value != test.value || state != test.state {
				t.Errorf("it is %q, %s", value, state)
			}
		})
	}
}

func TestImages(t *testing.T) {
	snapshot := fixture.Snapshot(fixture.CNI("istio-system")...)
	pods := snapshot.CNIPods()
	if len(pods) != 1 {
		t.Fatalf("there are %d pods of istio-cni", len(pods))
	}
	if diff := cmp.Diff(map[string]string{"install-cni": "docker.io/istio/install-cni:1.31.1"}, pods[0].Images()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if images := mesh.PodFromMetadata(metav1.ObjectMeta{Name: "x"}).Images(); len(images) != 0 {
		t.Errorf("a pod known by metadata has images %v", images)
	}
}

func TestInstallationValues(t *testing.T) {
	injector := func(name, values string) *corev1.ConfigMap {
		configMap := fixture.MeshConfig("")
		configMap.Name, configMap.Data = name, map[string]string{"values": values}
		return configMap
	}
	without := injector("istio-sidecar-injector-none", "")
	delete(without.Data, "values")
	snapshot := fixture.Snapshot(
		injector("istio", `{"global": {"network": "no"}}`), injector("istio-sidecar-injector-bad", "a: ["), without,
		injector("istio-sidecar-injector", `{"global": {"network": "east", "externalIstiod": true, "remotePilotAddress": "10.0.0.1", "tag": "secret"}}`),
	)
	var got []string
	for _, values := range snapshot.InstallationValues() {
		got = append(got, values.ConfigMap.Name, values.Revision, values.Network, values.RemotePilotAddress)
		if !values.ExternalIstiod {
			t.Error("it is not external")
		}
	}
	if diff := cmp.Diff([]string{"istio-sidecar-injector", "default", "east", "10.0.0.1"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// ztunnel's addresses tell which istiod it belongs to, and are no secrets. What
// else is in its environment may be.
func TestAddressesOfZtunnelAreKept(t *testing.T) {
	set := fixture.Ztunnel("istio-system")[0].(*appsv1.DaemonSet)
	set.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{
		{Name: "CA_ADDRESS", Value: "istiod.istio-system.svc:15012"}, {Name: "XDS_ADDRESS", Value: "istiod.istio-system.svc:15012"},
		{Name: "CA_ADDRESS_TOKEN", Value: "secret"}, {Name: "TOKEN", Value: "secret"},
	}
	ztunnel, _ := fixture.Snapshot(set).Ztunnel()
	want := map[string]string{
		"CA_ADDRESS": "istiod.istio-system.svc:15012", "XDS_ADDRESS": "istiod.istio-system.svc:15012", "CA_ADDRESS_TOKEN": mesh.Redacted, "TOKEN": mesh.Redacted,
	}
	got := map[string]string{}
	for _, variable := range ztunnel.Spec.Template.Spec.Containers[0].Env {
		got[variable.Name] = variable.Value
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
