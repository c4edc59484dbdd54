package mesh

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"istio.io/api/annotation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// configured are the containers whose variables decisions read: those of Istio's
// own charts and of the CNI plugins that checks know. An application may call its
// own variables whatever it likes.
var configured = map[string]bool{
	ProxyContainer: true, "discovery": true, "install-cni": true,
	"aws-node": true, "calico-node": true, "cilium-agent": true,
}

// tellingAnnotations are those of pods, workloads and their templates that
// decisions read, or that only say who manages what. Prometheus reads its own
// under other spellings, too.
var tellingAnnotations = regexp.MustCompile(`^(?:(?:[a-z0-9.-]+\.)?(?:istio\.io|kubernetes\.io|fluxcd\.io|argoproj\.io|kubectl-ambient\.dev)/|` +
	`prometheus[._-]io[/._-](?:scrape|port|path|scheme)$|k8s\.v1\.cni\.cncf\.io/networks$|meta\.helm\.sh/|gateway\.networking\.k8s\.io/|` +
	`configmanagement\.gke\.io/managed$|deprecated\.daemonset\.template\.generation$)`)

// free are among them, and hold whatever people write: command lines, volumes,
// containers with their variables.
var free = map[string]bool{
	"kubernetes.io/change-cause": true, annotation.ProxyOverrides.Name: true,
	annotation.SidecarUserVolume.Name: true, annotation.SidecarBootstrapOverride.Name: true,
}

// redactAnnotations keeps what annotations say to decisions. Their names stay.
func redactAnnotations(object map[string]any, path ...string) bool {
	field, _, _ := unstructured.NestedFieldNoCopy(object, append(path, "annotations")...)
	annotations, _ := field.(map[string]any)
	lost := false
	for key, value := range annotations {
		if text, isText := value.(string); isText {
			kept := tellingAnnotation(key, text)
			annotations[key] = kept
			lost = lost || kept != text
		}
	}
	return lost
}

func tellingAnnotation(key, text string) string {
	switch {
	case text == "":
		return text
	case key == annotation.ProxyConfig.Name:
		return proxyConfig(text)
	case !tellingAnnotations.MatchString(key) || free[key]:
		return Redacted
	case strings.HasPrefix(key, "prometheus"):
		return withoutQuery(text)
	}
	return text
}

// withoutQuery cuts what follows the path of a URL.
func withoutQuery(path string) string {
	before, query, found := strings.Cut(path, "?")
	if !found || query == "" {
		return path
	}
	return before + "?" + Redacted
}

// proxyConfig keeps which settings of the sidecar an annotation makes, and not
// what they are, unless that is a number or tells of Istio.
func proxyConfig(text string) string {
	var config map[string]any
	if err := yaml.Unmarshal([]byte(text), &config); err != nil {
		return Redacted
	}
	if !redactProxyConfig(config) {
		return text
	}
	kept, err := yaml.Marshal(config)
	if err != nil {
		return Redacted
	}
	return string(kept)
}

func redactProxyConfig(config map[string]any) bool {
	lost := false
	for key, value := range config {
		variables, isMap := value.(map[string]any)
		switch {
		case key == "interceptionMode" && slices.Contains(interceptionModes, fmt.Sprint(value)):
		case isMap && (key == "proxyMetadata" || key == "environment" || key == "environmentVariables"):
			for name, value := range variables {
				if value != Redacted && value != "" && !tellingVariables.MatchString(name) {
					variables[name], lost = Redacted, true
				}
			}
		default:
			kept, changed := withoutTexts(value)
			config[key], lost = kept, lost || changed
		}
	}
	return lost
}

// withoutTexts keeps the shape of a value, and what in it is no text.
func withoutTexts(value any) (any, bool) {
	lost := false
	switch value := value.(type) {
	case string:
		if value != "" && value != Redacted {
			return Redacted, true
		}
	case []any:
		for i := range value {
			kept, changed := withoutTexts(value[i])
			value[i], lost = kept, lost || changed
		}
	case map[string]any:
		for key := range value {
			kept, changed := withoutTexts(value[key])
			value[key], lost = kept, lost || changed
		}
	}
	return value, lost
}

// redactVolumes takes out what volumes tell their drivers.
func redactVolumes(object map[string]any, path ...string) bool {
	field, _, _ := unstructured.NestedFieldNoCopy(object, append(path, "volumes")...)
	volumes, _ := field.([]any)
	lost := false
	for _, item := range volumes {
		volume, _ := item.(map[string]any)
		for _, path := range [][]string{{"csi", "volumeAttributes"}, {"flexVolume", "options"}} {
			field, _, _ := unstructured.NestedFieldNoCopy(volume, path...)
			options, _ := field.(map[string]any)
			for key, value := range options {
				if value != Redacted && value != "" {
					options[key], lost = Redacted, true
				}
			}
		}
	}
	return lost
}

// redactStatuses takes out what containers said when they ended, or what a
// runtime says of the command that it could not start. The reasons stay.
func redactStatuses(object map[string]any) {
	for _, list := range []string{"containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"} {
		field, _, _ := unstructured.NestedFieldNoCopy(object, "status", list)
		statuses, _ := field.([]any)
		for _, item := range statuses {
			status, _ := item.(map[string]any)
			for _, path := range [][]string{{"state", "terminated"}, {"state", "waiting"}, {"lastState", "terminated"}, {"lastState", "waiting"}} {
				unstructured.RemoveNestedField(status, append(path, "message")...)
			}
		}
	}
}
