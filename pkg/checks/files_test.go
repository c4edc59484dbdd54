package checks_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func readFiles(t testing.TB, text string, complete bool) (mesh.Content, error) {
	t.Helper()
	return mesh.ReadFiles(t.Context(), mesh.Files{Names: []string{"-"}, Stdin: strings.NewReader(text), Namespace: "shop", Complete: complete})
}

// What checks say of a mesh, they say of its dump and of what kubectl lists of it,
// too.
func TestADumpLeadsToTheSameResults(t *testing.T) {
	for _, test := range allCases() {
		t.Run(test.check+"/"+test.name, func(t *testing.T) {
			t.Parallel()
			whole := test.content()
			for name, content := range map[string]mesh.Content{"whole": whole, "metadata": metadataOnly(test.content(), test.at())} {
				want := test.run(t, content)
				dump, err := mesh.Dump(content)
				if err != nil {
					t.Fatal(err)
				}
				text, err := json.Marshal(dump)
				if err != nil {
					t.Fatal(err)
				}
				read, err := readFiles(t, string(text), false)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, test.run(t, read)); diff != "" {
					t.Errorf("%s: the dump says something else (-mesh +dump):\n%s", name, diff)
				}
			}
			if len(whole.Objects) == 0 {
				return
			}
			read, err := readFiles(t, fixture.List(fixture.Objects(test.objects...)), true)
			if err != nil {
				t.Fatal(err)
			}
			// No API server tells its version.
			read.KubernetesVersion = whole.KubernetesVersion
			if diff := cmp.Diff(test.run(t, whole), test.run(t, read)); diff != "" {
				t.Errorf("a list says something else (-mesh +list):\n%s", diff)
			}
		})
	}
}

// What is redacted decides nothing. Only why something cannot be understood may be
// said in other words.
func TestRedactingChangesNoResult(t *testing.T) {
	for _, test := range allCases() {
		t.Run(test.check+"/"+test.name, func(t *testing.T) {
			t.Parallel()
			plain := test.content()
			plain.Objects = fixture.Objects(test.objects...)
			if diff := cmp.Diff(judged(test.run(t, plain)), judged(test.run(t, test.content()))); diff != "" {
				t.Errorf("(-plain +redacted):\n%s", diff)
			}
		})
	}
}

func judged(results []v1alpha1.CheckResult) []v1alpha1.CheckResult {
	for i := range results {
		if results[i].Status == unknown {
			results[i].Message, results[i].Unseen = "", nil
		}
	}
	return results
}

// A name in a file may hold anything. What is said of it stays a line, and moves no
// cursor.
func TestFindingsAreLines(t *testing.T) {
	snapshot := fixture.Snapshot()
	results := checks.Run([]checks.Check{{ID: "a", Run: func(checks.Subject) []checks.Finding {
		return []checks.Finding{{Status: fail, Field: "a\tb", Message: "one\ntwo \x1b[31mthree \u0085", Remedy: "four\r\nfive ü"}}
	}}}, checks.Subject{Snapshot: snapshot})
	want := []v1alpha1.CheckResult{{ID: "a", Status: fail, Field: "a b", Message: "one two  [31mthree  ", Remedy: "four  five ü", Docs: "docs/checks.md#a"}}
	if diff := cmp.Diff(want, results); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// seeds are meshes as files hold them: samples by themselves, and in a mesh.
func seeds(f *testing.F) []string {
	f.Helper()
	texts := []string{fixture.List(fixture.Objects(shop()...)), fixture.List(fixture.Objects(enrolled()...))}
	for _, pattern := range []string{"../../testdata/apps/*.yaml", "../mesh/testdata/*.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			f.Fatalf("there are no samples at %s: %v", pattern, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			content, err := readFiles(f, string(text), true)
			if err != nil {
				f.Fatal(err)
			}
			texts = append(texts, string(text))
			for _, around := range [][]any{shop(), enrolled()} {
				texts = append(texts, fixture.List(distinct(append(fixture.Objects(around...), content.Objects...))))
			}
		}
	}
	return texts
}

// distinct leaves out what another object is named like.
func distinct(objects []unstructured.Unstructured) []unstructured.Unstructured {
	seen := map[string]bool{}
	return slices.DeleteFunc(objects, func(object unstructured.Unstructured) bool {
		key := strings.Join([]string{object.GetKind(), object.GetNamespace(), object.GetName()}, "/")
		again := seen[key]
		seen[key] = true
		return again
	})
}

// Whatever a mesh looks like, each check has something to say of it, in a line.
func FuzzChecks(f *testing.F) {
	for _, text := range seeds(f) {
		for seed := range uint64(3) {
			f.Add(text, seed)
		}
	}
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		if seed != 0 {
			text = fixture.List(understood(t, distinct(fixture.Mutate(seed, fixture.Loose(text)))))
		}
		content, err := readFiles(t, text, true)
		if err != nil {
			return
		}
		content.KubernetesVersion = "v1.36.3"
		if seed%2 == 1 {
			content = metadataOnly(content, "shop")
		}
		snapshot, err := mesh.NewSnapshot(content)
		if err != nil {
			return
		}
		namespaces := append(snapshot.Namespaces(), mesh.Namespace{Name: "nowhere"})
		for _, namespace := range namespaces[:min(len(namespaces), 8)] {
			snapshot.Status(namespace)
			for _, evidence := range []*mesh.Evidence{nil, evidence()} {
				subject := checks.Subject{Snapshot: snapshot, Namespace: namespace, Evidence: evidence}
				for _, result := range checks.Run(everyCheck(), subject) {
					checkForm(t, result)
				}
			}
		}
	})
}

// understood leaves out what ends in an error, so that it does not hide the rest.
func understood(t *testing.T, objects []unstructured.Unstructured) []unstructured.Unstructured {
	t.Helper()
	return slices.DeleteFunc(objects, func(object unstructured.Unstructured) bool {
		content, err := readFiles(t, fixture.List([]unstructured.Unstructured{object}), true)
		if err == nil {
			_, err = mesh.NewSnapshot(content)
		}
		return err != nil
	})
}

func checkForm(t *testing.T, result v1alpha1.CheckResult) {
	t.Helper()
	for name, text := range map[string]string{"message": result.Message, "field": result.Field, "remedy": result.Remedy} {
		if strings.ContainsAny(text, "\n\r\x00\x1b") {
			t.Errorf("%s: the %s is not a line of text: %q", result.ID, name, text)
		}
	}
	if strings.TrimSpace(result.Message) == "" {
		t.Errorf("%s: there is no message", result.ID)
	}
	if result.Blocks() && result.Remedy == "" {
		t.Errorf("%s: nothing says what to do about it: %s", result.ID, result.Message)
	}
	if result.Object != nil && (result.Object.Kind == "" || result.Object.Name == "" || result.Object.APIVersion == "") {
		t.Errorf("%s: the object is %+v", result.ID, result.Object)
	}
}
