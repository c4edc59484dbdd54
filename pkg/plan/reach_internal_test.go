package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const sharedYAML = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop, generation: 1}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {namespaces: {from: All}}}]
status: {addresses: [{type: IPAddress, value: 10.96.200.1}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: own, namespace: far, generation: 1}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: pay, labels: {istio.io/use-waypoint: waypoint, istio.io/use-waypoint-namespace: shop}}
spec: {clusterIP: 10.0.0.2, selector: {app: api}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: refused, namespace: front, labels: {istio.io/use-waypoint: own, istio.io/use-waypoint-namespace: far}}
spec: {clusterIP: 10.0.0.3, selector: {app: api}, ports: [{name: http, port: 80, targetPort: 8080}]}
`

// sharedWaypoint is a mesh in which namespace pay goes through shop's waypoint.
func sharedWaypoint() []unstructured.Unstructured {
	ambient := map[string]string{"istio.io/dataplane-mode": "ambient"}
	parts := []any{
		fixture.Installation(), fixture.CNIConfig(fixture.System, map[string]string{"AMBIENT_ENABLED": "true"}),
		fixture.Namespace("shop", ambient), fixture.Namespace("pay", ambient), fixture.Namespace("far", ambient), fixture.Namespace("front", ambient),
		fixture.YAML(sharedYAML[1:]),
	}
	for _, namespace := range []string{"shop", "pay"} {
		deployment := fixture.Deployment(namespace, "api")
		parts = append(parts, deployment, fixture.PodsOf(deployment, fixture.Ambient))
	}
	return fixture.Objects(parts...)
}

func TestSharing(t *testing.T) {
	t.Parallel()
	snapshot := fixture.Snapshot(sharedWaypoint())
	for _, test := range []struct {
		of   []string
		want string
	}{
		{[]string{"shop"}, "pay"},
		{[]string{"pay"}, ""},
		{[]string{"shop", "pay"}, ""},
		// A waypoint that admits its own namespace only is not used from another.
		{[]string{"far"}, ""},
		{[]string{"nowhere"}, ""},
	} {
		if got := strings.Join(Sharing(snapshot, test.of), " "); got != test.want {
			t.Errorf("%v share with %q, not %q", test.of, got, test.want)
		}
	}
}

// attached is a step that attaches a policy to shop's waypoint.
func attached(t *testing.T, snapshot *mesh.Snapshot) []v1alpha1.Step {
	t.Helper()
	step := v1alpha1.Step{ID: "migrate-policies/waypoint", Phase: v1alpha1.PhaseMigratePolicies}
	policy := policyFor("no-delete", "Gateway", "waypoint")
	policy["spec"] = yamlOf(t, `{action: DENY, rules: [{to: [{operation: {methods: [DELETE]}}]}], targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}]}`)
	if err := NewProjection(snapshot).creates(&step, policy); err != nil {
		t.Fatal(err)
	}
	return []v1alpha1.Step{step}
}

// TestWhoeverSharesAWaypointIsCompared: what a policy at a waypoint decides for others
// is looked at, in both directions.
func TestWhoeverSharesAWaypointIsCompared(t *testing.T) {
	t.Parallel()
	objects := sharedWaypoint()
	snapshot := fixture.Snapshot(objects)
	steps := attached(t, snapshot)
	about, err := concernedBy(snapshot, []string{"shop"}, steps)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(concerned{own: []string{"shop"}, beside: []string{"pay"}}, about, cmp.AllowUnexported(concerned{})); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	changed := func(access *v1alpha1.AccessReport, err error) []string {
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, change := range access.Changes {
			lines = append(lines, string(change.Effect)+" "+change.Server.String()+": "+checks.DescribeCall(change))
		}
		slices.Sort(lines)
		return slices.Compact(lines)
	}
	if diff := cmp.Diff([]string{"newly-denied Deployment pay/api: DELETE / to api port 80"}, changed(report(snapshot, about.all(), steps))); diff != "" {
		t.Errorf("attached (-want +got):\n%s", diff)
	}
	after := fixture.Snapshot(carriedOut(t, objects, steps))
	back := v1alpha1.Step{ID: "restore-policies/attached", Phase: v1alpha1.PhaseRestorePolicies}
	if err := NewProjection(after).deletes(&back, steps[0].Changes[0].Object); err != nil {
		t.Fatal(err)
	}
	steps = []v1alpha1.Step{back}
	if about, err = concernedBy(after, []string{"shop"}, steps); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"newly-allowed Deployment pay/api: DELETE / to api port 80"}, changed(reportBack(after, about, steps))); diff != "" {
		t.Errorf("deleted (-want +got):\n%s", diff)
	}
}

// TestWhoSharesAWaypointAndIsNotKnown is not passed over.
func TestWhoSharesAWaypointAndIsNotKnown(t *testing.T) {
	t.Parallel()
	content := fixture.Content(sharedWaypoint())
	content.Scope = mesh.Scope{Namespace: "shop"}
	snapshot, err := mesh.NewSnapshot(content)
	if err != nil {
		t.Fatal(err)
	}
	about, err := concernedBy(snapshot, []string{"shop"}, attached(t, snapshot))
	if err != nil {
		t.Fatal(err)
	}
	want := "Namespace pay: it goes through waypoint shop/waypoint, which the steps change, or policies at it, and its pods are known by their metadata alone"
	if diff := cmp.Diff([]string{want}, about.unknown); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	access, err := reportBack(snapshot, about, nil)
	if err != nil || !strings.Contains(strings.Join(access.Incomplete, "\n"), want) {
		t.Errorf("incomplete is %v, %v", access, err)
	}
}

// TestAPolicyAtAWaypointThatOthersHaveComeToUse stays, although the runs did not make
// the waypoint.
func TestAPolicyAtAWaypointThatOthersHaveComeToUse(t *testing.T) {
	t.Parallel()
	objects := sharedWaypoint()
	enrolment := v1alpha1.MigrationPlan{Operation: v1alpha1.OperationEnroll, Namespace: "shop", Steps: attached(t, fixture.Snapshot(objects))}
	planned := undone(t, carriedOut(t, objects, enrolment.Steps), recorded(t, enrolment))
	var kept []string
	for _, one := range planned.Kept {
		kept = append(kept, one.Object.String()+": "+one.Reason)
	}
	want := []string{"AuthorizationPolicy shop/no-delete: it is for Gateway shop/waypoint, which is used by Service pay/api"}
	if diff := cmp.Diff(want, kept); diff != "" || len(planned.Steps) > 0 {
		t.Errorf("steps %v (-want +got):\n%s", outline(planned), diff)
	}
}
