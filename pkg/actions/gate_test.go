package actions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

const inject = "sidecar.istio.io/inject"

var (
	ambientShop  = fixture.Namespace("shop", labels{"istio.io/dataplane-mode": "ambient"})
	injectedShop = fixture.Namespace("shop", labels{"istio-injection": "enabled"})
)

func reference(kind, name string) v1alpha1.ObjectReference {
	version := "apps/v1"
	if kind == "Job" || kind == "CronJob" {
		version = "batch/v1"
	}
	return v1alpha1.ObjectReference{APIVersion: version, Kind: kind, Namespace: "shop", Name: name}
}

func gateOf(kind v1alpha1.GateKind, workloads ...v1alpha1.ObjectReference) v1alpha1.Gate {
	return v1alpha1.Gate{Kind: kind, Workloads: workloads}
}

// evidenceFor is the evidence by which ztunnel proxies the pods.
func evidenceFor(pods ...mesh.Pod) *mesh.Evidence {
	evidence := &mesh.Evidence{Nodes: map[string]mesh.NodeEvidence{}, Taken: fixture.Created}
	for _, pod := range pods {
		node, known := evidence.Nodes[pod.Node]
		if !known {
			node = mesh.NodeEvidence{
				Ztunnel: "istio-system/ztunnel-x", Captured: map[types.UID]mesh.CaptureState{}, Certificates: map[string]mesh.ZtunnelCertificate{},
				DataPlaneView: mesh.DataPlaneView{Workloads: map[string]mesh.ZtunnelWorkload{}},
			}
		}
		node.Captured[pod.UID] = mesh.CaptureUp
		identity := "spiffe://cluster.local/ns/" + pod.Namespace + "/sa/" + pod.ServiceAccount
		node.Workloads[pod.Namespace+"/"+pod.Name] = mesh.ZtunnelWorkload{Protocol: mesh.ProtocolHBONE, Identity: identity}
		node.Certificates[identity] = mesh.ZtunnelCertificate{State: mesh.CertificateAvailable, NotBefore: fixture.Created, NotAfter: fixture.Created.Add(time.Hour)}
		evidence.Nodes[pod.Node] = node
	}
	return evidence
}

// inStep has istiod mean what ztunnels know.
func inStep(_ context.Context, evidence *mesh.Evidence) error {
	evidence.Istiods = map[string]mesh.IstiodEvidence{"": {Istiod: "istio-system/istiod-x"}}
	for _, node := range evidence.Nodes {
		evidence.Istiods[""] = mesh.IstiodEvidence{Istiod: "istio-system/istiod-x", DataPlaneView: node.DataPlaneView}
	}
	return nil
}

// looker is a runner that looks at gates. Its ztunnels proxy every pod; asked
// collects the nodes that they were asked on.
func looker(snapshot *mesh.Snapshot) (runner *Runner, asked *[][]string) {
	asked = &[][]string{}
	kube := fake.NewClientset()
	accept := func(action clienttesting.Action) (bool, runtime.Object, error) {
		return action.GetVerb() == "delete" || action.GetSubresource() == "eviction", nil, nil
	}
	kube.PrependReactor("*", "pods", accept)
	return &Runner{
		Namespace: "shop", Kube: kube, replaced: map[types.UID]bool{}, replacements: map[types.UID]int{}, named: map[types.UID]bool{},
		ending: map[types.UID]time.Time{}, unready: map[types.UID]time.Time{}, Now: func() time.Time { return fixture.Created },
		Istiods: inStep,
		Evidence: func(_ context.Context, nodes []string) (*mesh.Evidence, error) {
			*asked = append(*asked, nodes)
			return evidenceFor(snapshot.Pods("shop")...), nil
		},
	}, asked
}

func missing(t *testing.T, got verdict, want ...string) {
	t.Helper()
	if len(got.missing) != len(want) {
		t.Fatalf("it waits for %q, not for %q", got.missing, want)
	}
	for i := range want {
		if !strings.Contains(got.missing[i], want[i]) {
			t.Errorf("it waits for %q, not for %q", got.missing[i], want[i])
		}
	}
}

func switched(edits ...func(*appsv1.Deployment)) *appsv1.Deployment {
	return fixture.Deployment("shop", "cart", append(edits, fixture.TemplateLabel(inject, "false"))...)
}

func TestLookCapturedOfAWorkload(t *testing.T) {
	two := switched(fixture.Replicas(2))
	rolling := switched(fixture.Replicas(2))
	rolling.Status.UpdatedReplicas = 1
	stuck := switched()
	stuck.Status.Conditions[1] = appsv1.DeploymentCondition{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded"}
	crashing := func(pod *corev1.Pod) {
		fixture.NotReady(pod)
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}
	}
	refusing := switched(fixture.TemplateLabel("istio.io/dataplane-mode", "none"))
	tests := []struct {
		name    string
		objects []any
		want    []string
		failed  bool
		asked   int
	}{
		{"all are", []any{two, fixture.PodsOf(two, fixture.Ambient)}, nil, false, 1},
		{"scaled to zero", []any{switched(fixture.Replicas(0))}, nil, false, 0},
		{"one has a sidecar", []any{switched(), fixture.PodsOf(switched(), fixture.Sidecar)}, []string{"Pod shop/cart-5d8f7-0 still has a sidecar"}, false, 0},
		{"one is not ready", []any{switched(), fixture.PodsOf(switched(), fixture.Ambient, fixture.NotReady)}, []string{"Pod shop/cart-5d8f7-0 is not ready: ContainersNotReady"}, false, 0},
		{"one is not redirected", []any{switched(), fixture.PodsOf(switched())}, []string{"Pod shop/cart-5d8f7-0 is not redirected"}, false, 0},
		{"it is rolling", []any{rolling, fixture.PodsOf(rolling, fixture.Ambient)}, []string{"Deployment shop/cart: Updated: 1/2"}, false, 0},
		{"it is rolling and a pod crashes", []any{rolling, fixture.PodsOf(rolling, fixture.Ambient, crashing)}, []string{"Pod shop/cart-5d8f7-0 is not ready: container main: CrashLoopBackOff", "Pod shop/cart-5d8f7-1", "Deployment shop/cart"}, false, 0},
		{"its controller has given up", []any{stuck, fixture.PodsOf(stuck, fixture.Ambient)}, []string{"Deployment shop/cart"}, true, 0},
		{"its pods are not seen yet", []any{two, fixture.PodsOf(two, fixture.Ambient)[:2]}, []string{"1 of 2 pods seen"}, false, 0},
		{"its pods will never be captured", []any{refusing, fixture.PodsOf(refusing)}, []string{"is not to be captured"}, true, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			snapshot := fixture.Snapshot(append(test.objects, ambientShop)...)
			runner, asked := looker(snapshot)
			got, err := runner.lookCaptured(t.Context(), snapshot, gateOf(v1alpha1.GateCaptured, reference("Deployment", "cart")))
			if err != nil {
				t.Fatal(err)
			}
			missing(t, got, test.want...)
			if got.failed != test.failed || len(*asked) != test.asked {
				t.Errorf("failed is %t, ztunnel was asked %d times", got.failed, len(*asked))
			}
		})
	}
}

func TestLookCapturedAsksZtunnelAgain(t *testing.T) {
	snapshot := fixture.Snapshot(ambientShop, switched(), fixture.PodsOf(switched(), fixture.Ambient))
	runner, _ := looker(snapshot)
	gate := gateOf(v1alpha1.GateCaptured, reference("Deployment", "cart"))
	runner.Evidence = func(context.Context, []string) (*mesh.Evidence, error) { return &mesh.Evidence{}, nil }
	got, err := runner.lookCaptured(t.Context(), snapshot, gate)
	if err != nil {
		t.Fatal(err)
	}
	missing(t, got, "Pod shop/cart-5d8f7-0: ztunnel on node node-1 was not asked")
	if got.retry <= 0 {
		t.Error("nobody asks again, although nothing in the cluster will change")
	}
	broken := errors.New("no route")
	runner.Evidence = func(context.Context, []string) (*mesh.Evidence, error) { return nil, broken }
	if _, err := runner.lookCaptured(t.Context(), snapshot, gate); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
}

func TestLookCapturedOfWhatIsGone(t *testing.T) {
	snapshot := fixture.Snapshot(ambientShop)
	runner, _ := looker(snapshot)
	_, err := runner.lookCaptured(t.Context(), snapshot, gateOf(v1alpha1.GateCaptured, reference("Deployment", "cart")))
	if err == nil || !strings.Contains(err.Error(), "Deployment shop/cart is gone") {
		t.Errorf("the error is %v", err)
	}
}

func TestLookCapturedOfANamespace(t *testing.T) {
	snapshot := fixture.Snapshot(ambientShop,
		fixture.Pod("shop", "sidecar", fixture.Sidecar), fixture.Pod("shop", "broken", fixture.NotReady), fixture.Pod("shop", "out", fixture.Labelled("istio.io/dataplane-mode", "none")),
		fixture.Pod("shop", "in", fixture.Ambient), fixture.Pod("shop", "late"),
	)
	runner, _ := looker(snapshot)
	got, err := runner.lookCaptured(t.Context(), snapshot, gateOf(v1alpha1.GateCaptured))
	if err != nil {
		t.Fatal(err)
	}
	missing(t, got, "Pod shop/late is not redirected")
	snapshot = fixture.Snapshot(ambientShop, fixture.Pod("shop", "in", fixture.Ambient), fixture.Pod("shop", "sidecar", fixture.Sidecar))
	runner, asked := looker(snapshot)
	if got, err = runner.lookCaptured(t.Context(), snapshot, gateOf(v1alpha1.GateCaptured)); err != nil {
		t.Fatal(err)
	}
	missing(t, got)
	if diff := cmp.Diff([][]string{{fixture.Node}}, *asked); diff != "" {
		t.Errorf("ztunnel was asked on (-want +got):\n%s", diff)
	}
}

func TestLookReady(t *testing.T) {
	rolling := fixture.Deployment("shop", "quiet", fixture.Replicas(2))
	rolling.Status.UpdatedReplicas = 1
	snapshot := fixture.Snapshot(injectedShop, rolling, fixture.PodsOf(rolling), fixture.Deployment("shop", "done"), fixture.PodsOf(fixture.Deployment("shop", "done")))
	runner, _ := looker(snapshot)
	got, err := runner.lookReady(t.Context(), snapshot, gateOf(v1alpha1.GateReady, reference("Deployment", "quiet")))
	if err != nil {
		t.Fatal(err)
	}
	missing(t, got, "Deployment shop/quiet: Updated: 1/2")
	if got, err = runner.lookReady(t.Context(), snapshot, gateOf(v1alpha1.GateReady, reference("Deployment", "done"))); err != nil {
		t.Fatal(err)
	}
	missing(t, got)
}

func TestLookReleased(t *testing.T) {
	own := fixture.Labelled("istio.io/dataplane-mode", "ambient")
	snapshot := fixture.Snapshot(injectedShop, fixture.Pod("shop", "a", fixture.Ambient), fixture.Pod("shop", "b"), fixture.Pod("shop", "c", fixture.Ambient, own))
	runner, _ := looker(snapshot)
	got, err := runner.lookReleased(t.Context(), snapshot, gateOf(v1alpha1.GateReleased))
	if err != nil {
		t.Fatal(err)
	}
	missing(t, got, "Pod shop/a is still redirected")
}

func TestLookVerified(t *testing.T) {
	objects := func(edits ...func(*corev1.Pod)) []any {
		return append(fixture.Installation(), ambientShop, switched(), fixture.PodsOf(switched(), edits...))
	}
	snapshot := fixture.Snapshot(objects(fixture.Ambient)...)
	runner, _ := looker(snapshot)
	got, err := runner.lookVerified(t.Context(), snapshot, gateOf(v1alpha1.GateVerified))
	if err != nil {
		t.Fatal(err)
	}
	missing(t, got)
	snapshot = fixture.Snapshot(objects(fixture.Sidecar)...)
	if got, err = runner.lookVerified(t.Context(), snapshot, gateOf(v1alpha1.GateVerified)); err != nil {
		t.Fatal(err)
	}
	missing(t, got, "no-sidecars: Pod shop/cart-5d8f7-0: ")
	if got.retry <= 0 {
		t.Error("nobody asks ztunnel again")
	}
}

func TestGatesWantTheNamespace(t *testing.T) {
	terminating := ambientShop.DeepCopy()
	terminating.DeletionTimestamp = &metav1.Time{Time: fixture.Created}
	for want, objects := range map[string][]any{"namespace shop is gone": nil, "namespace shop is being deleted": {terminating}} {
		snapshot := fixture.Snapshot(objects...)
		runner, _ := looker(snapshot)
		for kind, look := range runner.gates() {
			if kind == v1alpha1.GateReady {
				continue
			}
			if _, err := look(t.Context(), snapshot, gateOf(kind)); err == nil || err.Error() != want {
				t.Errorf("%s: the error is %v, want %s", kind, err, want)
			}
		}
	}
}

func TestNodesOf(t *testing.T) {
	pods := []mesh.Pod{{Node: "b"}, {Node: ""}, {Node: "a"}, {Node: "b"}}
	if diff := cmp.Diff([]string{"a", "b"}, NodesOf(pods)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestGateError(t *testing.T) {
	step := v1alpha1.Step{ID: "restart-workloads/deployment/cart"}
	for want, failure := range map[string]*GateError{
		"step restart-workloads/deployment/cart: timed out waiting: a (and 1 more)": {Step: step, Missing: []string{"a", "b"}, Cause: context.DeadlineExceeded},
		"step restart-workloads/deployment/cart: interrupted while waiting: a":      {Step: step, Missing: []string{"a"}, Cause: context.Canceled},
		"step restart-workloads/deployment/cart: waiting longer cannot help: a":     {Step: step, Missing: []string{"a"}, Cause: errGivenUp},
	} {
		if failure.Error() != want || !errors.Is(failure, failure.Cause) {
			t.Errorf("the error is %q", failure.Error())
		}
	}
}

func event(kind, name, reason string, at time.Time) *corev1.Event {
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: strings.ToLower(name + reason)}, InvolvedObject: corev1.ObjectReference{Kind: kind, Namespace: "shop", Name: name},
		Type: corev1.EventTypeWarning, Reason: reason, Message: "because", LastTimestamp: metav1.NewTime(at),
	}
}

func TestWarningsAreTheNewestAboutWhatIsNamed(t *testing.T) {
	newer := fixture.Created.Add(time.Hour)
	micro := event("Pod", "cart-1", "Newest", time.Time{})
	micro.EventTime = metav1.NewMicroTime(newer.Add(time.Minute))
	runner := &Runner{Namespace: "shop", Kube: fake.NewClientset(
		event("Pod", "cart-1", "Old", fixture.Created), event("Pod", "cart-1", "New", newer), micro, event("Pod", "other", "Other", newer),
		event("ReplicaSet", "cart-5d8f7", "FailedCreate", newer.Add(time.Second)), event("ReplicaSet", "other-5d8f7", "FailedCreate", newer),
	)}
	got := runner.warnings(t.Context(), "Pod shop/cart-1 is not ready\nDeployment shop/cart: Updated: 0/1")
	want := []string{"Pod shop/cart-1: Newest: because", "ReplicaSet shop/cart-5d8f7: FailedCreate: because", "Pod shop/cart-1: New: because"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A pod's name can be the beginning of another's.
func TestWarningsAreNotAboutAPodWithALongerName(t *testing.T) {
	runner := &Runner{Namespace: "shop", Kube: fake.NewClientset(event("Pod", "db-1", "Other", fixture.Created))}
	if got := runner.warnings(t.Context(), "Pod shop/db-10 is not ready"); len(got) != 0 {
		t.Errorf("it returns %v", got)
	}
}

func TestEventsMayBeNil(t *testing.T) {
	var events Events
	events.stepStarted(1, 2, v1alpha1.Step{})
	events.waiting(v1alpha1.Step{}, nil)
	events.stepDone(1, 2, v1alpha1.Step{}, 0)
	events.note("a")
	var notes []string
	events.Note = func(text string) { notes = append(notes, text) }
	events.note("%d pods", 3)
	if !slices.Equal(notes, []string{"3 pods"}) {
		t.Errorf("the notes are %v", notes)
	}
}

func TestSummaryOfWhatIsMissing(t *testing.T) {
	for i, want := range []string{"nothing was missing", "a", "a (and 1 more)", "a (and 2 more)"} {
		if got := summary([]string{"a", "b", "c"}[:i]); got != want {
			t.Errorf("%d things are summed up as %q", i, got)
		}
	}
	if got := fmt.Sprint(since(v1alpha1.Gate{})); got != fmt.Sprint(time.Time{}) {
		t.Errorf("a gate that does not say since when is about pods since %s", got)
	}
}

// The end of an enrolment does not wait for an istiod that cannot be asked, nor for
// what was accepted, and asks istiod only once everything else holds.
func TestLookVerifiedAsksIstiodLast(t *testing.T) {
	objects := func(edits ...func(*corev1.Pod)) []any {
		return append(fixture.Installation(), ambientShop, switched(), fixture.PodsOf(switched(), edits...))
	}
	accepted := func(result v1alpha1.CheckResult) bool { return result.ID == "no-sidecars" || result.ID == "redirected" }
	for _, test := range []struct {
		name    string
		objects []any
		istiod  mesh.IstiodEvidence
		accepts func(v1alpha1.CheckResult) bool
		asked   int
		want    []string
	}{
		{"it cannot be asked", objects(fixture.Ambient), mesh.IstiodEvidence{Problem: "connection refused"}, nil, 1, nil},
		{"it means something else", objects(fixture.Ambient), mesh.IstiodEvidence{Istiod: "istio-system/istiod-x"}, nil, 1, []string{"ztunnel-in-step: "}},
		{"something else does not hold", objects(fixture.Sidecar), mesh.IstiodEvidence{}, nil, 0, []string{"no-sidecars: "}},
		{"that was accepted", objects(fixture.Sidecar), mesh.IstiodEvidence{Problem: "connection refused"}, accepted, 1, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			snapshot := fixture.Snapshot(test.objects...)
			runner, _ := looker(snapshot)
			asked := 0
			runner.accepts = test.accepts
			runner.Istiods = func(_ context.Context, evidence *mesh.Evidence) error {
				asked++
				evidence.Istiods = map[string]mesh.IstiodEvidence{"": test.istiod}
				return nil
			}
			got, err := runner.lookVerified(t.Context(), snapshot, gateOf(v1alpha1.GateVerified))
			if err != nil {
				t.Fatal(err)
			}
			missing(t, got, test.want...)
			if asked != test.asked {
				t.Errorf("istiod was asked %d times", asked)
			}
		})
	}
}

// Once what the run has done has arrived, all that verify asks is asked, and what was so
// before, or what the plan goes on to delete, is not waited for.
func TestLookVerifiedAsksAllThatVerifyAsks(t *testing.T) {
	objects := func(edits ...func(*corev1.Pod)) []any {
		return append(fixture.Installation(), ambientShop, switched(), fixture.PodsOf(switched(), edits...))
	}
	route, rule := reference("HTTPRoute", "astray"), reference("VirtualService", "cart")
	class := v1alpha1.ObjectReference{APIVersion: "security.istio.io/v1", Kind: "AuthorizationPolicy", Namespace: "istio-system", Name: "all"}
	// behind is the same behind a waypoint, in a mesh with a policy for all waypoints.
	behind := func() []any {
		return append(objects(fixture.Ambient), proxies(1, 1)[2], `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio-waypoint}
spec: {controllerName: istio.io/mesh-controller}`, `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status:
  addresses: [{type: Hostname, value: waypoint.shop.svc.cluster.local}]
  conditions: [{type: Programmed, status: "True", reason: Programmed, message: "", lastTransitionTime: "2026-08-01T12:00:00Z"}]`, `
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec: {clusterIP: 10.0.0.1, selector: {app: cart}, ports: [{port: 80}]}`, `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: all, namespace: istio-system}
spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}]}`)
	}
	found := []v1alpha1.CheckResult{
		{ID: "routes-accepted", Severity: v1alpha1.SeverityError, Status: v1alpha1.StatusFail, Object: &route, Message: "it is not resolved"},
		{ID: "route-conflicts", Severity: v1alpha1.SeverityError, Status: v1alpha1.StatusFail, Object: &rule, Message: "too"},
		{ID: "traffic-seen", Severity: v1alpha1.SeverityWarning, Status: v1alpha1.StatusUnknown, Message: "nobody knows"},
	}
	for _, test := range []struct {
		name     string
		objects  []any
		standing []v1alpha1.StandingFinding
		deletes  map[v1alpha1.ObjectReference]bool
		asked    int
		want     []string
		retry    time.Duration
	}{
		{"something has not arrived", objects(fixture.Sidecar), nil, nil, 0, []string{"no-sidecars: "}, retryEvidence},
		{"something did not hold before", behind(), []v1alpha1.StandingFinding{{ID: "policies-accepted", Object: &class, Field: "status.conditions[WaypointAccepted]"}}, nil, 1, []string{"routes-accepted: ", "route-conflicts: "}, retryVerify},
		{"something of the mesh's does not hold", behind(), nil, nil, 0, []string{"policies-accepted: AuthorizationPolicy istio-system/all: it is not taken up by istiod yet"}, retryEvidence},
		{"verify would fail", objects(fixture.Ambient), nil, nil, 1, []string{"routes-accepted: HTTPRoute shop/astray: it is not resolved", "route-conflicts: "}, retryVerify},
		{"it would have failed before", objects(fixture.Ambient), []v1alpha1.StandingFinding{{ID: "routes-accepted", Object: &route}}, nil, 1, []string{"route-conflicts: "}, retryVerify},
		{"the plan ends it", objects(fixture.Ambient), []v1alpha1.StandingFinding{{ID: "routes-accepted", Object: &route}}, map[v1alpha1.ObjectReference]bool{rule.Unversioned(): true}, 1, nil, retryVerify},
	} {
		t.Run(test.name, func(t *testing.T) {
			snapshot := fixture.Snapshot(test.objects...)
			runner, _ := looker(snapshot)
			asked := 0
			runner.standing, runner.deletes = test.standing, test.deletes
			runner.Verify = func(context.Context) ([]v1alpha1.CheckResult, error) {
				asked++
				return found, nil
			}
			got, err := runner.lookVerified(t.Context(), snapshot, gateOf(v1alpha1.GateVerified))
			if err != nil {
				t.Fatal(err)
			}
			missing(t, got, test.want...)
			if asked != test.asked || got.retry != test.retry {
				t.Errorf("verify was asked %d times, and is again after %s", asked, got.retry)
			}
		})
	}
}

func TestLookRestored(t *testing.T) {
	cart := fixture.Deployment("shop", "cart")
	way := v1alpha1.ObjectReference{APIVersion: "gateway.networking.k8s.io/v1", Kind: "Gateway", Namespace: "shop", Name: "way"}
	const made = `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: way, namespace: shop, labels: {ambient.kubectl-ambient.dev/origin: x}}, spec: {gatewayClassName: istio-waypoint}}`
	objects := func(more ...any) []any { return append(append(fixture.Installation(), injectedShop, cart), more...) }
	for _, test := range []struct {
		name    string
		objects []any
		created []v1alpha1.ObjectReference
		kept    []v1alpha1.KeptField
		want    []string
		failed  bool
	}{
		{"all is back", objects(fixture.PodsOf(cart, fixture.Sidecar)), nil, nil, nil, false},
		{"a pod has no sidecar yet", objects(fixture.PodsOf(cart)), nil, nil, []string{"sidecars-back: Pod shop/cart-5d8f7-0: "}, false},
		{"what a run has made is left", objects(fixture.PodsOf(cart, fixture.Sidecar), made), []v1alpha1.ObjectReference{way}, nil, []string{"nothing-left: Gateway shop/way: "}, true},
		{"what a run has made is kept", objects(fixture.PodsOf(cart, fixture.Sidecar), made), []v1alpha1.ObjectReference{way}, []v1alpha1.KeptField{{Object: way, Reason: "it is used"}}, nil, false},
		{"another run has made it", objects(fixture.PodsOf(cart, fixture.Sidecar), made), nil, nil, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			snapshot := fixture.Snapshot(test.objects...)
			runner, _ := looker(snapshot)
			runner.kept = test.kept
			runner.Evidence = func(ctx context.Context, _ []string) (*mesh.Evidence, error) {
				if _, bounded := ctx.Deadline(); !bounded {
					t.Error("ztunnel is asked without end")
				}
				return nil, context.DeadlineExceeded
			}
			gate := gateOf(v1alpha1.GateRestored)
			gate.Restoration = &v1alpha1.Restoration{Workloads: []v1alpha1.ObjectReference{reference("Deployment", "cart")}, Unlabelled: true, Created: test.created}
			got, err := runner.lookRestored(t.Context(), snapshot, gate)
			if err != nil {
				t.Fatal(err)
			}
			missing(t, got, test.want...)
			if got.failed != test.failed {
				t.Errorf("waiting longer is said to help: %t", !got.failed)
			}
		})
	}
}

// A rollback does not wait for sidecars that nothing asks for: it names what lacks them.
func TestLookRestoredNamesWhatNothingAsksFor(t *testing.T) {
	cart := fixture.Deployment("shop", "cart")
	refusing := fixture.Deployment("shop", "cart", fixture.TemplateAnnotation("sidecar.istio.io/inject", "false"))
	for name, objects := range map[string][]any{
		"the namespace's label is gone": {fixture.Namespace("shop", nil), cart, fixture.PodsOf(cart)},
		"its template refuses them":     {injectedShop, refusing, fixture.PodsOf(refusing)},
	} {
		t.Run(name, func(t *testing.T) {
			snapshot := fixture.Snapshot(append(fixture.Installation(), objects...)...)
			runner, _ := looker(snapshot)
			runner.Evidence = func(context.Context, []string) (*mesh.Evidence, error) { return nil, errors.New("no route") }
			var notes []string
			runner.Events.Note = func(text string) { notes = append(notes, text) }
			gate := gateOf(v1alpha1.GateRestored)
			gate.Restoration = &v1alpha1.Restoration{Workloads: []v1alpha1.ObjectReference{reference("Deployment", "cart")}, Unlabelled: true}
			got, err := runner.lookRestored(t.Context(), snapshot, gate)
			if err != nil {
				t.Fatal(err)
			}
			missing(t, got)
			if len(notes) != 1 || !strings.Contains(notes[0], "sidecars-back: Deployment shop/cart: 1 pod without the sidecar") {
				t.Errorf("the notes are %q", notes)
			}
		})
	}
}

// Of what it asks only ztunnel may be out of reach at the end of a rollback.
func TestLookRestoredWantsToSeeAllButZtunnel(t *testing.T) {
	cart := fixture.Deployment("shop", "cart")
	for _, test := range []struct {
		unread string
		want   []string
	}{
		{mesh.ZtunnelPods, nil},
		{"MutatingWebhookConfiguration", []string{"sidecars-back: it cannot be told without MutatingWebhookConfiguration: forbidden"}},
		{mesh.KindAuthorizationPolicy, []string{"nothing-left: it cannot be told without AuthorizationPolicy: forbidden"}},
		{mesh.IstiodDeployments, []string{"istio-installed: it cannot be told without "}},
	} {
		t.Run(test.unread, func(t *testing.T) {
			content := fixture.Content(append(fixture.Installation(), injectedShop, cart, fixture.PodsOf(cart, fixture.Sidecar))...)
			content.Coverage[test.unread] = mesh.Coverage{State: mesh.CoverageForbidden, Reason: "forbidden"}
			snapshot, err := mesh.NewSnapshot(content)
			if err != nil {
				t.Fatal(err)
			}
			runner, _ := looker(snapshot)
			runner.Evidence = func(context.Context, []string) (*mesh.Evidence, error) { return nil, errors.New("no route") }
			gate := gateOf(v1alpha1.GateRestored)
			gate.Restoration = &v1alpha1.Restoration{Workloads: []v1alpha1.ObjectReference{reference("Deployment", "cart")}, Unlabelled: true}
			got, err := runner.lookRestored(t.Context(), snapshot, gate)
			if err != nil {
				t.Fatal(err)
			}
			missing(t, got, test.want...)
			if got.failed != (len(test.want) > 0) {
				t.Errorf("waiting longer is said to help: %t", !got.failed)
			}
		})
	}
}

func TestLookRestoredEndsWithTheRun(t *testing.T) {
	snapshot := fixture.Snapshot(injectedShop)
	runner, _ := looker(snapshot)
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	cancel(interrupted)
	gate := gateOf(v1alpha1.GateRestored)
	gate.Restoration = &v1alpha1.Restoration{}
	if _, err := runner.lookRestored(ctx, snapshot, gate); !errors.Is(err, interrupted) {
		t.Errorf("the error is %v", err)
	}
}
