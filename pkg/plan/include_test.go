package plan_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
)

// twoNamespaces are shop, which is to move, and pay, whose service has a route and a
// policy that admits shop's callers only.
func twoNamespaces() *mesh.Snapshot {
	web, api := fixture.Deployment("shop", "web", fixture.Probed), fixture.Deployment("pay", "api", fixture.Probed)
	return fixture.Snapshot(
		fixture.Installation(),
		fixture.Namespace("shop", labels{"istio-injection": "enabled"}), web, fixture.PodsOf(web, fixture.Sidecar),
		fixture.Namespace("pay", labels{"istio-injection": "enabled"}), api, fixture.PodsOf(api, fixture.Sidecar),
		fixture.YAML(`
apiVersion: v1
kind: Service
metadata: {name: api, namespace: pay}
spec: {clusterIP: 10.0.0.1, selector: {app: api}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: api, namespace: pay}
spec: {hosts: [api], http: [{timeout: 1s, route: [{destination: {host: api}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: callers, namespace: pay}
spec: {rules: [{from: [{source: {namespaces: [shop]}}]}]}
`))
}

func outbound(t *testing.T, planned v1alpha1.MigrationPlan) []string {
	t.Helper()
	var messages []string
	for _, gate := range planned.Gates {
		if gate.ID == "outbound-routing" && gate.Status != v1alpha1.StatusPass {
			messages = append(messages, gate.Message+" -> "+gate.Remedy)
		}
	}
	return messages
}

func TestServicesElsewhereAreNamed(t *testing.T) {
	snapshot := twoNamespaces()
	planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"callers in this namespace no longer follow it for Service pay/api -> " +
		"a waypoint in its own namespace keeps it: enroll with --include-namespaces=pay"}
	if difference := cmp.Diff(want, outbound(t, planned)); difference != "" {
		t.Errorf("(-want +got):\n%s", difference)
	}
	if names := plan.Namespaces(planned); !cmp.Equal(names, []string{"shop"}) {
		t.Errorf("the plan writes %v", names)
	}
}

func TestAnIncludedNamespaceGetsItsWaypointFirst(t *testing.T) {
	snapshot := twoNamespaces()
	planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), plan.Options{Include: []string{"pay"}})
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, step := range planned.Steps {
		var created []string
		for _, change := range step.Changes {
			created = append(created, change.Object.String())
		}
		steps = append(steps, step.ID+": "+strings.Join(created, ", "))
	}
	want := []string{
		"deploy-waypoints/pay: Gateway pay/waypoint",
		"migrate-policies/pay/waypoint: AuthorizationPolicy pay/callers-waypoint-2cd8ed46, AuthorizationPolicy pay/from-waypoint-e3b0c442",
		"activate-waypoints/pay/service/api: Service pay/api",
		"enable-ambient: Namespace shop", "restart-workloads/deployment/web: Deployment shop/web", "disable-injection: Namespace shop", "verify: ",
	}
	if difference := cmp.Diff(want, steps); difference != "" {
		t.Errorf("(-want +got):\n%s", difference)
	}
	if planned.Blocked || len(outbound(t, planned)) > 0 {
		t.Errorf("the plan is blocked, or routes still end: %v, %v", planned.Overview.Blockers, outbound(t, planned))
	}
	if names := plan.Namespaces(planned); !cmp.Equal(names, []string{"pay", "shop"}) {
		t.Errorf("the plan writes %v", names)
	}
	for _, gate := range planned.Gates {
		if gate.ID == checks.IDCallsNewlyAllowed && gate.Blocks() || gate.ID == checks.IDCallsNewlyDenied && gate.Status != v1alpha1.StatusPass {
			t.Errorf("%s: %s", gate.ID, gate.Message)
		}
	}
}

func TestANamespaceThatIsNotThereCannotBeIncluded(t *testing.T) {
	snapshot := twoNamespaces()
	for _, name := range []string{"shop", "nowhere"} {
		if _, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), plan.Options{Include: []string{name}}); err == nil {
			t.Errorf("namespace %s is included", name)
		}
	}
}
