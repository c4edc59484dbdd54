package mesh_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
)

// installed is a ConfigMap as those of an installation are named and labelled.
func installed(namespace, name, key, text string) *corev1.ConfigMap {
	configMap := fixture.MeshConfig("")
	configMap.Namespace, configMap.Name, configMap.UID = namespace, name, fixture.UID("ConfigMap", namespace, name)
	configMap.Data = map[string]string{key: text}
	return configMap
}

func TestConfigMapsOfTenantsAreNotBelieved(t *testing.T) {
	both := installed("tenant", "istio-sidecar-injector", "config", "policy: disabled\ndefaultTemplates: [mine]")
	both.Data["values"] = "global: {network: mine}"
	tenants := []any{
		installed("tenant", "istio-mine", "mesh", "rootNamespace: tenant"),
		both,
	}
	tests := []struct {
		name    string
		objects []any
		roots   []string
		values  int
		inject  bool
	}{
		{"beside an istiod", append(fixture.Installation(), tenants...), []string{"istio-system"}, 0, true},
		{"without an istiod", append([]any{fixture.Injector("", false)}, tenants...), []string{"tenant"}, 1, false},
	}
	for _, test := range tests {
		snapshot := fixture.Snapshot(test.objects...)
		if diff := cmp.Diff(test.roots, snapshot.RootNamespaces()); diff != "" {
			t.Errorf("%s: root namespaces (-want +got):\n%s", test.name, diff)
		}
		if values, templates := len(snapshot.InstallationValues()), len(snapshot.InjectionTemplates()); values != test.values || templates != test.values {
			t.Errorf("%s: %d values, %d templates", test.name, values, templates)
		}
		if inject := snapshot.Injectors().Inject(labels{"istio-injection": "enabled"}, nil, nil, false); inject != test.inject {
			t.Errorf("%s: injected is %t", test.name, inject)
		}
	}
}

func TestAnInstallationThatCannotBeReadIsNotKnown(t *testing.T) {
	tests := []struct {
		name      string
		configMap *corev1.ConfigMap
		reason    string
	}{
		{"readable", installed("istio-system", "istio-canary", "mesh", "enableTracing: true"), ""},
		{"no YAML", installed("istio-system", "istio-canary", "mesh", "a: [b"), "ConfigMap istio-system/istio-canary, data.mesh: "},
		{"another type", installed("istio-system", "istio-canary", "mesh", "discoverySelectors: all"), "ConfigMap istio-system/istio-canary, data.mesh: "},
		{"an injector", installed("istio-system", "istio-sidecar-injector", "config", "policy: enabled"), ""},
		{"an injector's selectors", installed("istio-system", "istio-sidecar-injector", "config", "neverInjectSelector: all"), "ConfigMap istio-system/istio-sidecar-injector, data.config: "},
		{"an injector's templates", installed("istio-system", "istio-sidecar-injector", "config", "templates: all"), "data.config: "},
		{"an injector's values", installed("istio-system", "istio-sidecar-injector", "values", "{"), "data.values: it is not YAML"},
		{"a tenant's", installed("tenant", "istio-canary", "mesh", "a: [b"), ""},
		{"something else's", installed("istio-system", "other", "mesh", "a: [b"), ""},
	}
	for _, test := range tests {
		coverage := fixture.Snapshot(append(fixture.Installation(), test.configMap)...).Coverage(mesh.IstioConfigMaps, "shop")
		if coverage.Known() != (test.reason == "") || !strings.Contains(coverage.Reason, test.reason) || strings.Contains(coverage.Reason, "\n") {
			t.Errorf("%s: %+v", test.name, coverage)
		}
	}
}
