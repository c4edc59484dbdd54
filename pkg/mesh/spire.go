package mesh

import (
	"slices"
	"strings"

	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// spiffeDriver is the CSI driver that mounts SPIRE's socket.
const spiffeDriver = "csi.spiffe.io"

// SPIREUse says how a pod uses SPIRE.
type SPIREUse string

// The proxy of a pod takes its certificates from SPIRE, or only the application
// has SPIRE's socket.
const (
	SPIRENone        SPIREUse = ""
	SPIREProxy       SPIREUse = "proxy"
	SPIREApplication SPIREUse = "application"
)

// SPIREOf says how pods with these annotations and this spec use SPIRE. A
// template of pods that are yet to be injected shows it by the injection
// template that it asks for (istio samples/security/spire).
func SPIREOf(annotations map[string]string, spec corev1.PodSpec) SPIREUse {
	if asksForSPIRE(annotations) {
		return SPIREProxy
	}
	volumes := map[string]bool{}
	for _, volume := range spec.Volumes {
		if mountsSPIRE(volume) {
			volumes[volume.Name] = true
		}
	}
	use := SPIRENone
	if len(volumes) > 0 {
		use = SPIREApplication
	}
	for _, container := range slices.Concat(spec.InitContainers, spec.Containers) {
		if container.Name != ProxyContainer {
			continue
		}
		for _, mount := range container.VolumeMounts {
			if volumes[mount.Name] {
				use = SPIREProxy
			}
		}
	}
	return use
}

// mountsSPIRE says whether a volume holds the socket of SPIRE's agent. The
// injector gives every sidecar a volume at the socket's place, which is an empty
// directory where SPIRE is not used.
func mountsSPIRE(volume corev1.Volume) bool {
	return volume.CSI != nil && volume.CSI.Driver == spiffeDriver ||
		volume.HostPath != nil && strings.Contains(volume.HostPath.Path, "/spire")
}

// SPIRE says how the pod uses SPIRE. Of a pod of which only metadata was read,
// the injection template tells.
func (p Pod) SPIRE() SPIREUse {
	var pod corev1.Pod
	if p.Object != nil {
		// It was decoded once already, when the snapshot was made.
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(p.Object, &pod); err != nil {
			return SPIRENone
		}
	}
	return SPIREOf(p.Annotations, pod.Spec)
}

func asksForSPIRE(annotations map[string]string) bool {
	for template := range strings.SplitSeq(annotations[annotation.InjectTemplates.Name], ",") {
		if strings.Contains(strings.ToLower(template), "spire") {
			return true
		}
	}
	return false
}

// SPIREByDefault returns the ConfigMaps of injectors that give SPIRE's socket to
// every sidecar: by their default templates, or because a default template
// mounts it itself.
func (s *Snapshot) SPIREByDefault() []corev1.ConfigMap {
	var found []corev1.ConfigMap
	for _, injection := range s.settings.injections {
		for _, name := range injection.Default {
			if strings.Contains(injection.Templates[name], spiffeDriver) {
				found = append(found, injection.configMap)
				break
			}
		}
	}
	return found
}
