package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"
)

// installation is what the fake API server holds of Istio. istiod's Deployment
// is found by a label of its own.
func cluster(notInstalled []string, objects ...any) *fixture.Cluster {
	return fixture.NewCluster(notInstalled, append(fixture.Installation(), objects...)...)
}

func TestReadMakesAFixedNumberOfRequests(t *testing.T) {
	read := func(objects ...any) []string {
		cluster := cluster(nil, objects...)
		if _, err := mesh.Read(t.Context(), cluster.Mesh(), mesh.Scope{Namespace: "shop"}); err != nil {
			t.Fatal(err)
		}
		return cluster.Requests()
	}
	small := read(fixture.Namespace("shop", nil))
	var many []any
	for i := range 40 {
		namespace := fmt.Sprintf("team-%d", i)
		deployment := fixture.Deployment(namespace, "cart", fixture.Replicas(3))
		many = append(many, fixture.Namespace(namespace, nil), deployment, fixture.PodsOf(deployment, fixture.Sidecar))
	}
	large := read(append(many, fixture.Namespace("shop", nil))...)
	if diff := cmp.Diff(small, large); diff != "" {
		t.Errorf("a larger mesh takes other requests (-small +large):\n%s", diff)
	}
	if len(slices.Compact(slices.Clone(small))) != len(small) {
		t.Errorf("a request is made twice: %v", small)
	}
	for _, want := range []string{
		"namespaces   ", "deployments  app=istiod ", "configmaps  istio.io/rev ", "pods  app=ztunnel ", "pods  k8s-app=istio-cni-node ",
		"endpointslices  gateway.networking.k8s.io/gateway-name ",
		"endpointslices  endpointslice.kubernetes.io/managed-by!=endpointslice-controller.k8s.io,kubernetes.io/service-name ", "deployments shop  ", "pods shop  ", "networkpolicies shop  ",
		"pods   status.phase!=Succeeded,status.phase!=Failed", "pods   status.phase!=Succeeded,status.phase!=Failed,spec.hostNetwork=true",
	} {
		if !slices.Contains(small, want) && !slices.Contains(small, sortedFields(want)) {
			t.Errorf("there is no request %q among\n%s", want, strings.Join(small, "\n"))
		}
	}
}

// sortedFields writes a request as field selectors print themselves.
func sortedFields(request string) string {
	head, fields := request[:strings.LastIndex(request, " ")+1], request[strings.LastIndex(request, " ")+1:]
	parts := strings.Split(fields, ",")
	slices.Sort(parts)
	return head + strings.Join(parts, ",")
}

func TestReadCoversEveryKind(t *testing.T) {
	content, err := mesh.Read(t.Context(), cluster(nil, fixture.Namespace("shop", nil)).Mesh(), mesh.Scope{Namespace: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range mesh.Keys() {
		if content.Coverage[key].State != mesh.CoverageRead {
			t.Errorf("%s is %v", key, content.Coverage[key])
		}
	}
	if len(content.Coverage) != len(mesh.Keys()) {
		t.Errorf("%d kinds are covered, not %d", len(content.Coverage), len(mesh.Keys()))
	}
	if content.KubernetesVersion != "v1.36.3" {
		t.Errorf("the version is %q", content.KubernetesVersion)
	}
}

func TestReadWithoutANamespaceAtHand(t *testing.T) {
	cluster := cluster(nil, fixture.Namespace("shop", nil), fixture.Deployment("shop", "cart"), fixture.Pod("shop", "cart"))
	content, err := mesh.Read(t.Context(), cluster.Mesh(), mesh.Scope{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"Pod", mesh.KindDeployment, mesh.KindStatefulSet, mesh.KindReplicaSet, mesh.KindJob, mesh.KindCronJob, "PodDisruptionBudget", "NetworkPolicy"} {
		if content.Coverage[key].State != mesh.CoverageUnasked {
			t.Errorf("%s is %v", key, content.Coverage[key])
		}
	}
	snapshot, err := mesh.NewSnapshot(content)
	if err != nil {
		t.Fatal(err)
	}
	if pods := snapshot.Pods("shop"); len(pods) != 1 || pods[0].Detailed {
		t.Errorf("the pods are %v", pods)
	}
}

func TestReadRecordsWhatIsNotInstalled(t *testing.T) {
	notInstalled := []string{"gateways", "httproutes", "grpcroutes", "tcproutes", "tlsroutes", "wasmplugins", "cronjobs"}
	cluster := cluster(notInstalled, fixture.Namespace("shop", nil))
	content, err := mesh.Read(t.Context(), cluster.Mesh(), mesh.Scope{Namespace: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"Gateway", "HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute", "WasmPlugin", mesh.KindCronJob} {
		if coverage := content.Coverage[key]; coverage.State != mesh.CoverageAbsent || !coverage.Known() {
			t.Errorf("%s is %v", key, coverage)
		}
	}
	for _, request := range cluster.Requests() {
		if resource, _, _ := strings.Cut(request, " "); slices.Contains(notInstalled, resource) {
			t.Errorf("what is not installed was asked for: %s", request)
		}
	}
}

func TestReadRecordsWhatIsForbidden(t *testing.T) {
	cluster := cluster(nil, fixture.Namespace("shop", nil))
	refuse := func(action clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(action.GetResource().GroupResource(), "", errors.New("not you"))
	}
	cluster.Dynamic.PrependReactor("list", "authorizationpolicies", refuse)
	cluster.Metadata.PrependReactor("list", "pods", refuse)
	content, err := mesh.Read(t.Context(), cluster.Mesh(), mesh.Scope{Namespace: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"AuthorizationPolicy", mesh.PodsMeshWide} {
		if coverage := content.Coverage[key]; coverage.State != mesh.CoverageForbidden || !strings.Contains(coverage.Reason, "not you") {
			t.Errorf("%s is %v", key, coverage)
		}
	}
	if !content.Coverage["PeerAuthentication"].Known() {
		t.Error("what was read is not covered")
	}
}

// Who may not list namespaces may often get the one at hand.
func TestReadGetsTheNamespaceAtHandOfWhoMayNotListThem(t *testing.T) {
	namespaces := schema.GroupResource{Resource: "namespaces"}
	refused := apierrors.NewForbidden(namespaces, "", errors.New("not you"))
	read := func(scope mesh.Scope, get error) (mesh.Content, error) {
		cluster := cluster(nil, fixture.Namespace("shop", nil), fixture.Namespace("pay", nil))
		cluster.Dynamic.PrependReactor("list", "namespaces", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, refused })
		cluster.Dynamic.PrependReactor("get", "namespaces", func(clienttesting.Action) (bool, runtime.Object, error) { return get != nil, nil, get })
		return mesh.Read(t.Context(), cluster.Mesh(), scope)
	}
	broken := apierrors.NewInternalError(errors.New("etcd"))
	tests := []struct {
		name  string
		scope mesh.Scope
		get   error
		want  []string
	}{
		{"may get it", mesh.Scope{Namespace: "shop"}, nil, []string{"shop"}},
		{"may not", mesh.Scope{Namespace: "shop"}, refused, nil},
		{"it is not there", mesh.Scope{Namespace: "none"}, nil, nil},
		{"none is at hand", mesh.Scope{}, broken, nil},
		{"all are", mesh.Scope{All: true}, broken, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			content, err := read(test.scope, test.get)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, namespace := range snapshot(t, content).Namespaces() {
				names = append(names, namespace.Name)
			}
			if diff := cmp.Diff(test.want, names); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if coverage := content.Coverage[mesh.KindNamespace]; coverage.State != mesh.CoverageForbidden || !strings.Contains(coverage.Reason, "not you") {
				t.Errorf("namespaces are %v", coverage)
			}
		})
	}
	if _, err := read(mesh.Scope{Namespace: "shop"}, broken); !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "get Namespace shop: ") {
		t.Errorf("the error is %v", err)
	}
}

// Of many namespaces at hand a kind is listed once, and what is of others is dropped; who
// may not list all of it is asked about each.
func TestReadListsManyNamespacesAtHandAtOnce(t *testing.T) {
	var objects []any
	var names []string
	for i := range 40 {
		name := fmt.Sprintf("team-%d", i)
		deployment := fixture.Deployment(name, "cart", fixture.Replicas(2))
		objects = append(objects, fixture.Namespace(name, nil), deployment, fixture.PodsOf(deployment, fixture.Sidecar))
		names = append(names, name)
	}
	read := func(refused []string, scope mesh.Scope) (mesh.Content, []string) {
		cluster := cluster(nil, objects...)
		cluster.Dynamic.PrependReactor("list", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
			all := action.GetNamespace() == "" && action.(clienttesting.ListAction).GetListRestrictions().Labels.Empty()
			if !all && !slices.Contains(refused, action.GetNamespace()) || len(refused) == 0 {
				return false, nil, nil
			}
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New("not you"))
		})
		content, err := mesh.Read(t.Context(), cluster.Mesh(), scope)
		if err != nil {
			t.Fatal(err)
		}
		return content, cluster.Requests()
	}
	podsIn := func(content mesh.Content) map[string]int {
		counts := map[string]int{}
		for _, object := range content.Objects {
			if object.GetKind() == mesh.KindPod && slices.Contains(names, object.GetNamespace()) {
				counts[object.GetNamespace()]++
			}
		}
		return counts
	}
	want := map[string]int{}
	for _, name := range names[:30] {
		want[name] = 2
	}
	one, asked := read(nil, mesh.Scope{Namespace: names[0]})
	many, askedOfMany := read(nil, mesh.Scope{Namespace: names[0], Also: names[1:30]})
	if len(askedOfMany) != len(asked) {
		t.Errorf("%d requests for 30 namespaces, %d for one", len(askedOfMany), len(asked))
	}
	if diff := cmp.Diff(want, podsIn(many)); diff != "" {
		t.Errorf("pods by namespace (-want +got):\n%s", diff)
	}
	if got := podsIn(one); len(got) != 1 {
		t.Errorf("of one namespace the pods of %d are read", len(got))
	}
	// Refused for all, but not for each.
	each, _ := read([]string{"nowhere"}, mesh.Scope{Namespace: names[0], Also: names[1:30]})
	if diff := cmp.Diff(want, podsIn(each)); diff != "" || !each.Coverage[mesh.KindPod].Known() {
		t.Errorf("pods are %v, by namespace (-want +got):\n%s", each.Coverage[mesh.KindPod], diff)
	}
	// Refused for all, and for one of them.
	some, _ := read(names[5:6], mesh.Scope{Namespace: names[0], Also: names[1:30]})
	delete(want, names[5])
	if diff := cmp.Diff(want, podsIn(some)); diff != "" || some.Coverage[mesh.KindPod].State != mesh.CoverageForbidden {
		t.Errorf("pods are %v, by namespace (-want +got):\n%s", some.Coverage[mesh.KindPod], diff)
	}
}

func TestReadReturnsOtherErrorsWithTheKind(t *testing.T) {
	failures := map[string]error{
		"gone": apierrors.NewNotFound(schema.GroupResource{Resource: "sidecars"}, ""), "broken": apierrors.NewInternalError(errors.New("etcd")),
		"unauthorized": apierrors.NewUnauthorized("who are you"),
	}
	for name, failure := range failures {
		t.Run(name, func(t *testing.T) {
			cluster := cluster(nil, fixture.Namespace("shop", nil))
			cluster.Dynamic.PrependReactor("list", "sidecars", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, failure })
			_, err := mesh.Take(t.Context(), cluster.Mesh(), mesh.Scope{Namespace: "shop"})
			if !errors.Is(err, failure) || !strings.HasPrefix(err.Error(), "list Sidecar: ") {
				t.Errorf("the error is %v", err)
			}
		})
	}
	t.Run("pods of the mesh", func(t *testing.T) {
		cluster := cluster(nil)
		cluster.Metadata.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, failures["broken"] })
		if _, err := mesh.Take(t.Context(), cluster.Mesh(), mesh.Scope{}); !errors.Is(err, failures["broken"]) {
			t.Errorf("the error is %v", err)
		}
	})
	t.Run("the context has ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		cluster := cluster(nil)
		cluster.Dynamic.PrependReactor("list", "*", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, ctx.Err() })
		if _, err := mesh.Take(ctx, cluster.Mesh(), mesh.Scope{}); !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v", err)
		}
	})
}

// API servers before 1.31 do not know the field selector by which pods on the
// host's network are found.
func TestReadBearsAnAPIServerThatCannotSelectByHostNetwork(t *testing.T) {
	pod := fixture.Pod("pay", "cart")
	reactor := func(err error) (mesh.Content, error) {
		cluster := cluster(nil, pod)
		cluster.Metadata.PrependReactor("list", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
			selector := action.(clienttesting.ListAction).GetListRestrictions().Fields.String()
			return strings.Contains(selector, "hostNetwork") && err != nil, nil, err
		})
		return mesh.Read(t.Context(), cluster.Mesh(), mesh.Scope{})
	}
	for _, bearable := range []error{apierrors.NewBadRequest("field label not supported: spec.hostNetwork"), apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", nil)} {
		content, err := reactor(bearable)
		if err != nil || len(content.HostNetwork) != 0 {
			t.Errorf("for %v: %v, %v", bearable, content.HostNetwork, err)
		}
	}
	if _, err := reactor(apierrors.NewInternalError(errors.New("etcd"))); err == nil {
		t.Error("an error of the API server was ignored")
	}
	// The fake ignores field selectors, so every pod is on the host's network.
	if content, err := reactor(nil); err != nil || !content.HostNetwork[pod.UID] {
		t.Errorf("%v, %v", content.HostNetwork, err)
	}
}

func TestReadHoldsAnObjectOfTwoCollectionsOnce(t *testing.T) {
	cluster := cluster(nil, fixture.Deployment("istio-system", "other"))
	snapshot, err := mesh.Take(t.Context(), cluster.Mesh(), mesh.Scope{Namespace: "istio-system"})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(snapshot.Istiods()); n != 1 {
		t.Errorf("there are %d control planes", n)
	}
	deployments := slices.DeleteFunc(slices.Clone(snapshot.Workloads("istio-system")), func(w mesh.Workload) bool { return w.Reference.Kind != mesh.KindDeployment })
	if len(deployments) != 2 {
		t.Errorf("there are %d Deployments", len(deployments))
	}
	if pods := snapshot.ZtunnelPods(); len(pods) != 1 {
		t.Errorf("there are %d ztunnel pods", len(pods))
	}
}

func TestReadFailsWhereTheAPIServerDoesNotAnswer(t *testing.T) {
	cluster := cluster(nil)
	broken := errors.New("connection refused")
	cluster.Discovery.PrependReactor("get", "version", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, broken })
	if _, err := mesh.Read(t.Context(), cluster.Mesh(), mesh.Scope{}); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
}

func TestTakeSeesWhatTheFixtureHolds(t *testing.T) {
	deployment := fixture.Deployment("shop", "cart")
	cluster := cluster(nil, fixture.Namespace("shop", labels{"istio-injection": "enabled"}), deployment, fixture.PodsOf(deployment, fixture.NativeSidecar),
		fixture.Pod("pay", "other", fixture.Sidecar), fixture.Pod("pay", "done", func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodSucceeded }))
	snapshot, err := mesh.Take(t.Context(), cluster.Mesh(), mesh.Scope{Namespace: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	status := snapshot.Status(fixture.Find(snapshot, "shop"))
	if status.Pods.Sidecar != 1 || status.Injection != "enabled" || status.RestartsDue == nil || *status.RestartsDue != 0 {
		t.Errorf("the status is %+v", status)
	}
	if snapshot.KubernetesVersion() != "v1.36.3" {
		t.Errorf("the version is %q", snapshot.KubernetesVersion())
	}
	if _, found := snapshot.CNIConfig(); !found {
		t.Error("istio-cni's configuration was not read")
	}
}
