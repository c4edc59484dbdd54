package mesh_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

func waypoint(namespace, name, class string, programmed bool) string {
	status := "False"
	if programmed {
		status = "True"
	}
	return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: %s, namespace: %s}
spec: {gatewayClassName: %s, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status: {conditions: [{type: Programmed, status: "%s", reason: Programmed, message: "", lastTransitionTime: "2026-08-01T12:00:00Z"}]}`, name, namespace, class, status)
}

func endpoints(namespace, gateway, name string, conditions ...string) string {
	var list []string
	for i, condition := range conditions {
		list = append(list, fmt.Sprintf(`{addresses: ["10.0.0.%d"], targetRef: {kind: Pod, uid: %s-%d}, conditions: {%s}}`, i+1, strings.TrimSuffix(name, "-ipv6"), i, condition))
	}
	return fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
addressType: IPv4
metadata: {name: %s, namespace: %s, labels: {gateway.networking.k8s.io/gateway-name: %s}}
endpoints: [%s]`, name, namespace, gateway, strings.Join(list, ", "))
}

func TestWaypoints(t *testing.T) {
	const class = "istio-waypoint"
	tests := []struct {
		name      string
		namespace labels
		objects   []any
		want      []v1alpha1.WaypointStatus
	}{
		{"none", nil, nil, nil},
		{"one that is ready", labels{"istio.io/use-waypoint": "way"}, []any{waypoint("shop", "way", class, true), endpoints("shop", "way", "way-1", "ready: true", "ready: false", "")},
			[]v1alpha1.WaypointStatus{{Namespace: "shop", Name: "way", Exists: true, Programmed: true, ReadyEndpoints: 2, Used: true}}},
		{"endpoints in several slices", labels{"istio.io/use-waypoint": "way"}, []any{waypoint("shop", "way", class, true), endpoints("shop", "way", "way-1", "ready: true"), endpoints("shop", "way", "way-2", "ready: true")},
			[]v1alpha1.WaypointStatus{{Namespace: "shop", Name: "way", Exists: true, Programmed: true, ReadyEndpoints: 2, Used: true}}},
		{"endpoints of both families", labels{"istio.io/use-waypoint": "way"}, []any{waypoint("shop", "way", class, true), endpoints("shop", "way", "way-1", "ready: true"), endpoints("shop", "way", "way-1-ipv6", "ready: true")},
			[]v1alpha1.WaypointStatus{{Namespace: "shop", Name: "way", Exists: true, Programmed: true, ReadyEndpoints: 1, Used: true}}},
		{"one that is not programmed", labels{"istio.io/use-waypoint": "way"}, []any{waypoint("shop", "way", class, false), endpoints("shop", "way", "way-1", "ready: true")},
			[]v1alpha1.WaypointStatus{{Namespace: "shop", Name: "way", Exists: true, ReadyEndpoints: 1, Used: true}}},
		{"one without endpoints", labels{"istio.io/use-waypoint": "way"}, []any{waypoint("shop", "way", class, true), endpoints("shop", "other", "other-1", "ready: true"), endpoints("pay", "way", "way-1", "ready: true")},
			[]v1alpha1.WaypointStatus{{Namespace: "shop", Name: "way", Exists: true, Programmed: true, Used: true}}},
		{"one that is missing", labels{"istio.io/use-waypoint": "way"}, nil, []v1alpha1.WaypointStatus{{Namespace: "shop", Name: "way", Used: true}}},
		{"one that nobody uses", nil, []any{waypoint("shop", "way", class, true)}, []v1alpha1.WaypointStatus{{Namespace: "shop", Name: "way", Exists: true, Programmed: true}}},
		{"the namespace opted out", labels{"istio.io/use-waypoint": "none"}, []any{waypoint("shop", "way", class, true)}, []v1alpha1.WaypointStatus{{Namespace: "shop", Name: "way", Exists: true, Programmed: true}}},
		{"one of another namespace", labels{"istio.io/use-waypoint": "way", "istio.io/use-waypoint-namespace": "infra"}, []any{waypoint("infra", "way", class, true), waypoint("infra", "other", class, true), waypoint("shop", "way", class, true)},
			[]v1alpha1.WaypointStatus{{Namespace: "infra", Name: "way", Exists: true, Programmed: true, Used: true}, {Namespace: "shop", Name: "way", Exists: true, Programmed: true}}},
		{"one that is missing in another namespace", labels{"istio.io/use-waypoint": "way", "istio.io/use-waypoint-namespace": "infra"}, []any{waypoint("shop", "way", class, true)},
			[]v1alpha1.WaypointStatus{{Namespace: "infra", Name: "way", Used: true}, {Namespace: "shop", Name: "way", Exists: true, Programmed: true}}},
		{"a gateway of another class is none, even where the label names it", labels{"istio.io/use-waypoint": "way"}, []any{waypoint("shop", "way", "istio", true)}, []v1alpha1.WaypointStatus{{Namespace: "shop", Name: "way", Used: true}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			snapshot := fixture.Snapshot(append(test.objects, fixture.Namespace("shop", test.namespace))...)
			if diff := cmp.Diff(test.want, snapshot.Waypoints(fixture.Find(snapshot, "shop"))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWaypointReady(t *testing.T) {
	ready := v1alpha1.WaypointStatus{Exists: true, Programmed: true, ReadyEndpoints: 1}
	if !ready.Ready() {
		t.Error("a waypoint that is programmed and has endpoints is not ready")
	}
	for _, not := range []v1alpha1.WaypointStatus{{Programmed: true, ReadyEndpoints: 1}, {Exists: true, ReadyEndpoints: 1}, {Exists: true, Programmed: true}} {
		if not.Ready() {
			t.Errorf("%+v is ready", not)
		}
	}
}

func TestRootNamespaces(t *testing.T) {
	revisioned := fixture.MeshConfig("rootNamespace: policies\n")
	revisioned.Name, revisioned.UID = "istio-canary", "configmap.canary"
	other := fixture.MeshConfig("rootNamespace: nonsense\n")
	other.Name, other.UID = "app-config", "configmap.other"
	tests := []struct {
		name    string
		objects []any
		want    []string
	}{
		{"nothing is known", nil, nil},
		{"istiod alone", []any{fixture.Istiod("")}, []string{"istio-system"}},
		{"the mesh configuration says so", []any{fixture.Istiod(""), fixture.MeshConfig("rootNamespace: policies\n")}, []string{"istio-system", "policies"}},
		{"the mesh configuration does not say", []any{fixture.MeshConfig("trustDomain: cluster.local\n")}, []string{"istio-system"}},
		{"each revision's", []any{fixture.MeshConfig("rootNamespace: istio-system\n"), revisioned}, []string{"istio-system", "policies"}},
		{"a ConfigMap of others is left out", []any{fixture.MeshConfig("rootNamespace: istio-system\n"), other}, []string{"istio-system"}},
		{"one that cannot be read leaves istiod's own", []any{fixture.Istiod(""), fixture.MeshConfig("rootNamespace: [")}, []string{"istio-system"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, fixture.Snapshot(test.objects...).RootNamespaces()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRestartDue(t *testing.T) {
	enabled, switched := labels{"istio-injection": "enabled"}, labels{"istio-injection": "enabled", mode: "ambient"}
	tests := []struct {
		name      string
		namespace labels
		edits     []func(*corev1.Pod)
		want      bool
	}{
		{"a sidecar that would come back", enabled, []func(*corev1.Pod){fixture.Sidecar}, false},
		{"a native one that would come back", enabled, []func(*corev1.Pod){fixture.NativeSidecar}, false},
		{"a sidecar that would not", nil, []func(*corev1.Pod){fixture.Sidecar}, true},
		{"none, and one would come", enabled, nil, true},
		{"none, and none would come", nil, nil, false},
		{"opted out by label", enabled, []func(*corev1.Pod){fixture.Labelled(inject, "false")}, false},
		{"opted out by annotation", enabled, []func(*corev1.Pod){fixture.Annotated(inject, "false")}, false},
		{"switched and restarted", switched, []func(*corev1.Pod){fixture.Labelled(inject, "false"), fixture.Ambient}, false},
		{"the pod asks for itself and has one", nil, []func(*corev1.Pod){fixture.Labelled(inject, "true"), fixture.Sidecar}, false},
		{"a gateway", nil, []func(*corev1.Pod){fixture.Sidecar, fixture.Annotated("inject.istio.io/templates", "gateway")}, false},
		{"on the host's network", enabled, []func(*corev1.Pod){func(pod *corev1.Pod) { pod.Spec.HostNetwork = true }}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			snapshot := fixture.Snapshot(fixture.Injector("", false), fixture.Namespace("shop", test.namespace), fixture.Pod("shop", "cart", test.edits...))
			if got := snapshot.RestartDue(snapshot.Pods("shop")[0], fixture.Find(snapshot, "shop")); got != test.want {
				t.Errorf("RestartDue is %t, want %t", got, test.want)
			}
		})
	}
}

// The injector annotates pods with their revision and adds labels of its own.
// None of it may be taken for a wish.
func TestRestartDueDoesNotTakeTheInjectorsMarksForAWish(t *testing.T) {
	snapshot := fixture.Snapshot(fixture.Injector("canary", false), fixture.Namespace("shop", labels{"istio.io/rev": "canary"}), fixture.Pod("shop", "cart", fixture.Sidecar))
	if snapshot.RestartDue(snapshot.Pods("shop")[0], fixture.Find(snapshot, "shop")) {
		t.Error("a restart is due")
	}
}

func TestComponents(t *testing.T) {
	snapshot := fixture.Snapshot(fixture.Installation()...)
	if istiods := snapshot.Istiods(); len(istiods) != 1 || mesh.RevisionOf(istiods[0]) != "default" {
		t.Errorf("the control planes are %v", istiods)
	}
	if mesh.RevisionOf(appsv1.Deployment{}) != mesh.DefaultRevision || mesh.RevisionOf(*fixture.Istiod("canary")) != "canary" {
		t.Error("a revision is not read from its label")
	}
	if cni, found := snapshot.CNI(); !found || cni.Name != "istio-cni-node" {
		t.Errorf("istio-cni is %s, %t", cni.Name, found)
	}
	if ztunnel, found := snapshot.Ztunnel(); !found || ztunnel.Name != "ztunnel" {
		t.Errorf("ztunnel is %s, %t", ztunnel.Name, found)
	}
	if pods := snapshot.ZtunnelPods(); len(pods) != 1 || pods[0].Name != "ztunnel-x" {
		t.Errorf("the ztunnel pods are %v", pods)
	}
	for _, component := range []string{mesh.ZtunnelPods, mesh.CNIPods} {
		if ready := snapshot.ReadyOn(component); !ready[fixture.Node] || len(ready) != 1 {
			t.Errorf("%s are ready on %v", component, ready)
		}
	}
	empty := fixture.Snapshot()
	if _, found := empty.CNI(); found {
		t.Error("istio-cni was found in an empty mesh")
	}
	if _, found := empty.Ztunnel(); found {
		t.Error("ztunnel was found in an empty mesh")
	}
}

// An upgrade can leave the ConfigMap of a former installation behind in
// another namespace. The one that counts is the agent's own.
func TestCNIConfigIsTheOneBesideTheAgent(t *testing.T) {
	snapshot := fixture.Snapshot(
		fixture.CNI("kube-system"),
		fixture.CNIConfig("istio-system", map[string]string{"AMBIENT_ENABLED": "false"}),
		fixture.CNIConfig("kube-system", map[string]string{"AMBIENT_ENABLED": "true"}),
	)
	config, found := snapshot.CNIConfig()
	if !found || config.Namespace != "kube-system" {
		t.Errorf("it is the one of namespace %q", config.Namespace)
	}
}

func TestSelectsLabels(t *testing.T) {
	tests := []struct {
		required, set labels
		want          bool
	}{
		{nil, nil, true}, {nil, labels{"a": "b"}, true}, {labels{"a": "b"}, labels{"a": "b", "c": "d"}, true},
		{labels{"a": "b"}, labels{"a": "c"}, false}, {labels{"a": "b"}, nil, false},
	}
	for _, test := range tests {
		if got := mesh.SelectsLabels(test.required, test.set); got != test.want {
			t.Errorf("%v selects %v is %t, want %t", test.required, test.set, got, test.want)
		}
	}
}

func TestStatus(t *testing.T) {
	namespace := fixture.Namespace("shop", labels{"istio-injection": "enabled", mode: "ambient", "istio.io/use-waypoint": "way"})
	done := fixture.Pod("shop", "done", func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodSucceeded })
	snapshot := fixture.Snapshot(
		fixture.Injector("", false), namespace, done,
		fixture.Pod("shop", "old", fixture.Sidecar), fixture.Pod("shop", "old-too", fixture.NativeSidecar),
		fixture.Pod("shop", "new", fixture.Labelled(inject, "false"), fixture.Ambient),
		fixture.Pod("shop", "way-1", fixture.Labelled("gateway.networking.k8s.io/gateway-name", "way"), fixture.Sidecar),
		fixture.Pod("shop", "lost"),
	)
	got := snapshot.Status(fixture.Find(snapshot, "shop"))
	due := 1
	want := v1alpha1.NamespaceStatus{
		Name: "shop", DataPlane: v1alpha1.DataPlaneMixed, Injection: "enabled", DataplaneMode: "ambient",
		Waypoints: []v1alpha1.WaypointStatus{{Namespace: "shop", Name: "way", Used: true}},
		Pods:      v1alpha1.PodCounts{Sidecar: 2, Ambient: 1, Gateway: 1, None: 1}, RestartsDue: &due,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got.Pods.Total() != 5 {
		t.Errorf("it counts %d pods", got.Pods.Total())
	}
}

func TestDataPlane(t *testing.T) {
	for want, edits := range map[v1alpha1.DataPlane][]func(*corev1.Pod){
		v1alpha1.DataPlaneSidecar: {fixture.Sidecar}, v1alpha1.DataPlaneAmbient: {fixture.Ambient}, v1alpha1.DataPlaneNone: nil,
	} {
		snapshot := fixture.Snapshot(fixture.Namespace("shop", nil), fixture.Pod("shop", "a", edits...), fixture.Pod("shop", "outside"))
		if got := snapshot.Status(fixture.Find(snapshot, "shop")).DataPlane; got != want {
			t.Errorf("it is %s, want %s", got, want)
		}
	}
}

func TestInMesh(t *testing.T) {
	tests := []struct {
		name   string
		status v1alpha1.NamespaceStatus
		want   bool
	}{
		{"nothing", v1alpha1.NamespaceStatus{Pods: v1alpha1.PodCounts{None: 3}}, false},
		{"injection", v1alpha1.NamespaceStatus{Injection: "enabled"}, true},
		{"mode", v1alpha1.NamespaceStatus{DataplaneMode: "none"}, true},
		{"waypoint", v1alpha1.NamespaceStatus{Waypoints: []v1alpha1.WaypointStatus{{}}}, true},
		{"sidecars", v1alpha1.NamespaceStatus{Pods: v1alpha1.PodCounts{Sidecar: 1}}, true},
		{"ambient pods", v1alpha1.NamespaceStatus{Pods: v1alpha1.PodCounts{Ambient: 1}}, true},
		{"gateways", v1alpha1.NamespaceStatus{Pods: v1alpha1.PodCounts{Gateway: 1}}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := mesh.InMesh(test.status); got != test.want {
				t.Errorf("InMesh is %t, want %t", got, test.want)
			}
		})
	}
}
