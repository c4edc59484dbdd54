package mesh_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// What configures proxies elsewhere may hold a credential, which whoever may read the
// namespace's ConfigMaps is not to read. What the namespace's own says, they may.
func TestExcerptHoldsNoCredentialsOfOtherNamespaces(t *testing.T) {
	specs := map[string]string{
		"networking.istio.io/v1alpha3 EnvoyFilter":        "{workloadSelector: {labels: {app: cart}}, configPatches: [{applyTo: CLUSTER, patch: {value: {token: %s}}}]}",
		"networking.istio.io/v1beta1 ProxyConfig":         "{selector: {matchLabels: {app: cart}}, environmentVariables: {TOKEN: %s}}",
		"extensions.istio.io/v1alpha1 WasmPlugin":         "{selector: {matchLabels: {app: cart}}, url: oci://a, pluginConfig: {token: %s}}",
		"extensions.istio.io/v1alpha1 TrafficExtension":   "{selector: {matchLabels: {app: cart}}, lua: {inlineCode: %s}}",
		"telemetry.istio.io/v1 Telemetry":                 "{selector: {matchLabels: {app: cart}}, tracing: [{customTags: {token: {literal: {value: %s}}}}]}",
		"telemetry.istio.io/v1 Telemetry of a waypoint's": "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: way}], tracing: [{customTags: {token: {literal: {value: %s}}}}]}",
	}
	for of, spec := range specs {
		version, kind, _ := strings.Cut(of, " ")
		kind, _, _ = strings.Cut(kind, " ")
		t.Run(of, func(t *testing.T) {
			object := func(namespace, credential string) string {
				return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: e, namespace: %s, annotations: {note: %s}}\nspec: %s", version, kind, namespace, credential, fmt.Sprintf(spec, credential))
			}
			content := fixture.Content(append(fixture.Installation(), fixture.Namespace("shop", nil), object("istio-system", "hunter2"), object("shop", "hunter3"))...)
			snapshot, err := mesh.NewSnapshot(content)
			if err != nil {
				t.Fatal(err)
			}
			excerpt := mesh.Excerpt(content, snapshot, fixture.Find(snapshot, "shop"))
			data, err := json.Marshal(excerpt.Objects)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(data), "hunter2") || !strings.Contains(string(data), "hunter3") {
				t.Errorf("it holds %s", data)
			}
			then, err := mesh.NewSnapshot(excerpt)
			if err != nil {
				t.Fatal(err)
			}
			extensions := then.Extensions()
			if len(extensions) != 2 || extensions[0].Selector["app"] != "cart" && !extensions[0].Targeted() || extensions[0].Selector["app"] != extensions[1].Selector["app"] {
				t.Errorf("the extensions are %+v", extensions)
			}
		})
	}
}

// A ConfigMap of a control plane is in the excerpt without what nothing decides by.
func TestExcerptHoldsNoCredentialsOfMeshConfig(t *testing.T) {
	const config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio-canary, namespace: istio-system, labels: {istio.io/rev: canary}}\n" +
		"data: {mesh: '{rootNamespace: istio-system, extensionProviders: [{name: otel, opentelemetry: {service: hunter2}}]}'}"
	content := fixture.Content(append(fixture.Installation(), fixture.Namespace("shop", nil), config)...)
	snapshot, err := mesh.NewSnapshot(content)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(mesh.Excerpt(content, snapshot, fixture.Find(snapshot, "shop")).Objects)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), "hunter2") || !strings.Contains(string(data), "istio-canary") {
		t.Errorf("it holds %s", data)
	}
}
