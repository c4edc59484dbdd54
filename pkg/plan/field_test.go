package plan_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"k8s.io/apimachinery/pkg/runtime"
)

type object = map[string]any

func TestPointerAndSegmentsAreInverse(t *testing.T) {
	tests := []struct {
		segments []string
		pointer  string
	}{
		{[]string{"spec"}, "/spec"},
		{[]string{"metadata", "labels", "app"}, "/metadata/labels/app"},
		{[]string{"metadata", "labels", "istio.io/rev"}, "/metadata/labels/istio.io~1rev"},
		{[]string{"a~b"}, "/a~0b"},
		{[]string{"a~1b", "~", "/", "~0"}, "/a~01b/~0/~1/~00"},
		{[]string{"a", "", "b"}, "/a//b"},
	}
	for _, test := range tests {
		t.Run(test.pointer, func(t *testing.T) {
			if got := plan.Pointer("", test.segments...); got != test.pointer {
				t.Errorf("the pointer is %q", got)
			}
			if diff := cmp.Diff(test.segments, plan.Segments(test.pointer)); diff != "" {
				t.Errorf("the segments differ (-want +got):\n%s", diff)
			}
		})
	}
	if got := plan.Pointer("/spec/template", "metadata", "labels"); got != "/spec/template/metadata/labels" {
		t.Errorf("with a base the pointer is %q", got)
	}
	if got := plan.Pointer("/spec"); got != "/spec" {
		t.Errorf("without segments the pointer is %q", got)
	}
}

func sample() object {
	return object{
		"metadata": object{"name": "cart", "labels": object{"istio.io/rev": "a", "a~b": "c", "empty": ""}},
		"spec":     object{"replicas": int64(3), "ports": []any{object{"port": int64(80)}}},
	}
}

func TestLookup(t *testing.T) {
	tests := []struct {
		pointer string
		want    any
	}{
		{"/metadata/name", "cart"}, {"/metadata/labels/istio.io~1rev", "a"}, {"/metadata/labels/a~0b", "c"}, {"/metadata/labels/empty", ""},
		{"/spec/replicas", int64(3)}, {"/metadata/labels/none", nil}, {"/metadata/annotations/none", nil}, {"/none", nil},
		{"/metadata/name/deeper", nil}, {"/spec/ports/0", nil},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, plan.Lookup(sample(), test.pointer)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.pointer, diff)
		}
	}
	if plan.Lookup(nil, "/metadata") != nil {
		t.Error("something was found in nothing")
	}
}

func TestEqual(t *testing.T) {
	for _, test := range []struct {
		a, b any
		want bool
	}{
		{nil, nil, true}, {nil, "", false}, {"", "", true}, {"a", "b", false}, {object{"a": "b"}, object{"a": "b"}, true}, {object{}, nil, false},
		{int64(80), float64(80), true}, {int64(80), float64(80.5), false}, {int64(80), "80", false}, {int64(0), nil, false},
		{[]any{object{"port": int64(80)}}, []any{object{"port": float64(80)}}, true}, {[]any{int64(80)}, []any{}, false}, {[]any{}, object{}, false},
		{object{"port": int64(80)}, object{"port": float64(81)}, false}, {object{"a": nil}, object{"b": nil}, false},
	} {
		if plan.Equal(test.a, test.b) != test.want || plan.Equal(test.b, test.a) != test.want {
			t.Errorf("%v equals %v: not %t", test.a, test.b, test.want)
		}
	}
}

func TestApply(t *testing.T) {
	set := func(path string, after any) v1alpha1.FieldChange {
		return v1alpha1.FieldChange{Path: path, After: after}
	}
	tests := []struct {
		name    string
		object  object
		changes []v1alpha1.FieldChange
		want    object
	}{
		{"nothing", object{"a": object{"b": "c"}}, nil, object{"a": object{"b": "c"}}},
		{"a field is set", object{"a": object{"b": "c"}}, []v1alpha1.FieldChange{set("/a/b", "d")}, object{"a": object{"b": "d"}}},
		{"parents are made", object{}, []v1alpha1.FieldChange{set("/a/b/c", "d")}, object{"a": object{"b": object{"c": "d"}}}},
		{"a field is removed", object{"a": object{"b": "c", "d": "e"}}, []v1alpha1.FieldChange{set("/a/b", nil)}, object{"a": object{"d": "e"}}},
		{"the last field takes its map along", object{"a": object{"b": "c"}, "d": "e"}, []v1alpha1.FieldChange{set("/a/b", nil)}, object{"d": "e"}},
		{"only the map that the field was in", object{"a": object{"b": object{"c": "d"}}}, []v1alpha1.FieldChange{set("/a/b/c", nil)}, object{"a": object{}}},
		{"removing what is absent", object{"a": object{"b": "c"}}, []v1alpha1.FieldChange{set("/a/x", nil), set("/y/z", nil)}, object{"a": object{"b": "c"}}},
		{"one after the other", object{"a": object{"b": "c"}}, []v1alpha1.FieldChange{set("/a/b", nil), set("/a/d", "e")}, object{"a": object{"d": "e"}}},
		{"keys with slashes", object{}, []v1alpha1.FieldChange{set("/labels/istio.io~1rev", "a"), set("/labels/a~0b", "c")}, object{"labels": object{"istio.io/rev": "a", "a~b": "c"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := runtime.DeepCopyJSON(test.object)
			got, err := plan.Apply(test.object, test.changes)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, test.object); diff != "" {
				t.Errorf("the argument was changed:\n%s", diff)
			}
		})
	}
	if _, err := plan.Apply(object{"a": "b"}, []v1alpha1.FieldChange{set("/a/b", "c")}); err == nil || !strings.Contains(err.Error(), "/a/b") {
		t.Errorf("the error does not name the field: %v", err)
	}
}

// An object that was read as metadata only has no content. Nothing can be
// changed in it, and trying must not bring the program down.
func TestApplyToNothingIsAnError(t *testing.T) {
	defer func() {
		if problem := recover(); problem != nil {
			t.Errorf("it panics: %v", problem)
		}
	}()
	if _, err := plan.Apply(nil, []v1alpha1.FieldChange{{Path: "/metadata/labels/a", After: "b"}}); err == nil {
		t.Error("there is no error")
	}
}

func hash(t *testing.T, of object) string {
	t.Helper()
	hash, err := plan.Hash(of)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func TestHash(t *testing.T) {
	want := hash(t, sample())
	if len(want) != 64 {
		t.Errorf("the hash is %q", want)
	}
	same := sample()
	same["status"] = object{"replicas": int64(2)}
	metadata := same["metadata"].(object)
	metadata["resourceVersion"], metadata["generation"], metadata["managedFields"] = "7", int64(4), []any{object{"manager": "kubectl"}}
	metadata["annotations"] = object{"deployment.kubernetes.io/revision": "3", "deprecated.daemonset.template.generation": "3"}
	if hash(t, same) != want {
		t.Error("what the API server writes changes the hash")
	}
	if _, kept := same["status"]; !kept || metadata["resourceVersion"] != "7" {
		t.Error("hashing changed the object")
	}
	for name, edit := range map[string]func(object){
		"a label":       func(o object) { o["metadata"].(object)["labels"].(object)["new"] = "" },
		"an annotation": func(o object) { o["metadata"].(object)["annotations"] = object{"a": "b"} },
		"the spec":      func(o object) { o["spec"].(object)["replicas"] = int64(4) },
		"the UID":       func(o object) { o["metadata"].(object)["uid"] = "another" },
	} {
		other := sample()
		edit(other)
		if hash(t, other) == want {
			t.Errorf("%s does not change the hash", name)
		}
	}
	if _, err := plan.Hash(object{"a": nil}); err != nil {
		t.Errorf("a field that is null cannot be hashed: %v", err)
	}
}

func TestBareKeepsTheAnnotationsOfOthers(t *testing.T) {
	of := object{"metadata": object{"annotations": object{"deployment.kubernetes.io/revision": "3", "a": "b"}}, "status": object{}}
	want := object{"metadata": object{"annotations": object{"a": "b"}}}
	if diff := cmp.Diff(want, plan.Bare(of)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
