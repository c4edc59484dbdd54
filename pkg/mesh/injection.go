package mesh

import (
	"slices"
	"strings"

	"istio.io/api/annotation"
	"istio.io/api/label"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// NamespaceInjectionLabel asks for sidecars in a namespace ("enabled") or
// refuses them ("disabled"). It wins over istio.io/rev.
const NamespaceInjectionLabel = "istio-injection"

// The values of NamespaceInjectionLabel.
const (
	InjectionEnabled  = "enabled"
	InjectionDisabled = "disabled"
)

// injectorSuffix ends the names of the injector's webhooks, one per case
// (namespace., object., rev.namespace., rev.object., auto.).
const injectorSuffix = "sidecar-injector.istio.io"

// Injectors are the injection webhooks of all revisions and tags.
type Injectors []admissionv1.MutatingWebhook

// InjectorsOf picks the injection webhooks out of the cluster's webhook
// configurations.
func InjectorsOf(configurations []admissionv1.MutatingWebhookConfiguration) Injectors {
	var injectors Injectors
	for _, configuration := range configurations {
		for _, webhook := range configuration.Webhooks {
			if strings.HasSuffix(webhook.Name, injectorSuffix) {
				injectors = append(injectors, webhook)
			}
		}
	}
	return injectors
}

// ByDefault says whether a namespace without any injection label gets
// sidecars (enableNamespacesByDefault), in which case only
// istio-injection=disabled keeps them out.
func (i Injectors) ByDefault(namespaceName string) bool {
	bare := map[string]string{corev1.LabelMetadataName: namespaceName}
	return i.Inject(bare, nil, nil, false)
}

// Inject says whether a pod created now would get a sidecar. It is decided as
// the API server and the injector do: a webhook whose selectors match
// namespace and pod calls the injector, which then goes by the pod's label
// before its annotation (istio pkg/kube/inject, injectRequired). The
// injector's own policy and its never/always selectors are taken at their
// defaults.
func (i Injectors) Inject(namespaceLabels, podLabels, podAnnotations map[string]string, hostNetwork bool) bool {
	if hostNetwork || !i.called(namespaceLabels, podLabels) {
		return false
	}
	wish := podAnnotations[annotation.SidecarInject.Name]
	if byLabel, set := podLabels[label.SidecarInject.Name]; set {
		wish = byLabel
	}
	return wish != "false"
}

func (i Injectors) called(namespaceLabels, podLabels map[string]string) bool {
	return slices.ContainsFunc(i, func(webhook admissionv1.MutatingWebhook) bool {
		return selects(webhook.NamespaceSelector, namespaceLabels) && selects(webhook.ObjectSelector, podLabels)
	})
}

// selects evaluates a selector as the API server does: nil selects all. One
// that the API server would have refused cannot be stored; it selects nothing.
func selects(selector *metav1.LabelSelector, set map[string]string) bool {
	if selector == nil {
		return true
	}
	compiled, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && compiled.Matches(labels.Set(set))
}
