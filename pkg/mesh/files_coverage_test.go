package mesh_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// manifests writes objects as a file with a document each.
func manifests(t *testing.T, parts ...any) string {
	t.Helper()
	var documents []string
	for _, object := range fixture.Objects(parts...) {
		text, err := yaml.Marshal(object.Object)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, string(text))
	}
	return strings.Join(documents, "---\n")
}

// Files that hold an object of a namespaced kind do not say that they hold all of
// that kind.
func TestFilesCoverWhatIsInNoNamespace(t *testing.T) {
	istiod := fixture.Pod(fixture.System, "istiod-x", fixture.Labelled("app", "istiod"))
	tests := []struct {
		name  string
		parts []any
		want  []string
	}{
		{"a Service", []any{service("a")}, nil},
		{"what every mesh has", []any{fixture.Istiod(""), fixture.MeshConfig(""), istiod, fixture.Pod("kube-system", "coredns")}, nil},
		{"a policy of another namespace", []any{"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a, namespace: other}"}, nil},
		{"a Gateway", []any{"apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: a}"}, nil},
		{"a Node", []any{fixture.KubernetesNode("one")}, []string{"Node"}},
		{"a Namespace", []any{fixture.Namespace("shop", nil), service("a")}, []string{"Namespace"}},
		{"webhooks", []any{fixture.Injector("", false)}, []string{"MutatingWebhookConfiguration"}},
		{"a GatewayClass", []any{"apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: a}"}, []string{"GatewayClass"}},
		{"an older version", []any{"apiVersion: gateway.networking.k8s.io/v1beta1\nkind: GatewayClass\nmetadata: {name: a}"}, []string{"GatewayClass"}},
		{"a GatewayClass of another group", []any{service("a"), "apiVersion: example.com/v1\nkind: GatewayClass\nmetadata: {name: a}"}, nil},
		{"a CustomResourceDefinition", []any{"apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: a}"}, []string{mesh.CustomResourceDefinitions}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			content := read(t, manifests(t, test.parts...))
			var got []string
			for _, key := range mesh.Keys() {
				switch coverage := content.Coverage[key]; coverage.State {
				case mesh.CoverageRead:
					got = append(got, key)
				case mesh.CoverageUnasked:
					if coverage.Reason != "plain files do not say what they leave out" {
						t.Errorf("%s is unasked since %q", key, coverage.Reason)
					}
				default:
					t.Errorf("%s is %v", key, coverage)
				}
			}
			slices.Sort(got)
			slices.Sort(test.want)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCompleteFilesCoverEverything(t *testing.T) {
	content, err := mesh.ReadFiles(t.Context(), mesh.Files{Names: []string{"-"}, Stdin: strings.NewReader(service("a")), Complete: true})
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := mesh.NewSnapshot(content)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range mesh.Keys() {
		if !snapshot.Coverage(key, "shop").Known() {
			t.Errorf("%s is %v", key, snapshot.Coverage(key, "shop"))
		}
	}
}

// A dump says itself what it covers, whatever is passed along with it.
func TestADumpSaysWhatItCovers(t *testing.T) {
	header := "apiVersion: ambient.kubectl-ambient.dev/v1alpha1\nkind: MeshSnapshot\nkubernetesVersion: v1.36.3\nnamespace: shop\nhostNetwork: [x]\n" +
		"coverage: [{key: Service, state: read}, {key: Gateway, state: absent}, {key: Node, state: forbidden, reason: not you}, {key: Sidecar, state: failed}, {key: Job, state: unasked}, {key: Novelty, state: read}]\n"
	for _, complete := range []bool{false, true} {
		for name, text := range map[string]string{
			"first": header + "items: []\n---\n" + manifests(t, fixture.KubernetesNode("one"), fixture.Deployment("shop", "cart")), "last": manifests(t, fixture.KubernetesNode("one")) + "---\n" + header, "alone": header,
		} {
			t.Run(name, func(t *testing.T) {
				content, err := mesh.ReadFiles(t.Context(), mesh.Files{Names: []string{"-"}, Stdin: strings.NewReader(text), Complete: complete})
				if err != nil {
					t.Fatal(err)
				}
				want := map[string]mesh.Coverage{
					"Service": {State: mesh.CoverageRead}, "Gateway": {State: mesh.CoverageAbsent}, "Node": {State: mesh.CoverageForbidden, Reason: "not you"},
					"Sidecar": {State: mesh.CoverageFailed}, "Job": {State: mesh.CoverageUnasked}, "Novelty": {State: mesh.CoverageRead},
				}
				if diff := cmp.Diff(want, content.Coverage); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if !reflect.DeepEqual(content.Scope, mesh.Scope{Namespace: "shop"}) || content.KubernetesVersion != "v1.36.3" || !content.HostNetwork["x"] {
					t.Errorf("the content is %v, %s, %v", content.Scope, content.KubernetesVersion, content.HostNetwork)
				}
				snapshot, err := mesh.NewSnapshot(content)
				if err != nil {
					t.Fatal(err)
				}
				for _, key := range mesh.Keys() {
					if want := key == "Service" || key == "Gateway"; snapshot.Coverage(key, "shop").Known() != want {
						t.Errorf("%s is %v", key, snapshot.Coverage(key, "shop"))
					}
				}
			})
		}
	}
}

func TestADumpIsOfThisVersion(t *testing.T) {
	const head = "apiVersion: ambient.kubectl-ambient.dev/v1alpha1\nkind: MeshSnapshot\n"
	tests := []struct{ name, text, want string }{
		{"another version", "# dump\napiVersion: ambient.kubectl-ambient.dev/v1\nkind: MeshSnapshot\nitems: []\n", "stdin:2 (document 1): the snapshot is of version ambient.kubectl-ambient.dev/v1: this version reads ambient.kubectl-ambient.dev/v1alpha1"},
		{"two of them", head + "items: []\n---\n" + service("a") + "---\n" + head, "stdin:9 (document 3): a second snapshot: the first is in stdin:1 (document 1)"},
		{"a state that is none", head + "coverage: [{key: Pod, state: read}, {key: Node, state: perhaps}]\n", "stdin:1 (document 1): MeshSnapshot: coverage[1].state: \"perhaps\" is not among [read absent forbidden failed unasked]"},
		{"a field of the wrong type", head + "coverage: {}\n", "stdin:1 (document 1): MeshSnapshot: json: cannot unmarshal object into Go struct field MeshSnapshot.coverage"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := tryRead(t, test.text)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("the error is\n  %v, want\n  %s", err, test.want)
			}
		})
	}
	content := read(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\napiVersion: example.com/v1\nkind: MeshSnapshot\nmetadata: {name: x}\nitems: []\n")
	if content.Coverage["Namespace"].State != mesh.CoverageRead || content.Coverage["Node"].Known() {
		t.Errorf("a MeshSnapshot of somebody else's counts: %v", content.Coverage)
	}
}

// What one reads of the mesh from a cluster and from its dump is the same, for
// every part of it that may be at hand.
func TestADumpIsReadAsItWasWritten(t *testing.T) {
	deployment := fixture.Deployment("shop", "cart")
	hosted := fixture.Pod("pay", "hosted", func(pod *corev1.Pod) { pod.Spec.HostNetwork = true })
	live := fixture.NewCluster([]string{"wasmplugins"}, everything(), fixture.Namespace("other", labels{"istio-injection": "enabled"}), deployment, fixture.PodsOf(deployment, fixture.Sidecar), hosted,
		fixture.Pod("pay", "other", fixture.Sidecar, fixture.Annotated(corev1.LastAppliedConfigAnnotation, "{}"), fixture.Annotated("example.com/token", "hunter2")),
		"apiVersion: v1\nkind: Pod\nmetadata: {name: old, namespace: pay, labels: {security.istio.io/tlsMode: istio}}\nspec: {containers: [{name: istio-proxy, env: [{name: SECRET, value: hunter2}]}]}")
	for name, scope := range map[string]mesh.Scope{"one namespace": {Namespace: "shop"}, "all": {All: true}, "none": {}} {
		t.Run(name, func(t *testing.T) {
			content, err := mesh.Read(t.Context(), live.Mesh(), scope)
			if err != nil {
				t.Fatal(err)
			}
			dump, err := mesh.Dump(content)
			if err != nil {
				t.Fatal(err)
			}
			text, err := yaml.Marshal(dump)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), "hunter2") {
				t.Error("the dump holds what is nobody's business")
			}
			again := read(t, string(text))
			second, err := mesh.Dump(again)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(dump, second); diff != "" {
				t.Errorf("(-written +read):\n%s", diff)
			}
			one, other := snapshot(t, content), snapshot(t, again)
			for _, key := range mesh.Keys() {
				for _, namespace := range []string{"shop", "pay"} {
					if a, b := one.Coverage(key, namespace), other.Coverage(key, namespace); a != b {
						t.Errorf("%s is %v and from the dump %v", key, a, b)
					}
				}
			}
			if diff := cmp.Diff(describe(t, one), describe(t, other)); diff != "" {
				t.Errorf("the snapshots differ (-cluster +dump):\n%s", diff)
			}
		})
	}
}

func snapshot(t *testing.T, content mesh.Content) *mesh.Snapshot {
	t.Helper()
	snapshot, err := mesh.NewSnapshot(content)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot
}

func TestADumpHoldsObjectsOnly(t *testing.T) {
	content := read(t, service("a")+"---\nreplicas: 3\n---\napiVersion: example.com/v1\nkind: Basket\n")
	again := read(t, dumped(t, content))
	if diff := cmp.Diff([]string{"example.com/v1 Basket /", "v1 Service default/a"}, held(again)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A pod is not taken for read whole because another object has no UID either.
func TestADumpHoldsEveryPod(t *testing.T) {
	content := read(t, service("a")+"---\napiVersion: v1\nkind: Pod\nmetadata: {name: whole}\nspec: {}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: flat, uid: x}\n")
	dump, err := mesh.Dump(content)
	if err != nil {
		t.Fatal(err)
	}
	if len(dump.Items) != 3 {
		t.Errorf("the dump holds %d objects", len(dump.Items))
	}
}
