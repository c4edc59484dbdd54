package checks_test

import (
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
)

func istio(version, kind, namespace, name, spec string) string {
	return "apiVersion: " + version + "\nkind: " + kind + "\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec: " + spec
}

func policy(namespace, spec string) string {
	return istio("security.istio.io/v1", "AuthorizationPolicy", namespace, "p", spec)
}

func peer(namespace, spec string) string {
	return istio("security.istio.io/v1", "PeerAuthentication", namespace, "p", spec)
}

func dryRun(value, spec string) string {
	return "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop, annotations: {istio.io/dry-run: \"" + value + "\"}}\nspec: " + spec
}

func policyCases() []testCase {
	const name = "AuthorizationPolicy shop/p"
	const methods = `{rules: [{to: [{operation: {methods: [GET], paths: [/a]}}]}]}`
	const layer4 = `{selector: {matchLabels: {app: cart}}, rules: [{from: [{source: {principals: [a]}}], to: [{operation: {ports: ["80"]}}]}]}`
	zero := fixture.StatefulSet("shop", "db", func(s *appsv1.StatefulSet) { s.Spec.Replicas = new(int32) })
	using := fixture.Namespace("shop", labels{"istio-injection": "enabled", "istio.io/use-waypoint": "way"})
	usingService := func(spec string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: pay, namespace: shop, labels: {istio.io/use-waypoint: way}}\nspec: " + spec
	}
	refusing := fixture.Namespace("shop", labels{"istio-injection": "enabled", "istio.io/use-waypoint": "none"})
	requests := func(namespace, spec string) string {
		return istio("security.istio.io/v1", "RequestAuthentication", namespace, "j", spec)
	}
	const disable = "mtls: {mode: DISABLE}"
	older := func(objects ...any) []any {
		return append(control(image("pilot:1.28.9")), objects...)
	}
	const dryRunField = "metadata.annotations[istio.io/dry-run]"
	return append(slices.Concat(modeCases(), addressCases(), targetCases(), policyWaypointCases(), orphanCases()), []testCase{
		{name: "none", check: "layer7-policies", objects: shop()},
		{name: "layer 4 alone", check: "layer7-policies", objects: shop(policy("shop", layer4))},
		{name: "allow nothing", check: "layer7-policies", objects: shop(policy("shop", "{}"))},
		{name: "methods", check: "layer7-policies", objects: shop(policy("shop", methods)), want: []finding{{fail, name, "spec.rules[0].to[0].operation.methods", "2 fields of it need HTTP, which ztunnel does not read; it concerns Service cart"}}},
		{name: "a DENY", check: "layer7-policies", objects: shop(policy("shop", `{action: DENY, rules: [{from: [{source: {principals: [a]}}], to: [{operation: {paths: [/a]}}]}]}`)), want: []finding{{fail, name, "spec.rules[0].to[0].operation.paths", "1 field of it needs HTTP"}}},
		{name: "AUDIT", check: "layer7-policies", objects: shop(policy("shop", "{action: AUDIT, rules: [{}]}")), want: []finding{{fail, name, "spec.action", "action AUDIT is not enforced by ztunnel"}}},
		{name: "CUSTOM", check: "layer7-policies", objects: shop(policy("shop", "{action: CUSTOM, provider: {name: x}, rules: [{}]}")), want: []finding{{fail, name, "spec.action", "action CUSTOM is not enforced by ztunnel"}}},
		{name: "another namespace's", check: "layer7-policies", objects: shop(policy("pay", methods))},
		{name: "attached to a waypoint", check: "layer7-policies", objects: shop(policy("shop", `{targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: way}], rules: [{to: [{operation: {methods: [GET]}}]}]}`))},
		{name: "attached to a waypoint, in the old way", check: "layer7-policies", objects: shop(policy("shop", `{targetRef: {kind: Gateway, group: gateway.networking.k8s.io, name: way}, rules: [{to: [{operation: {methods: [GET]}}]}]}`))},
		{name: "the root namespace's", check: "layer7-policies", objects: shop(policy("istio-system", methods)), want: []finding{{fail, "AuthorizationPolicy istio-system/p", "spec.rules[0].to[0].operation.methods", "HTTP, which ztunnel does not read"}}},
		{name: "the root namespace's, which selects a pod here", check: "layer7-policies", objects: shop(policy("istio-system", `{selector: {matchLabels: {app: cart}}, rules: [{to: [{operation: {hosts: [a]}}]}]}`)), want: []finding{{fail, "AuthorizationPolicy istio-system/p", "spec.rules[0].to[0].operation.hosts", "HTTP, which ztunnel does not read"}}},
		{name: "the root namespace's, which selects a pod that runs no more", check: "layer7-policies", objects: shop(zero, policy("istio-system", `{selector: {matchLabels: {app: db}}, rules: [{to: [{operation: {hosts: [a]}}]}]}`)), want: []finding{{fail, "AuthorizationPolicy istio-system/p", "spec.rules[0].to[0].operation.hosts", "HTTP, which ztunnel does not read"}}},
		{name: "the root namespace's, which selects gateways", check: "layer7-policies", objects: shop(policy("istio-system", `{selector: {matchLabels: {istio: ingressgateway}}, rules: [{to: [{operation: {hosts: [a]}}]}]}`))},
		{name: "layer 4 behind a waypoint", check: "layer7-policies", objects: []any{fixture.Without("Namespace", shop()...), using, policy("shop", layer4)}, want: []finding{{fail, "Service shop/cart", "metadata.labels[istio.io/use-waypoint]", "by the label of Namespace shop calls come through a waypoint, whose identity these policies were not written for: p"}}},
		{name: "layer 4 behind a Service's waypoint", check: "layer7-policies", objects: shop(usingService("{selector: {app: cart}}"), policy("shop", layer4)), want: []finding{{fail, "Service shop/pay", "metadata.labels[istio.io/use-waypoint]", "by the label of Service shop/pay calls come through a waypoint, whose identity these policies were not written for: p"}}},
		{name: "what an enrolment made, behind a Service's waypoint", check: "layer7-policies", objects: shop(usingService("{selector: {app: cart}}"), strings.Replace(policy("shop", layer4), "metadata: {", "metadata: {labels: {"+v1alpha1.OriginLabel+": a}, ", 1))},
		{name: "layer 4 for all, behind a Service's waypoint", check: "layer7-policies", objects: shop(usingService("{selector: {app: cart}}"), policy("istio-system", "{rules: [{}]}")), want: []finding{{fail, "Service shop/pay", "metadata.labels[istio.io/use-waypoint]", "p"}}},
		{name: "layer 4 for other pods than those behind a Service's waypoint", check: "layer7-policies", objects: shop(usingService("{selector: {app: pay}}"), zero, policy("shop", layer4))},
		{name: "layer 4, and a Service without pods of its own", check: "layer7-policies", objects: shop(usingService("{}"), policy("shop", layer4))},
		{name: "a waypoint and no policy", check: "layer7-policies", objects: shop(usingService("{selector: {app: cart}}"))},
		{name: "layer 4 and a namespace that refuses waypoints", check: "layer7-policies", objects: []any{fixture.Without("Namespace", shop()...), refusing, policy("shop", layer4)}},

		{
			name: "the root namespace's, known by istiod alone", check: "layer7-policies", objects: []any{fixture.Without("ConfigMap", shop()...), policy("istio-system", methods)},
			want: []finding{{fail, "AuthorizationPolicy istio-system/p", "spec.rules[0].to[0].operation.methods", "HTTP, which ztunnel does not read"}},
		},

		{name: "none", check: "request-authentication", objects: shop()},
		{name: "one", check: "request-authentication", objects: shop(requests("shop", "{jwtRules: [{issuer: a}]}")), want: []finding{{fail, "RequestAuthentication shop/j", "spec.jwtRules", "tokens are validated by sidecars and waypoints only"}}},
		{name: "the root namespace's", check: "request-authentication", objects: shop(requests("istio-system", "{jwtRules: [{issuer: a}]}")), want: []finding{{fail, "RequestAuthentication istio-system/j", "spec.jwtRules", "tokens"}}},
		{name: "the root namespace's, for gateways", check: "request-authentication", objects: shop(requests("istio-system", "{selector: {matchLabels: {istio: ingressgateway}}}"))},
		{name: "another namespace's", check: "request-authentication", objects: shop(requests("pay", "{}"))},
		{name: "attached to a waypoint", check: "request-authentication", objects: shop(requests("shop", "{targetRefs: [{kind: Gateway, name: way}]}"))},

		{name: "strict", check: "peer-authentication-disable", objects: shop(peer("shop", "{mtls: {mode: STRICT}}"))},
		{name: "disabled", check: "peer-authentication-disable", objects: shop(peer("shop", "{"+disable+"}")), want: []finding{{fail, "PeerAuthentication shop/p", "spec.mtls.mode", "mTLS is disabled"}}},
		{name: "disabled for ports", check: "peer-authentication-disable", objects: shop(peer("shop", "{selector: {matchLabels: {app: cart}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}, 443: {mode: STRICT}, 9090: {mode: DISABLE}}}")), want: []finding{
			{fail, "PeerAuthentication shop/p", "spec.portLevelMtls[8080].mode", "mTLS is disabled"}, {fail, "PeerAuthentication shop/p", "spec.portLevelMtls[9090].mode", "mTLS is disabled"},
		}},
		{name: "disabled mesh-wide", check: "peer-authentication-disable", objects: shop(peer("istio-system", "{"+disable+"}")), want: []finding{{fail, "PeerAuthentication istio-system/p", "spec.mtls.mode", "mTLS is disabled"}}},
		{name: "disabled elsewhere", check: "peer-authentication-disable", objects: shop(peer("pay", "{"+disable+"}"))},

		{name: "none", check: "dry-run-policies", objects: shop(policy("shop", layer4))},
		{name: "one", check: "dry-run-policies", objects: shop(dryRun("true", layer4)), want: []finding{{warn, name, dryRunField, "ztunnel is not sent the policy"}}},
		{name: "one, as strconv.ParseBool reads it", check: "dry-run-policies", objects: shop(dryRun("True", layer4)), want: []finding{{warn, name, dryRunField, "ztunnel is not sent the policy"}}},
		{name: "one that is over", check: "dry-run-policies", objects: shop(dryRun("false", layer4))},
		{name: "one that an older ztunnel enforces", check: "dry-run-policies", objects: older(dryRun("true", layer4)), want: []finding{{fail, name, dryRunField, "ztunnel before 1.29.0 enforces the policy"}}},
		{name: "one, and the version cannot be told", check: "dry-run-policies", objects: append(control(image("pilot:latest")), dryRun("true", layer4)), want: []finding{{fail, name, dryRunField, "enforces the policy"}}},
		{name: "one at a waypoint", check: "dry-run-policies", objects: older(dryRun("true", `{targetRefs: [{kind: Gateway, name: way}], rules: [{}]}`))},
	}...)
}

// madeFrom is a policy that an enrolment has made.
func madeFrom(kind, name, origin, spec string) string {
	const made = "ambient.kubectl-ambient.dev/origin"
	return "apiVersion: security.istio.io/v1\nkind: " + kind + "\nmetadata: {name: " + name + ", namespace: shop, labels: {" + made + ": x}, annotations: {" +
		made + ": " + origin + "}}\nspec: " + spec
}

func orphanCases() []testCase {
	const (
		check, field = "orphaned-policies", "metadata.annotations[ambient.kubectl-ambient.dev/origin]"
		guard        = "{action: DENY, selector: {matchLabels: {app: cart}}, rules: [{}]}"
		admits       = "{selector: {matchLabels: {app: cart}}, rules: [{}]}"
		there        = "AuthorizationPolicy shop/p"
	)
	gone := func(kind, name, origin string) finding {
		return finding{warn, kind + " shop/" + name, field, "an enrolment made it from " + origin + ", which is gone: it goes on to hold"}
	}
	another := istio("security.istio.io/v1", "AuthorizationPolicy", "shop", "another", admits)
	return []testCase{
		{name: "none", check: check, objects: shop()},
		{name: "what it was made from is there", check: check, objects: shop(policy("shop", admits), madeFrom("AuthorizationPolicy", "p-guard", there, guard))},
		{name: "what it was made from is gone", check: check, objects: shop(madeFrom("AuthorizationPolicy", "p-guard", there, guard)), want: []finding{gone("AuthorizationPolicy", "p-guard", there)}},
		{name: "the root namespace's is there", check: check, objects: shop(policy("istio-system", "{}"), madeFrom("AuthorizationPolicy", "p-guard", "AuthorizationPolicy istio-system/p", guard))},
		{
			name: "tokens", check: check,
			objects: shop(madeFrom("RequestAuthentication", "j-cart", "RequestAuthentication shop/j", "{targetRefs: [{kind: Service, name: cart}]}"), madeFrom("AuthorizationPolicy", "j-guard", "RequestAuthentication shop/j", guard)),
			want:    []finding{gone("AuthorizationPolicy", "j-guard", "RequestAuthentication shop/j"), gone("RequestAuthentication", "j-cart", "RequestAuthentication shop/j")},
		},
		{name: "what lets a waypoint through", check: check, objects: shop(madeFrom("AuthorizationPolicy", "from-waypoint-1", there, admits)), want: []finding{gone("AuthorizationPolicy", "from-waypoint-1", there)}},
		{name: "what lets a waypoint through for another policy, too", check: check, objects: shop(another, madeFrom("AuthorizationPolicy", "from-waypoint-1", there, admits))},
		{name: "a policy that says nothing of what it was made from", check: check, objects: shop(madeFrom("AuthorizationPolicy", "p-guard", `""`, guard))},
		{name: "one of a kind that is not read", check: check, objects: shop(madeFrom("AuthorizationPolicy", "p-guard", "Unheard shop/p", guard))},
	}
}
