package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const ambientYAML = `
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.0.0.1, selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-trace, namespace: shop, generation: 1}
spec: {selector: {matchLabels: {app: cart}}, action: DENY, rules: [{to: [{operation: {methods: [TRACE]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-web, namespace: shop, generation: 1}
spec: {selector: {matchLabels: {app: cart}}, action: DENY, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-debug, namespace: shop, generation: 1}
spec: {selector: {matchLabels: {app: cart}}, action: DENY, rules: [{from: [{source: {namespaces: [shop]}}], to: [{operation: {ports: ["9090"]}}]}]}
`

// throughWaypoint is a mesh that was ambient before its enrolment sent cart's calls
// through a waypoint, and the record of that.
func throughWaypoint(t *testing.T) ([]unstructured.Unstructured, v1alpha1.MigrationRecord) {
	t.Helper()
	parts := []any{
		fixture.Installation(), fixture.CNIConfig(fixture.System, map[string]string{"AMBIENT_ENABLED": "true"}),
		fixture.Namespace("shop", map[string]string{"istio.io/dataplane-mode": "ambient"}), fixture.Namespace("other", nil), fixture.YAML(ambientYAML[1:]),
	}
	for _, name := range []string{"cart", "web"} {
		deployment := fixture.Deployment("shop", name, func(deployment *appsv1.Deployment) {
			fixture.TemplateLabel("sidecar.istio.io/inject", "false")(deployment)
		})
		parts = append(parts, deployment, fixture.PodsOf(deployment, fixture.Ambient))
	}
	before := fixture.Objects(parts...)
	snapshot := fixture.Snapshot(before)
	planned, err := Enroll(snapshot, fixture.Find(snapshot, "shop"), Options{Translation: translate.Options{MixedCallers: translate.MixedCallersDeny}})
	if err != nil {
		t.Fatal(err)
	}
	after := carriedOut(t, before, planned.Steps)
	for i := range after {
		if after[i].GetKind() == mesh.KindGateway {
			with([]any{map[string]any{"type": "IPAddress", "value": "10.96.200.1"}}, "status", "addresses")(after[i].Object)
		}
	}
	return after, recorded(t, planned)
}

// openStages are the stages of steps for somebody whose connections are open: what
// takes Services off their waypoint does not concern them. The last is the end for
// everybody else.
func openStages(t *testing.T, snapshot *mesh.Snapshot, steps []v1alpha1.Step) []compare.Stage {
	t.Helper()
	var open []v1alpha1.Step
	for _, step := range steps {
		step.Changes = slices.DeleteFunc(slices.Clone(step.Changes), func(change v1alpha1.Change) bool {
			return slices.ContainsFunc(change.Fields, func(field v1alpha1.FieldChange) bool { return field.Path == usePath })
		})
		if slices.ContainsFunc(step.Changes, func(change v1alpha1.Change) bool { return change.Delete && change.Object.Kind == mesh.KindGateway }) {
			// Connections through it end with its pods, for which the step waits.
			break
		}
		open = append(open, step)
	}
	stages, err := stagesOf(snapshot, []string{"shop"}, open, false)
	if err != nil {
		t.Fatal(err)
	}
	ends, err := stagesOf(snapshot, []string{"shop"}, steps, true)
	if err != nil {
		t.Fatal(err)
	}
	return append(stages, ends[len(ends)-1])
}

// TestOpenConnectionsStayChecked: what is asked on connections that stay open through
// a waypoint is decided as before, or as in the end, until they are closed.
func TestOpenConnectionsStayChecked(t *testing.T) {
	t.Parallel()
	objects, record := throughWaypoint(t)
	snapshot := fixture.Snapshot(objects)
	planned := undone(t, objects, record)
	letIn := func(steps []v1alpha1.Step) []string {
		var lines []string
		for _, change := range compare.New(openStages(t, snapshot, steps), compare.Options{BothEnds: true}).Changes() {
			if change.Effect == v1alpha1.CallNewlyAllowed {
				lines = append(lines, checks.DescribeChange(change))
			}
		}
		return lines
	}
	if lines := letIn(planned.Steps); len(lines) > 0 {
		t.Errorf("let in:\n%s", strings.Join(lines, "\n"))
	}
	at := slices.IndexFunc(planned.Steps, func(step v1alpha1.Step) bool { return step.ID == "remove-waypoints" })
	if at < 0 {
		t.Fatalf("the steps are %v", outline(planned))
	}
	late := append(slices.Delete(slices.Clone(planned.Steps), at, at+1), planned.Steps[at])
	if len(letIn(late)) == 0 {
		t.Error("nothing is let in where the waypoint goes last: the test looks at nothing")
	}
}

// TestOpenConnectionsOfAWaypointThatStays are told with the step that leaves them.
func TestOpenConnectionsOfAWaypointThatStays(t *testing.T) {
	t.Parallel()
	objects, record := throughWaypoint(t)
	const ends = "connections that are open stay on their waypoint until they end, or it is deleted"
	notes := func(objects []unstructured.Unstructured) []string {
		for _, step := range undone(t, objects, record).Steps {
			if step.ID == "deactivate-waypoints" {
				return step.Notes
			}
		}
		return nil
	}
	if diff := cmp.Diff([]string{ends}, notes(objects)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	shared := append(slices.Clone(objects), fixture.YAML(`
apiVersion: v1
kind: Service
metadata: {name: x, namespace: other, labels: {istio.io/use-waypoint: waypoint, istio.io/use-waypoint-namespace: shop}}
spec: {ports: [{port: 80}]}
`)...)
	stays := "waypoint shop/waypoint stays for Service other/x: connections that are open through it go on until they end"
	if diff := cmp.Diff([]string{ends, stays}, notes(shared)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestAWaypointElsewhereThatStays: that of an included namespace is named, and keeps
// its parameters, where others use it.
func TestAWaypointElsewhereThatStays(t *testing.T) {
	t.Parallel()
	before := append(shopWithServices(), fixture.YAML(`
apiVersion: v1
kind: Service
metadata: {name: x, namespace: shop, labels: {istio.io/use-waypoint: waypoint, istio.io/use-waypoint-namespace: other}}
spec: {ports: [{port: 80}]}
`)...)
	gateway := waypoint()
	with("other", "metadata", "namespace")(gateway)
	with(map[string]any{"group": "", "kind": "ConfigMap", "name": "sizes"}, "spec", "infrastructure", "parametersRef")(gateway)
	sizes := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "sizes", "namespace": "other"}, "data": map[string]any{}}
	state := NewProjection(fixture.Snapshot(before))
	steps := []v1alpha1.Step{
		{ID: "deploy-waypoints/other", Phase: v1alpha1.PhaseDeployWaypoints}, {ID: "activate-waypoints/other/service/web", Phase: v1alpha1.PhaseActivateWaypoints},
	}
	web := v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: "other", Name: "web"}
	for _, err := range []error{
		state.creates(&steps[0], sizes), state.creates(&steps[0], gateway), state.changes(&steps[1], web, []edit{{usePath, "waypoint"}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	enrolment := v1alpha1.MigrationPlan{Operation: v1alpha1.OperationEnroll, Namespace: "shop", Steps: steps}
	planned := undone(t, carriedOut(t, before, steps), recorded(t, enrolment))
	if diff := cmp.Diff([]string{"deactivate-waypoints (waypoints-unbound web): web"}, outline(planned)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	const note = "waypoint other/waypoint stays for Service shop/x: connections that are open through it go on until they end"
	if !slices.Contains(planned.Steps[0].Notes, note) {
		t.Errorf("the step's notes are %v", planned.Steps[0].Notes)
	}
	var kept []string
	for _, one := range planned.Kept {
		kept = append(kept, one.Object.String()+": "+one.Reason)
	}
	want := []string{
		"Gateway other/waypoint: it is used by Service shop/x, which the rollback does not change",
		"ConfigMap other/sizes: it is for Gateway other/waypoint, which is kept",
	}
	if diff := cmp.Diff(want, kept); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}
