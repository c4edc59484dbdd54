package v1alpha1_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

func TestSummarize(t *testing.T) {
	const pass, warn, fail, skip, unknown = v1alpha1.StatusPass, v1alpha1.StatusWarn, v1alpha1.StatusFail, v1alpha1.StatusSkip, v1alpha1.StatusUnknown
	type result struct {
		id     string
		status v1alpha1.CheckStatus
	}
	tests := []struct {
		name    string
		results []result
		want    v1alpha1.Summary
	}{
		{"nothing", nil, v1alpha1.Summary{}},
		{"one of each", []result{{"a", pass}, {"b", warn}, {"c", fail}, {"d", skip}, {"e", unknown}}, v1alpha1.Summary{Checked: 5, Warned: 1, Failed: 1, Skipped: 1, Unknown: 1}},
		{"a check counts once", []result{{"a", fail}, {"a", fail}, {"a", fail}}, v1alpha1.Summary{Checked: 1, Failed: 1}},
		{"with its worst, which comes first", []result{{"a", fail}, {"a", unknown}, {"a", warn}, {"a", pass}, {"a", skip}}, v1alpha1.Summary{Checked: 1, Failed: 1}},
		{"with its worst, which comes last", []result{{"a", skip}, {"a", pass}, {"a", warn}, {"a", unknown}, {"a", fail}}, v1alpha1.Summary{Checked: 1, Failed: 1}},
		{"unknown is worse than a warning", []result{{"a", warn}, {"a", unknown}}, v1alpha1.Summary{Checked: 1, Unknown: 1}},
		{"a warning is worse than passing", []result{{"a", pass}, {"a", warn}}, v1alpha1.Summary{Checked: 1, Warned: 1}},
		{"passing is worse than having been skipped", []result{{"a", skip}, {"a", pass}}, v1alpha1.Summary{Checked: 1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var results []v1alpha1.CheckResult
			for _, result := range test.results {
				results = append(results, v1alpha1.CheckResult{ID: result.id, Status: result.status})
			}
			if diff := cmp.Diff(test.want, v1alpha1.Summarize(results)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBlocks(t *testing.T) {
	for status, want := range map[v1alpha1.CheckStatus]bool{
		v1alpha1.StatusPass: false, v1alpha1.StatusWarn: false, v1alpha1.StatusSkip: false, v1alpha1.StatusFail: true, v1alpha1.StatusUnknown: true,
	} {
		if (v1alpha1.CheckResult{Status: status}).Blocks() != want {
			t.Errorf("%s blocks: not %t", status, want)
		}
	}
	for status, want := range map[v1alpha1.CheckStatus]bool{v1alpha1.StatusUnknown: false, v1alpha1.StatusFail: true} {
		if (v1alpha1.CheckResult{Status: status, Severity: v1alpha1.SeverityWarning}).Blocks() != want {
			t.Errorf("%s of a check that warns blocks: not %t", status, want)
		}
	}
}

func TestObjectReferenceString(t *testing.T) {
	for want, reference := range map[string]v1alpha1.ObjectReference{
		"Deployment shop/cart": {APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "cart"}, "Namespace shop": {APIVersion: "v1", Kind: "Namespace", Name: "shop"},
	} {
		if got := reference.String(); got != want {
			t.Errorf("it is called %q, not %q", got, want)
		}
	}
}

// The names of fields are what scripts rely on. A nil value of a change is
// written, since it means that the field is absent.
func TestDocumentsAreWrittenAsPublished(t *testing.T) {
	change := v1alpha1.FieldChange{Path: "/a", After: "b"}
	for want, document := range map[string]any{
		`{"path":"/a","before":null,"after":"b"}`:                                   change,
		`{"apiVersion":"ambient.kubectl-ambient.dev/v1alpha1","kind":"MeshStatus"}`: v1alpha1.Document(v1alpha1.KindMeshStatus),
		`{"id":"a","category":"","severity":"","status":"pass","message":""}`:       v1alpha1.CheckResult{ID: "a", Status: v1alpha1.StatusPass},
		`{"checked":0,"warned":0,"failed":0,"skipped":0,"unknown":0}`:               v1alpha1.Summary{},
		`{"sidecar":1,"ambient":0,"gateway":0,"none":0}`:                            v1alpha1.PodCounts{Sidecar: 1},
		`{"kind":"none"}`: v1alpha1.Gate{Kind: v1alpha1.GateNone},
		`{"name":"a","dataPlane":"","pods":{"sidecar":0,"ambient":0,"gateway":0,"none":0},"restartsDue":null,"blockers":0,"warnings":0}`: v1alpha1.NamespaceStatus{Name: "a"},
	} {
		got, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestTypeMetaIsWrittenInline(t *testing.T) {
	got, err := json.Marshal(v1alpha1.MeshStatus{TypeMeta: v1alpha1.Document(v1alpha1.KindMeshStatus), Namespaces: []v1alpha1.NamespaceStatus{}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"apiVersion":"ambient.kubectl-ambient.dev/v1alpha1","kind":"MeshStatus","namespaces":[]}`, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
