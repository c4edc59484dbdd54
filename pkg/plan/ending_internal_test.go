package plan

import (
	"slices"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// What somebody has attached to a waypoint since the run ends with it: a rollback is
// blocked by what only that refuses. What was attached before restricted nothing before
// the run, and what policies of pods refuse stays refused.
func TestRollbackEndsWhatIsAttachedToAWaypoint(t *testing.T) {
	t.Parallel()
	_, record := finished(t)
	const before, since = "2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"
	for _, test := range []struct {
		name, created, spec string
		blocked             bool
	}{
		{"a refusal that has come since", since, "action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]", true},
		{"a refusal that was there before", before, "action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]", false},
		{"what the pods' policies refuse as well", since, "action: DENY, rules: [{to: [{operation: {methods: [PUT]}}]}]", false},
		{"what refuses nothing", since, "action: ALLOW, rules: []", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			planned := undone(t, append(moved(t), fixture.YAML(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: attached, namespace: shop, generation: 1, creationTimestamp: "`[1:]+test.created+`"}
spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}], `+test.spec+`}`)...), record)
			if blocked := slices.Contains(planned.Overview.Blockers, checks.IDCallsNewlyAllowed); blocked != test.blocked || planned.Blocked != test.blocked {
				t.Errorf("it is blocked by %q", planned.Overview.Blockers)
			}
		})
	}
}

// What only a copy refuses ends with it, too, where its original was deleted or edited
// since: nothing takes the copy's place.
func TestRollbackEndsWhatOnlyCopiesRefuse(t *testing.T) {
	t.Parallel()
	_, record := finished(t)
	readers := func(object unstructured.Unstructured) bool { return object.GetName() == "readers" }
	edited := func(methods ...any) func(*unstructured.Unstructured) {
		return func(object *unstructured.Unstructured) {
			object.Object["spec"].(map[string]any)["rules"] = []any{map[string]any{"to": []any{map[string]any{"operation": map[string]any{"methods": methods}}}}}
		}
	}
	for _, test := range []struct {
		name    string
		gone    bool
		edit    func(*unstructured.Unstructured)
		blocked bool
	}{
		{name: "as it was"},
		{name: "deleted", gone: true, blocked: true},
		{name: "edited to admit more", edit: edited("GET", "POST"), blocked: true},
		{name: "edited to admit others", edit: edited("HEAD"), blocked: true},
		{name: "edited to admit none", edit: func(object *unstructured.Unstructured) { delete(object.Object["spec"].(map[string]any), "rules") }},
		{name: "labelled", edit: func(object *unstructured.Unstructured) { object.SetLabels(map[string]string{"team": "shop"}) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var objects []unstructured.Unstructured
			for _, object := range moved(t) {
				if object = *object.DeepCopy(); readers(object) && test.edit != nil {
					test.edit(&object)
				}
				if !readers(object) || !test.gone {
					objects = append(objects, object)
				}
			}
			planned := undone(t, objects, record)
			if blocked := slices.Contains(planned.Overview.Blockers, checks.IDCallsNewlyAllowed); blocked != test.blocked || planned.Blocked != test.blocked {
				t.Errorf("it is blocked by %q", planned.Overview.Blockers)
			}
		})
	}
}
