package mesh_test

import (
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

type labels = map[string]string

func injectors(configurations ...*admissionv1.MutatingWebhookConfiguration) mesh.Injectors {
	var all []admissionv1.MutatingWebhookConfiguration
	for _, configuration := range configurations {
		all = append(all, *configuration)
	}
	return mesh.InjectorsOf(all, nil)
}

func TestInject(t *testing.T) {
	const inject, enabled, rev = "sidecar.istio.io/inject", "istio-injection", "istio.io/rev"
	defaults := injectors(fixture.Injector("", false))
	canary := injectors(fixture.Injector("canary", false))
	both := injectors(fixture.Injector("", false), fixture.Injector("canary", false))
	byDefault := injectors(fixture.Injector("", true))
	tagged := injectors(fixture.Injector("1-31", false), fixture.InjectorTag("prod", false), fixture.InjectorTag("default", false))

	tests := []struct {
		name        string
		injectors   mesh.Injectors
		namespace   labels
		pod         labels
		annotations labels
		hostNetwork bool
		want        bool
	}{
		{name: "nothing asks for it", injectors: defaults},
		{name: "the namespace asks", injectors: defaults, namespace: labels{enabled: "enabled"}, want: true},
		{name: "the namespace refuses", injectors: defaults, namespace: labels{enabled: "disabled"}},
		{name: "the namespace refuses and its pod asks", injectors: defaults, namespace: labels{enabled: "disabled"}, pod: labels{inject: "true"}},
		{name: "the pod opted out by label", injectors: defaults, namespace: labels{enabled: "enabled"}, pod: labels{inject: "false"}},
		{name: "the pod opted out by annotation", injectors: defaults, namespace: labels{enabled: "enabled"}, annotations: labels{inject: "false"}},
		{name: "the label to inject beats the annotation not to", injectors: defaults, namespace: labels{enabled: "enabled"}, pod: labels{inject: "true"}, annotations: labels{inject: "false"}, want: true},
		{name: "the label not to inject beats the annotation to", injectors: defaults, namespace: labels{enabled: "enabled"}, pod: labels{inject: "false"}, annotations: labels{inject: "true"}},
		{name: "an invalid value falls back to the policy", injectors: defaults, namespace: labels{enabled: "enabled"}, annotations: labels{inject: "no"}, want: true},
		{name: "the pod is on the host's network", injectors: defaults, namespace: labels{enabled: "enabled"}, hostNetwork: true},
		{name: "only the pod asks", injectors: defaults, pod: labels{inject: "true"}, want: true},
		{name: "only the pod asks, by annotation, which calls no webhook", injectors: defaults, annotations: labels{inject: "true"}},
		{name: "the namespace asks for the default revision by name", injectors: defaults, namespace: labels{rev: "default"}, want: true},
		{name: "the pod asks for the default revision by name", injectors: defaults, pod: labels{rev: "default"}, want: true},
		{name: "the namespace asks for a revision that is not installed", injectors: defaults, namespace: labels{rev: "canary"}},
		{name: "the namespace asks for a revision that is not installed, its pod for any", injectors: defaults, namespace: labels{rev: "canary"}, pod: labels{inject: "true"}},
		{name: "istio-injection wins over a revision that is not installed", injectors: defaults, namespace: labels{enabled: "enabled", rev: "canary"}, want: true},

		{name: "a revision's namespace", injectors: canary, namespace: labels{rev: "canary"}, want: true},
		{name: "a revision's namespace with a pod that opted out", injectors: canary, namespace: labels{rev: "canary"}, pod: labels{inject: "false"}},
		{name: "a revision does not serve istio-injection", injectors: canary, namespace: labels{enabled: "enabled"}},
		{name: "a revision does not serve istio-injection beside its own label", injectors: canary, namespace: labels{enabled: "enabled", rev: "canary"}},
		{name: "a revision's pod", injectors: canary, pod: labels{rev: "canary"}, want: true},
		{name: "a revision's pod that opted out", injectors: canary, pod: labels{rev: "canary", inject: "false"}},
		{name: "a revision does not serve a pod that names none", injectors: canary, pod: labels{inject: "true"}},
		{name: "another revision's namespace", injectors: canary, namespace: labels{rev: "stable"}},

		{name: "beside the default revision, a revision's namespace", injectors: both, namespace: labels{rev: "canary"}, want: true},
		{name: "beside the default revision, a revision's pod that asks", injectors: both, pod: labels{rev: "canary", inject: "true"}, want: true},
		{name: "with both labels the default revision injects", injectors: both, namespace: labels{enabled: "enabled", rev: "canary"}, want: true},

		{name: "by default, a namespace that says nothing", injectors: byDefault, namespace: labels{"kubernetes.io/metadata.name": "shop"}, want: true},
		{name: "by default, a namespace of Kubernetes", injectors: byDefault, namespace: labels{"kubernetes.io/metadata.name": "kube-system"}},
		{name: "by default, a namespace that refuses", injectors: byDefault, namespace: labels{enabled: "disabled"}},
		{name: "by default, a pod that opted out by label", injectors: byDefault, pod: labels{inject: "false"}},
		{name: "by default, a pod that opted out by annotation", injectors: byDefault, annotations: labels{inject: "false"}},
		{name: "by default, a pod of an unknown revision", injectors: byDefault, pod: labels{rev: "canary"}},

		{name: "a tag serves namespaces like a revision", injectors: tagged, namespace: labels{rev: "prod"}, want: true},
		{name: "a tag serves pods like a revision", injectors: tagged, pod: labels{rev: "prod"}, want: true},
		{name: "the tag default serves istio-injection", injectors: tagged, namespace: labels{enabled: "enabled"}, want: true},
		{name: "a revision is served beside its tags", injectors: tagged, namespace: labels{rev: "1-31"}, want: true},
		{name: "no injector at all", injectors: nil, namespace: labels{enabled: "enabled"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.injectors.Inject(test.namespace, test.pod, test.annotations, test.hostNetwork); got != test.want {
				t.Errorf("Inject is %t, want %t", got, test.want)
			}
		})
	}
}

func TestInjectorsOfLeavesOtherWebhooksOut(t *testing.T) {
	other := fixture.Injector("", true)
	for i := range other.Webhooks {
		other.Webhooks[i].Name = "namespace.injector.example.com"
	}
	if got := injectors(other); len(got) != 0 {
		t.Errorf("%d webhooks of others were taken for Istio's", len(got))
	}
	if got := injectors(fixture.Injector("", true)); len(got) != 5 {
		t.Errorf("%d of the five webhooks were found", len(got))
	}
}

func TestInjectTakesASelectorThatIsAbsentForEverything(t *testing.T) {
	configuration := fixture.Injector("", false)
	configuration.Webhooks = configuration.Webhooks[:1]
	configuration.Webhooks[0].NamespaceSelector, configuration.Webhooks[0].ObjectSelector = nil, nil
	if !injectors(configuration).Inject(nil, nil, nil, false) {
		t.Error("a webhook without selectors was not called")
	}
}

func TestByDefault(t *testing.T) {
	tests := []struct {
		name      string
		injectors mesh.Injectors
		namespace string
		want      bool
	}{
		{"an ordinary installation", injectors(fixture.Injector("", false)), "shop", false},
		{"enableNamespacesByDefault", injectors(fixture.Injector("", true)), "shop", true},
		{"enableNamespacesByDefault by the default tag", injectors(fixture.Injector("1-31", false), fixture.InjectorTag("default", true)), "shop", true},
		{"Kubernetes' own namespaces are left out", injectors(fixture.Injector("", true)), "kube-system", false},
		{"a revision does not heed it", injectors(fixture.Injector("canary", true)), "shop", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.injectors.ByDefault(test.namespace); got != test.want {
				t.Errorf("ByDefault is %t, want %t", got, test.want)
			}
		})
	}
}

func TestInjectionOf(t *testing.T) {
	tests := []struct {
		name      string
		byDefault bool
		labels    labels
		want      string
	}{
		{"no label", false, nil, ""},
		{"enabled", false, labels{"istio-injection": "enabled"}, "enabled"},
		{"disabled", false, labels{"istio-injection": "disabled"}, "disabled"},
		{"a revision", false, labels{"istio.io/rev": "canary"}, "rev=canary"},
		{"istio-injection wins over a revision", false, labels{"istio.io/rev": "canary", "istio-injection": "enabled"}, "enabled"},
		{"no label where that means injection", true, nil, "default"},
		{"disabled where injection is the default", true, labels{"istio-injection": "disabled"}, "disabled"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			snapshot := fixture.Snapshot(fixture.Injector("", test.byDefault), fixture.Namespace("shop", test.labels))
			if got := snapshot.InjectionOf(fixture.Find(snapshot, "shop")); got != test.want {
				t.Errorf("InjectionOf is %q, want %q", got, test.want)
			}
		})
	}
}

// The injector's own policy is asked where a pod says nothing.
func TestInjectionPolicy(t *testing.T) {
	configMap := func(config string) corev1.ConfigMap {
		return corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: "istio-sidecar-injector", Labels: labels{"istio.io/rev": "default"}},
			Data:       map[string]string{"config": config},
		}
	}
	webhook := *fixture.Injector("", false)
	for _, test := range []struct {
		name, config string
		pod          labels
		want         bool
	}{
		{"enabled", "policy: enabled", nil, true},
		{"nothing said", "", nil, true},
		{"disabled", "policy: disabled", nil, false},
		{"disabled, and the pod asks", "policy: disabled", labels{inject: "true"}, true},
		{"never", "policy: enabled\nneverInjectSelector: [{matchLabels: {batch: \"yes\"}}]", labels{"batch": "yes"}, false},
		{"never, and the pod asks", "policy: enabled\nneverInjectSelector: [{matchLabels: {batch: \"yes\"}}]", labels{"batch": "yes", inject: "true"}, true},
		{"never, for others", "policy: enabled\nneverInjectSelector: [{matchLabels: {batch: \"yes\"}}]", nil, true},
		{"never, by an empty selector", "policy: enabled\nneverInjectSelector: [{}]", nil, true},
		{"always", "policy: disabled\nalwaysInjectSelector: [{matchLabels: {mesh: \"yes\"}}]", labels{"mesh": "yes"}, true},
		{"never before always", "policy: disabled\nneverInjectSelector: [{matchLabels: {a: b}}]\nalwaysInjectSelector: [{matchLabels: {a: b}}]", labels{"a": "b"}, false},
	} {
		injectors := mesh.InjectorsOf([]admissionv1.MutatingWebhookConfiguration{webhook}, []corev1.ConfigMap{configMap(test.config)})
		if got := injectors.Inject(labels{"istio-injection": "enabled"}, test.pod, nil, false); got != test.want {
			t.Errorf("%s: injected is %t", test.name, got)
		}
	}
}
