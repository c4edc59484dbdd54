package plan

import (
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// A policy that an earlier run has created is to become wider: what it holds besides
// what is wanted is no default of the API server's.
func TestAPolicyOfOursIsWidened(t *testing.T) {
	const created = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: guard, namespace: shop, uid: g, generation: 1, labels: {ambient.kubectl-ambient.dev/origin: x}}
spec: {action: DENY, selector: {matchLabels: {app: cart, sidecar.istio.io/inject: "false"}}}
`
	snapshot := fixture.Snapshot(fixture.YAML(created))
	wanted := map[string]any{
		"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
		"metadata": map[string]any{"name": "guard", "namespace": "shop", "labels": map[string]any{v1alpha1.OriginLabel: "x"}},
		"spec":     map[string]any{"action": "DENY", "selector": map[string]any{"matchLabels": map[string]any{"app": "cart"}}},
	}
	var step v1alpha1.Step
	if err := NewProjection(snapshot).creates(&step, wanted); err != nil {
		t.Fatal(err)
	}
	if len(step.Changes) != 1 || len(step.Changes[0].Fields) != 1 || step.Changes[0].Fields[0].Path != "/spec" {
		t.Errorf("the step changes %+v", step.Changes)
	}
}
