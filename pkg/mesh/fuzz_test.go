package mesh_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// seeds are files as users have them: the samples, one object of every kind, a
// mesh as kubectl lists it, and its dump.
func seeds(f *testing.F) []string {
	f.Helper()
	texts := []string{everyKind(f)}
	names, err := filepath.Glob("../../testdata/apps/*.yaml")
	if err != nil || len(names) == 0 {
		f.Fatalf("there are no samples: %v", err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	content := fixture.Content(fixture.Installation()...)
	dump, err := mesh.Dump(content)
	if err != nil {
		f.Fatal(err)
	}
	for _, value := range []any{dump, json.RawMessage(fixture.List(content.Objects))} {
		block, err := yaml.Marshal(value)
		if err != nil {
			f.Fatal(err)
		}
		line, err := json.Marshal(value)
		if err != nil {
			f.Fatal(err)
		}
		texts = append(texts, string(block), string(line))
	}
	return texts
}

// What can be read can be dumped, and the dump is read as the same.
func FuzzReadFiles(f *testing.F) {
	for _, text := range seeds(f) {
		f.Add(text, uint64(0))
		f.Add(text, uint64(1))
		for document := range strings.SplitSeq(text, "\n---\n") {
			f.Add(document, uint64(0))
		}
	}
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		if seed != 0 {
			text = fixture.List(fixture.Mutate(seed, fixture.Loose(text)))
		}
		content, err := tryRead(t, text)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r\x00\x1b") {
				t.Errorf("the error is not a line of text: %q", err)
			}
			return
		}
		first := dumped(t, content)
		again, err := tryRead(t, first)
		if err != nil {
			t.Fatalf("its dump cannot be read: %v\n%s", err, first)
		}
		if second := dumped(t, again); first != second && !strings.Contains(first, "-0") {
			t.Errorf("its dump is read as something else:\n%s", cmp.Diff(first, second))
		}
	})
}

func dumped(t *testing.T, content mesh.Content) string {
	t.Helper()
	dump, err := mesh.Dump(content)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(dump)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Redacting changes nothing that it was given and nothing that is redacted.
func FuzzRedact(f *testing.F) {
	for _, text := range seeds(f) {
		for seed := range uint64(3) {
			f.Add(text, seed)
		}
	}
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		for _, object := range fixture.Mutate(seed, fixture.Loose(text)) {
			before := object.DeepCopy()
			once := redacted(object)
			if diff := cmp.Diff(before.Object, object.Object); diff != "" {
				t.Errorf("it changed what it was given:\n%s", diff)
			}
			if diff := cmp.Diff(once.Object, redacted(once).Object); diff != "" {
				t.Errorf("redacting again changes something:\n%s", diff)
			}
			if _, set := once.GetAnnotations()["kubectl.kubernetes.io/last-applied-configuration"]; set {
				t.Error("it keeps what was last applied")
			}
		}
	})
}

func redacted(object unstructured.Unstructured) unstructured.Unstructured {
	var content mesh.Content
	content.Add(object)
	return content.Objects[0]
}

// Every object is understood, or the error names it.
func FuzzNewSnapshot(f *testing.F) {
	for _, text := range seeds(f) {
		for seed := range uint64(3) {
			f.Add(text, seed)
		}
	}
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		content := fixture.Content()
		for _, object := range fixture.Mutate(seed, fixture.Loose(text)) {
			content.Add(object)
		}
		one, err := mesh.NewSnapshot(content)
		if err != nil {
			var of *mesh.ObjectError
			if !errors.As(err, &of) {
				t.Errorf("the error names no object: %v", err)
			}
			return
		}
		describe(t, one)
		for _, namespace := range one.Namespaces() {
			one.Status(namespace)
			for _, workload := range one.Workloads(namespace.Name) {
				one.RoleOf(workload, namespace)
				mesh.RolloutOf(workload)
			}
		}
	})
}
