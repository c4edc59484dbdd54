package checks_test

import (
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	corev1 "k8s.io/api/core/v1"
)

func discoveryCases() []testCase {
	const check, object, field = "discovery-selectors", "ConfigMap istio-system/istio", "data.mesh (discoverySelectors)"
	configured := func(text string, more ...any) []any {
		return append(without("ConfigMap", "istio", shop()), append(more, fixture.MeshConfig(text))...)
	}
	revision := func(text string) *corev1.ConfigMap {
		config := fixture.MeshConfig(text)
		config.Name, config.Labels = "istio-canary", labels{"istio.io/rev": "canary"}
		config.UID = "canary"
		return config
	}
	const injected, other = "discoverySelectors: [{matchLabels: {istio-injection: enabled}}]", "discoverySelectors: [{matchLabels: {mesh: other}}]"
	ignored := []finding{{fail, object, field, "no selector matches the labels of namespace shop"}}
	return []testCase{
		{name: "none", check: check, objects: shop()},
		{name: "an empty list", check: check, objects: configured("discoverySelectors: []")},
		{name: "one that selects it", check: check, objects: configured(injected)},
		{name: "one that selects everything", check: check, objects: configured("discoverySelectors: [{}]")},
		{name: "one that does not", check: check, objects: configured(other), want: ignored},
		{name: "an expression that does not", check: check, objects: configured("discoverySelectors: [{matchExpressions: [{key: istio-injection, operator: NotIn, values: [enabled]}]}]"), want: ignored},
		{name: "the second of two selects it", check: check, objects: configured("discoverySelectors: [{matchLabels: {mesh: other}}, {matchLabels: {istio-injection: enabled}}]")},
		{name: "one that is not valid", check: check, objects: configured("discoverySelectors: [{matchExpressions: [{key: a, operator: Is}]}]"), want: []finding{{unknown, object, field, "selector 0 is not valid"}}},
		{name: "another revision's does not", check: check, objects: shop(fixture.Istiod("canary"), revision(other)), want: []finding{{fail, "ConfigMap istio-system/istio-canary", field, "revision canary ignores it"}}},
		{name: "another revision's does not, which ztunnel is not connected to", check: check, objects: edited(shop(fixture.Istiod("canary"), revision(other)), "Pod", "ztunnel-x", connected("istiod.istio-system.svc:15012")), want: []finding{{warn, "ConfigMap istio-system/istio-canary", field, "revision canary ignores it"}}},
		{name: "another revision's does not, which ztunnel is connected to", check: check, objects: edited(shop(fixture.Istiod("canary"), revision(other)), "Pod", "ztunnel-x", connected("istiod-canary.istio-system.svc:15012")), want: []finding{{fail, "ConfigMap istio-system/istio-canary", field, "revision canary ignores it"}}},
	}
}

// connected sets the address of ztunnel's istiod.
func connected(address string) func(map[string]any) {
	return func(pod map[string]any) {
		container := pod["spec"].(map[string]any)["containers"].([]any)[0].(map[string]any)
		container["env"] = []any{map[string]any{"name": "XDS_ADDRESS", "value": address}}
	}
}
