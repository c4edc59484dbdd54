package checks_test

import (
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

func addressCases() []testCase {
	const (
		check, name = "policy-addresses", "AuthorizationPolicy shop/p"
		at          = "spec.rules[0].from[0].source."
		neither     = `" is neither an address nor a CIDR block: `
		allows      = "for sidecars and waypoints istiod leaves out the whole rule, which allows nothing, while ztunnel is sent the rest of it, if that needs no HTTP"
		leftOut     = "istiod leaves it out, so that in sidecars and at waypoints the rule "
	)
	from := func(action, source string) string {
		return "{action: " + action + ", rules: [{from: [{source: {" + source + "}}]}]}"
	}
	targeted := func(action string) string {
		return strings.Replace(from(action, "ipBlocks: [nonsense]"), "{", "{targetRefs: [{kind: Service, name: cart}], ", 1)
	}
	return []testCase{
		{name: "none", check: check, objects: shop()},
		{name: "addresses and blocks", check: check, objects: shop(policy("shop", from("ALLOW", `ipBlocks: [10.0.0.1, 10.0.0.0/8, "fd00::1", "fd00::/8"], notIpBlocks: [10.0.0.7/8], remoteIpBlocks: [0.0.0.0/0]`)))},
		{name: "an ALLOW", check: check, objects: shop(policy("shop", from("ALLOW", "ipBlocks: [10.0.0.0/99]"))), want: []finding{{fail, name, at + "ipBlocks[0]", `"10.0.0.0/99` + neither + allows}}},
		{name: "one that is good and two that are not", check: check, objects: shop(policy("shop", from("ALLOW", `ipBlocks: [10.1.0.0/16, nonsense, ""]`))), want: []finding{
			{fail, name, at + "ipBlocks[1]", `"nonsense` + neither}, {fail, name, at + "ipBlocks[2]", `"` + neither},
		}},
		{name: "every list", check: check, objects: shop(policy("shop", from("ALLOW", "ipBlocks: [a], notIpBlocks: [b], remoteIpBlocks: [10.0.0], notRemoteIpBlocks: [10.0.0.0/]"))), want: []finding{
			{fail, name, at + "ipBlocks[0]", `"a` + neither}, {fail, name, at + "notIpBlocks[0]", `"b` + neither},
			{fail, name, at + "remoteIpBlocks[0]", `"10.0.0` + neither}, {fail, name, at + "notRemoteIpBlocks[0]", `"10.0.0.0/` + neither},
		}},
		{name: "conditions", check: check, objects: shop(policy("shop", `{rules: [{when: [{key: source.ip, values: [a]}, {key: remote.ip, notValues: [b]}, {key: destination.ip, values: [10.0.0.1, c]}, {key: "request.headers[x]", values: [d]}]}]}`)), want: []finding{
			{fail, name, "spec.rules[0].when[0].values[0]", `"a` + neither}, {fail, name, "spec.rules[0].when[1].notValues[0]", `"b` + neither}, {fail, name, "spec.rules[0].when[2].values[1]", `"c` + neither},
		}},
		{name: "a DENY", check: check, objects: shop(policy("shop", from("DENY", "notIpBlocks: [nonsense]"))), want: []finding{{fail, name, at + "notIpBlocks[0]", neither + leftOut + "refuses more calls than it says, and ztunnel passes over a source or condition with nothing else in it"}}},
		{name: "an AUDIT", check: check, objects: shop(policy("shop", from("AUDIT", "ipBlocks: [nonsense]"))), want: []finding{{fail, name, at + "ipBlocks[0]", neither + leftOut + "reports more calls"}}},
		{name: "a CUSTOM", check: check, objects: shop(policy("shop", from("CUSTOM", "ipBlocks: [nonsense]"))), want: []finding{{fail, name, at + "ipBlocks[0]", neither + leftOut + "asks its provider about more calls"}}},
		{name: "an ALLOW with targetRefs", check: check, objects: shop(policy("shop", targeted("ALLOW"))), want: []finding{{warn, name, at + "ipBlocks[0]", neither + "istiod leaves out the whole rule, which allows nothing"}}},
		{name: "a DENY with targetRefs", check: check, objects: shop(policy("shop", targeted("DENY"))), want: []finding{{warn, name, at + "ipBlocks[0]", neither + leftOut + "refuses more calls than it says"}}},
		{name: "the root namespace's", check: check, objects: shop(policy("istio-system", from("DENY", "ipBlocks: [nonsense]"))), want: []finding{{fail, "AuthorizationPolicy istio-system/p", at + "ipBlocks[0]", neither}}},
		{name: "the root namespace's, for gateways", check: check, objects: shop(policy("istio-system", "{selector: {matchLabels: {istio: ingressgateway}}, rules: [{from: [{source: {ipBlocks: [nonsense]}}]}]}"))},
		{name: "another namespace's", check: check, objects: shop(policy("pay", from("DENY", "ipBlocks: [nonsense]")))},
		{name: "what an enrolment has made", check: check, objects: shop(strings.Replace(policy("shop", from("ALLOW", "ipBlocks: [nonsense]")), "metadata: {", "metadata: {labels: {"+v1alpha1.OriginLabel+": a}, ", 1))},
	}
}
