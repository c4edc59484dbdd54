package mesh

import (
	"slices"
	"strings"

	"istio.io/api/annotation"
	"istio.io/api/label"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
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
type Injectors []Injector

// Injector is one case of one revision's injection webhook.
type Injector struct {
	Webhook admissionv1.MutatingWebhook
	Policy  InjectionPolicy
	// Configuration is the name of the webhook's configuration, Revision its revision.
	Configuration string
	Revision      string
}

// InjectionPolicy is a revision's own rule for pods that say nothing (istio
// pkg/kube/inject, Config). The field names are those of the ConfigMap.
type InjectionPolicy struct {
	// Policy is "enabled" or "disabled".
	Policy string `json:"policy"`
	// NeverInject and AlwaysInject select pods by their labels.
	NeverInject  []metav1.LabelSelector `json:"neverInjectSelector"`
	AlwaysInject []metav1.LabelSelector `json:"alwaysInjectSelector"`
}

// injectionEnabled is the policy of an installation that sets none.
const injectionEnabled = "enabled"

// InjectorsOf picks the injection webhooks out of the cluster's webhook
// configurations, each with the policy of the revision that answers it.
func InjectorsOf(configurations []admissionv1.MutatingWebhookConfiguration, configMaps []corev1.ConfigMap) Injectors {
	return injectorsOf(configurations, policiesOf(injectionsOf(configMaps)))
}

// injection is what the ConfigMap of an injector says of it, in its key config.
type injection struct {
	InjectionPolicy
	InjectionTemplates

	configMap corev1.ConfigMap
	// misread is why it is not understood, by the injector neither.
	misread error
}

// injectionsOf reads the ConfigMaps of injectors. The templates in them are long: all that
// anybody asks of one is read at once.
func injectionsOf(configMaps []corev1.ConfigMap) []injection {
	var all []injection
	for _, configMap := range configMaps {
		if !holdsInjection(configMap) {
			continue
		}
		var read injection
		if err := yaml.Unmarshal([]byte(configMap.Data["config"]), &read); err != nil {
			read = injection{misread: err}
		}
		read.configMap = configMap
		all = append(all, read)
	}
	return all
}

// policiesOf are the injection policies by revision.
func policiesOf(injections []injection) map[string]InjectionPolicy {
	policies := map[string]InjectionPolicy{}
	for _, injection := range injections {
		if injection.misread == nil {
			policies[injection.configMap.Labels[label.IoIstioRev.Name]] = injection.InjectionPolicy
		}
	}
	return policies
}

func injectorsOf(configurations []admissionv1.MutatingWebhookConfiguration, policies map[string]InjectionPolicy) Injectors {
	var injectors Injectors
	for _, configuration := range configurations {
		revision := configuration.Labels[label.IoIstioRev.Name]
		policy := policies[revision]
		for _, webhook := range configuration.Webhooks {
			if strings.HasSuffix(webhook.Name, injectorSuffix) {
				injectors = append(injectors, Injector{Webhook: webhook, Policy: policy, Configuration: configuration.Name, Revision: revision})
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
// the API server and the injector do: a webhook whose selectors match namespace
// and pod calls the injector of its revision, which goes by the pod's label
// before its annotation, and by its own policy where the pod says nothing
// (istio pkg/kube/inject, injectRequired).
func (i Injectors) Inject(namespaceLabels, podLabels, podAnnotations map[string]string, hostNetwork bool) bool {
	_, injects := i.Injecting(namespaceLabels, podLabels, podAnnotations, hostNetwork)
	return injects
}

// Injecting returns the injector that would give a pod its sidecar.
func (i Injectors) Injecting(namespaceLabels, podLabels, podAnnotations map[string]string, hostNetwork bool) (Injector, bool) {
	if hostNetwork {
		return Injector{}, false
	}
	at := slices.IndexFunc(i, func(injector Injector) bool {
		return selects(injector.Webhook.NamespaceSelector, namespaceLabels) && selects(injector.Webhook.ObjectSelector, podLabels) &&
			injector.Policy.requires(podLabels, podAnnotations)
	})
	if at < 0 {
		return Injector{}, false
	}
	return i[at], true
}

func (p InjectionPolicy) requires(podLabels, podAnnotations map[string]string) bool {
	wish := podAnnotations[annotation.SidecarInject.Name]
	if byLabel, set := podLabels[label.SidecarInject.Name]; set {
		wish = byLabel
	}
	switch {
	case wish == "true":
		return true
	case wish == "false":
		return false
	case matchesAny(p.NeverInject, podLabels):
		return false
	case matchesAny(p.AlwaysInject, podLabels):
		return true
	default:
		return p.Policy == "" || p.Policy == injectionEnabled
	}
}

// matchesAny leaves out empty selectors, as the injector does.
func matchesAny(selectors []metav1.LabelSelector, set map[string]string) bool {
	return slices.ContainsFunc(selectors, func(selector metav1.LabelSelector) bool {
		empty := len(selector.MatchLabels) == 0 && len(selector.MatchExpressions) == 0
		return !empty && selects(&selector, set)
	})
}

// selects evaluates a selector as the API server does: nil selects all. One
// that the API server would have refused cannot be stored; it selects nothing.
// It is asked for each pod, so that it compiles nothing.
func selects(selector *metav1.LabelSelector, set map[string]string) bool {
	if selector == nil {
		return true
	}
	for key, want := range selector.MatchLabels {
		if value, has := set[key]; !has || value != want {
			return false
		}
	}
	return !slices.ContainsFunc(selector.MatchExpressions, func(requirement metav1.LabelSelectorRequirement) bool {
		return !meets(requirement, set)
	})
}

// meets says whether labels meet one requirement. What is forbidden by NotIn is so for
// those that have the label (k8s.io/apimachinery/pkg/labels, Requirement.Matches).
func meets(requirement metav1.LabelSelectorRequirement, set map[string]string) bool {
	value, has := set[requirement.Key]
	listed := slices.Contains(requirement.Values, value)
	switch requirement.Operator {
	case metav1.LabelSelectorOpIn:
		return has && listed
	case metav1.LabelSelectorOpNotIn:
		return len(requirement.Values) > 0 && (!has || !listed)
	case metav1.LabelSelectorOpExists:
		return has && len(requirement.Values) == 0
	case metav1.LabelSelectorOpDoesNotExist:
		return !has && len(requirement.Values) == 0
	default:
		return false
	}
}
