package mesh_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// read reads a text as standard input.
func read(t *testing.T, text string) mesh.Content {
	t.Helper()
	content, err := tryRead(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func tryRead(t *testing.T, text string) (mesh.Content, error) {
	t.Helper()
	return mesh.ReadFiles(t.Context(), mesh.Files{Names: []string{"-"}, Stdin: strings.NewReader(text)})
}

// held names what content holds: objects with their version, and pods that are
// known by metadata only.
func held(content mesh.Content) []string {
	names := []string{}
	for _, object := range content.Objects {
		names = append(names, strings.TrimSpace(fmt.Sprintf("%s %s %s/%s", object.GetAPIVersion(), object.GetKind(), object.GetNamespace(), object.GetName())))
	}
	for _, pod := range content.Pods {
		names = append(names, fmt.Sprintf("metadata of %s/%s", pod.Namespace, pod.Name))
	}
	return names
}

// tree writes files and returns the directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	directory := t.TempDir()
	for name, text := range files {
		path := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

func service(name string) string {
	return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + "}\n"
}

func TestReadFilesFindsFiles(t *testing.T) {
	directory := tree(t, map[string]string{
		"b.yaml": service("b"), "a.yml": service("a"), "c.json": `{"apiVersion":"v1","kind":"Service","metadata":{"name":"c"}}`,
		"readme.md": "{{", "noextension": "{{", "script.sh": "{{", "x.yaml.bak": "{{", ".hidden.yaml": "{{", ".git/d.yaml": "{{",
		"deep/er/e.yaml": service("e"), "deep/.hidden/f.yaml": "{{", "dir.yaml/g.yml": service("g"), "empty.yaml": "", "comment.yaml": "# nothing\n---\n",
		"manifest.txt": service("explicit"), "values.yaml": "replicas: 1\n",
	})
	services := func(names ...string) []string {
		for i := range names {
			names[i] = "v1 Service default/" + names[i]
		}
		return names
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(directory, link); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		files []string
		want  []string
	}{
		{"a directory", []string{directory}, slices.Concat(services("a", "b", "c", "e", "g"), []string{"/"})},
		{"a directory that is a link", []string{link}, slices.Concat(services("a", "b", "c", "e", "g"), []string{"/"})},
		{"a directory that is hidden", []string{filepath.Join(directory, "deep"), filepath.Join(directory, "dir.yaml")}, services("e", "g")},
		{"a file", []string{filepath.Join(directory, "b.yaml")}, services("b")},
		{"a file of another extension", []string{filepath.Join(directory, "manifest.txt")}, services("explicit")},
		{"standard input and a file", []string{"-", filepath.Join(directory, "a.yml")}, services("stdin", "a")},
		{"a file twice", []string{filepath.Join(directory, "a.yml"), filepath.Join(directory, "a.yml")}, services("a")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			content, err := mesh.ReadFiles(t.Context(), mesh.Files{Names: test.files, Stdin: strings.NewReader(service("stdin"))})
			if err != nil {
				t.Fatal(err)
			}
			got := held(content)
			slices.Sort(got)
			slices.Sort(test.want)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadFilesSaysWhatItCannotRead(t *testing.T) {
	directory := tree(t, map[string]string{
		"none/readme.md": "", "hidden/.a.yaml": service("a"), "nothing/a.yaml": "# nothing\n", "foreign/a.yaml": "apiVersion: example.com/v1\nkind: Basket\nmetadata: {name: a}\n",
		"dangling/b.yaml": service("b"), "inside/target/x": "", "broken/a.yaml": service("a"), "broken/b.yaml": service("b") + "---\n\n\tx: y\n",
	})
	for link, target := range map[string]string{"dangling/a.yaml": "nowhere", "inside/a.yaml": "target"} {
		if err := os.Symlink(target, filepath.Join(directory, link)); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ name, want string }{
		{"missing", "read files: stat DIR/missing: no such file or directory"},
		{"none", "directory DIR/none holds no files that end in .yaml, .yml or .json"},
		{"hidden", "directory DIR/hidden holds no files that end in .yaml, .yml or .json"},
		{"nothing", "DIR/nothing: there is no object that a mesh is made of"},
		{"foreign", "DIR/foreign: there is no object that a mesh is made of"},
		{"dangling", "read files: open DIR/dangling/a.yaml: no such file or directory"},
		{"inside", "read DIR/inside/a.yaml: read DIR/inside/a.yaml: is a directory"},
		{"broken", "DIR/broken/b.yaml:6 (document 2): found character that cannot start any token"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := mesh.ReadFiles(t.Context(), mesh.Files{Names: []string{filepath.Join(directory, test.name)}})
			if want := strings.ReplaceAll(test.want, "DIR", directory); err == nil || err.Error() != want {
				t.Errorf("the error is\n  %v, want\n  %s", err, want)
			}
		})
	}
	if _, err := mesh.ReadFiles(t.Context(), mesh.Files{}); err == nil || err.Error() != "there are no files to read" {
		t.Errorf("without files the error is %v", err)
	}
	if _, err := mesh.ReadFiles(t.Context(), mesh.Files{Names: []string{"-"}}); err == nil || err.Error() != "there is no standard input to read" {
		t.Errorf("without standard input the error is %v", err)
	}
}

func TestReadFilesEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, text := range []string{service("a"), `{"kind":"List","items":[]}`} {
		path := filepath.Join(tree(t, map[string]string{"a.yaml": text}), "a.yaml")
		for _, name := range []string{path, "-"} {
			_, err := mesh.ReadFiles(ctx, mesh.Files{Names: []string{name}, Stdin: strings.NewReader(text)})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: the error is %v", name, err)
			}
		}
	}
}

// blocking is a terminal that nobody types at.
type blocking struct{ asked, release chan struct{} }

func (b blocking) Read([]byte) (int, error) {
	close(b.asked)
	<-b.release
	return 0, io.EOF
}

func TestReadFilesDoesNotWaitForAnInterruptedReader(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	stdin := blocking{make(chan struct{}), make(chan struct{})}
	defer close(stdin.release)
	go func() {
		<-stdin.asked
		cancel()
	}()
	if _, err := mesh.ReadFiles(ctx, mesh.Files{Names: []string{"-"}, Stdin: stdin}); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

// A reader's own error is not taken for the end of what it reads.
func TestReadFilesSaysThatStdinFailed(t *testing.T) {
	broken := errors.New("broken pipe")
	stdin := io.MultiReader(strings.NewReader(service("a")), iotest.ErrReader(broken))
	if _, err := mesh.ReadFiles(t.Context(), mesh.Files{Names: []string{"-"}, Stdin: stdin}); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
}

func TestReadFilesTakesObjects(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"of no namespace", service("a"), []string{"v1 Service default/a"}},
		{"of a namespace", "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\n", []string{"v1 Service shop/a"}},
		{"of no namespace by nature", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, namespace: default}\n", []string{"v1 Namespace /shop"}},
		{"with a name to be made", "apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: migrate-}\n", []string{"batch/v1 Job default/migrate-"}},
		{
			"of older versions",
			"apiVersion: networking.istio.io/v1alpha3\nkind: VirtualService\nmetadata: {name: a}\n---\napiVersion: security.istio.io/v1beta1\nkind: AuthorizationPolicy\nmetadata: {name: a}\n" +
				"---\napiVersion: gateway.networking.k8s.io/v1beta1\nkind: Gateway\nmetadata: {name: a}\n---\napiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\n",
			[]string{
				"networking.istio.io/v1alpha3 VirtualService default/a", "security.istio.io/v1beta1 AuthorizationPolicy default/a",
				"gateway.networking.k8s.io/v1beta1 Gateway default/a", "autoscaling/v1 HorizontalPodAutoscaler default/a",
			},
		},
		{
			"of other groups",
			service("a") + "---\napiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: a}\nspec: {x: y}\n---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: a, namespace: shop}\n",
			[]string{"v1 Service default/a", "serving.knative.dev/v1 Service /a", "networking.istio.io/v1 Gateway shop/a"},
		},
		{"known by metadata", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, uid: x}\n---\n" + service("a"), []string{"v1 Service default/a", "metadata of default/a"}},
		{"of a typed list", "apiVersion: v1\nkind: ServiceList\nitems:\n- metadata: {name: a}\n- metadata: {name: b}\n", []string{"v1 Service default/a", "v1 Service default/b"}},
		{"of a list in a list", `{"kind":"List","items":[{"apiVersion":"v1","kind":"ServiceList","items":[{"metadata":{"name":"a"}}]}]}`, []string{"v1 Service default/a"}},
		{"without a list around them", "- {apiVersion: v1, kind: Service, metadata: {name: a}}\n- hosts: all\n", []string{"v1 Service default/a", "/"}},
		{"that say nothing of themselves", "kind: Kustomization\n---\nreplicas: 3\n---\napiVersion: v1\n---\n" + service("a"), []string{"Kustomization /", "/", "v1  /", "v1 Service default/a"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			content := read(t, test.text)
			if diff := cmp.Diff(test.want, held(content)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if _, err := mesh.NewSnapshot(content); err != nil {
				t.Error(err)
			}
		})
	}
	content, err := mesh.ReadFiles(t.Context(), mesh.Files{Names: []string{"-"}, Stdin: strings.NewReader(service("a")), Namespace: "pay"})
	if err != nil || held(content)[0] != "v1 Service pay/a" {
		t.Errorf("with a namespace to go by it reads %v, %v", held(content), err)
	}
}

func TestReadFilesCountsWhatItDoesNotKnow(t *testing.T) {
	text := service("a") + "---\napiVersion: example.com/v1\nkind: Basket\nmetadata: {name: a}\n---\napiVersion: example.com/v1\nkind: Basket\nmetadata: {name: a}\nspec: {secret: hunter2}\n" +
		"---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: a}\n---\nreplicas: 3\n---\napiVersion: example.com/v1\nkind: Basket\nmetadata: oddly\n"
	content := read(t, text)
	snapshot, err := mesh.NewSnapshot(content)
	if err != nil {
		t.Fatal(err)
	}
	want := map[schema.GroupVersionKind]int{
		{Group: "example.com", Version: "v1", Kind: "Basket"}: 3, {Group: "networking.istio.io", Version: "v1", Kind: "Gateway"}: 1, {}: 1,
	}
	if diff := cmp.Diff(want, snapshot.Unrecognized()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if strings.Contains(everythingIn(t, content), "hunter2") {
		t.Error("it keeps more than metadata of what it does not know")
	}
}

// everythingIn is all that content holds.
func everythingIn(t *testing.T, content mesh.Content) string {
	t.Helper()
	originals := []mesh.Object{}
	for _, original := range content.Originals {
		originals = append(originals, original)
	}
	text, err := json.Marshal([]any{content.Objects, content.Pods, originals, content.Coverage})
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + fmt.Sprint(content)
}

// No byte of a Secret's content is kept, whatever it is wrapped in.
func TestReadFilesKeepsNothingOfSecrets(t *testing.T) {
	const data, text = "aHVudGVyMg==", "hunter2"
	secret := `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","namespace":"shop","labels":{"l":"` + text + `"},"annotations":{"a":"` + text +
		`","kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"k\":\"` + data + `\"},\"stringData\":{\"k\":\"` + text + `\"}}"}},` +
		`"data":{"k":"` + data + `"},"stringData":{"k":"` + text + `"},"type":"` + text + `","immutable":"` + text + `"}`
	bare := strings.Replace(secret, `"apiVersion":"v1","kind":"Secret",`, "", 1)
	block, err := yaml.JSONToYAML([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"JSON": secret, "YAML": string(block), "a list": `{"kind":"List","items":[` + secret + `]}`, "a typed list": `{"apiVersion":"v1","kind":"SecretList","items":[` + bare + `]}`,
		"a typed list whose kind comes last": `{"items":[` + bare + `],"kind":"SecretList","apiVersion":"v1"}`, "a list in a list": `{"kind":"List","items":[{"kind":"List","items":[` + secret + `]}]}`,
		"a dump":             `{"apiVersion":"ambient.kubectl-ambient.dev/v1alpha1","kind":"MeshSnapshot","items":[` + secret + `]}`,
		"a block list":       "kind: List\nitems:\n- " + strings.ReplaceAll(string(block), "\n", "\n  ") + "\n",
		"no version":         strings.Replace(secret, `"apiVersion":"v1",`, "", 1),
		"a wrapped manifest": `{"apiVersion":"example.com/v1","kind":"Wrapper","metadata":{"name":"w"},"spec":{"template":` + secret + `},"items":[` + bare + `]}`,
	} {
		t.Run(name, func(t *testing.T) {
			content := read(t, service("a")+"---\n"+text)
			if all := everythingIn(t, content); strings.Contains(all, "hunter2") || strings.Contains(all, data) {
				t.Errorf("the Secret's content is in the snapshot's: %s", all)
			}
		})
	}
	for name, text := range map[string]string{
		"JSON": secret[:len(secret)-1], "YAML": string(block) + "data: {}\n", "texts": `{"kind":"SecretList","items":["hunter2"]}`, "a key": "kind: Secret\ndata:\n  ? {a: hunter2}\n  : hunter2\n",
		"a type": string(block) + "stringDatum: \"" + text + "\n", "a number": "kind: Secret\nstringData: {a: .inf, b: hunter2}\n", "a tag": "kind: Secret\nstringData: {a: !!int hunter2}\n",
		"an anchor": "kind: Secret\nstringData: {a: *hunter2 }\n", "another tag": "kind: Secret\nstringData: {a: !!binary hunter2}\n",
	} {
		t.Run("broken "+name, func(t *testing.T) {
			_, err := tryRead(t, text)
			if err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error is missing or quotes the Secret: %v", err)
			}
		})
	}
}

func TestReadFilesWantsObjectsThatItCanRead(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"a kind that is a number", "apiVersion: v1\nkind: 3\n", "stdin:1 (document 1): kind is not a text"},
		{"a version that is a number", "apiVersion: 1\nkind: Pod\n", "stdin:1 (document 1): apiVersion is not a text"},
		{"no version", "kind: Pod\nmetadata: {name: a, namespace: shop}\n", "stdin:1 (document 1): Pod shop/a: apiVersion is missing"},
		{"no version of a kind of another group", "kind: Deployment\n", "stdin:1 (document 1): Deployment: apiVersion is missing"},
		{"a version that is none", "apiVersion: apps/v1/x\nkind: Deployment\nmetadata: {name: a}\n", "stdin:1 (document 1): Deployment a: apiVersion: unexpected GroupVersion string: apps/v1/x"},
		{"no metadata", "apiVersion: v1\nkind: Pod\n", "stdin:1 (document 1): Pod: metadata: it is missing, or not a map"},
		{"metadata that is a text", "apiVersion: v1\nkind: Pod\nmetadata: x\n", "stdin:1 (document 1): Pod: metadata: it is missing, or not a map"},
		{"no name", "apiVersion: v1\nkind: Pod\nmetadata: {namespace: shop}\n", "stdin:1 (document 1): Pod shop/: metadata.name: the object has no name"},
		{"an empty name", "apiVersion: v1\nkind: Pod\nmetadata: {name: \"\", generateName: \"\"}\n", "stdin:1 (document 1): Pod: metadata.name: the object has no name"},
		{"a name that is a number", "apiVersion: v1\nkind: Pod\nmetadata: {name: 7}\n", "stdin:1 (document 1): Pod: metadata.name: it is not a text"},
		{"a name that spans lines", "apiVersion: v1\nkind: Pod\nmetadata: {name: \"a\\nb\"}\n", "stdin:1 (document 1): Pod a b: metadata.name: \"a\\nb\" cannot be one"},
		{"a namespace with a slash", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: a/b}\n", "stdin:1 (document 1): Pod a/b/a: metadata.namespace: \"a/b\" cannot be one"},
		{"a namespace that is a list", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: [b]}\n", "stdin:1 (document 1): Pod a: metadata.namespace: it is not a text"},
		{"a UID that is a number", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, uid: 7}\n", "stdin:1 (document 1): Pod a: metadata.uid: it is not a text"},
		{"labels that are a list", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: [b]}\n", "stdin:1 (document 1): Pod a: metadata.labels: it is not a map"},
		{"a label that is a number", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {b: 7}}\n", "stdin:1 (document 1): Pod a: metadata.labels[b]: it is not a text: put it in quotes"},
		{"an annotation that is a truth", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, annotations: {b: true}}\n", "stdin:1 (document 1): Pod a: metadata.annotations[b]: it is not a text: put it in quotes"},
		{"owners that are none", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, ownerReferences: x}\n", "stdin:1 (document 1): Pod a: metadata.ownerReferences: it is not a list"},
		{"an owner of no kind", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, ownerReferences: [{apiVersion: v1, kind: A, name: b}, {apiVersion: v1, name: b}]}\n", "stdin:1 (document 1): Pod a: metadata.ownerReferences[1].kind: it is missing, or not a text"},
		{"a pod without a spec", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n", "stdin:1 (document 1): Pod default/a: spec: it is missing"},
		{"metadata of a pod", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, uid: x, creationTimestamp: never}\n", "stdin:1 (document 1): Pod default/a: metadata: parsing time \"never\""},
		{"in an item", "kind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata:\n    name: a\n- apiVersion: v1\n  kind: Service\n  metadata: {}\n", "stdin:7 (document 1): Service: metadata.name: the object has no name"},
		{"in a later document", service("a") + "---\n# b\n" + "apiVersion: v1\nkind: Service\nmetadata: {}\n", "stdin:6 (document 2): Service: metadata.name: the object has no name"},
		{"in JSON", "{\"items\":[\n{\"apiVersion\":\"v1\",\"kind\":\"Service\",\n\"metadata\":{\"name\":\"a\"}},\n{\"apiVersion\":\"v1\",\"kind\":\"Service\"}]}", "stdin:4 (document 1): Service: metadata: it is missing, or not a map"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := tryRead(t, test.text)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("the error is\n  %v, want\n  %s", err, test.want)
			}
		})
	}
	// Kustomize and Helm leave such behind; the API server takes them for empty.
	content := read(t, "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: , uid: , labels: {b: , c: d}, annotations: }\n")
	if got := content.Objects[0].GetLabels(); got["c"] != "d" || len(got) != 2 {
		t.Errorf("the labels are %v", got)
	}
}

func versioned(version, uid, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop, uid: %q, resourceVersion: %q, labels: {v: %q}}\n", uid, version, value)
}

func TestReadFilesTakesTheNewerOfTwoReadings(t *testing.T) {
	istio := "apiVersion: security.istio.io/%s\nkind: AuthorizationPolicy\nmetadata: {name: a, uid: x, resourceVersion: \"%d\", labels: {v: \"%[2]d\"}}\n"
	pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: a, uid: x, resourceVersion: \"%d\", labels: {v: \"%d\"}}\n%s"
	const spec = "spec: {containers: [{name: main, env: [{name: A, value: b}]}]}\n"
	tests := []struct {
		name, first, second string
		want                []string
	}{
		{"the same", versioned("1", "x", "1"), versioned("1", "x", "1"), []string{"v1 Service 1"}},
		{"the same manifest", versioned("", "", "1"), versioned("", "", "1"), []string{"v1 Service 1"}},
		{"an older one first", versioned("9", "x", "9"), versioned("10", "x", "10"), []string{"v1 Service 10"}},
		{"a newer one first", versioned("10", "x", "10"), versioned("9", "x", "9"), []string{"v1 Service 10"}},
		{"the same in another version", fmt.Sprintf(istio, "v1", 3), fmt.Sprintf(istio, "v1beta1", 3), []string{"security.istio.io/v1 AuthorizationPolicy 3"}},
		{"a newer one in another version", fmt.Sprintf(istio, "v1", 3), fmt.Sprintf(istio, "v1beta1", 4), []string{"security.istio.io/v1beta1 AuthorizationPolicy 4"}},
		{"metadata and the whole", fmt.Sprintf(pod, 3, 3, ""), fmt.Sprintf(pod, 2, 2, spec), []string{"v1 Pod 2", "pod 3"}},
		{"the whole and metadata", fmt.Sprintf(pod, 2, 2, spec), fmt.Sprintf(pod, 3, 3, ""), []string{"v1 Pod 2", "pod 3"}},
		{"metadata twice", fmt.Sprintf(pod, 2, 2, ""), fmt.Sprintf(pod, 3, 3, ""), []string{"pod 2"}},
		{"a pod that was read again", fmt.Sprintf(pod, 2, 2, spec), fmt.Sprintf(pod, 3, 3, spec), []string{"v1 Pod 3"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			content := read(t, test.first+"---\n"+test.second)
			var got []string
			for _, object := range content.Objects {
				got = append(got, object.GetAPIVersion()+" "+object.GetKind()+" "+object.GetLabels()["v"])
			}
			for _, pod := range content.Pods {
				got = append(got, "pod "+pod.Labels["v"])
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			snapshot, err := mesh.NewSnapshot(content)
			if err != nil {
				t.Fatal(err)
			}
			if pods := snapshot.AllPods(); len(pods) > 1 {
				t.Errorf("the pod is there %d times", len(pods))
			}
			for reference, original := range content.Originals {
				v := original["metadata"].(map[string]any)["labels"].(map[string]any)["v"]
				if reference.Kind != "Pod" || v != content.Objects[0].GetLabels()["v"] {
					t.Errorf("the original of %s is of version %v", reference, v)
				}
			}
		})
	}
}

func TestReadFilesRefusesTwoThatDiffer(t *testing.T) {
	for name, test := range map[string]struct{ first, second string }{
		"manifests": {versioned("", "", "1"), versioned("", "", "2")}, "different objects": {versioned("1", "x", "1"), versioned("2", "y", "2")},
		"one that was in a cluster": {versioned("1", "x", "1"), versioned("", "", "2")}, "one that was not": {versioned("", "", "2"), versioned("1", "x", "1")},
	} {
		t.Run(name, func(t *testing.T) {
			directory := tree(t, map[string]string{"a.yaml": "# base\n" + test.first, "b.yaml": service("other") + "---\n" + test.second})
			_, err := mesh.ReadFiles(t.Context(), mesh.Files{Names: []string{directory}})
			want := directory + "/b.yaml:5 (document 2): Service shop/a is in " + directory + "/a.yaml:2 (document 1), too, and says something else there: " +
				"pass one of the two, or what kustomize build prints"
			if err == nil || err.Error() != want {
				t.Errorf("the error is\n  %v, want\n  %s", err, want)
			}
		})
	}
}

// A namespace that is written and the one that goes without saying are one.
func TestReadFilesTellsObjectsByTheNamespaceThatTheyGet(t *testing.T) {
	content := read(t, service("a")+"---\napiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: default}\n")
	if got := held(content); len(got) != 1 {
		t.Errorf("it holds %v", got)
	}
}

func TestReadFilesDoesNotChooseBetweenReadingsThatItCannotOrder(t *testing.T) {
	_, err := mesh.ReadFiles(t.Context(), mesh.Files{Names: []string{"-"}, Stdin: strings.NewReader(versioned("x", "x", "first") + "---\n" + versioned("y", "x", "second"))})
	if err == nil || !strings.Contains(err.Error(), "which of the two is newer cannot be told") {
		t.Errorf("the error is %v", err)
	}
}
