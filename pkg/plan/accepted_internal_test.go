package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// What a run has accepted of calls is not accepted for what other policies decide.
func TestOutdated(t *testing.T) {
	t.Parallel()
	_, record := finished(t)
	const theirs = "calls-newly-allowed:shop/cart"
	policy := func(namespace, spec string) []unstructured.Unstructured {
		return fixture.YAML("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: later, namespace: " + namespace + "}\nspec: " + spec)
	}
	isReaders := func(object unstructured.Unstructured) bool { return object.GetName() == "readers" }
	for _, test := range []struct {
		name     string
		accepted []string
		objects  func(moved []unstructured.Unstructured) []unstructured.Unstructured
		want     []string
		because  string
	}{
		{"all is as it was", []string{theirs}, func(moved []unstructured.Unstructured) []unstructured.Unstructured { return moved }, nil, ""},
		{"a policy has come", []string{"waypoint-losses", theirs, "calls-compared"}, func(moved []unstructured.Unstructured) []unstructured.Unstructured {
			return append(moved, policy("shop", "{selector: {matchLabels: {app: cart}}, rules: [{}]}")...)
		}, []string{theirs, "calls-compared"}, "later"},
		{"one has come to the waypoint", []string{theirs}, func(moved []unstructured.Unstructured) []unstructured.Unstructured {
			return append(moved, policy("shop", "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}], rules: [{}]}")...)
		}, []string{theirs}, "later"},
		{"one has come for nobody here", []string{theirs}, func(moved []unstructured.Unstructured) []unstructured.Unstructured {
			return append(append(moved, policy("shop", "{selector: {matchLabels: {app: other}}, rules: [{}]}")...), policy("pay", "{rules: [{}]}")...)
		}, nil, ""},
		{"one has changed", []string{theirs}, func(moved []unstructured.Unstructured) []unstructured.Unstructured {
			return rewritten(moved, "readers", func(object map[string]any) { object["spec"].(map[string]any)["rules"] = []any{map[string]any{}} })
		}, []string{theirs}, "readers"},
		{"one is gone", []string{theirs}, func(moved []unstructured.Unstructured) []unstructured.Unstructured {
			return lacking(moved, isReaders)
		}, []string{theirs}, "readers"},
		{"nothing was accepted of calls", []string{"waypoint-losses"}, func(moved []unstructured.Unstructured) []unstructured.Unstructured {
			return lacking(moved, isReaders)
		}, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			planned := record.Plan
			planned.Accepted = test.accepted
			snapshot := fixture.Snapshot(test.objects(moved(t)))
			outdated, because, err := Outdated(snapshot, fixture.Find(snapshot, "shop"), planned)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, outdated); diff != "" {
				t.Errorf("outdated (-want +got):\n%s", diff)
			}
			if because.Name != test.because {
				t.Errorf("because of %s", because)
			}
			if test.because != "" && because.Kind != mesh.KindAuthorizationPolicy {
				t.Errorf("because of a %s", because.Kind)
			}
		})
	}
}
