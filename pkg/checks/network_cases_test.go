package checks_test

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	corev1 "k8s.io/api/core/v1"
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
	// written is a Service, and an EndpointSlice that somebody has written for it.
	written := func(service, slice, endpoints string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: hand, namespace: shop}\nspec: " + service +
			"\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: hand-1, namespace: shop, labels: {kubernetes.io/service-name: hand" + slice + "}}\n" +
			"addressType: IPv4\nports: [{name: http, port: 8080, protocol: TCP}]\nendpoints: [" + endpoints + "]"
	}
	const ownAddress, bound = "{clusterIP: 10.0.0.9, ports: [{name: http, port: 80}]}", "{addresses: [10.9.0.1], targetRef: {kind: Pod, namespace: shop, name: plain}}"
	plain := fixture.Pod("shop", "plain", func(pod *corev1.Pod) {
		pod.Status.PodIP, pod.Status.PodIPs = "10.9.0.1", []corev1.PodIP{{IP: "10.9.0.1"}}
	})
	stale := []finding{{warn, "Service shop/hand", "", "go on calling Pod plain by it in plaintext"}}
	entry := func(namespace, spec string) string {
		return istio("networking.istio.io/v1", "ServiceEntry", namespace, "entry", "{hosts: [plain.example], ports: [{name: http, number: 80, protocol: HTTP}], "+spec+"}")
	}
	staleEntry := []finding{{warn, "ServiceEntry shop/entry", "", "go on calling Pod plain by it in plaintext"}}
	return append([]testCase{
		{name: "none", check: "stale-endpoints", objects: shop(plain)},
		{name: "to a pod by name", check: "stale-endpoints", objects: shop(plain, written(ownAddress, "", bound)), want: stale},
		{name: "to a pod by address", check: "stale-endpoints", objects: shop(plain, written(ownAddress, "", "{addresses: [10.9.0.1]}")), want: stale},
		{name: "twice to a pod", check: "stale-endpoints", objects: shop(plain, written(ownAddress, "", bound+", "+bound)), want: stale},
		{name: "to somewhere else", check: "stale-endpoints", objects: shop(plain, written(ownAddress, "", "{addresses: [192.0.2.1]}"))},
		{name: "to a pod that is restarted", check: "stale-endpoints", objects: shop(written(ownAddress, "", "{addresses: [10.9.0.1], targetRef: {kind: Pod, namespace: shop, name: cart-5d8f7-0}}"))},
		{name: "that Kubernetes keeps", check: "stale-endpoints", objects: shop(plain, written(ownAddress, ", endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io", bound))},
		{name: "of a headless Service", check: "stale-endpoints", objects: shop(plain, written("{clusterIP: None}", "", bound))},
		{name: "of no Service", check: "stale-endpoints", objects: []any{fixture.Without("Service", shop(plain, written(ownAddress, "", bound))...)}},
		{name: "by a ServiceEntry", check: "stale-endpoints", objects: shop(plain, entry("shop", "resolution: STATIC, workloadSelector: {labels: {app: plain}}")), want: staleEntry},
		{name: "by a ServiceEntry for other pods", check: "stale-endpoints", objects: shop(plain, entry("shop", "resolution: STATIC, workloadSelector: {labels: {app: other}}"))},
		{name: "by a ServiceEntry elsewhere", check: "stale-endpoints", objects: shop(plain, entry("default", "resolution: STATIC, workloadSelector: {labels: {app: plain}}"))},
		{name: "by a ServiceEntry that is looked up", check: "stale-endpoints", objects: shop(plain, entry("shop", "resolution: DNS, endpoints: [{address: plain.example}]"))},
		{name: "to a pod that is captured already", check: "stale-endpoints", objects: append(enrolled(), fixture.Pod("shop", "plain", fixture.Ambient), written(ownAddress, "", bound))},

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
