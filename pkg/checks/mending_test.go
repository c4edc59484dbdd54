package checks_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
)

// planned is the one result of a gate, or check, with a plan at hand that makes the
// waypoint of Service cart.
func planned(t *testing.T, id string, migration *checks.Migration, objects ...any) v1alpha1.CheckResult {
	t.Helper()
	snapshot := fixture.Snapshot(objects...)
	gates := slices.Concat(checks.EnrollGates(), checks.PlanGates())
	i := slices.IndexFunc(gates, func(check checks.Check) bool { return check.ID == id })
	results := checks.Run(gates[i:i+1], checks.Subject{Snapshot: snapshot, Namespace: fixture.Find(snapshot, "shop"), Migration: migration})
	if len(results) != 1 {
		t.Fatalf("there are %d results: %s", len(results), describe(results))
	}
	return results[0]
}

// Where a plan makes a waypoint again that is named and gone, in a namespace that
// relies on it, that is said first and blocks nothing.
func TestAPlanThatMakesAWaypointAgain(t *testing.T) {
	cart := v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: "shop", Name: "cart"}
	making := &checks.Migration{
		Fronted:  []v1alpha1.ObjectReference{cart},
		Deployed: []v1alpha1.ObjectReference{{APIVersion: "gateway.networking.k8s.io/v1", Kind: "Gateway", Namespace: "shop", Name: "way"}},
	}
	service := strings.Replace(service, "namespace: shop}", "namespace: shop, labels: {istio.io/use-waypoint: way}}", 1)
	attached := policy("shop", `{targetRefs: [{group: "", kind: Service, name: cart}], rules: [{}]}`)
	sidecars := fixture.Namespace("shop", labels{"istio-injection": "enabled"})
	with := func(namespace any, more ...any) []any {
		return append([]any{fixture.Without("Namespace", enrolled()...), namespace, service}, more...)
	}
	ambient := fixture.Namespace("shop", labels{"istio.io/dataplane-mode": "ambient"})
	for _, test := range []struct {
		name, check string
		migration   *checks.Migration
		objects     []any
		status      v1alpha1.CheckStatus
		remedy      string
	}{
		{"it is made again", "waypoint-missing", making, with(ambient), warn, "makes it again"},
		{"it is made for the first time", "waypoint-missing", making, with(sidecars), pass, ""},
		{"it is not made", "waypoint-missing", &checks.Migration{}, with(ambient), fail, "kubectl ambient enroll -n shop --resume makes it again"},
		{"a policy gets its waypoint back", "policy-waypoints", making, with(ambient, attached), pass, ""},
		{"a policy does not", "policy-waypoints", &checks.Migration{}, with(ambient, attached), fail, "istio.io/use-waypoint"},
	} {
		t.Run(test.name, func(t *testing.T) {
			result := planned(t, test.check, test.migration, test.objects...)
			if result.Status != test.status || !strings.Contains(result.Remedy, test.remedy) {
				t.Errorf("it is %s", describe([]v1alpha1.CheckResult{result}))
			}
		})
	}
}

func TestCallsThatPoliciesAdmitAreAnnounced(t *testing.T) {
	change := v1alpha1.CallChange{
		Effect: v1alpha1.CallNewlyAllowed, From: "deploy-waypoints", Alike: 1,
		Server: v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "cart"},
	}
	for repairs, want := range map[bool]v1alpha1.CheckStatus{true: warn, false: fail} {
		change.Repairs = repairs
		report := &v1alpha1.AccessReport{Compared: 1, Changes: []v1alpha1.CallChange{change}}
		result := planned(t, checks.IDCallsNewlyAllowed, &checks.Migration{Access: report}, enrolled()...)
		if result.Status != want || strings.Contains(result.Message, "let in, as the policies say") != repairs {
			t.Errorf("repairs %t: %s", repairs, describe([]v1alpha1.CheckResult{result}))
		}
	}
}

// What a NetworkPolicy does to a waypoint is said before the plan makes it, as it is said
// of it afterwards: what was accepted of the plan is then known to verify.
func TestNetworkPoliciesOfAWaypointThatIsPlanned(t *testing.T) {
	making := &checks.Migration{Deployed: []v1alpha1.ObjectReference{
		{APIVersion: "gateway.networking.k8s.io/v1", Kind: "Gateway", Namespace: "shop", Name: "way"},
		{APIVersion: "gateway.networking.k8s.io/v1", Kind: "Gateway", Namespace: "pay", Name: "theirs"},
	}}
	const egress = "{podSelector: {matchLabels: {app: cart}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: cart}}}]}]}"
	for _, test := range []struct {
		name, policy   string
		status         v1alpha1.CheckStatus
		field, message string
	}{
		{"nobody may call it", "{podSelector: {}, policyTypes: [Ingress]}", fail, "spec.ingress", "nobody in the mesh may reach waypoint Deployment way"},
		{"nobody may call what istiod runs", "{podSelector: {matchLabels: {gateway.istio.io/managed: istio.io-mesh-controller}}, policyTypes: [Ingress]}", fail, "spec.ingress", "waypoint Deployment way"},
		{"it may not be called from here", egress, fail, "spec.egress", "reach others, waypoint Deployment way among them"},
		{"it may be called", "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}", pass, "", "keeps port 15008 closed"},
		{"another pod may not be called", "{podSelector: {matchLabels: {app: batch}}, policyTypes: [Ingress]}", pass, "", "keeps port 15008 closed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			before := planned(t, "network-policies", making, shop(netpol("a", test.policy))...)
			if before.Status != test.status || before.Field != test.field || !strings.Contains(before.Message, test.message) {
				t.Errorf("%s at %q: %s; want %s at %q: %s", before.Status, before.Field, before.Message, test.status, test.field, test.message)
			}
			after := planned(t, "network-policies", making, enrolled(waypoint(), netpol("a", test.policy))...)
			if after.Status != before.Status || after.Field != before.Field {
				t.Errorf("afterwards it is %s at %q: %s", after.Status, after.Field, after.Message)
			}
		})
	}
}

// No plan gives a headless Service a waypoint: a policy that is attached to one does not
// keep a run that has stopped from going on.
func TestAPolicyOnAHeadlessServiceBlocksNoPlan(t *testing.T) {
	const attached = `
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, selector: {app: db}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
spec: {targetRefs: [{group: "", kind: Service, name: db}], rules: [{}]}`
	objects := []any{fixture.Installation(), fixture.Namespace("shop", labels{"istio.io/dataplane-mode": "ambient"}), attached}
	for status, migration := range map[v1alpha1.CheckStatus]*checks.Migration{fail: nil, warn: {}} {
		if got := planned(t, "policy-waypoints", migration, objects...); got.Status != status || !strings.Contains(got.Message, "headless Service db") {
			t.Errorf("it is %s, %s, not %s", got.Status, got.Message, status)
		}
	}
}
