package checks_test

import (
	"fmt"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
)

// standingCases are about what stands before Services and what is said of policies and
// routes, some time after an enrolment.
func standingCases() []testCase {
	cases := append(divertedCases(), copiesCases()...)
	cases = append(cases, ztunnelAcceptedCases()...)
	cases = append(cases, routeStatusCases()...)
	return append(cases, consistentCases()...)
}

// behind is a Service of an enrolled namespace that names a waypoint; there are two.
func behind(name, waypoint string) string {
	labels := ""
	if waypoint != "" {
		labels = ", labels: {istio.io/use-waypoint: " + waypoint + "}"
	}
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: shop%s}\nspec: {selector: {app: cart}, ports: [{port: 80}], clusterIP: 10.0.0.1}", name, labels)
}

func twoWaypoints(more ...any) []any {
	return enrolled(append([]any{gateway("shop", "way", "istio-waypoint", ""), gateway("shop", "other", "istio-waypoint", ""), waypointClass}, more...)...)
}

// frontedCart says that a run has put the Service behind the waypoint way.
func frontedCart(more ...func(*checks.Handed)) *checks.Handed {
	handed := &checks.Handed{Fronted: []v1alpha1.FrontedService{{
		Object: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: "shop", Name: "cart"}, Waypoint: "shop/way",
	}}}
	for _, edit := range more {
		edit(handed)
	}
	return handed
}

func divertedCases() []testCase {
	const check, service, field = "waypoint-diverted", "Service shop/cart", "metadata.labels[istio.io/use-waypoint]"
	elsewhere := frontedCart(func(handed *checks.Handed) { handed.Fronted[0].Object.Namespace = "pay" })
	ingressing := frontedCart(func(handed *checks.Handed) { handed.Fronted[0].Ingress = true })
	entry := &checks.Handed{Fronted: []v1alpha1.FrontedService{{
		Object: v1alpha1.ObjectReference{APIVersion: "networking.istio.io/v1", Kind: "ServiceEntry", Namespace: "shop", Name: "out"}, Waypoint: "shop/way",
	}}}
	const out = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: out, namespace: shop, labels: {istio.io/use-waypoint: other}}\nspec: {hosts: [out.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}"
	const gatewayPolicy = "{action: DENY, targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: way}], rules: [{}]}"
	return []testCase{
		{name: "as it was put", check: check, objects: twoWaypoints(behind("cart", "way")), handed: frontedCart()},
		{name: "no run has put it anywhere", check: check, objects: twoWaypoints(behind("cart", "other"))},
		{name: "another waypoint", check: check, objects: twoWaypoints(behind("cart", "other")), handed: frontedCart(), want: []finding{{fail, service, field, "it names waypoint shop/other, and a run has put it behind shop/way"}}},
		{name: "none any more", check: check, objects: twoWaypoints(behind("cart", "")), handed: frontedCart(), want: []finding{{fail, service, field, "it names no waypoint any more"}}},
		{name: "none by its own label", check: check, objects: twoWaypoints(behind("cart", "none")), handed: frontedCart(), want: []finding{{fail, service, field, "it names no waypoint any more"}}},
		{name: "a missing one, which waypoint-missing says", check: check, objects: twoWaypoints(behind("cart", "gone")), handed: frontedCart()},
		{name: "one that is gone", check: check, objects: twoWaypoints(), handed: frontedCart()},
		{name: "for gateways as well", check: check, objects: twoWaypoints(strings.Replace(behind("cart", "way"), "labels: {", "labels: {istio.io/ingress-use-waypoint: 'true', ", 1)), handed: ingressing},
		{
			name: "for gateways no more", check: check, objects: twoWaypoints(behind("cart", "way")), handed: ingressing,
			want: []finding{{fail, service, "metadata.labels[istio.io/ingress-use-waypoint]", "gateways go past waypoint shop/way, which a run has put it behind for them as well"}},
		},
		{name: "one that a rollback has taken off", check: check, objects: twoWaypoints(behind("cart", "")), handed: frontedCart(func(handed *checks.Handed) { handed.TakenOff = []string{"cart"} })},
		{name: "one of another namespace", check: check, objects: twoWaypoints(behind("cart", "")), handed: elsewhere},
		{name: "a ServiceEntry", check: check, objects: twoWaypoints(out), handed: entry, want: []finding{{fail, "ServiceEntry shop/out", field, "it names waypoint shop/other"}}},

		{name: "the waypoint of a Service that names another, which waypoint-diverted says", check: "policy-waypoints", objects: twoWaypoints(behind("cart", "other"), policy("shop", gatewayPolicy)), handed: frontedCart()},
		{
			name: "a Service that names none any more, which waypoint-diverted says", check: "policy-waypoints", handed: frontedCart(),
			objects: twoWaypoints(behind("cart", ""), policy("shop", `{action: DENY, targetRefs: [{group: "", kind: Service, name: cart}], rules: [{}]}`)),
		},
	}
}

func copiesCases() []testCase {
	const check, alias, field = "waypoint-copies", "Service shop/alias", "metadata.labels[istio.io/use-waypoint]"
	const missing = "calls to it go through waypoint shop/way, where nothing enforces AuthorizationPolicy shop/p"
	const selector = "selector: {matchLabels: {app: cart}}, "
	const layer4 = "{" + selector + "rules: [{from: [{source: {namespaces: [shop]}}]}]}"
	const layer7 = "{" + selector + "rules: [{to: [{operation: {methods: [GET]}}]}]}"
	copyTo := func(target string) string {
		return "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p-1, namespace: shop, labels: {ambient.kubectl-ambient.dev/origin: p}, " +
			"annotations: {ambient.kubectl-ambient.dev/origin: AuthorizationPolicy shop/p}}\nspec: {targetRefs: [" + target + "], rules: [{to: [{operation: {methods: [GET]}}]}]}"
	}
	toCart := copyTo(`{group: "", kind: Service, name: cart}`)
	judged := frontedCart(func(handed *checks.Handed) {
		handed.Judged = []v1alpha1.ObjectReference{{APIVersion: "security.istio.io/v1", Kind: "AuthorizationPolicy", Namespace: "shop", Name: "p"}}
	})
	withAlias := func(waypoint string, more ...any) []any {
		return twoWaypoints(append([]any{behind("cart", "way"), behind("alias", waypoint)}, more...)...)
	}
	const slice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: alias-1, namespace: shop, labels: {kubernetes.io/service-name: alias}}\n" +
		"addressType: IPv4\nports: [{port: 80}]\nendpoints: [{addresses: [10.0.0.9], targetRef: {kind: Pod, namespace: shop, name: cart-5d8f7-0}}]"
	withWritten := func(waypoint string, more ...any) []any {
		return twoWaypoints(append([]any{behind("cart", "way"), strings.Replace(behind("alias", waypoint), "selector: {app: cart}, ", "", 1), slice}, more...)...)
	}
	entry := func(waypoint string) string {
		return strings.Replace("apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: alias, namespace: shop, labels: {istio.io/use-waypoint: "+waypoint+"}}\n"+
			"spec: {hosts: [alias.example.com], addresses: [240.1.1.1], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, workloadSelector: {labels: {app: cart}}}",
			", labels: {istio.io/use-waypoint: }", "", 1)
	}
	withEntry := func(waypoint string, more ...any) []any {
		return twoWaypoints(append([]any{behind("cart", "way"), entry(waypoint)}, more...)...)
	}
	others := func(spec string) string {
		return strings.Replace(policy("shop", `{targetRefs: [{group: "", kind: Service, name: alias}], `+spec+"}"), "name: p", "name: q", 1)
	}
	fails := []finding{{fail, alias, field, missing}}
	const ports = `rules: [{to: [{operation: {ports: ["8080"]}}]}]`
	const admitting = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: from-waypoint-1, namespace: shop, labels: {ambient.kubectl-ambient.dev/origin: p}, " +
		"annotations: {ambient.kubectl-ambient.dev/origin: AuthorizationPolicy shop/p}}\nspec: {rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/way]}}]}]}"
	return []testCase{
		{name: "no policy", check: check, objects: withAlias("way")},
		{name: "endpoints that somebody has written", check: check, objects: withWritten("way", policy("shop", layer4), toCart), handed: judged, want: fails},
		{name: "endpoints that somebody has written, with a copy for the waypoint", check: check, objects: withWritten("way", policy("shop", layer7), copyTo("{group: gateway.networking.k8s.io, kind: Gateway, name: way}")), handed: judged},
		{name: "endpoints that somebody has written, to other pods", check: check, objects: withWritten("way", policy("shop", "{selector: {matchLabels: {app: pay}}, rules: [{}]}")), handed: judged},
		{
			name: "endpoints that somebody has written, without a waypoint", check: check, objects: withWritten("", policy("shop", layer7), toCart), handed: judged,
			want: []finding{{warn, alias, field, "it reaches pods that a waypoint protects by AuthorizationPolicy shop/p, and goes through none"}},
		},
		{name: "a ServiceEntry", check: check, objects: withEntry("way", policy("shop", layer4), toCart), handed: judged, want: []finding{{fail, "ServiceEntry shop/alias", field, missing}}},
		{name: "a ServiceEntry that the run was planned with", check: check, objects: withEntry("way", policy("shop", layer4), toCart), handed: frontedCart(func(handed *checks.Handed) {
			handed.Judged = judged.Judged
			handed.Fronted = append(handed.Fronted, v1alpha1.FrontedService{Waypoint: "shop/way", Object: v1alpha1.ObjectReference{APIVersion: "networking.istio.io/v1", Kind: "ServiceEntry", Namespace: "shop", Name: "alias"}})
		})},
		{
			name: "a ServiceEntry without a waypoint", check: check, objects: withEntry("", policy("shop", layer7), toCart), handed: judged,
			want: []finding{{warn, "ServiceEntry shop/alias", "spec.workloadSelector", "it reaches pods that a waypoint protects by AuthorizationPolicy shop/p, and goes through none"}},
		},
		{name: "another namespace's ServiceEntry", check: check, objects: twoWaypoints(behind("cart", "way"), strings.Replace(entry("way"), "namespace: shop", "namespace: pay", 1), policy("shop", layer4), toCart), handed: judged},
		{name: "a Service that the run was planned with", check: check, objects: twoWaypoints(behind("cart", "way"), policy("shop", layer7), toCart), handed: judged},
		{name: "one made since", check: check, objects: withAlias("way", policy("shop", layer7), toCart), handed: judged, want: fails},
		{name: "one made since, with a copy for its waypoint", check: check, objects: withAlias("way", policy("shop", layer7), copyTo("{group: gateway.networking.k8s.io, kind: Gateway, name: way}")), handed: judged},
		{name: "one made since, with a policy of somebody else's that says the same", check: check, objects: withAlias("way", policy("shop", layer7), toCart, others("rules: [{to: [{operation: {methods: [GET]}}]}]")), handed: judged},
		{
			name: "one made since, with a policy of somebody else's that says something else", check: check, objects: withAlias("way", policy("shop", layer7), toCart, others("rules: [{}]")), handed: judged,
			want: []finding{{warn, alias, field, missing + " (somebody's AuthorizationPolicy shop/q is attached with other rules)"}},
		},
		{
			name: "one made since, with a DENY of somebody else's that says something else", check: check, handed: judged,
			objects: withAlias("way", policy("shop", "{action: DENY, "+strings.TrimPrefix(layer7, "{")), toCart, others("action: DENY, rules: [{to: [{operation: {methods: [PUT]}}]}]")),
			want:    []finding{{fail, alias, field, missing + " (somebody's AuthorizationPolicy shop/q is attached with other rules)"}},
		},
		{name: "a policy about connections that was made since", check: check, objects: withAlias("", policy("shop", layer4)), handed: frontedCart(), want: []finding{{fail, "Service shop/cart", field, missing}}},
		{name: "an ALLOW that names ports only", check: check, objects: withAlias("way", policy("shop", "{"+selector+ports+"}")), handed: &checks.Handed{}},
		{name: "an ALLOW of nothing", check: check, objects: withAlias("way", policy("shop", "{}")), handed: &checks.Handed{}},
		{name: "a DENY that names ports only", check: check, objects: withAlias("way", policy("shop", "{action: DENY, "+selector+ports+"}"), admitting), handed: &checks.Handed{}},
		{
			name: "an ALLOW that names ports only where the waypoint is let through to all", check: check, handed: &checks.Handed{},
			objects: twoWaypoints(behind("alias", "way"), policy("shop", "{"+selector+ports+"}"), admitting), want: fails,
		},
		{
			name: "a port beside a caller's namespace", check: check, handed: &checks.Handed{}, want: fails,
			objects: twoWaypoints(behind("alias", "way"), policy("shop", "{action: DENY, "+selector+`rules: [{to: [{operation: {ports: ["8080"]}}], when: [{key: source.namespace, values: [pay]}]}]}`)),
		},
		{name: "a policy about requests that was made since, which layer7-enforced says", check: check, objects: withAlias("way", policy("shop", layer7)), handed: frontedCart()},
		{
			name: "a policy that is written for the waypoint", check: check, handed: &checks.Handed{},
			objects: withAlias("way", policy("shop", "{"+selector+"rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/way]}}]}]}")),
		},
		{name: "a policy that names the waypoint's account", check: check, objects: withAlias("way", policy("shop", "{"+selector+"rules: [{from: [{source: {serviceAccounts: [way]}}]}]}"))},
		{name: "a policy for other pods", check: check, objects: withAlias("way", policy("shop", "{selector: {matchLabels: {app: pay}}, rules: [{}]}"))},
		{
			name: "one made since, without a waypoint", check: check, objects: withAlias("", policy("shop", layer7), toCart), handed: judged,
			want: []finding{{warn, alias, "spec.selector", "it reaches pods that a waypoint protects by AuthorizationPolicy shop/p, and goes through none"}},
		},
		{name: "connections alone, without a waypoint", check: check, objects: withAlias("", policy("shop", layer4), toCart), handed: judged},
		{name: "one that was taken off, which taken-off says", check: check, objects: withAlias("", policy("shop", layer7), toCart), handed: frontedCart(func(handed *checks.Handed) {
			handed.Judged, handed.TakenOff = judged.Judged, []string{"alias"}
		})},
	}
}

func ztunnelAcceptedCases() []testCase {
	const check, object, field = "ztunnel-accepted", "AuthorizationPolicy shop/p", "status.conditions[ZtunnelAccepted]"
	const layer4 = "selector: {matchLabels: {app: cart}}, rules: [{from: [{source: {namespaces: [shop]}}]}]"
	of := func(namespace, spec, status, reason string, generation int) string {
		return fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: %s, generation: 2}\nspec: {%s}\n"+
			"status: {conditions: [{type: ZtunnelAccepted, status: %q, reason: %s, message: no such thing, observedGeneration: %d}]}", namespace, spec, status, reason, generation)
	}
	return []testCase{
		{name: "none", check: check, objects: enrolled()},
		{name: "accepted", check: check, objects: enrolled(of("shop", layer4, "True", "Accepted", 2))},
		{name: "an earlier one was", check: check, objects: enrolled(of("shop", layer4, "True", "Accepted", 1)), want: []finding{{fail, object, field, "it is not taken up by istiod yet"}}},
		{name: "nothing is said", check: check, objects: enrolled(policy("shop", "{"+layer4+"}")), want: []finding{{fail, object, field, "it is not taken up by istiod yet"}}},
		{name: "refused", check: check, objects: enrolled(of("shop", layer4, "False", "Invalid", 2)), want: []finding{{fail, object, field, "it is not accepted for ztunnel: Invalid: no such thing"}}},
		{name: "accepted in part", check: check, objects: enrolled(of("shop", layer4, "True", "UnsupportedValue", 2)), want: []finding{{fail, object, field, "it is enforced by ztunnel in part only: UnsupportedValue: no such thing"}}},
		{name: "about requests, in part, which layer7-enforced says", check: check, objects: enrolled(of("shop", "rules: [{to: [{operation: {methods: [GET]}}]}]", "True", "UnsupportedValue", 2))},
		{name: "an action that ztunnel does not have", check: check, objects: enrolled(of("shop", "action: AUDIT, rules: [{}]", "False", "UnsupportedValue", 2))},
		{name: "an action that ztunnel does not have, of which istiod says nothing", check: check, objects: enrolled(of("shop", "action: AUDIT, rules: [{}]", "False", "UnsupportedValue", 1))},
		{name: "the mesh's", check: check, objects: enrolled(of("istio-system", layer4, "False", "Invalid", 2)), want: []finding{{fail, "AuthorizationPolicy istio-system/p", field, "Invalid"}}},
		{name: "another namespace's", check: check, objects: enrolled(of("pay", layer4, "False", "Invalid", 2))},
		{name: "for no pod here", check: check, objects: enrolled(of("shop", "selector: {matchLabels: {app: pay}}, rules: [{}]", "False", "Invalid", 2))},
		{name: "at a waypoint", check: check, objects: enrolled(of("shop", `targetRefs: [{group: "", kind: Service, name: cart}], rules: [{}]`, "False", "Invalid", 2))},
	}
}

func routeStatusCases() []testCase {
	const check, object = "routes-accepted", "HTTPRoute shop/r"
	const parent = `group: "", kind: Service, name: cart, port: 80`
	const plain = "apiVersion: v1\nkind: Service\nmetadata: {name: cart, namespace: shop}\nspec: {selector: {app: cart}, ports: [{port: 80}]}"
	condition := func(kind, status, reason string, generation int) string {
		return fmt.Sprintf("{type: %s, status: %q, reason: %s, message: why, observedGeneration: %d, lastTransitionTime: 2026-08-01T12:00:00Z}", kind, status, reason, generation)
	}
	said := func(at string, conditions ...string) string {
		return "{controllerName: istio.io/gateway-controller, parentRef: {" + at + "}, conditions: [" + strings.Join(conditions, ", ") + "]}"
	}
	of := func(kind, namespace, backend string, statuses ...string) string {
		return fmt.Sprintf("apiVersion: gateway.networking.k8s.io/v1\nkind: %s\nmetadata: {name: r, namespace: %s, generation: 2}\n"+
			"spec: {parentRefs: [{%s}], rules: [{backendRefs: [{name: %s, port: 80}]}]}\nstatus: {parents: [%s]}", kind, namespace, parent, backend, strings.Join(statuses, ", "))
	}
	accepted, resolved := condition("Accepted", "True", "Accepted", 2), condition("ResolvedRefs", "True", "ResolvedRefs", 2)
	missing := func(first string) string {
		return of("HTTPRoute", "shop", "gone", said(parent, first, condition("ResolvedRefs", "False", "BackendNotFound", 2)))
	}
	twoParents := strings.Replace(of("HTTPRoute", "shop", "cart", said(parent, accepted, resolved), said("name: ingress", condition("Accepted", "False", "NotAllowed", 2))),
		"parentRefs: [{"+parent+"}]", "parentRefs: [{"+parent+"}, {name: ingress}]", 1)
	const ofIngress = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: shop}\nspec: {parentRefs: [{name: ingress}], rules: [{backendRefs: [{name: cart, port: 80}]}]}"
	foreignIngress := func(namespace string) string {
		return "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: ingress, namespace: " + namespace + "}\nspec: {gatewayClassName: acme, listeners: [{name: http, port: 80, protocol: HTTP}]}"
	}
	fronted := func(more ...any) []any { return twoWaypoints(append([]any{behind("cart", "way")}, more...)...) }
	return []testCase{
		{name: "none", check: check, objects: fronted()},
		{name: "all is well", check: check, objects: fronted(of("HTTPRoute", "shop", "cart", said(parent, accepted, resolved)))},
		{name: "nothing is said", check: check, objects: fronted(of("HTTPRoute", "shop", "cart")), want: []finding{{fail, object, "status.parents[0]", "istiod says nothing of it at Service cart"}}},
		{
			name: "nothing is said of one at a Gateway of istiod's", check: check,
			objects: enrolled(plain, ofIngress, strings.Replace(foreignIngress("shop"), "acme", "istio", 1)),
			want:    []finding{{fail, object, "status.parents[0]", "istiod says nothing of it at Gateway ingress"}},
		},
		{name: "nothing is said of a kind that istiod may not know", check: check, objects: fronted(of("TCPRoute", "shop", "cart"))},
		{name: "of another parent alone", check: check, objects: fronted(of("HTTPRoute", "shop", "cart", said(`group: "", kind: Service, name: cart`, accepted, resolved))), want: []finding{{fail, object, "status.parents[0]", "istiod says nothing of it"}}},
		{name: "under another name of istiod's controller", check: check, objects: fronted(of("HTTPRoute", "shop", "cart", strings.Replace(said(parent, accepted, resolved), "istio.io/", "example.com/", 1)))},
		{name: "an earlier one was", check: check, objects: fronted(of("HTTPRoute", "shop", "cart", said(parent, condition("Accepted", "True", "Accepted", 1), resolved))), want: []finding{{fail, object, "status.parents[0].conditions[Accepted]", "it is not taken up by istiod yet, at Service cart"}}},
		{name: "refused by another controller", check: check, objects: fronted(of("HTTPRoute", "shop", "cart", strings.Replace(said(parent, condition("Accepted", "False", "NotAllowed", 2), resolved), "istio.io/", "example.com/", 1)))},
		{name: "refused", check: check, objects: fronted(of("HTTPRoute", "shop", "cart", said(parent, condition("Accepted", "False", "NotAllowed", 2), resolved))), want: []finding{{fail, object, "status.parents[0].conditions[Accepted]", "it is not accepted at Service cart: NotAllowed: why"}}},
		{name: "not resolved", check: check, objects: fronted(of("HTTPRoute", "shop", "cart", said(parent, accepted, condition("ResolvedRefs", "False", "RefNotPermitted", 2)))), want: []finding{{fail, object, "status.parents[0].conditions[ResolvedRefs]", "it is not resolved at Service cart: RefNotPermitted: why"}}},
		{name: "a backend that is not there", check: check, objects: fronted(missing(accepted)), want: []finding{{fail, object, "status.parents[0].conditions[ResolvedRefs]", "it is not resolved at Service cart: BackendNotFound: why"}}},
		{name: "a backend that is not there, of a route that is refused", check: check, objects: fronted(missing(condition("Accepted", "False", "NotAllowed", 2))), want: []finding{{fail, object, "status.parents[0].conditions[Accepted]", "it is not accepted at Service cart: NotAllowed: why"}}},
		{name: "a backend that is not there, which istiod does not say", check: check, objects: fronted(of("HTTPRoute", "shop", "gone", said(parent, accepted, resolved)))},
		{name: "a parent that is not there", check: check, objects: twoWaypoints(of("HTTPRoute", "shop", "gone", said(parent, condition("Accepted", "False", "NoMatchingParent", 2), resolved))), want: []finding{{fail, object, "status.parents[0].conditions[Accepted]", "it is not accepted at Service cart: NoMatchingParent: why"}}},
		{name: "refused at the second parent, and the first has no waypoint", check: check, objects: enrolled(plain, twoParents), want: []finding{{fail, object, "status.parents[1].conditions[Accepted]", "it is not accepted at Gateway ingress: NotAllowed: why"}}},
		{name: "a backend that is not there, which routes-accepted says", check: "route-targets", verify: true, objects: fronted(missing(accepted))},
		{name: "a backend that is not there, which istiod said of an earlier one", check: "route-targets", verify: true, objects: fronted(of("HTTPRoute", "shop", "gone", said(parent, accepted, condition("ResolvedRefs", "False", "BackendNotFound", 1)))), want: []finding{{warn, object, "spec.rules[].backendRefs[gone]", "there is no Service shop/gone"}}},
		{name: "a backend that is not there, of a route that is refused for something else", check: "route-targets", verify: true, objects: fronted(of("HTTPRoute", "shop", "gone", said(parent, accepted, condition("ResolvedRefs", "False", "InvalidKind", 2)))), want: []finding{{warn, object, "spec.rules[].backendRefs[gone]", "there is no Service shop/gone"}}},
		{name: "another namespace's", check: check, objects: fronted(of("HTTPRoute", "pay", "cart"))},
		{name: "a gateway's, of another controller", check: check, objects: fronted(ofIngress, foreignIngress("shop"))},
		{name: "a gateway's that is not there", check: check, objects: fronted(ofIngress), want: []finding{{fail, object, "spec.parentRefs[0]", "there is no Gateway shop/ingress"}}},
		{name: "a gateway's that is elsewhere", check: check, objects: fronted(ofIngress, foreignIngress("edge")), want: []finding{{fail, object, "spec.parentRefs[0]", "there is no Gateway shop/ingress"}}},
		{name: "a gateway's in another namespace", check: check, objects: fronted(strings.Replace(ofIngress, "name: ingress", "name: ingress, namespace: edge", 1), foreignIngress("edge"))},
		{name: "a headless Service that names a waypoint", check: check, objects: twoWaypoints(strings.Replace(behind("cart", "way"), "10.0.0.1", "None", 1), of("HTTPRoute", "shop", "cart", said(parent, accepted, resolved))), want: []finding{{warn, object, "spec.parentRefs[0]", "calls to headless Service cart go to its pods, and ztunnel follows no route"}}},
		{name: "without a waypoint", check: check, objects: enrolled(plain, of("HTTPRoute", "shop", "cart", said(parent, accepted, resolved))), want: []finding{{warn, object, "spec.parentRefs[0]", "Service cart has no waypoint, and ztunnel follows no route"}}},
		{name: "without one any more, which waypoint-diverted says", check: check, objects: twoWaypoints(plain, of("HTTPRoute", "shop", "cart", said(parent, accepted, resolved))), handed: frontedCart()},
	}
}

func consistentCases() []testCase {
	const check, pod = "labels-consistent", "Pod shop/cart-5d8f7-0"
	const mode, waypoint = "istio.io/dataplane-mode", "istio.io/use-waypoint"
	cart := fixture.Deployment("shop", "cart", fixture.TemplateLabel("sidecar.istio.io/inject", "false"))
	labelled := func(key, value string) []any {
		return []any{fixture.Without("Pod", enrolled()...), fixture.PodsOf(cart, fixture.Ambient, fixture.Labelled(key, value))[1]}
	}
	slow := fixture.Deployment("shop", "slow", fixture.Replicas(2))
	slow.Status.UpdatedReplicas = 1
	return []testCase{
		{name: "as the template", check: check, objects: enrolled()},
		{name: "taken out by hand", check: check, objects: labelled(mode, "none"), want: []finding{{fail, pod, "metadata.labels[" + mode + "]", `the label is "none", and "" in the template of Deployment shop/cart`}}},
		{name: "behind a waypoint by hand", check: check, objects: labelled(waypoint, "way"), want: []finding{{fail, pod, "metadata.labels[" + waypoint + "]", `the label is "way", and ""`}}},
		{name: "other labels", check: check, objects: labelled("example.com/a", "b")},
		{name: "a pod with a sidecar, which no-sidecars names", check: check, objects: []any{fixture.Without("Pod", enrolled()...), fixture.PodsOf(cart, fixture.Sidecar, fixture.Labelled(mode, "none"))[1]}},
		{
			name: "a rollout that goes on, which restarts-complete names", check: check,
			objects: enrolled(slow, fixture.PodsOf(slow, fixture.Labelled(mode, "none"))),
		},
	}
}
