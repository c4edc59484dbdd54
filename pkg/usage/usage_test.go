package usage_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/usage"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	fakedynamic "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
)

var pods = schema.GroupVersionResource{Group: usage.Group, Version: "v1beta1", Resource: "pods"}

func client(t *testing.T, objects ...string) *fakedynamic.FakeDynamicClient {
	t.Helper()
	made := fakedynamic.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{pods: "PodMetricsList"})
	for _, text := range objects {
		for _, object := range fixture.YAML(text) {
			if err := made.Tracker().Create(pods, &object, object.GetNamespace()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return made
}

const measured = `
apiVersion: metrics.k8s.io/v1beta1
kind: PodMetrics
metadata: {name: cart, namespace: shop}
containers: [{name: main, usage: {cpu: "1", memory: 1Gi}}, {name: istio-proxy, usage: {cpu: 25m, memory: 40Mi}}]
---
apiVersion: metrics.k8s.io/v1beta1
kind: PodMetrics
metadata: {name: ztunnel, namespace: istio-system, labels: {app: ztunnel}}
containers: [{name: istio-proxy, usage: {cpu: 100m, memory: 100Mi}}]
---
apiVersion: metrics.k8s.io/v1beta1
kind: PodMetrics
metadata: {name: other, namespace: other}
containers: [{name: istio-proxy, usage: {cpu: 7m, memory: 7Mi}}]`

func TestRead(t *testing.T) {
	read, err := usage.Read(t.Context(), client(t, measured), "shop")
	want := usage.Measured{Containers: map[string]map[string]usage.Used{
		"shop/cart":            {"main": {1000, 1 << 30}, "istio-proxy": {25, 40 << 20}},
		"istio-system/ztunnel": {"istio-proxy": {100, 100 << 20}},
	}}
	if diff := cmp.Diff(want, read); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestReadSaysWhatIsMissing(t *testing.T) {
	resource := schema.GroupResource{Group: usage.Group, Resource: "pods"}
	for name, test := range map[string]struct {
		err  error
		says string
	}{
		"forbidden":     {apierrors.NewForbidden(resource, "", errors.New("no")), "grant list on pods of API group metrics.k8s.io"},
		"not installed": {apierrors.NewGenericServerResponse(http.StatusNotFound, "list", resource, "", "", 0, true), "metrics-server is not installed"},
		"broken":        {apierrors.NewServiceUnavailable("down"), "kubectl get apiservice v1beta1.metrics.k8s.io shows why"},
	} {
		t.Run(name, func(t *testing.T) {
			made := client(t)
			made.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, test.err })
			read, err := usage.Read(t.Context(), made, "shop")
			if err != nil || !strings.Contains(read.Problem, test.says) {
				t.Errorf("%q, %v", read.Problem, err)
			}
			if sidecars := usage.Sidecars(fixture.Snapshot(proxied()...), "shop", read); sidecars.MilliCPU != nil || sidecars.Unknown != read.Problem || sidecars.RequestedMilliCPU != 10 {
				t.Errorf("the sidecars are %+v", sidecars)
			}
		})
	}
}

func requesting(cpu, memory string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		for i := range pod.Spec.Containers {
			if pod.Spec.Containers[i].Name == mesh.ProxyContainer {
				pod.Spec.Containers[i].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
			}
		}
	}
}

// proxied is a namespace with a pod with a sidecar and one in ambient mode.
func proxied() []any {
	return append(fixture.Installation(), fixture.Namespace("shop", nil),
		fixture.Pod("shop", "cart", fixture.Sidecar, requesting("10m", "20Mi")), fixture.Pod("shop", "web", fixture.Ambient), fixture.Namespace("other", nil), fixture.Pod("other", "api", fixture.Ambient))
}

func TestReport(t *testing.T) {
	snapshot := fixture.Snapshot(proxied()...)
	ztunnel := snapshot.ZtunnelPods()[0]
	of := map[string]map[string]usage.Used{
		"shop/cart": {"istio-proxy": {25, 40 << 20}}, ztunnel.Namespace + "/" + ztunnel.Name: {"istio-proxy": {100, 100 << 20}},
	}
	number := func(n int64) *int64 { return &n }
	captured := map[types.UID]mesh.CaptureState{fixture.UID("Pod", "shop", "web"): mesh.CaptureUp}
	for name, test := range map[string]struct {
		evidence *mesh.Evidence
		cpu      int64
	}{
		"by the pods of the mesh": {nil, 50},
		"by what is captured":     {&mesh.Evidence{Nodes: map[string]mesh.NodeEvidence{ztunnel.Node: {Captured: captured}}}, 100},
	} {
		t.Run(name, func(t *testing.T) {
			before := &v1alpha1.Baseline{Resources: &v1alpha1.ProxyResources{Proxies: 2}}
			got := usage.Report(snapshot, fixture.Find(snapshot, "shop"), test.evidence, usage.Measured{Containers: of}, before)
			want := &v1alpha1.ResourceReport{
				Before:    before.Resources,
				Sidecars:  &v1alpha1.ProxyResources{Proxies: 1, MilliCPU: number(25), Memory: number(40 << 20), RequestedMilliCPU: 10, RequestedMemory: 20 << 20},
				Ztunnel:   &v1alpha1.ProxyResources{Proxies: 1, MilliCPU: number(test.cpu), Memory: number(test.cpu << 20), RequestedMilliCPU: 2 * test.cpu, RequestedMemory: test.cpu * (512 << 20) / 100},
				Waypoints: &v1alpha1.ProxyResources{MilliCPU: number(0), Memory: number(0)},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsNotMeasuredYetIsNamed(t *testing.T) {
	snapshot := fixture.Snapshot(append(proxied(), fixture.Pod("shop", "new", fixture.Sidecar))...)
	none := usage.Sidecars(snapshot, "shop", usage.Measured{})
	some := usage.Sidecars(snapshot, "shop", usage.Measured{Containers: map[string]map[string]usage.Used{"shop/cart": {"istio-proxy": {25, 1}}}})
	if none.MilliCPU != nil || none.Unknown != "there are no metrics of them yet" {
		t.Errorf("without any: %+v", none)
	}
	if some.MilliCPU == nil || *some.MilliCPU != 25 || some.Unknown != "there are no metrics yet of 1 of 2" {
		t.Errorf("without one: %+v", some)
	}
}
