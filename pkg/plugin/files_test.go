package plugin_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/internal/golden"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const layer7 = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: get-only, namespace: shop}
spec:
  selector: {matchLabels: {app: cart}}
  rules: [{to: [{operation: {methods: [GET]}}]}]`

// writeFile writes a file of its own and returns its path.
func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// dump writes a mesh with an injected namespace, and what is added to it, as
// the command snapshot does.
func dump(t *testing.T, more ...any) string {
	t.Helper()
	noCluster(t)
	cart := fixture.Deployment("shop", "cart", func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "PASSWORD", Value: "hunter2"}}
	})
	objects := append(fixture.Installation(), fixture.Namespace("shop", map[string]string{"istio-injection": "enabled"}), cart,
		fixture.PodsOf(cart, fixture.Sidecar), "apiVersion: v1\nkind: Service\nmetadata: {name: cart, namespace: shop}\nspec: {selector: {app: cart}, ports: [{port: 80}]}")
	written, err := mesh.Dump(fixture.Content(append(objects, more...)...))
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(written)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "hunter2") {
		t.Fatal("a password is in the dump")
	}
	return writeFile(t, "mesh.yaml", string(text))
}

// noCluster leaves the commands without any kubeconfig.
func noCluster(t *testing.T) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("KUBECONFIG", filepath.Join(home, "none"))
}

func (o outcome) want(t *testing.T, status int) outcome {
	t.Helper()
	if o.status != status {
		t.Fatalf("the status is %d, not %d: %v\n%s%s", o.status, status, o.err, o.out, o.errOut)
	}
	return o
}

func TestStatusOfFiles(t *testing.T) {
	path := dump(t)
	golden.Assert(t, "status-files.txt", run(t.Context(), "status", "-f", path, "-n", "shop").want(t, 0).out)
	if out := run(t.Context(), "status", "-f", path, "-o", "name").want(t, 0).out; out != "namespace/shop\n" {
		t.Errorf("the names are %q", out)
	}
	if out := run(t.Context(), "status", "-f", path, "-l", "team=other").want(t, 0).out; !strings.HasPrefix(out, "No namespace") {
		t.Errorf("other namespaces are %q", out)
	}
	blocked := dump(t, layer7)
	if out := run(t.Context(), "status", "-f", blocked).want(t, 0).out; !strings.Contains(out, "1 block") {
		t.Errorf("the status is\n%s", out)
	}
	run(t.Context(), "status", "-f", blocked, "--fail-on=error").want(t, 3)
	run(t.Context(), "status", "-f", path, "--fail-on=error").want(t, 0)
}

// Of many namespaces the table does not say what becomes of calls, unless the exit
// status depends on it.
func TestStatusOfManyNamespaces(t *testing.T) {
	parts := []any{layer7}
	for i := range 20 {
		parts = append(parts, fixture.Namespace(fmt.Sprintf("team-%d", i), map[string]string{"istio-injection": "enabled"}))
	}
	path := dump(t, parts...)
	const missing = "calls are compared for at most 20 namespaces at a time"
	if told := run(t.Context(), "status", "-f", path).want(t, 0).errOut; !strings.Contains(told, missing) {
		t.Errorf("of many namespaces it says\n%s", told)
	}
	for _, arguments := range [][]string{{"-n", "shop"}, {"--fail-on=warning"}} {
		told := run(t.Context(), append([]string{"status", "-f", path}, arguments...)...)
		if strings.Contains(told.errOut, missing) {
			t.Errorf("with %q it says\n%s", arguments, told.errOut)
		}
	}
}

func TestPlanOfFiles(t *testing.T) {
	path := dump(t)
	plan := run(t.Context(), "plan", "-n", "shop", "-f", path).want(t, 0)
	golden.Assert(t, "plan-files.txt", plan.out)
	if strings.Contains(plan.out, "hunter2") {
		t.Error("a password is in the plan")
	}
	if out := run(t.Context(), "plan", "-n", "shop", "-f", path, "--diff=false").want(t, 0).out; strings.Contains(out, "@@") || !strings.Contains(out, "restart deployment/cart") {
		t.Errorf("without diffs the plan is\n%s", out)
	}
	part := run(t.Context(), "plan", "-n", "shop", "-f", path, "--from=restart-workloads", "--until=disable-injection").want(t, 0).out
	for text, want := range map[string]bool{"restart deployment/cart": true, "stop asking": true, "label namespace": false, "verify that": false} {
		if strings.Contains(part, text) != want {
			t.Errorf("%q in the part of the plan: not %t:\n%s", text, want, part)
		}
	}
}

// A plan is about one workload, or one Service, where that is named.
func TestPlanOfAnObject(t *testing.T) {
	path := dump(t, layer7)
	arguments := []string{"plan", "-n", "shop", "-f", path, "--diff=false", "--mixed-callers=deny"}
	for object, want := range map[string]map[string]bool{
		"deployment/cart": {"restart deployment/cart": true, "label namespace": false},
		"service/cart":    {"restart deployment/cart": false, "waypoint": true, "label namespace": false},
	} {
		out := run(t.Context(), append(arguments, object)...).out
		for text, is := range want {
			if strings.Contains(out, text) != is {
				t.Errorf("%q in the plan of %s: not %t:\n%s", text, object, is, out)
			}
		}
	}
	missing := run(t.Context(), append(arguments, "service/none")...).want(t, 2)
	if missing.err == nil || !strings.Contains(missing.err.Error(), "there is no Service none in namespace shop") {
		t.Errorf("of a Service that is missing it says %v", missing.err)
	}
}

// What is handed over to a waypoint is shown, and which calls that concerns.
func TestPlanOfALayer7Namespace(t *testing.T) {
	path := dump(t, layer7)
	plan := run(t.Context(), "plan", "-n", "shop", "-f", path, "--diff=false", "--mixed-callers=deny").want(t, 0)
	golden.Assert(t, "plan-layer7.txt", plan.out)
	wide := run(t.Context(), "plan", "-n", "shop", "-f", path, "--diff=false", "--mixed-callers=deny", "-o", "wide").want(t, 0).out
	if hidden := "-o wide shows them"; !strings.Contains(plan.out, hidden) || strings.Contains(wide, hidden) {
		t.Errorf("with -o wide the plan is\n%s", wide)
	}
}

// A finding that was accepted is shown as what it is, and does not block. It is
// accepted by its check and, where that is given, its object.
func TestAcceptedFindings(t *testing.T) {
	arguments := []string{"plan", "-n", "shop", "-f", dump(t, layer7), "--diff=false", "--mixed-callers=deny", "--waypoint-skip=cart"}
	blocked := run(t.Context(), arguments...).want(t, 3)
	if want := "waypoint-losses:shop/get-only"; !strings.Contains(blocked.out, want) {
		t.Errorf("the plan does not say %q:\n%s", want, blocked.out)
	}
	golden.Assert(t, "plan-accepted.txt", run(t.Context(), append(arguments, "--accept=waypoint-losses:shop/get-only")...).want(t, 0).out)
	run(t.Context(), append(arguments, "--accept=waypoint-losses")...).want(t, 0)
	run(t.Context(), append(arguments, "--accept=waypoint-losses:shop/web")...).want(t, 3)
	var document v1alpha1.MigrationPlan
	if err := yaml.Unmarshal([]byte(run(t.Context(), append(arguments, "--accept=waypoint-losses", "-o", "yaml")...).want(t, 0).out), &document); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"waypoint-losses"}, document.Accepted); diff != "" || document.Summary.Accepted != 1 || document.Summary.Failed != 0 {
		t.Errorf("%+v was accepted of %+v", document.Accepted, document.Summary)
	}
}

// What the options for waypoints say reaches the plan.
func TestWaypointOptions(t *testing.T) {
	path := dump(t, layer7)
	for _, test := range []struct{ arguments, want string }{
		{"plan --waypoint=edge --waypoint-replicas=2", "shop/edge (new) for 1 Service"},
		{"plan --waypoint-scope=namespace", "1 Gateway"},
		{"plan --waypoint-skip=cart", "layer 7 policy for Service cart ends, since it is skipped"},
	} {
		if out := run(t.Context(), append(strings.Fields(test.arguments), "-n", "shop", "-f", path)...).out; !strings.Contains(out, test.want) {
			t.Errorf("%s does not say %q:\n%s", test.arguments, test.want, out)
		}
	}
	plain := dump(t)
	added := run(t.Context(), "plan", "-n", "shop", "-f", plain, "--waypoint-add=cart").want(t, 0)
	if !strings.Contains(added.out, "shop/waypoint (new) for 1 Service") {
		t.Errorf("the plan is\n%s", added.out)
	}
	for _, command := range []string{"plan", "status"} {
		unknown := run(t.Context(), command, "-n", "shop", "-f", plain, "--waypoint-add=crat").want(t, 2)
		if !strings.Contains(unknown.err.Error(), "there is no Service shop/crat") {
			t.Errorf("%s: the error is %v", command, unknown.err)
		}
	}
}

// The status counts what a plan with the same options would find.
func TestStatusGoesByTheSameOptions(t *testing.T) {
	path := dump(t, layer7)
	if out := run(t.Context(), "status", "-n", "shop", "-f", path, "--mixed-callers=deny").want(t, 0).out; strings.Contains(out, "block") {
		t.Errorf("the status is\n%s", out)
	}
}

// Whoever looks at the status sees what outlives what it was made from, and how to be
// rid of it.
func TestStatusNamesDrift(t *testing.T) {
	path := dump(t, `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: gone-guard-12345678
  namespace: shop
  labels: {ambient.kubectl-ambient.dev/origin: gone}
  annotations: {ambient.kubectl-ambient.dev/origin: AuthorizationPolicy shop/gone}
spec: {action: DENY, selector: {matchLabels: {app: cart}}, rules: [{from: [{source: {principals: [nobody]}}]}]}
`)
	const remedy = "kubectl delete authorizationpolicy.security.istio.io gone-guard-12345678 -n shop\n"
	if out := run(t.Context(), "status", "-n", "shop", "-f", path).want(t, 0).out; !strings.Contains(out, "DRIFT") || !strings.Contains(out, remedy) {
		t.Errorf("the status is\n%s", out)
	}
	if out := run(t.Context(), "status", "-n", "shop", "-f", path, "--skip=orphaned-policies").want(t, 0).out; strings.Contains(out, "DRIFT") {
		t.Errorf("although it is to be passed over, the status is\n%s", out)
	}
}

func TestABlockedPlan(t *testing.T) {
	path := dump(t, layer7)
	withheld := run(t.Context(), "plan", "-n", "shop", "-f", path).want(t, 3)
	if strings.Contains(withheld.out, "restart deployment/cart") || !strings.Contains(withheld.out, "--ignore-failures") || !strings.Contains(withheld.out, "get-only") {
		t.Errorf("the plan is\n%s", withheld.out)
	}
	var document v1alpha1.MigrationPlan
	if err := yaml.Unmarshal([]byte(run(t.Context(), "plan", "-n", "shop", "-f", path, "-o", "yaml").want(t, 3).out), &document); err != nil {
		t.Fatal(err)
	}
	if !document.Blocked || !document.Withheld || len(document.Steps) > 0 || !slices.Contains(document.Overview.Blockers, "mixed-callers") {
		t.Errorf("the document is %+v", document)
	}
	shown := run(t.Context(), "plan", "-n", "shop", "-f", path, "--ignore-failures").want(t, 3)
	if !strings.Contains(shown.out, "restart deployment/cart") || !strings.Contains(shown.out, "BLOCKED") {
		t.Errorf("the plan is\n%s", shown.out)
	}
	skipped := run(t.Context(), "plan", "-n", "shop", "-f", path, "--skip=policies").want(t, 3)
	if !strings.Contains(skipped.out, "0 failed, 2 skipped") || !strings.Contains(skipped.out, "2 findings are hidden; enroll goes by them all the same") {
		t.Errorf("the plan is\n%s", skipped.out)
	}
}

func TestFindingsAreSuppressedByTheirOwners(t *testing.T) {
	paused := fixture.Deployment("shop", "slow", func(d *appsv1.Deployment) {
		d.Annotations = map[string]string{mesh.SuppressAnnotation: "other, restartable"}
		d.Spec.Paused = true
	})
	path := dump(t, paused, fixture.PodsOf(paused, fixture.Sidecar))
	plan := run(t.Context(), "plan", "-n", "shop", "-f", path, "-o", "json").want(t, 3)
	if !strings.Contains(plan.out, `"suppressed": "annotation `+mesh.SuppressAnnotation) || strings.Contains(plan.out, `"status": "fail"`) {
		t.Errorf("the plan is\n%s", plan.out)
	}
}

func TestOutputDir(t *testing.T) {
	// Without the password nothing is missing in the dump.
	noCluster(t)
	manifests := `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart, namespace: shop, uid: "1", resourceVersion: "5", generation: 2}
spec:
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart, istio.io/rev: canary}}
    spec: {containers: [{name: main, image: "example.com/cart:1", env: [{name: PASSWORD, value: hunter2}]}]}
status: {readyReplicas: 1}
`
	webhook, err := yaml.Marshal(fixture.Injector("canary", false))
	if err != nil {
		t.Fatal(err)
	}
	standard, err := yaml.Marshal(fixture.Injector("", false))
	if err != nil {
		t.Fatal(err)
	}
	path := writeFile(t, "app.yaml", manifests+"---\n"+string(webhook)+"---\n"+string(standard))
	directory := filepath.Join(t.TempDir(), "phases")
	arguments := []string{"plan", "-n", "shop", "-f", path, "--output-dir", directory}
	if blocked := run(t.Context(), arguments...).want(t, 3); !strings.Contains(blocked.errOut, "is not written while gates block") {
		t.Errorf("it says\n%s", blocked.errOut)
	}
	run(t.Context(), append(arguments, "--ignore-failures")...).want(t, 3)
	var names []string
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if diff := cmp.Diff([]string{"01-enable-ambient.yaml", "02-restart-workloads.yaml", "03-disable-injection.yaml"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(directory, name))
		if err != nil {
			t.Fatal(err)
		}
		golden.Assert(t, "phases/"+name, string(text))
	}
	if again := run(t.Context(), arguments...).want(t, 1); !strings.Contains(again.err.Error(), "is not empty") {
		t.Errorf("the error is %v", again.err)
	}
	redacted := run(t.Context(), "plan", "-n", "shop", "-f", dump(t), "--output-dir", filepath.Join(t.TempDir(), "phases"))
	if redacted.status != 1 || !strings.Contains(redacted.err.Error(), "Deployment shop/cart: its manifest cannot be written") {
		t.Errorf("the error is %v", redacted.err)
	}
}

func TestFilesThatAreNotUnderstood(t *testing.T) {
	noCluster(t)
	tests := []struct {
		name, text, want string
	}{
		{"malformed", "kind: Namespace\napiVersion: v1\nmetadata: {name: shop}\n---\na: [\n", "bad.yaml:5 (document 2)"},
		{"a template", "kind: Namespace\nmetadata: {name: {{ .Values.name }}}\n", "render templates first"},
		{"nothing of a mesh", "kind: Kustomization\nresources: [a.yaml]\n", "there is no object that a mesh is made of"},
		{"a wrong type", "kind: Deployment\napiVersion: apps/v1\nmetadata: {name: cart, namespace: shop}\nspec: {replicas: many}\n", "bad.yaml:1 (document 1): Deployment shop/cart: "},
		{"no name", "kind: Service\napiVersion: v1\nmetadata: {namespace: shop}\n", "bad.yaml:1 (document 1): Service shop/: metadata.name: the object has no name"},
		{"twice", "kind: Service\napiVersion: v1\nmetadata: {name: a, namespace: shop}\n---\nkind: Service\napiVersion: v1\nmetadata: {name: a, namespace: shop}\nspec: {type: NodePort}\n", "says something else there"},
		{"another namespace", "kind: Namespace\napiVersion: v1\nmetadata: {name: pay}\n", "namespace shop is not in the files"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := writeFile(t, "bad.yaml", test.text)
			outcome := run(t.Context(), "plan", "-n", "shop", "-f", path).want(t, 1)
			if !strings.Contains(outcome.err.Error(), test.want) {
				t.Errorf("the error is %v", outcome.err)
			}
		})
	}
	if nameless := run(t.Context(), "plan", "-f", dump(t)).want(t, 2); !strings.Contains(nameless.err.Error(), "name the namespace with -n") {
		t.Errorf("the error is %v", nameless.err)
	}
	if missing := run(t.Context(), "status", "-f", "missing.yaml").want(t, 1); !strings.Contains(missing.err.Error(), "missing.yaml") {
		t.Errorf("the error is %v", missing.err)
	}
	if empty := run(t.Context(), "status", "-f", t.TempDir()).want(t, 1); !strings.Contains(empty.err.Error(), "holds no files") {
		t.Errorf("the error is %v", empty.err)
	}
}
