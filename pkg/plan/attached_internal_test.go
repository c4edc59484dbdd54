package plan

import (
	"slices"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
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
