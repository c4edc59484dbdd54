package checks_test

import (
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
)

// TestPoliciesOnDryRun: of those at a waypoint istiod may say no more than that they
// are not for ztunnel.
func TestPoliciesOnDryRun(t *testing.T) {
	const policy = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {namespace: shop, name: try, generation: 2, annotations: {istio.io/dry-run: "true"}}
spec: {action: DENY, rules: [{}], targetRefs: [{group: "", kind: Service, name: cart}]}
status: {conditions: [{type: ZtunnelAccepted, status: "False", reason: UnsupportedValue, observedGeneration: `
	reference := v1alpha1.ObjectReference{APIVersion: "security.istio.io/v1", Kind: "AuthorizationPolicy", Namespace: "shop", Name: "try"}
	for generation, want := range map[string]string{`"2"`: "", `"1"`: "is not taken up by istiod yet"} {
		object := fixture.YAML(policy + generation + "}]}")[0]
		if lacking := checks.Unaccepted(fixture.Snapshot(), reference, object.Object, true); lacking != want {
			t.Errorf("of generation %s: %q, want %q", generation, lacking, want)
		}
	}
}
