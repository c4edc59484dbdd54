package mesh

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// installationsOf leaves out the ConfigMaps that no istiod reads: it reads those
// of its own namespace (istio pilot/pkg/bootstrap, initMeshConfiguration and
// initSidecarInjector), and whoever may write elsewhere can use the same names
// and labels. Where no istiod is known all count.
func installationsOf(configMaps []corev1.ConfigMap, istiods []appsv1.Deployment) []corev1.ConfigMap {
	return slices.DeleteFunc(slices.Clone(configMaps), func(configMap corev1.ConfigMap) bool {
		return len(istiods) > 0 && !slices.ContainsFunc(istiods, func(istiod appsv1.Deployment) bool { return istiod.Namespace == configMap.Namespace })
	})
}

// holdsConfiguration says whether a ConfigMap is one of a revision's mesh
// configuration.
func holdsConfiguration(configMap corev1.ConfigMap) bool {
	return (configMap.Name == "istio" || strings.HasPrefix(configMap.Name, "istio-")) && configMap.Data["mesh"] != ""
}

// holdsInjection says whether a ConfigMap is an injector's.
func holdsInjection(configMap corev1.ConfigMap) bool {
	return strings.HasPrefix(configMap.Name, "istio-sidecar-injector")
}

// settings are what the ConfigMaps of installations say.
type settings struct {
	injections     []injection
	configurations []Configuration
	captures       CaptureDefaults
	// doubt is what one of them says that cannot be read.
	doubt string
}

// settingsAfter reads ConfigMaps, or has them from a snapshot of before where they are
// the same.
func settingsAfter(configMaps []corev1.ConfigMap, former *Snapshot) settings {
	unchanged := func(a, b corev1.ConfigMap) bool {
		return a.UID == b.UID && a.ResourceVersion == b.ResourceVersion && a.ResourceVersion != ""
	}
	if former != nil && slices.EqualFunc(configMaps, former.installations, unchanged) {
		return former.settings
	}
	read := settings{injections: injectionsOf(configMaps), configurations: configurationsOf(configMaps)}
	read.captures = capturesOf(configMaps, read.configurations)
	for _, configMap := range configMaps {
		if key, err := read.misread(configMap); err != nil {
			read.doubt = fmt.Sprintf("ConfigMap %s/%s, data.%s: %v", configMap.Namespace, configMap.Name, key, oneLine(err))
			break
		}
	}
	return read
}

// doubtInstallations takes back that the ConfigMaps of installations are known
// where one of them cannot be read: an istiod that runs has one that it could
// read, and nobody knows what that said.
func (s *Snapshot) doubtInstallations() {
	if s.coverage[IstioConfigMaps].Known() && s.settings.doubt != "" {
		s.coverage[IstioConfigMaps] = Coverage{State: CoverageFailed, Reason: s.settings.doubt}
	}
}

// misread returns the key of an installation's ConfigMap that cannot be read.
func (s settings) misread(configMap corev1.ConfigMap) (string, error) {
	if holdsConfiguration(configMap) {
		if err := yaml.Unmarshal([]byte(configMap.Data["mesh"]), &Configuration{}); err != nil {
			return "mesh", err
		}
	}
	if !holdsInjection(configMap) {
		return "", nil
	}
	for _, injection := range s.injections {
		if injection.misread != nil && injection.configMap.Namespace == configMap.Namespace && injection.configMap.Name == configMap.Name {
			return "config", injection.misread
		}
	}
	values := configMap.Data["values"]
	if values == Redacted {
		return "values", errors.New("it is not YAML")
	}
	if err := yaml.Unmarshal([]byte(values), &map[string]any{}); err != nil {
		return "values", err
	}
	return "", nil
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
