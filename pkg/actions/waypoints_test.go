package actions

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const gatewayName = "gateway.networking.k8s.io/gateway-name"

// gatewayStatus is a Gateway of generation 2 with a condition and addresses.
func gatewayStatus(status string, observed int, addresses string) []any {
	return []any{fixture.YAML(fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop, generation: 2}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status:
  addresses: %s
  conditions: [{type: Programmed, status: "%s", reason: Because, message: of this, observedGeneration: %d}]
`, addresses, status, observed))}
}

const anAddress = "[{type: Hostname, value: waypoint.shop.svc.cluster.local}]"

// proxies are the Deployment and pods of the waypoint, and its endpoints.
func proxies(replicas int32, ready int) []any {
	deployment := fixture.Deployment("shop", "waypoint", fixture.Replicas(replicas), fixture.TemplateLabel(gatewayName, "waypoint"))
	var endpoints strings.Builder
	for i := range ready {
		fmt.Fprintf(&endpoints, "{addresses: [10.0.0.%d], conditions: {ready: true}}, ", i+1)
	}
	return []any{deployment, fixture.PodsOf(deployment), fixture.YAML(fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: waypoint-1, namespace: shop, labels: {%s: waypoint}}
addressType: IPv4
endpoints: [%s]
`, gatewayName, endpoints.String()))}
}

func serviceOf(labels, condition string) []any {
	return []any{fixture.YAML(fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop, labels: {%s}}
spec: {ports: [{port: 80}]}
status: {conditions: [%s]}
`, labels, condition))}
}

func bound(status, message string) string {
	return fmt.Sprintf(`{type: istio.io/WaypointBound, status: "%s", reason: Because, message: "%s"}`, status, message)
}

// policyOf is a policy of generation 2.
func policyOf(kind, spec, conditions string) []any {
	return []any{fixture.YAML(fmt.Sprintf(`
apiVersion: security.istio.io/v1
kind: %s
metadata: {name: get, namespace: shop, generation: 2}
spec: {%s}
status: {conditions: [%s]}
`, kind, spec, conditions))}
}

func accepted(kind, status, reason, observed string) string {
	return fmt.Sprintf(`{type: %s, status: "%s", reason: %s, message: of this, observedGeneration: %s}`, kind, status, reason, observed)
}

var (
	serviceReference = v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: "shop", Name: "cart"}
	policyReference  = v1alpha1.ObjectReference{APIVersion: "security.istio.io/v1", Kind: "AuthorizationPolicy", Namespace: "shop", Name: "get"}
	jwtReference     = v1alpha1.ObjectReference{APIVersion: "security.istio.io/v1", Kind: "RequestAuthentication", Namespace: "shop", Name: "get"}
)

// objectGate is a gate about objects, what is there, and what it waits for.
type objectGate struct {
	name    string
	kind    v1alpha1.GateKind
	object  v1alpha1.ObjectReference
	there   []any
	want    []string
	failure string
}

func (g objectGate) test(t *testing.T) {
	t.Helper()
	snapshot := fixture.Snapshot(fixture.Namespace("shop", nil), g.there)
	runner, _ := looker(snapshot)
	got, err := runner.gates()[g.kind](t.Context(), snapshot, v1alpha1.Gate{Kind: g.kind, Objects: []v1alpha1.ObjectReference{g.object}})
	if err != nil || g.failure != "" {
		if err == nil || g.failure == "" || !strings.Contains(err.Error(), g.failure) {
			t.Fatalf("the error is %v, want %q", err, g.failure)
		}
		return
	}
	missing(t, got, g.want...)
}

func TestWaypointsReady(t *testing.T) {
	rolling := proxies(2, 2)
	rolling[0].(*appsv1.Deployment).Status.AvailableReplicas = 1
	for _, test := range []objectGate{
		{name: "it is ready", there: slices.Concat(gatewayStatus("True", 2, anAddress), proxies(2, 2))},
		{name: "no status of this generation", there: slices.Concat(gatewayStatus("True", 1, anAddress), proxies(1, 1)), want: []string{"Gateway shop/waypoint is not taken up by istiod yet"}},
		{name: "not programmed", there: slices.Concat(gatewayStatus("False", 2, anAddress), proxies(1, 1)), want: []string{"is not programmed: Because: of this"}},
		{name: "no address", there: slices.Concat(gatewayStatus("True", 2, "[]"), proxies(1, 1)), want: []string{"has no address yet"}},
		{name: "no Deployment", there: gatewayStatus("True", 2, anAddress), want: []string{"has no Deployment yet"}},
		{name: "not all replicas", there: slices.Concat(gatewayStatus("True", 2, anAddress), rolling), want: []string{"Deployment shop/waypoint: "}},
		{name: "not all endpoints", there: slices.Concat(gatewayStatus("True", 2, anAddress), proxies(2, 1)), want: []string{"has 1 of 2 ready endpoints"}},
		{name: "scaled to nothing", there: slices.Concat(gatewayStatus("True", 2, anAddress), proxies(0, 0)), want: []string{"has 0 of 1 ready endpoints"}},
		{name: "deleted", failure: "Gateway shop/waypoint is gone: somebody has deleted it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.kind, test.object = v1alpha1.GateWaypointsReady, gatewayReference
			test.test(t)
		})
	}
}

func TestPoliciesAccepted(t *testing.T) {
	const service, gateway = `targetRefs: [{kind: Service, name: cart, group: ""}]`, `targetRefs: [{kind: Gateway, name: waypoint, group: gateway.networking.k8s.io}]`
	const both = `targetRefs: [{kind: Service, name: cart, group: ""}, {kind: Gateway, name: waypoint, group: gateway.networking.k8s.io}]`
	const selector = "selector: {matchLabels: {app: cart}}"
	cart := serviceOf("", "")
	policy := func(spec, conditions string) []any { return policyOf("AuthorizationPolicy", spec, conditions) }
	for _, test := range []objectGate{
		{name: "accepted", there: policy(gateway, accepted(checks.ConditionWaypointAccepted, "True", "Accepted", "2"))},
		{name: "its generation is a text", there: policy(gateway, accepted(checks.ConditionWaypointAccepted, "True", "Accepted", `"2"`))},
		{name: "of an earlier generation", there: policy(gateway, accepted(checks.ConditionWaypointAccepted, "True", "Accepted", "1")), want: []string{"AuthorizationPolicy shop/get is not taken up by istiod yet"}},
		{name: "no condition", there: policy(gateway, ""), want: []string{"is not taken up by istiod yet"}},
		{name: "the Gateway is not ready", there: policy(gateway, accepted(checks.ConditionWaypointAccepted, "False", "TargetNotFound", "2")), want: []string{"is not accepted for its waypoint: TargetNotFound: of this"}},
		{name: "the Service uses no waypoint yet", there: slices.Concat(cart, policy(service, accepted(checks.ConditionWaypointAccepted, "False", "AncestorNotBound", "2")))},
		{name: "the Service is not there", there: policy(service, accepted(checks.ConditionWaypointAccepted, "False", "TargetNotFound", "2")), want: []string{"TargetNotFound"}},
		{name: "the Gateway is bound, the Service not yet", there: slices.Concat(cart, policy(both, accepted(checks.ConditionWaypointAccepted, "True", "PartiallyInvalid", "2")))},
		{name: "neither is bound", there: slices.Concat(cart, policy(both, accepted(checks.ConditionWaypointAccepted, "False", "Invalid", "2"))), want: []string{"Invalid"}},
		{name: "ztunnel takes it", there: policy(selector, accepted(checks.ConditionZtunnelAccepted, "True", "Accepted", "2"))},
		{name: "ztunnel takes a part of it", there: policy(selector, accepted(checks.ConditionZtunnelAccepted, "True", "UnsupportedValue", "2"))},
		{name: "ztunnel has not seen it", there: policy(selector, accepted(checks.ConditionZtunnelAccepted, "True", "Accepted", "1")), want: []string{"is not taken up by istiod yet"}},
		{name: "ztunnel refuses it", there: policy(selector, accepted(checks.ConditionZtunnelAccepted, "False", "Broken", "2")), want: []string{"is not accepted for ztunnel: Broken: of this"}},
		{name: "ztunnel does not know its action", there: policy("action: CUSTOM, "+selector, accepted(checks.ConditionZtunnelAccepted, "False", "UnsupportedValue", "2"))},
		{name: "a kind that istiod says nothing of", object: jwtReference, there: policyOf("RequestAuthentication", service, "")},
		{name: "deleted", failure: "AuthorizationPolicy shop/get is gone"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.kind = v1alpha1.GatePoliciesAccepted
			if test.object.Kind == "" {
				test.object = policyReference
			}
			test.test(t)
		})
	}
}

func TestWaypointsBound(t *testing.T) {
	const use, attached = "istio.io/use-waypoint: waypoint", "Successfully attached to waypoint shop/"
	const target = `targetRefs: [{kind: Service, name: cart, group: ""}]`
	policy := func(status, reason string) []any {
		return slices.Concat(serviceOf(use, ""), policyOf("AuthorizationPolicy", target, accepted(checks.ConditionWaypointAccepted, status, reason, "2")))
	}
	for _, test := range []objectGate{
		{name: "bound", there: serviceOf(use, bound("True", attached+"waypoint"))},
		{name: "bound for ingress, too", there: serviceOf(use, bound("True", attached+"waypoint. Ingress traffic will traverse the waypoint"))},
		{name: "not yet", there: serviceOf(use, ""), want: []string{"Service shop/cart is not bound to waypoint shop/waypoint yet"}},
		{name: "refused", there: serviceOf(use, bound("False", "the waypoint takes no services")), want: []string{"shop/waypoint: Because: the waypoint takes no services"}},
		{name: "another one still", there: serviceOf(use, bound("True", attached+"waypoint-2")), want: []string{"is bound to another waypoint than shop/waypoint still"}},
		{name: "no label", there: serviceOf("", bound("True", attached+"waypoint")), want: []string{"names no waypoint"}},
		{name: "deleted", failure: "Service shop/cart is gone"},
		{name: "a policy", object: policyReference, there: policy("True", "Accepted")},
		{name: "a policy that is not bound", object: policyReference, there: policy("False", "AncestorNotBound"), want: []string{"AuthorizationPolicy shop/get is not accepted for its waypoint: AncestorNotBound"}},
		{name: "a policy that is bound in part", object: policyReference, there: policy("True", "PartiallyInvalid"), want: []string{"PartiallyInvalid"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.kind = v1alpha1.GateWaypointsBound
			if test.object.Kind == "" {
				test.object = serviceReference
			}
			test.test(t)
		})
	}
}

func TestWaypointsUnbound(t *testing.T) {
	const attached = "Successfully attached to waypoint shop/waypoint"
	for _, test := range []objectGate{
		{name: "no condition", there: serviceOf("", "")},
		{name: "a condition that is not True", there: serviceOf("", bound("False", attached))},
		{name: "still bound", there: serviceOf("", bound("True", attached)), want: []string{"Service shop/cart still uses a waypoint: " + attached}},
		{name: "bound to the one of before the migration", there: serviceOf("istio.io/use-waypoint: waypoint", bound("True", attached))},
		{name: "not back at the one of before", there: serviceOf("istio.io/use-waypoint: older", bound("True", attached)), want: []string{"still uses a waypoint"}},
		{name: "deleted"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.kind, test.object = v1alpha1.GateWaypointsUnbound, serviceReference
			test.test(t)
		})
	}
}

func TestGone(t *testing.T) {
	draining := func(pod *corev1.Pod) {
		now := metav1.NewTime(fixture.Created)
		pod.DeletionTimestamp = &now
	}
	for _, test := range []objectGate{
		{name: "gone"},
		{name: "still there", there: gatewayStatus("True", 2, anAddress), want: []string{"Gateway shop/waypoint is still there"}},
		{name: "a pod drains", there: []any{fixture.Pod("shop", "waypoint-1", fixture.Labelled(gatewayName, "waypoint"), draining)}, want: []string{"Pod shop/waypoint-1 still runs for Gateway shop/waypoint"}},
		{name: "a pod of another one", there: []any{fixture.Pod("shop", "ingress-1", fixture.Labelled(gatewayName, "ingress"))}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.kind, test.object = v1alpha1.GateGone, gatewayReference
			test.test(t)
		})
	}
}

// A plan that has nothing to do with waypoints needs no rights on what they are
// made of, nor that it is installed.
func TestWatchesOf(t *testing.T) {
	elsewhere := gatewayReference
	elsewhere.Namespace = "infra"
	always := []string{
		"shop/cronjobs", "shop/daemonsets", "shop/deployments", "shop/jobs", "shop/pods", "shop/replicasets", "shop/statefulsets",
		"/namespaces metadata.name=shop",
	}
	for _, test := range []struct {
		name  string
		steps []v1alpha1.Step
		want  []string
	}{
		{"a plan without waypoints", twoSteps(), nil},
		{"a waypoint", []v1alpha1.Step{{Changes: []v1alpha1.Change{creation()}, Gate: v1alpha1.Gate{
			Kind: v1alpha1.GateWaypointsReady, Objects: []v1alpha1.ObjectReference{gatewayReference},
		}}}, []string{"shop/gateways", "shop/endpointslices " + gatewayName}},
		{"a waypoint of another namespace", []v1alpha1.Step{{Gate: v1alpha1.Gate{
			Kind: v1alpha1.GateWaypointsReady, Objects: []v1alpha1.ObjectReference{elsewhere},
		}}}, []string{
			"infra/gateways", "infra/pods " + gatewayName, "infra/replicasets " + gatewayName, "infra/deployments " + gatewayName, "infra/endpointslices " + gatewayName,
		}},
		{"policies", []v1alpha1.Step{{Gate: v1alpha1.Gate{
			Kind: v1alpha1.GatePoliciesAccepted, Objects: []v1alpha1.ObjectReference{policyReference},
		}}}, []string{"shop/authorizationpolicies", "shop/services"}},
		{"policies that go", []v1alpha1.Step{{Gate: v1alpha1.Gate{
			Kind: v1alpha1.GateGone, Objects: []v1alpha1.ObjectReference{policyReference},
		}}}, []string{"shop/authorizationpolicies"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			watches, err := WatchesOf(v1alpha1.MigrationPlan{Steps: test.steps}, "shop", fixture.Mapper())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, watch := range watches {
				got = append(got, strings.TrimSpace(watch.Namespace+"/"+watch.Resource.Resource+" "+watch.Labels+watch.Fields))
			}
			want := append(slices.Clone(always), test.want...)
			slices.Sort(want)
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What is watched is not also taken from the mesh as it was when the plan was
// made.
func TestGateBaseLeavesOutWhatIsWatched(t *testing.T) {
	labelled := func(deployment *appsv1.Deployment) { deployment.Labels = labels{gatewayName: "waypoint"} }
	content := fixture.Content(fixture.Deployment("infra", "waypoint", labelled), fixture.Deployment("infra", "istiod"))
	watches := ranFor("infra")
	var names []string
	for _, object := range gateBase(content, watches).Objects {
		names = append(names, object.GetName())
	}
	if diff := cmp.Diff([]string{"istiod"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !slices.ContainsFunc(watches, func(watch Watch) bool { return watch.Kind == mesh.KindEndpointSlice }) {
		t.Error("endpoints are not watched")
	}
}
