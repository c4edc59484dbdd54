// Package cni plays Istio's CNI node agent, which enrols pods in ambient mode,
// for tests. It decides and records as the agent does, and hands pods to doubles
// of ztunnel. It changes no network.
package cni

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"istio.io/api/annotation"
)

// ConfigMapName is the ConfigMap that configures the agent
// (manifests/charts/istio-cni/templates/configmap-cni.yaml).
const ConfigMapName = "istio-cni-config"

// Config is what the agent is told about ambient mode.
type Config struct {
	// Ambient tells whether the agent enrols pods at all.
	Ambient            bool
	selectors          []selector
	excludedNamespaces map[string]bool
}

// selector selects pods to enrol: both parts must match.
type selector struct{ pod, namespace labels.Selector }

// NewConfig reads the data of the agent's ConfigMap.
func NewConfig(data map[string]string) (Config, error) {
	config := Config{Ambient: data["AMBIENT_ENABLED"] == "true", excludedNamespaces: map[string]bool{}}
	for name := range strings.SplitSeq(data["EXCLUDE_NAMESPACES"], ",") {
		if name = strings.TrimSpace(name); name != "" {
			config.excludedNamespaces[name] = true
		}
	}
	var raw []struct {
		PodSelector       metav1.LabelSelector `json:"podSelector"`
		NamespaceSelector metav1.LabelSelector `json:"namespaceSelector"`
	}
	if err := yaml.Unmarshal([]byte(data["AMBIENT_ENABLEMENT_SELECTOR"]), &raw); err != nil {
		return Config{}, fmt.Errorf("reading the selectors of %s: %w", ConfigMapName, err)
	}
	for _, entry := range raw {
		pod, err := metav1.LabelSelectorAsSelector(&entry.PodSelector)
		if err != nil {
			return Config{}, fmt.Errorf("reading the pod selector of %s: %w", ConfigMapName, err)
		}
		namespace, err := metav1.LabelSelectorAsSelector(&entry.NamespaceSelector)
		if err != nil {
			return Config{}, fmt.Errorf("reading the namespace selector of %s: %w", ConfigMapName, err)
		}
		config.selectors = append(config.selectors, selector{pod, namespace})
	}
	return config, nil
}

// Enrols tells whether a pod belongs into ambient mode, given the labels of its
// namespace (cni/pkg/util/enablement_selector.go and reconcilePod in
// cni/pkg/nodeagent/informers.go). A pod of the host's network and one with a
// sidecar never do, whatever their labels say.
func (c Config) Enrols(pod *corev1.Pod, namespace map[string]string) bool {
	if pod.Spec.HostNetwork || c.excludedNamespaces[pod.Namespace] {
		return false
	}
	if _, sidecar := pod.Annotations[annotation.SidecarStatus.Name]; sidecar {
		return false
	}
	for _, selector := range c.selectors {
		if selector.pod.Matches(labels.Set(pod.Labels)) && selector.namespace.Matches(labels.Set(namespace)) {
			return true
		}
	}
	return false
}
