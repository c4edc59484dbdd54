package translate_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/internal/golden"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// shop is a namespace with three workloads behind Services; cart's port is another
// one than its Service's.
func shop(parts ...any) []any {
	base := []any{
		fixture.Installation(), fixture.Namespace("shop", map[string]string{"istio-injection": "enabled"}),
		fixture.YAML(`
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.0.0.1, selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp-sync, port: 7000}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.0.0.2, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
`),
	}
	for _, name := range []string{"cart", "web"} {
		deployment := fixture.Deployment("shop", name)
		base = append(base, deployment, fixture.PodsOf(deployment, fixture.Sidecar))
	}
	return append(base, parts...)
}

// text writes a translation down as a reader would want to see it.
func text(translation translate.Translation) string {
	var out strings.Builder
	section := func(name string, objects []translate.Object) {
		for _, object := range objects {
			content, _ := yaml.Marshal(object.Content)
			fmt.Fprintf(&out, "# %s: %s\n%s---\n", name, object.Why, content)
		}
	}
	if translation.Waypoint != nil {
		section("waypoint", translation.Waypoint.Objects)
	}
	for _, service := range translation.Services {
		fmt.Fprintf(&out, "# service %s: %s/%s, labels %v\n", service.Need.Service, service.WaypointNamespace, service.WaypointName, service.Labels)
	}
	for _, direct := range translation.Direct {
		section("waypoint of pods", direct.Objects)
		fmt.Fprintf(&out, "# pods of %v: %s/%s, workloads %v, labels %v\n", direct.Services, direct.Namespace, direct.Name, direct.Workloads, direct.Labels)
	}
	if len(translation.NamespaceLabels) > 0 {
		fmt.Fprintf(&out, "# namespace labels %v\n", translation.NamespaceLabels)
	}
	section("before", translation.Before)
	section("amended", translation.Amended)
	section("after", translation.After)
	for _, loss := range translation.Losses {
		fmt.Fprintf(&out, "# loss: %s %s (%s, security %v): %s\n", loss.Object, loss.Field, loss.Service, loss.Security, loss.Message)
	}
	for _, problem := range translation.Problems {
		fmt.Fprintf(&out, "# problem: %s %s: %s; %s\n", problem.Object, problem.Field, problem.Message, problem.Remedy)
	}
	return out.String()
}

// TestTranslations translates each mesh of testdata; the options stand in its first
// line.
func TestTranslations(t *testing.T) {
	meshes, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(meshes) == 0 {
		t.Fatalf("no meshes: %v", err)
	}
	for _, path := range meshes {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var options translate.Options
			if first, _, _ := strings.Cut(string(content), "\n"); strings.HasPrefix(first, "# options: ") {
				if err := yaml.Unmarshal([]byte(strings.TrimPrefix(first, "# options: ")), &options); err != nil {
					t.Fatal(err)
				}
			}
			snapshot := fixture.Snapshot(shop(fixture.YAML(string(content)))...)
			translation, err := translate.Namespace(snapshot, fixture.Find(snapshot, "shop"), options)
			if err != nil {
				t.Fatal(err)
			}
			golden.AssertFile(t, filepath.Join("testdata", name+".golden"), text(translation))
		})
	}
}

// Pods go on to be called through a waypoint of theirs that nothing needs any more,
// which has to be let through to them, and cannot be skipped.
func TestPodsThatNameTheirWaypointStayBehindIt(t *testing.T) {
	cart := fixture.Deployment("shop", "cart", fixture.TemplateLabel("istio.io/use-waypoint", "own"), fixture.TemplateLabel("sidecar.istio.io/inject", "false"))
	snapshot := fixture.Snapshot(fixture.Installation(), fixture.Namespace("shop", map[string]string{"istio.io/dataplane-mode": "ambient"}),
		cart, fixture.PodsOf(cart, fixture.Ambient), fixture.YAML(`
apiVersion: v1
kind: Service
metadata: {name: cart-pods, namespace: shop}
spec: {clusterIP: None, selector: {app: cart}, ports: [{name: http, port: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: own
  namespace: shop
  labels: {istio.io/waypoint-for: workload, ambient.kubectl-ambient.dev/origin: shop}
  annotations: {ambient.kubectl-ambient.dev/origin: Namespace shop}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: callers, namespace: shop}
spec: {selector: {matchLabels: {app: cart}}, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]}]}`))
	translation, err := translate.Namespace(snapshot, fixture.Find(snapshot, "shop"), translate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := text(translation); !strings.Contains(got, "shop/own, workloads [Deployment shop/cart]") || !strings.Contains(got, "- cluster.local/ns/shop/sa/own") {
		t.Errorf("the waypoint is not let through to its pods:\n%s", got)
	}
	var option *translate.OptionError
	if _, err := translate.Namespace(snapshot, fixture.Find(snapshot, "shop"), translate.Options{Skip: []string{"cart-pods"}}); !errors.As(err, &option) {
		t.Errorf("it can be skipped: %v", err)
	}
}

func TestAHeadlessServiceWithoutPodsCannotBeGivenAWaypoint(t *testing.T) {
	snapshot := fixture.Snapshot(shop(fixture.YAML("apiVersion: v1\nkind: Service\nmetadata: {name: nobody, namespace: shop}\nspec: {clusterIP: None, selector: {app: nobody}}"))...)
	var option *translate.OptionError
	if _, err := translate.Namespace(snapshot, fixture.Find(snapshot, "shop"), translate.Options{Add: []string{"nobody"}}); !errors.As(err, &option) {
		t.Errorf("it is taken: %v", err)
	}
}

// TestRevisionOfWaypoints: a waypoint is run by the istiod that runs the sidecars, unless
// its namespace or itself says otherwise.
func TestRevisionOfWaypoints(t *testing.T) {
	t.Parallel()
	const cart = "apiVersion: v1\nkind: Service\nmetadata: {name: cart, namespace: shop}\nspec: {clusterIP: 10.0.0.1, selector: {app: cart}, ports: [{name: http, port: 80}]}"
	of := func(revision string) map[string]string { return map[string]string{"istio.io/rev": revision} }
	for _, test := range []struct {
		name      string
		namespace string
		infra     map[string]string
		want      any
	}{
		{"beside the sidecars", "shop", nil, "canary"},
		{"elsewhere, where no revision is named", "infra", nil, "canary"},
		{"elsewhere, where one is", "infra", of("stable"), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			snapshot := fixture.Snapshot(fixture.Installation(), fixture.Namespace("shop", of("canary")), fixture.Namespace("infra", test.infra), cart)
			options := translate.Options{Add: []string{"cart"}, WaypointNamespace: test.namespace}
			translation, err := translate.Namespace(snapshot, fixture.Find(snapshot, "shop"), options)
			if err != nil {
				t.Fatal(err)
			}
			got, _, _ := unstructured.NestedFieldNoCopy(translation.Waypoint.Objects[0].Content, "metadata", "labels", "istio.io/rev")
			if got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
