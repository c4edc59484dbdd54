package mesh_test

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

type deploymentEdits = []func(*appsv1.Deployment)

const inject = "sidecar.istio.io/inject"

func TestRoleOf(t *testing.T) {
	enabled, ambient := labels{"istio-injection": "enabled"}, labels{mode: "ambient"}
	hostNetwork := func(d *appsv1.Deployment) { d.Spec.Template.Spec.HostNetwork = true }
	kubeInjected := func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: "istio-proxy"})
	}
	kubeInjectedNative := func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "istio-proxy"}}
	}
	tests := []struct {
		name      string
		namespace labels
		edits     deploymentEdits
		pods      []func(*corev1.Pod)
		want      mesh.Role
	}{
		{name: "injected by its namespace", namespace: enabled, want: mesh.RoleMove},
		{name: "injected by its namespace and running with a sidecar", namespace: enabled, pods: []func(*corev1.Pod){fixture.Sidecar}, want: mesh.RoleMove},
		{name: "injected by its own label", edits: deploymentEdits{fixture.TemplateLabel(inject, "true")}, want: mesh.RoleMove},
		{name: "running with a sidecar that would not come back", pods: []func(*corev1.Pod){fixture.Sidecar}, want: mesh.RoleMove},
		{name: "switched already and still running with a sidecar", namespace: labels{"istio-injection": "enabled", mode: "ambient"}, edits: deploymentEdits{fixture.TemplateLabel(inject, "false")}, pods: []func(*corev1.Pod){fixture.NativeSidecar}, want: mesh.RoleMove},
		{name: "outside the mesh", want: mesh.RoleStay},
		{name: "in ambient mode", namespace: ambient, pods: []func(*corev1.Pod){fixture.Ambient}, want: mesh.RoleStay},
		{name: "switched already and restarted", namespace: labels{"istio-injection": "enabled", mode: "ambient"}, edits: deploymentEdits{fixture.TemplateLabel(inject, "false")}, pods: []func(*corev1.Pod){fixture.Ambient}, want: mesh.RoleStay},
		{name: "opted out by label", namespace: enabled, edits: deploymentEdits{fixture.TemplateLabel(inject, "false")}, want: mesh.RolePin},
		{name: "opted out by annotation", namespace: enabled, edits: deploymentEdits{fixture.TemplateAnnotation(inject, "false")}, want: mesh.RolePin},
		{name: "opted out in a namespace that does not inject", edits: deploymentEdits{fixture.TemplateLabel(inject, "false")}, want: mesh.RolePin},
		{name: "opted out and pinned", namespace: enabled, edits: deploymentEdits{fixture.TemplateLabel(inject, "false"), fixture.TemplateLabel(mode, "none")}, want: mesh.RoleStay},
		{name: "opted out and ambient by its own label", namespace: enabled, edits: deploymentEdits{fixture.TemplateLabel(inject, "false"), fixture.TemplateLabel(mode, "ambient")}, want: mesh.RoleStay},
		{name: "on the host's network", namespace: enabled, edits: deploymentEdits{hostNetwork}, want: mesh.RoleStay},
		{name: "kube-injected", namespace: enabled, edits: deploymentEdits{kubeInjected}, want: mesh.RoleStay},
		{name: "kube-injected with a native sidecar", namespace: enabled, edits: deploymentEdits{kubeInjectedNative}, want: mesh.RoleStay},
		{name: "a gateway", namespace: enabled, edits: deploymentEdits{fixture.InjectedGateway}, want: mesh.RolePin},
		{name: "a gateway that is pinned and leans on its namespace", namespace: enabled, edits: deploymentEdits{fixture.InjectedGateway, fixture.TemplateLabel(mode, "none")}, want: mesh.RolePin},
		{name: "a gateway that is pinned and asks for itself", namespace: enabled, edits: deploymentEdits{fixture.InjectedGateway, fixture.TemplateLabel(mode, "none"), fixture.TemplateLabel(inject, "true")}, want: mesh.RoleStay},
		{name: "a gateway that asks for itself", edits: deploymentEdits{fixture.InjectedGateway, fixture.TemplateLabel(inject, "true")}, want: mesh.RolePin},
		{name: "a waypoint, which istiod pins", edits: deploymentEdits{fixture.TemplateLabel("gateway.networking.k8s.io/gateway-name", "waypoint"), fixture.TemplateLabel(mode, "none"), fixture.TemplateLabel(inject, "false")}, want: mesh.RoleStay},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			deployment := fixture.Deployment("shop", "cart", test.edits...)
			objects := []any{fixture.Injector("", false), fixture.Namespace("shop", test.namespace), deployment}
			if test.pods != nil {
				objects = append(objects, fixture.PodsOf(deployment, test.pods...))
			}
			snapshot := fixture.Snapshot(objects...)
			if got := snapshot.RoleOf(snapshot.Workloads("shop")[0], fixture.Find(snapshot, "shop")); got != test.want {
				t.Errorf("the role is %s, want %s", got, test.want)
			}
		})
	}
}

// A gateway keeps what asks for its proxy: its namespace's labels are about to
// go.
func TestPinLabels(t *testing.T) {
	enabled := labels{"istio-injection": "enabled"}
	none := labels{"istio.io/dataplane-mode": "none"}
	asking := labels{"istio.io/dataplane-mode": "none", inject: "true"}
	tests := []struct {
		name      string
		injector  any
		namespace labels
		edits     deploymentEdits
		want      labels
		loses     bool
	}{
		{"injected by the namespace's label", fixture.Injector("", false), enabled, nil, asking, false},
		{
			"injected by the namespace's revision", fixture.Injector("canary", false), labels{"istio.io/rev": "canary"}, nil,
			labels{"istio.io/dataplane-mode": "none", inject: "true", "istio.io/rev": "canary"}, false,
		},
		{"injected by both", fixture.Injector("", false), labels{"istio-injection": "enabled", "istio.io/rev": "canary"}, nil, asking, false},
		{"asks for itself", fixture.Injector("", false), enabled, deploymentEdits{fixture.TemplateLabel(inject, "true")}, none, false},
		{
			"asks for its revision", fixture.Injector("canary", false), labels{"istio.io/rev": "canary"},
			deploymentEdits{fixture.TemplateLabel("istio.io/rev", "canary")}, none, false,
		},
		{
			"asks, but for no revision that is there", fixture.Injector("canary", false), labels{"istio.io/rev": "canary"},
			deploymentEdits{fixture.TemplateLabel(inject, "true")}, labels{"istio.io/dataplane-mode": "none", "istio.io/rev": "canary"}, false,
		},
		{"pinned already", fixture.Injector("", false), enabled, deploymentEdits{fixture.TemplateLabel("istio.io/dataplane-mode", "none")}, labels{inject: "true"}, false},
		{"not injected", fixture.Injector("", false), nil, nil, none, false},
		{"opted out", fixture.Injector("", false), enabled, deploymentEdits{fixture.TemplateLabel(inject, "false")}, none, false},
		{"injected by default", fixture.Injector("", true), nil, nil, asking, true},
		{"bound to a revision that is gone", fixture.Injector("", false), enabled, deploymentEdits{fixture.TemplateLabel("istio.io/rev", "gone")}, asking, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			deployment := fixture.Deployment("shop", "cart", append(deploymentEdits{fixture.InjectedGateway}, test.edits...)...)
			snapshot := fixture.Snapshot(test.injector, fixture.Namespace("shop", test.namespace), deployment)
			workload, namespace := snapshot.Workloads("shop")[0], fixture.Find(snapshot, "shop")
			if diff := cmp.Diff(test.want, snapshot.PinLabels(workload, namespace)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := snapshot.LosesProxy(workload, namespace); got != test.loses {
				t.Errorf("LosesProxy is %t, want %t", got, test.loses)
			}
		})
	}
}

func TestEnrolledLabels(t *testing.T) {
	tests := []struct {
		name     string
		injector any
		before   labels
		want     labels
	}{
		{"none", fixture.Injector("", false), nil, labels{}},
		{"injection", fixture.Injector("", false), labels{"istio-injection": "enabled", "team": "shop"}, labels{"team": "shop"}},
		{"a revision", fixture.Injector("canary", false), labels{"istio.io/rev": "canary"}, labels{}},
		{"both", fixture.Injector("", false), labels{"istio-injection": "enabled", "istio.io/rev": "canary"}, labels{}},
		{"disabled already", fixture.Injector("", false), labels{"istio-injection": "disabled"}, labels{"istio-injection": "disabled"}},
		{"by default", fixture.Injector("", true), nil, labels{"istio-injection": "disabled"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			snapshot := fixture.Snapshot(test.injector, fixture.Namespace("shop", test.before))
			namespace := fixture.Find(snapshot, "shop")
			before := maps.Clone(namespace.Labels)
			want := maps.Clone(test.want)
			want["istio.io/dataplane-mode"] = "ambient"
			got := snapshot.EnrolledLabels(namespace)
			delete(got, "kubernetes.io/metadata.name")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, namespace.Labels); diff != "" {
				t.Errorf("the namespace was changed:\n%s", diff)
			}
		})
	}
}

func TestOptedOut(t *testing.T) {
	tests := []struct {
		name                string
		labels, annotations labels
		want                bool
	}{
		{"says nothing", nil, nil, false},
		{"label", labels{inject: "false"}, nil, true},
		{"annotation", nil, labels{inject: "false"}, true},
		{"the label wins, to inject", labels{inject: "true"}, labels{inject: "false"}, false},
		{"the label wins, not to inject", labels{inject: "false"}, labels{inject: "true"}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := mesh.OptedOut(test.labels, test.annotations); got != test.want {
				t.Errorf("OptedOut is %t, want %t", got, test.want)
			}
		})
	}
}
