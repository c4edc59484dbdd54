package mesh_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

func TestInjectionTemplates(t *testing.T) {
	configMap := func(name, revision, config string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: istio-system, labels: {istio.io/rev: " + revision + "}}\ndata: {config: '" + config + "'}"
	}
	all := fixture.Snapshot(
		configMap("istio-sidecar-injector", "default", "{templates: {sidecar: networking.istio.io/tunnel, hello: b}, aliases: {all: [sidecar, hello], both: [sidecar, gateway]}}"),
		configMap("istio-sidecar-injector-canary", "canary", "{defaultTemplates: [all, hello], templates: {sidecar: a}}"),
		configMap("istio-sidecar-injector-broken", "broken", "{templates: [a]}"),
		configMap("istio", "default", "{defaultTemplates: [x]}"),
	).InjectionTemplates()
	if len(all) != 2 || all[0].Revision != "default" || all[1].Revision != "canary" || all[1].ConfigMap.Name != "istio-sidecar-injector-canary" {
		t.Fatalf("they are %+v", all)
	}
	if diff := cmp.Diff([]string{"sidecar"}, all[0].Default); diff != "" {
		t.Errorf("the default (-want +got):\n%s", diff)
	}
	if all[0].ChangedSidecar() || !all[1].ChangedSidecar() || (mesh.InjectionTemplates{}).ChangedSidecar() {
		t.Error("a changed sidecar is told wrongly")
	}
	for _, test := range []struct{ names, want []string }{
		{nil, nil},
		{[]string{"sidecar", "gateway", "grpc-agent", "both"}, nil},
		{[]string{"all", "hello", "other"}, []string{"hello", "other"}},
	} {
		if diff := cmp.Diff(test.want, all[0].Custom(test.names)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", test.names, diff)
		}
	}
	if diff := cmp.Diff([]string{"a", "b"}, mesh.TemplateNames(labels{"inject.istio.io/templates": " a, b,,"})); diff != "" {
		t.Errorf("the names (-want +got):\n%s", diff)
	}
}
