package mesh

import (
	"regexp"
	"strings"

	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Installer is what a part of Istio was installed with.
type Installer string

// The installers that are told apart. InstallerUnknown is what `helm template`
// and `istioctl manifest generate` leave behind.
const (
	InstallerHelm     Installer = "Helm"
	InstallerIstioctl Installer = "istioctl"
	InstallerSail     Installer = "Sail operator"
	InstallerUnknown  Installer = ""
)

// Installation says what a part of Istio was installed with.
type Installation struct {
	Installer Installer
	// Release is Helm's name for it, or the name of the Sail operator's
	// resource that owns it.
	Release string
	// Version is the chart's, where the object says so.
	Version string
}

// InstallationOf reads it from an object of the installation. The charts'
// labels, app.kubernetes.io/managed-by among them, are the same however they
// were rendered; what Helm adds by itself is an annotation, what istioctl
// install adds is a label (istio operator/pkg/install, getOwnerLabels).
func InstallationOf(object metav1.ObjectMeta) Installation {
	installation := Installation{}
	if match := chartVersion.FindStringSubmatch(object.Labels["helm.sh/chart"]); match != nil && match[1] != UnreleasedChart {
		installation.Version = match[1]
	}
	for _, owner := range object.OwnerReferences {
		if strings.HasPrefix(owner.APIVersion, "sailoperator.io/") {
			installation.Installer, installation.Release = InstallerSail, owner.Name
			return installation
		}
	}
	switch {
	case object.Annotations["meta.helm.sh/release-name"] != "":
		installation.Installer, installation.Release = InstallerHelm, object.Annotations["meta.helm.sh/release-name"]
	case object.Labels["operator.istio.io/managed"] != "":
		installation.Installer = InstallerIstioctl
	}
	return installation
}

// UnreleasedChart is the version of charts in Istio's source, and of those that
// istioctl holds.
const UnreleasedChart = "1.0.0"

// chartVersion is in the label that every chart sets: its name, a hyphen and its
// version.
var chartVersion = regexp.MustCompile(`^[a-z-]+-(\d.*)$`)

// SettingState says what is known of an environment variable.
type SettingState string

// A variable whose value comes from elsewhere, or that any of a whole source of
// variables could set, is hidden: its value is not in the template.
const (
	SettingAbsent SettingState = "absent"
	SettingSet    SettingState = "set"
	SettingHidden SettingState = "hidden"
)

// Setting returns an environment variable of a pod template. Where it is written
// more than once the last one counts, as for the kubelet; what is written wins
// over envFrom.
func Setting(template corev1.PodTemplateSpec, name string) (string, SettingState) {
	value, state := "", SettingAbsent
	for _, container := range template.Spec.Containers {
		if state == SettingAbsent && len(container.EnvFrom) > 0 {
			state = SettingHidden
		}
		for _, variable := range container.Env {
			switch {
			case variable.Name != name:
			case variable.ValueFrom != nil || variable.Value == Redacted:
				value, state = "", SettingHidden
			default:
				value, state = variable.Value, SettingSet
			}
		}
	}
	return value, state
}

// CNIPods returns the live pods of istio-cni's agent.
func (s *Snapshot) CNIPods() []Pod { return s.componentPods(CNIPods) }

// Images returns the images of a pod's containers by the containers' names. It
// is empty for a pod of which only metadata was read.
func (p Pod) Images() map[string]string {
	images := map[string]string{}
	containers, _, _ := unstructured.NestedSlice(p.Object, "spec", "containers")
	for _, item := range containers {
		container, _ := item.(map[string]any)
		name, _ := container["name"].(string)
		image, _ := container["image"].(string)
		images[name] = image
	}
	return images
}

// InstallationValues are the values of an installation that say in which shape
// of mesh it takes part.
type InstallationValues struct {
	// ConfigMap is where they were read.
	ConfigMap corev1.ConfigMap
	// Revision is whose they are.
	Revision string
	// Network is the cluster's network; empty where there is only one.
	Network string
	// ExternalIstiod is true where istiod serves other clusters.
	ExternalIstiod bool
	// RemotePilotAddress is where the istiod of another cluster is.
	RemotePilotAddress string
}

// InstallationValues returns the values of each revision, as its injector's
// ConfigMap holds them. One that is not YAML is left out: the injector cannot
// read it either.
func (s *Snapshot) InstallationValues() []InstallationValues {
	var all []InstallationValues
	for _, configMap := range s.installations {
		if !holdsInjection(configMap) || configMap.Data["values"] == "" {
			continue
		}
		var values map[string]any
		if err := yaml.Unmarshal([]byte(configMap.Data["values"]), &values); err != nil {
			continue
		}
		network, _, _ := unstructured.NestedString(values, "global", "network")
		external, _, _ := unstructured.NestedBool(values, "global", "externalIstiod")
		address, _, _ := unstructured.NestedString(values, "global", "remotePilotAddress")
		all = append(all, InstallationValues{
			ConfigMap: configMap, Revision: configMap.Labels[label.IoIstioRev.Name],
			Network: network, ExternalIstiod: external, RemotePilotAddress: address,
		})
	}
	return all
}
