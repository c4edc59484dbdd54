package mesh_test

import (
	"fmt"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
)

func TestStrict(t *testing.T) {
	// peer is a PeerAuthentication that was created on a day of August.
	peer := func(namespace, name string, day int, spec string) string {
		return fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: %s, namespace: %s, creationTimestamp: '2026-08-%02dT00:00:00Z'}\nspec: %s", name, namespace, day, spec)
	}
	const strict, permissive, unset = "{mtls: {mode: STRICT}}", "{mtls: {mode: PERMISSIVE}}", "{mtls: {mode: UNSET}}"
	own := func(mode string) string {
		return "{selector: {matchLabels: {app: cart}}, mtls: {mode: " + mode + "}}"
	}
	tests := []struct {
		name  string
		peers []any
		want  bool
	}{
		{"none", nil, false},
		{"the mesh's", []any{peer("istio-system", "a", 1, strict)}, true},
		{"the namespace's", []any{peer("shop", "a", 1, strict)}, true},
		{"the pods' own", []any{peer("shop", "a", 1, own("STRICT"))}, true},
		{"other pods' own", []any{peer("shop", "a", 1, "{selector: {matchLabels: {app: pay}}, mtls: {mode: STRICT}}")}, false},
		{"another namespace's", []any{peer("pay", "a", 1, strict)}, false},
		{"the root namespace's for some pods, which counts nowhere else", []any{peer("istio-system", "a", 1, own("STRICT"))}, false},
		{"the namespace's outweighs the mesh's", []any{peer("istio-system", "a", 1, strict), peer("shop", "a", 2, permissive)}, false},
		{"the pods' own outweighs the namespace's", []any{peer("shop", "a", 1, permissive), peer("shop", "b", 2, own("STRICT"))}, true},
		{"unset leaves it to the next", []any{peer("istio-system", "a", 1, strict), peer("shop", "a", 2, unset), peer("shop", "b", 3, own("UNSET"))}, true},
		{"nothing said is unset", []any{peer("istio-system", "a", 1, strict), peer("shop", "a", 2, "{}")}, true},
		{"disabled is not strict", []any{peer("istio-system", "a", 1, strict), peer("shop", "a", 2, "{mtls: {mode: DISABLE}}")}, false},
		{"the oldest of two, strict", []any{peer("shop", "b", 1, strict), peer("shop", "a", 2, permissive)}, true},
		{"the oldest of two, permissive", []any{peer("shop", "b", 1, permissive), peer("shop", "a", 2, strict)}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			snapshot := fixture.Snapshot(append(test.peers, fixture.Istiod(""))...)
			if got := snapshot.Strict("shop", labels{"app": "cart"}); got != test.want {
				t.Errorf("Strict is %t, want %t", got, test.want)
			}
		})
	}
}
