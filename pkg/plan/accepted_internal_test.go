package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
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

// What was accepted of a plan's findings is not accepted of those that come later.
func TestAcceptedThen(t *testing.T) {
	t.Parallel()
	finding := func(id, name, field string, status v1alpha1.CheckStatus, unseen ...string) v1alpha1.CheckResult {
		result := v1alpha1.CheckResult{ID: id, Status: status, Field: field}
		if name != "" {
			result.Object = &v1alpha1.ObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy", Namespace: "shop", Name: name}
		}
		for _, key := range unseen {
			result.Unseen = append(result.Unseen, v1alpha1.KindCoverage{Key: key})
		}
		return result
	}
	const fail, warn, unknown = v1alpha1.StatusFail, v1alpha1.StatusWarn, v1alpha1.StatusUnknown
	const id, field = "network-policies", "spec.ingress[0].ports"
	known := finding(id, "known", field, fail)
	versioned := finding(id, "known", field, fail)
	versioned.Object.APIVersion = "networking.k8s.io/v2"
	for _, test := range []struct {
		name     string
		accepted []string
		then     []v1alpha1.CheckResult
		now      v1alpha1.CheckResult
		want     bool
	}{
		{"the same, of all of a check", []string{id}, []v1alpha1.CheckResult{known}, known, true},
		{"the same, of one object", []string{id + ":shop/known"}, []v1alpha1.CheckResult{known}, known, true},
		{"the same, in another version", []string{id}, []v1alpha1.CheckResult{known}, versioned, true},
		{"one that was a warning", []string{id}, []v1alpha1.CheckResult{finding(id, "known", field, warn)}, known, true},
		{"the same, which was not accepted", []string{id + ":shop/other"}, []v1alpha1.CheckResult{known}, known, false},
		{"about another object", []string{id}, []v1alpha1.CheckResult{known}, finding(id, "later", field, fail), false},
		{"about another field", []string{id}, []v1alpha1.CheckResult{known}, finding(id, "known", "spec.egress", fail), false},
		{"of another check", []string{id, "route-conflicts"}, []v1alpha1.CheckResult{known}, finding("route-conflicts", "known", field, fail), false},
		{"it passed then", []string{id}, []v1alpha1.CheckResult{finding(id, "", "", v1alpha1.StatusPass)}, finding(id, "", "", fail), false},
		{"what could not be seen still cannot", []string{id}, []v1alpha1.CheckResult{finding(id, "", "", unknown, "Node", "Pod")}, finding(id, "", "", unknown, "Node"), true},
		{"something else cannot be seen", []string{id}, []v1alpha1.CheckResult{finding(id, "", "", unknown, "Node")}, finding(id, "", "", unknown, "Node", "Pod"), false},
		{"what could not be seen is found", []string{id}, []v1alpha1.CheckResult{finding(id, "", "", unknown, "Node")}, finding(id, "", "", fail), false},
		{"what was found cannot be seen", []string{id}, []v1alpha1.CheckResult{finding(id, "", "", fail)}, finding(id, "", "", unknown, "Node"), false},
		{"not all calls were compared, nor are now", []string{"calls-compared"}, []v1alpha1.CheckResult{finding("calls-compared", "shop", "", unknown)}, finding("calls-kept", "", "", unknown), true},
		{"not all calls were compared, and one is let in", []string{"calls-compared"}, []v1alpha1.CheckResult{finding("calls-compared", "shop", "", unknown)}, finding("calls-kept", "cart", "", fail), false},
		{"not all calls were compared, and now nobody may", []string{"calls-compared"}, []v1alpha1.CheckResult{finding("calls-compared", "shop", "", unknown)}, finding("calls-kept", "", "", unknown, "Service"), false},
		{"all calls were compared then", []string{"calls-compared"}, []v1alpha1.CheckResult{finding("calls-compared", "", "", v1alpha1.StatusPass)}, finding("calls-kept", "", "", unknown), false},
		{"an older record without findings", []string{id}, nil, known, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			other := v1alpha1.MigrationRecord{Plan: v1alpha1.MigrationPlan{Gates: []v1alpha1.CheckResult{known}}}
			record := v1alpha1.MigrationRecord{Plan: v1alpha1.MigrationPlan{Accepted: test.accepted, Gates: test.then}}
			if accepted := AcceptedThen([]v1alpha1.MigrationRecord{other, record})(test.now); accepted != test.want {
				t.Errorf("accepted: %t, want %t", accepted, test.want)
			}
		})
	}
}
