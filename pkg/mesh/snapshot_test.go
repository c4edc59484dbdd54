package mesh_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

func TestNewSnapshotNamesTheObjectItDoesNotUnderstand(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"a pod", "apiVersion: v1\nkind: Pod\nmetadata: {name: cart, namespace: shop}\nspec: {containers: nonsense}", "Pod shop/cart: "},
		{"a Deployment", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: cart, namespace: shop}\nspec: {replicas: many}", "Deployment shop/cart: "},
		{"a StatefulSet", "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: cart, namespace: shop}\nspec: {replicas: many}", "StatefulSet shop/cart: "},
		{"a DaemonSet", "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: cart, namespace: shop}\nspec: {minReadySeconds: few}", "DaemonSet shop/cart: "},
		{"a ReplicaSet", "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: cart, namespace: shop}\nspec: {replicas: many}", "ReplicaSet shop/cart: "},
		{"a Job", "apiVersion: batch/v1\nkind: Job\nmetadata: {name: cart, namespace: shop}\nspec: {parallelism: much}", "Job shop/cart: "},
		{"a CronJob", "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: cart, namespace: shop}\nspec: {suspend: perhaps}", "CronJob shop/cart: "},
		{"a Node", "apiVersion: v1\nkind: Node\nmetadata: {name: one}\nspec: {unschedulable: perhaps}", "Node one: "},
		{"a Gateway", "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: way, namespace: shop}\nspec: {listeners: none}", "Gateway shop/way: "},
		{"an AuthorizationPolicy", "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop}\nspec: {action: MAYBE}", "AuthorizationPolicy shop/p: "},
		{"a VirtualService", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\nspec: {hosts: {a: b}}", "VirtualService shop/v: "},
		{"an HTTPRoute", "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: shop}\nspec: {parentRefs: none}", "HTTPRoute shop/r: "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := mesh.NewSnapshot(fixture.Content(test.text))
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("the error is %v, want it to start with %q", err, test.want)
			}
		})
	}
}

// A webhook or an Istio object of a newer version has fields that this one
// does not know. Reading the mesh must not fail for them.
func TestNewSnapshotIgnoresFieldsItDoesNotKnow(t *testing.T) {
	snapshot, err := mesh.NewSnapshot(fixture.Content(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
spec: {action: DENY, novelty: 3}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {novelty: 3}
---
apiVersion: networking.istio.io/v1
kind: Novelty
metadata: {name: n, namespace: shop}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: ingress, namespace: shop}
spec: {servers: [{hosts: ["*"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(snapshot.AuthorizationPolicies()) != 1 || len(snapshot.Services("shop")) != 1 {
		t.Error("an object with an unknown field is not in the snapshot")
	}
	if waypoints := snapshot.Waypoints(mesh.Namespace{Name: "shop"}); len(waypoints) != 0 {
		t.Errorf("Istio's own Gateway was taken for %v", waypoints)
	}
}

// everything is a mesh with several objects of every kind that is sorted.
func everything() []unstructured.Unstructured {
	var objects []any
	objects = append(objects, fixture.Installation()...)
	objects = append(objects, fixture.Injector("canary", false), fixture.Istiod("canary"), fixture.KubernetesNode("node-2"))
	for _, namespace := range []string{"shop", "pay"} {
		objects = append(objects, fixture.Namespace(namespace, labels{"istio-injection": "enabled"}))
		for _, name := range []string{"b", "a", "c"} {
			deployment := fixture.Deployment(namespace, name)
			objects = append(objects, deployment, fixture.PodsOf(deployment, fixture.Sidecar), fixture.StatefulSet(namespace, name), fixture.CronJob(namespace, name))
			for _, kind := range []string{
				"v1 Service", "networking.k8s.io/v1 NetworkPolicy", "policy/v1 PodDisruptionBudget", "gateway.networking.k8s.io/v1 Gateway",
				"security.istio.io/v1 AuthorizationPolicy", "security.istio.io/v1 PeerAuthentication", "networking.istio.io/v1 VirtualService",
				"networking.istio.io/v1 DestinationRule", "networking.istio.io/v1 ServiceEntry", "networking.istio.io/v1 Sidecar",
				"gateway.networking.k8s.io/v1 HTTPRoute", "gateway.networking.k8s.io/v1 GRPCRoute", "networking.istio.io/v1alpha3 EnvoyFilter", "telemetry.istio.io/v1 Telemetry",
			} {
				version, kind, _ := strings.Cut(kind, " ")
				objects = append(objects, fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: %s}\nspec: {}", version, kind, name, namespace))
			}
		}
	}
	return fixture.Objects(objects...)
}

func TestNewSnapshotDoesNotDependOnTheOrderOfObjects(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	objects := everything()
	want := describe(t, fixture.Snapshot(objects))
	for range 10 {
		random.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
		if diff := cmp.Diff(want, describe(t, fixture.Snapshot(objects))); diff != "" {
			t.Fatalf("another order gives another snapshot:\n%s", diff)
		}
	}
}

// describe writes down all that a snapshot tells of.
func describe(t *testing.T, snapshot *mesh.Snapshot) string {
	t.Helper()
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	for _, part := range []any{
		snapshot.Namespaces(), snapshot.AllPods(), snapshot.Workloads("shop"), snapshot.Workloads("pay"), snapshot.Nodes(), snapshot.Services("shop"),
		snapshot.Budgets("pay"), snapshot.NetworkPolicies("shop"), snapshot.Istiods(), snapshot.AuthorizationPolicies(), snapshot.PeerAuthentications(),
		snapshot.VirtualServices(), snapshot.DestinationRules(), snapshot.ServiceEntries(), snapshot.Sidecars(), snapshot.Routes(), snapshot.Extensions(),
		snapshot.RootNamespaces(), snapshot.Waypoints(mesh.Namespace{Name: "shop"}), snapshot.ZtunnelPods(),
	} {
		if err := encoder.Encode(part); err != nil {
			t.Fatal(err)
		}
	}
	return text.String()
}

// The injector that stands first must not decide either.
func TestInjectorsDoNotDependOnTheOrderOfWebhooks(t *testing.T) {
	one := fixture.Snapshot(fixture.Injector("", false), fixture.Injector("canary", false))
	other := fixture.Snapshot(fixture.Injector("canary", false), fixture.Injector("", false))
	for _, namespace := range []labels{{"istio-injection": "enabled"}, {"istio.io/rev": "canary"}, {"istio-injection": "enabled", "istio.io/rev": "canary"}, nil} {
		if one.Injectors().Inject(namespace, nil, nil, false) != other.Injectors().Inject(namespace, nil, nil, false) {
			t.Errorf("the order decides for %v", namespace)
		}
	}
}

// TestNewSnapshotAfterDecodesWhatChanged: a snapshot that follows another one shows what
// has changed, and what a plan makes of a mesh stays out of those that follow.
func TestNewSnapshotAfterDecodesWhatChanged(t *testing.T) {
	content := func(app string) mesh.Content {
		return fixture.Content(&corev1.Service{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "web", ResourceVersion: "1"},
			Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": app}},
		})
	}
	one, two := content("one"), content("two")
	after := func(content mesh.Content, former *mesh.Snapshot, want string) *mesh.Snapshot {
		t.Helper()
		snapshot, err := mesh.NewSnapshotAfter(content, former)
		if err != nil {
			t.Fatal(err)
		}
		if services := snapshot.Services("shop"); len(services) != 1 || services[0].Spec.Selector["app"] != want {
			t.Errorf("the Services are %v, want one that selects %q", services, want)
		}
		return snapshot
	}
	first := after(one, nil, "one")
	planned, err := first.With(two.Objects, nil)
	if err != nil {
		t.Fatal(err)
	}
	if services := planned.Services("shop"); services[0].Spec.Selector["app"] != "two" {
		t.Errorf("as planned, the Services are %v", services)
	}
	again := after(one, first, "one")
	if !sameMap(again.Services("shop")[0].Spec.Selector, first.Services("shop")[0].Spec.Selector) {
		t.Error("the same object was decoded twice")
	}
	after(two, again, "two")
}

func sameMap(one, other map[string]string) bool {
	return reflect.ValueOf(one).Pointer() == reflect.ValueOf(other).Pointer()
}

// What the ConfigMaps of an installation say is read again where they have changed, by
// their versions, and only there.
func TestNewSnapshotAfter(t *testing.T) {
	snapshot := func(former *mesh.Snapshot, version, text string) *mesh.Snapshot {
		configMap := fixture.MeshConfig(text)
		configMap.ResourceVersion = version
		after, err := mesh.NewSnapshotAfter(fixture.Content(configMap), former)
		if err != nil {
			t.Fatal(err)
		}
		return after
	}
	first := snapshot(nil, "1", "trustDomain: one")
	for _, test := range []struct {
		name, version, text, want string
	}{
		{"the same version", "1", "trustDomain: two", "one"},
		{"another version", "2", "trustDomain: two", "two"},
	} {
		if got := snapshot(first, test.version, test.text).TrustDomain(); got != test.want {
			t.Errorf("%s: the trust domain is %q", test.name, got)
		}
	}
	for _, former := range []*mesh.Snapshot{nil, snapshot(nil, "3", "trustDomain: [")} {
		if coverage := snapshot(former, "3", "trustDomain: [").Coverage(mesh.IstioConfigMaps, ""); coverage.Known() {
			t.Error("a configuration that cannot be read is known")
		}
	}
}

func TestSnapshotDoesNotChangeWithWhatItsUsersDo(t *testing.T) {
	content := fixture.Content(everything())
	snapshot, err := mesh.NewSnapshot(content)
	if err != nil {
		t.Fatal(err)
	}
	content.Coverage["Namespace"] = mesh.Coverage{State: mesh.CoverageForbidden}
	content.Coverage["novelty"] = mesh.Coverage{State: mesh.CoverageRead}
	clear(content.Objects)
	if !snapshot.Coverage("Namespace", "shop").Known() || snapshot.Coverage("novelty", "shop").Known() {
		t.Error("the coverage changes with the content's")
	}
	before := names(snapshot)
	clear(snapshot.Pods("shop"))
	clear(snapshot.AllPods())
	clear(snapshot.BarePods("shop"))
	clear(snapshot.Services("shop"))
	clear(snapshot.Namespaces())
	clear(snapshot.PodsOf(snapshot.Workloads("shop")[0]))
	clear(snapshot.Workloads("shop"))
	if diff := cmp.Diff(before, names(snapshot)); diff != "" {
		t.Errorf("what becomes of a returned list changes the snapshot:\n%s", diff)
	}
}

func names(snapshot *mesh.Snapshot) []string {
	var names []string
	for _, namespace := range snapshot.Namespaces() {
		names = append(names, namespace.Name)
		for _, pod := range snapshot.Pods(namespace.Name) {
			names = append(names, pod.String())
		}
		for _, workload := range snapshot.Workloads(namespace.Name) {
			names = append(names, workload.Reference.String())
		}
		for _, service := range snapshot.Services(namespace.Name) {
			names = append(names, service.Name)
		}
	}
	return names
}

func TestSnapshotPrefersDetailsOverMetadata(t *testing.T) {
	whole, hosted := fixture.Pod("shop", "whole"), fixture.Pod("pay", "hosted")
	finished := fixture.Pod("shop", "finished", func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodSucceeded })
	content := fixture.Content(whole, finished)
	content.Pods = []metav1.ObjectMeta{whole.ObjectMeta, fixture.Pod("pay", "other").ObjectMeta, hosted.ObjectMeta}
	content.HostNetwork = map[types.UID]bool{hosted.UID: true}
	snapshot, err := mesh.NewSnapshot(content)
	if err != nil {
		t.Fatal(err)
	}
	type seen struct {
		Name                  string
		Detailed, HostNetwork bool
	}
	var got []seen
	for _, pod := range snapshot.AllPods() {
		got = append(got, seen{pod.String(), pod.Detailed, pod.HostNetwork})
	}
	want := []seen{{"Pod pay/hosted", false, true}, {"Pod pay/other", false, false}, {"Pod shop/whole", true, false}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPodsOfGoesByOwnership(t *testing.T) {
	cart, other := fixture.Deployment("shop", "cart", fixture.Replicas(2)), fixture.Deployment("shop", "other")
	old := fixture.ReplicaSet("shop", "cart-old", cart)
	job := fixture.Job("shop", "report-1", func(job *batchv1.Job) {
		cron := fixture.CronJob("shop", "report")
		job.OwnerReferences = []metav1.OwnerReference{fixture.Owner("CronJob", "batch/v1", &cron.ObjectMeta)}
	})
	set := fixture.StatefulSet("shop", "db")
	rollout := metav1.ObjectMeta{Name: "argo", UID: "rollout.shop.argo"}
	argoSet := fixture.ReplicaSet("shop", "argo-1", nil, func(set *appsv1.ReplicaSet) {
		set.OwnerReferences = []metav1.OwnerReference{fixture.Owner("Rollout", "argoproj.io/v1alpha1", &rollout)}
	})
	lone := fixture.ReplicaSet("shop", "lone", nil)
	of := func(name, kind string, owner metav1.ObjectMeta, edits ...func(*corev1.Pod)) *corev1.Pod {
		return fixture.Pod("shop", name, append([]func(*corev1.Pod){fixture.Of(kind, "v1", &owner, fixture.Template("cart"))}, edits...)...)
	}
	finished := func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodFailed }
	snapshot := fixture.Snapshot(
		cart, other, old, set, lone, argoSet, fixture.CronJob("shop", "report"), job, fixture.PodsOf(cart), fixture.PodsOfSet(set),
		of("cart-old-0", "ReplicaSet", old.ObjectMeta), of("cart-old-1", "ReplicaSet", old.ObjectMeta, finished),
		of("report-1-x", "Job", job.ObjectMeta), of("argo-1-x", "ReplicaSet", argoSet.ObjectMeta), of("lone-x", "ReplicaSet", lone.ObjectMeta),
		fixture.Pod("shop", "same-labels", fixture.Labelled("app", "cart")),
	)
	got := map[string][]string{}
	for _, workload := range snapshot.Workloads("shop") {
		pods := []string{}
		for _, pod := range snapshot.PodsOf(workload) {
			pods = append(pods, pod.Name)
		}
		got[workload.Reference.String()] = pods
	}
	want := map[string][]string{
		"Deployment shop/cart": {"cart-5d8f7-0", "cart-5d8f7-1", "cart-old-0"}, "Deployment shop/other": {}, "StatefulSet shop/db": {"db-0"},
		"CronJob shop/report": {"report-1-x"}, "ReplicaSet shop/lone": {"lone-x"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var bare []string
	for _, pod := range snapshot.BarePods("shop") {
		bare = append(bare, pod.Name)
	}
	if diff := cmp.Diff([]string{"same-labels"}, bare); diff != "" {
		t.Errorf("the bare pods are wrong (-want +got):\n%s", diff)
	}
}

func TestWorkloadsHoldWhatTheirKindSays(t *testing.T) {
	partition := int32(2)
	snapshot := fixture.Snapshot(
		fixture.Deployment("shop", "a", fixture.Replicas(3), func(d *appsv1.Deployment) { d.Spec.Paused = true }),
		fixture.StatefulSet("shop", "a", func(s *appsv1.StatefulSet) {
			s.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType, RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{Partition: &partition}}
		}),
		fixture.DaemonSet("shop", "a", func(d *appsv1.DaemonSet) { d.Status.DesiredNumberScheduled = 7 }),
		fixture.ReplicaSet("shop", "a", nil), fixture.CronJob("shop", "a"), fixture.Job("shop", "a"),
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: bare, namespace: shop}\nspec: {}",
	)
	type said struct {
		Path             string
		Replicas         int32
		Paused, OnDelete bool
		Partition        int32
	}
	got := map[string]said{}
	for _, w := range snapshot.Workloads("shop") {
		got[w.Reference.Kind+"/"+w.Reference.Name] = said{w.TemplatePath, w.Replicas, w.Paused, w.OnDelete, w.Partition}
		if w.UID == "" || w.Object == nil || w.Reference.APIVersion == "" {
			t.Errorf("%s lacks its UID, version or object", w.Reference)
		}
	}
	want := map[string]said{
		"Deployment/a": {"/spec/template", 3, true, false, 0}, "Deployment/bare": {"/spec/template", 1, false, false, 0},
		"StatefulSet/a": {"/spec/template", 1, false, true, 2}, "DaemonSet/a": {"/spec/template", 7, false, false, 0},
		"ReplicaSet/a": {"/spec/template", 1, false, false, 0}, "CronJob/a": {"/spec/jobTemplate/spec/template", 0, false, false, 0},
		"Job/a": {"/spec/template", 0, false, false, 0},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSnapshotObject(t *testing.T) {
	content := fixture.Content(fixture.Namespace("shop", nil), fixture.Deployment("shop", "cart"), fixture.Pod("shop", "whole"))
	content.Pods = []metav1.ObjectMeta{fixture.Pod("shop", "flat").ObjectMeta}
	snapshot, err := mesh.NewSnapshot(content)
	if err != nil {
		t.Fatal(err)
	}
	for reference, want := range map[v1alpha1.ObjectReference]bool{
		{Kind: "Namespace", Name: "shop"}: true, {Kind: "Namespace", Name: "pay"}: false,
		{Kind: "Deployment", Namespace: "shop", Name: "cart"}: true, {Kind: "Deployment", Namespace: "pay", Name: "cart"}: false,
		{Kind: "StatefulSet", Namespace: "shop", Name: "cart"}: false,
		{Kind: "Pod", Namespace: "shop", Name: "whole"}:        true, {Kind: "Pod", Namespace: "shop", Name: "flat"}: false, {Kind: "Pod", Namespace: "shop", Name: "gone"}: false,
	} {
		object, found := snapshot.Object(reference)
		if found != want || found != (object != nil) {
			t.Errorf("%s: found is %t, want %t", reference, found, want)
		}
	}
}

func TestRoutesAndExtensions(t *testing.T) {
	snapshot := fixture.Snapshot(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: shop}
spec: {parentRefs: [{group: "", kind: Service, name: cart}]}
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: t, namespace: shop}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: e, namespace: shop}
spec: {workloadSelector: {labels: {app: cart}}}
---
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: w, namespace: shop}
spec: {selector: {matchLabels: {app: cart}}}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: t, namespace: shop}
spec: {targetRefs: [{kind: Gateway, name: way}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: j, namespace: shop}
spec: {targetRef: {kind: Service, name: cart}}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: p, namespace: shop}
spec: {}`)
	type extension struct {
		Name     string
		Selector labels
		Targeted bool
	}
	var got []extension
	for _, e := range snapshot.Extensions() {
		got = append(got, extension{e.Reference.String(), e.Selector, e.Targeted()})
	}
	want := []extension{
		{"EnvoyFilter shop/e", labels{"app": "cart"}, false}, {"ProxyConfig shop/p", nil, false}, {"RequestAuthentication shop/j", nil, true},
		{"Telemetry shop/t", nil, true}, {"WasmPlugin shop/w", labels{"app": "cart"}, false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the extensions are wrong (-want +got):\n%s", diff)
	}
	routes := snapshot.Routes()
	if len(routes) != 2 || len(routes[0].Parents) != 1 || routes[0].Parents[0].Name != "cart" || len(routes[1].Parents) != 0 {
		t.Errorf("the routes are %+v", routes)
	}
}

func TestAnEmptySnapshotKnowsNothing(t *testing.T) {
	snapshot, err := mesh.NewSnapshot(mesh.Content{})
	if err != nil {
		t.Fatal(err)
	}
	if coverage := snapshot.Coverage("Pod", "shop"); coverage.State != mesh.CoverageUnasked || coverage.Known() {
		t.Errorf("the coverage of what was not read is %v", coverage)
	}
	if _, found := snapshot.Namespace("shop"); found {
		t.Error("there is a namespace")
	}
	if diff := cmp.Diff([]mesh.Pod(nil), snapshot.AllPods(), cmpopts.EquateEmpty()); diff != "" {
		t.Error("there are pods")
	}
	if rule, err := snapshot.EnrolmentRule(); err != nil || !cmp.Equal(rule, mesh.DefaultEnrolmentRule()) {
		t.Errorf("without istio-cni's configuration the rule is %v, %v", rule, err)
	}
}
