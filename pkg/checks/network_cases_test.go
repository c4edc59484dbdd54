package checks_test

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
)

func networkCases() []testCase {
	headless := "apiVersion: v1\nkind: Service\nmetadata: {name: cart-pods, namespace: shop}\nspec: {clusterIP: None, selector: {app: cart}}"
	headlessOf := func(spec string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: cart-pods, namespace: shop}\nspec: " + spec
	}
	strict := peer("shop", "{mtls: {mode: STRICT}}")
	refusedHeadless := []finding{{fail, "Service shop/cart-pods", "spec.clusterIP", "Deployment shop/cart"}}
	ownPeer := func(spec string) string {
		return istio("security.istio.io/v1", "PeerAuthentication", "shop", "own", spec)
	}
	revisioned := func(more ...any) []any {
		return append([]any{fixture.Without("Namespace", shop()...), fixture.Injector("canary", false), fixture.Namespace("shop", labels{"istio.io/rev": "canary"})}, more...)
	}
	gateway := func(name, labels string) string {
		return "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: " + name + ", namespace: shop, labels: {" + labels + "}}\nspec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}"
	}
	definition := func(name string) string {
		return "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: " + name + "}"
	}
	return append([]testCase{
		{name: "none", check: "plugin-policies", objects: shop(definition("ciliumnodes.cilium.io"))},
		{name: "Cilium's", check: "plugin-policies", objects: shop(definition("ciliumnetworkpolicies.cilium.io")), want: []finding{{warn, "CustomResourceDefinition ciliumnetworkpolicies.cilium.io", "", "must admit port 15008"}}},
		{name: "Calico's", check: "plugin-policies", objects: shop(definition("globalnetworkpolicies.crd.projectcalico.org")), want: []finding{{warn, "CustomResourceDefinition globalnetworkpolicies.crd.projectcalico.org", "", "not evaluated"}}},

		{name: "none", check: "headless-strict", objects: shop(strict)},
		{name: "headless and strict", check: "headless-strict", objects: shop(headless, strict), want: refusedHeadless},
		{name: "headless and permissive", check: "headless-strict", objects: shop(headless)},
		{name: "headless and strict mesh-wide", check: "headless-strict", objects: shop(headless, peer("istio-system", "{mtls: {mode: STRICT}}")), want: refusedHeadless},
		{name: "headless, strict mesh-wide and permissive here", check: "headless-strict", objects: shop(headless, peer("istio-system", "{mtls: {mode: STRICT}}"), peer("shop", "{mtls: {mode: PERMISSIVE}}"))},
		{name: "headless, strict mesh-wide and unset here", check: "headless-strict", objects: shop(headless, peer("istio-system", "{mtls: {mode: STRICT}}"), peer("shop", "{mtls: {mode: UNSET}}")), want: refusedHeadless},
		{name: "headless, strict here and permissive for its pods", check: "headless-strict", objects: shop(headless, strict, ownPeer("{selector: {matchLabels: {app: cart}}, mtls: {mode: PERMISSIVE}}"))},
		{name: "headless, permissive here and strict for its pods", check: "headless-strict", objects: shop(headless, ownPeer("{selector: {matchLabels: {app: cart}}, mtls: {mode: STRICT}}")), want: refusedHeadless},
		{name: "headless, and strict for other pods", check: "headless-strict", objects: shop(headless, ownPeer("{selector: {matchLabels: {app: pay}}, mtls: {mode: STRICT}}"))},
		{name: "headless without selector", check: "headless-strict", objects: shop(headlessOf("{clusterIP: None}"), strict)},
		{name: "headless for pods that do not move", check: "headless-strict", objects: shop(headlessOf("{clusterIP: None, selector: {app: other}}"), strict)},
		{name: "with an address", check: "headless-strict", objects: shop(headlessOf("{clusterIP: 10.0.0.1, selector: {app: cart}}"), strict)},

		{name: "no Gateway", check: "gateway-revision", objects: revisioned()},
		{name: "a Gateway with a revision of its own", check: "gateway-revision", objects: revisioned(gateway("way", "istio.io/rev: canary"))},
		{name: "a Gateway without", check: "gateway-revision", objects: revisioned(gateway("way", "")), want: []finding{{fail, "Gateway shop/way", "metadata.labels[istio.io/rev]", "that label goes"}}},
		{name: "a Gateway in a namespace without revision", check: "gateway-revision", objects: shop(gateway("way", ""))},

		{name: "none", check: "grpc-agents", objects: shop()},
		{
			name: "an application that speaks xDS", check: "grpc-agents",
			objects: shop(fixture.Deployment("shop", "grpc", fixture.TemplateAnnotation("inject.istio.io/templates", "grpc-agent"))),
			want:    []finding{{fail, "Deployment shop/grpc", "spec.template.metadata.annotations", "need the agent"}},
		},
		{
			name: "one elsewhere", check: "grpc-agents",
			objects: shop(fixture.Pod("other", "grpc", fixture.Sidecar, fixture.Annotated("inject.istio.io/templates", "grpc-agent"))),
			want:    []finding{{warn, "", "", "other/grpc"}},
		},

		{name: "all are asked for", check: "leftover-sidecars", objects: shop()},
		{
			name: "nothing asks for them any more", check: "leftover-sidecars",
			objects: append([]any{fixture.Without("Namespace", shop()...)}, fixture.Namespace("shop", nil)),
			want:    []finding{{warn, "Deployment shop/cart", "", "a rollback does not bring them back"}},
		},

		{name: "no gateway", check: "gateway-injection", objects: shop()},
		{name: "a gateway that can ask for its proxy itself", check: "gateway-injection", objects: shop(fixture.Deployment("shop", "ingress", fixture.InjectedGateway))},
		{
			name: "a gateway where injection is the default", check: "gateway-injection",
			objects: []any{
				fixture.Without("MutatingWebhookConfiguration", shop()...), fixture.Injector("", true), fixture.Deployment("shop", "ingress", fixture.InjectedGateway),
			},
			want: []finding{{fail, "Deployment shop/ingress", "spec.template.metadata.labels", "injected only because of the namespace"}},
		},

		{name: "the default rule", check: "captured-after", objects: shop()},
		{
			name: "a namespace that istio-cni leaves out", check: "captured-after",
			objects: append([]any{fixture.Without("ConfigMap", shop()...)}, fixture.MeshConfig(""), fixture.CNIConfig("istio-system", labels{"AMBIENT_ENABLED": "true", "EXCLUDE_NAMESPACES": "shop"})),
			want:    []finding{{fail, "Namespace shop", "", "configured not to capture"}},
		},
		{
			name: "a workload that refuses ambient mode", check: "captured-after",
			objects: shop(fixture.Deployment("shop", "keep", fixture.TemplateLabel("istio.io/dataplane-mode", "none"))),
			want:    []finding{{fail, "Deployment shop/keep", "spec.template.metadata.labels", "outside the mesh"}},
		},
	}, slices.Concat(networkPolicyCases(), networkProbeCases(), podSecurityCases(), quotaCases())...)
}
