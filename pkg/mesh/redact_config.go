package mesh

import (
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// meshSettings are the settings of a mesh that decisions read, or that say which
// namespaces and identities it spans.
var meshSettings = map[string]bool{
	"rootNamespace": true, "outboundTrafficPolicy": true, "enablePrometheusMerge": true, "enableTracing": true,
	"defaultProviders": true, "discoverySelectors": true, "trustDomain": true, "trustDomainAliases": true,
	"defaultVirtualServiceExportTo": true, "defaultDestinationRuleExportTo": true,
}

// meshConfiguration keeps of a mesh's configuration what decisions read. What is
// not as it should be stays so, that it is refused by whoever reads it.
func meshConfiguration(text string) string {
	var config map[string]any
	if err := yaml.Unmarshal([]byte(text), &config); err != nil {
		return Redacted
	}
	kept := map[string]any{}
	for key, value := range config {
		switch {
		case meshSettings[key]:
			kept[key] = value
		case key == "extensionProviders":
			kept[key] = providers(value)
		case key == "defaultConfig":
			kept[key] = defaultConfig(value)
		}
	}
	if reflect.DeepEqual(kept, config) {
		return text
	}
	written, err := yaml.Marshal(kept)
	if err != nil {
		return Redacted
	}
	return string(written)
}

// providers keeps their names, of what kind they are, and of external authorizers the
// Service that is asked and what happens where it cannot be.
func providers(value any) any {
	list, isList := value.([]any)
	if !isList {
		kept, _ := withoutTexts(value)
		return kept
	}
	kept := []any{}
	for _, item := range list {
		provider, _ := item.(map[string]any)
		of := map[string]any{}
		for key, value := range provider {
			of[key] = map[string]any{}
			switch {
			case key == "name":
				of[key] = value
			case slices.Contains(authorizerKinds, key):
				of[key] = asking(value)
			}
		}
		kept = append(kept, of)
	}
	return kept
}

// defaultConfig keeps what sidecars are told of tracing and of what they capture, and
// their variables that tell of Istio.
func defaultConfig(value any) any {
	config, isMap := value.(map[string]any)
	if !isMap {
		kept, _ := withoutTexts(value)
		return kept
	}
	kept := map[string]any{}
	for _, key := range []string{"proxyMetadata", "tracing", "interceptionMode"} {
		if value, set := config[key]; set {
			kept[key] = runtime.DeepCopyJSONValue(value)
		}
	}
	redactProxyConfig(kept)
	return kept
}
