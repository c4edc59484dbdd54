package mesh

import (
	"fmt"
	"slices"
	"strings"

	"istio.io/api/annotation"
	"istio.io/api/label"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// The values of label istio.io/dataplane-mode.
const (
	DataplaneAmbient = "ambient"
	DataplaneNone    = "none"
)

// EnrolmentRule is istio-cni's rule for which pods ztunnel captures: those
// that any of the selectors selects, never host-network pods or pods with a
// sidecar (istio cni/pkg/util/enablement_selector.go).
type EnrolmentRule struct {
	Selectors         []EnrolmentSelector
	ExcludeNamespaces []string
}

// EnrolmentSelector selects pods by their own and their namespace's labels.
// The field names are those of the ConfigMap.
type EnrolmentSelector struct {
	PodSelector       metav1.LabelSelector `json:"podSelector"`
	NamespaceSelector metav1.LabelSelector `json:"namespaceSelector"`
}

// DefaultEnrolmentRule is the rule of an installation that does not configure
// its own: the pod's label, or the namespace's unless the pod says none
// (istio manifests/charts/istio-cni/values.yaml).
func DefaultEnrolmentRule() EnrolmentRule {
	ambient := metav1.LabelSelector{MatchLabels: map[string]string{label.IoIstioDataplaneMode.Name: DataplaneAmbient}}
	notNone := metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
		Key: label.IoIstioDataplaneMode.Name, Operator: metav1.LabelSelectorOpNotIn, Values: []string{DataplaneNone},
	}}}
	return EnrolmentRule{
		Selectors:         []EnrolmentSelector{{PodSelector: ambient}, {PodSelector: notNone, NamespaceSelector: ambient}},
		ExcludeNamespaces: []string{metav1.NamespaceSystem},
	}
}

// EnrolmentRuleOf reads the rule from the data of ConfigMap istio-cni-config.
// Keys that are absent keep their defaults. An error names the key.
func EnrolmentRuleOf(data map[string]string) (EnrolmentRule, error) {
	rule := DefaultEnrolmentRule()
	if text := data["AMBIENT_ENABLEMENT_SELECTOR"]; text != "" {
		var selectors []EnrolmentSelector
		if err := yaml.Unmarshal([]byte(text), &selectors); err != nil {
			return rule, fmt.Errorf("key AMBIENT_ENABLEMENT_SELECTOR: %w", err)
		}
		for _, selector := range selectors {
			for _, part := range []*metav1.LabelSelector{&selector.PodSelector, &selector.NamespaceSelector} {
				if _, err := metav1.LabelSelectorAsSelector(part); err != nil {
					return rule, fmt.Errorf("key AMBIENT_ENABLEMENT_SELECTOR: %w", err)
				}
			}
		}
		rule.Selectors = selectors
	}
	if text, set := data["EXCLUDE_NAMESPACES"]; set {
		rule.ExcludeNamespaces = nil
		for name := range strings.SplitSeq(text, ",") {
			if name = strings.TrimSpace(name); name != "" {
				rule.ExcludeNamespaces = append(rule.ExcludeNamespaces, name)
			}
		}
	}
	return rule, nil
}

// Captures says whether ztunnel is to capture the pod while its namespace has
// these labels.
func (r EnrolmentRule) Captures(pod Pod, namespaceLabels map[string]string) bool {
	if _, injected := pod.Annotations[annotation.SidecarStatus.Name]; injected || pod.HostNetwork {
		return false
	}
	if slices.Contains(r.ExcludeNamespaces, pod.Namespace) {
		return false
	}
	return slices.ContainsFunc(r.Selectors, func(selector EnrolmentSelector) bool {
		return selects(&selector.PodSelector, pod.Labels) && selects(&selector.NamespaceSelector, namespaceLabels)
	})
}
