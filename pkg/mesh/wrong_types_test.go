package mesh_test

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// everyKind holds one object at least of each kind that is understood.
func everyKind(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("testdata/every-kind.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEveryKindIsUnderstood(t *testing.T) {
	content := read(t, everyKind(t))
	one := snapshot(t, content)
	if unrecognized := one.Unrecognized(); len(unrecognized) > 0 {
		t.Errorf("these are not: %v", unrecognized)
	}
	kinds := map[string]bool{}
	for i := range content.Objects {
		kinds[content.Objects[i].GetKind()] = true
	}
	for _, resources := range fixture.Kinds {
		for _, kind := range resources {
			if !kinds[kind] && kind != "Event" {
				t.Errorf("there is no %s", kind)
			}
		}
	}
	if strings.Contains(fmt.Sprint(content.Objects), "hunter2") {
		t.Error("something is not redacted")
	}
}

// replacement is what stands in an object instead of a field's value.
type replacement struct {
	path  []string
	value any
}

// replacements are all values of other types for all fields of an object.
func replacements(value any, path []string) []replacement {
	var all []replacement
	for _, other := range []any{"wrong", int64(-7), 1.5, true, nil, []any{"wrong"}, []any{}, []any{nil}, []any{map[string]any{"wrong": int64(1)}}, map[string]any{"wrong": "wrong"}, map[string]any{}} {
		if reflect.TypeOf(other) != reflect.TypeOf(value) || len(path) > 0 && !reflect.DeepEqual(other, value) {
			all = append(all, replacement{path, other})
		}
	}
	switch value := value.(type) {
	case map[string]any:
		for key := range value {
			all = append(all, replacements(value[key], append(path[:len(path):len(path)], key))...)
		}
	case []any:
		for i := range value {
			all = append(all, replacements(value[i], append(path[:len(path):len(path)], fmt.Sprint(i)))...)
		}
	}
	return all
}

func replaced(value any, path []string, by any) any {
	if len(path) == 0 {
		return by
	}
	switch value := value.(type) {
	case map[string]any:
		changed := map[string]any{}
		for key := range value {
			changed[key] = value[key]
		}
		changed[path[0]] = replaced(value[path[0]], path[1:], by)
		return changed
	case []any:
		changed := append([]any{}, value...)
		for i := range changed {
			if fmt.Sprint(i) == path[0] {
				changed[i] = replaced(changed[i], path[1:], by)
			}
		}
		return changed
	}
	return value
}

// Whatever stands in a field, it is understood, or the error names the object and
// the field. What is understood answers every question.
func TestFieldsOfTheWrongType(t *testing.T) {
	content := read(t, everyKind(t))
	for _, object := range content.Objects {
		for _, field := range []string{"metadata", "spec", "status", "data", "webhooks", "endpoints", "ports", "addressType"} {
			if _, set := object.Object[field]; !set {
				continue
			}
			for _, other := range replacements(object.Object[field], []string{field}) {
				changed, _ := replaced(object.Object, other.path, other.value).(map[string]any)
				one := unstructured.Unstructured{Object: changed}
				name := fmt.Sprintf("%s %s = %#v", object.GetKind(), strings.Join(other.path, "."), other.value)
				checkChanged(t, name, one, other.path)
			}
		}
	}
}

func checkChanged(t *testing.T, name string, object unstructured.Unstructured, path []string) {
	t.Helper()
	defer func() {
		if problem := recover(); problem != nil {
			t.Errorf("%s: panic: %v", name, problem)
		}
	}()
	content := fixture.Content()
	content.Add(object)
	one, err := mesh.NewSnapshot(content)
	if err == nil {
		describe(t, one)
		for _, namespace := range one.Namespaces() {
			one.Status(namespace)
		}
		return
	}
	var of *mesh.ObjectError
	if !errors.As(err, &of) || of.Object.Kind != object.GetKind() {
		t.Errorf("%s: the error does not name the object: %v", name, err)
	}
	field, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), of.Object.String()+": "), ": ")
	changed := strings.Join(path, ".")
	if strings.Contains(err.Error(), "\n") || !strings.HasPrefix(changed, indices.ReplaceAllString(field, ".$1")) && !strings.HasPrefix(indices.ReplaceAllString(field, ".$1"), changed) {
		t.Errorf("%s: the error does not name the field: %v", name, err)
	}
}

// indices of lists are written in brackets.
var indices = regexp.MustCompile(`\[(\d+)\]`)
