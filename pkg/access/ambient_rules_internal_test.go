package access

import (
	"net/netip"
	"testing"

	securityv1beta1 "istio.io/api/security/v1beta1"
	"sigs.k8s.io/yaml"
)

// parsed reads a rule as it is written.
func parsed(t *testing.T, text string) *securityv1beta1.Rule {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	written := &securityv1beta1.Rule{}
	if err := written.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	return written
}

// The connections of ztunnel's own tests (ztunnel src/rbac.rs).
var (
	plain = facts{source: netip.MustParseAddr("127.0.0.1"), destinations: []netip.Addr{netip.MustParseAddr("127.0.0.2")}, port: 8080}
	tls   = facts{
		identity: Identity{"td", "namespace", "account"},
		source:   netip.MustParseAddr("127.0.0.1"), destinations: []netip.Addr{netip.MustParseAddr("127.0.0.2")}, port: 8080,
	}
	other = facts{
		identity: Identity{"td-alt", "ns-alt", "sa-alt"},
		source:   netip.MustParseAddr("127.0.0.3"), destinations: []netip.Addr{netip.MustParseAddr("127.0.0.4")}, port: 9090,
	}
)

func TestZtunnelComparesAsItsOwnTestsSay(t *testing.T) {
	for _, test := range []struct {
		rule              string
		plain, tls, other bool
	}{
		{`{}`, true, true, true},
		{`{from: [{source: {}}]}`, false, false, false},
		{`{from: [{source: {namespaces: [namespace]}}]}`, false, true, false},
		{`{from: [{source: {notNamespaces: [namespace]}}]}`, true, false, true},
		{`{from: [{source: {namespaces: ["*space"]}}]}`, false, true, false},
		{`{from: [{source: {namespaces: ["name*"]}}]}`, false, true, false},
		{`{from: [{source: {namespaces: ["*"]}}]}`, false, true, true},
		{`{from: [{source: {namespaces: ["*t"]}}]}`, false, false, true},
		{`{from: [{source: {serviceAccounts: [namespace/account]}}]}`, false, true, false},
		{`{from: [{source: {serviceAccounts: [account]}}]}`, false, true, false},
		{`{from: [{source: {serviceAccounts: [other/account]}}]}`, false, false, false},
		{`{from: [{source: {notServiceAccounts: [namespace/account]}}]}`, true, false, true},
		{`{from: [{source: {principals: [td/ns/namespace/sa/account]}}]}`, false, true, false},
		{`{from: [{source: {notPrincipals: [td/ns/namespace/sa/account]}}]}`, true, false, true},
		{`{from: [{source: {principals: ["td/*"]}}]}`, false, true, false},
		{`{from: [{source: {principals: ["*/sa/account"]}}]}`, false, true, false},
		{`{from: [{source: {principals: ["*"]}}]}`, false, true, true},
		{`{from: [{source: {notPrincipals: ["*"]}}]}`, true, false, false},
		{`{from: [{source: {principals: [cluster.local/ns/namespace/sa/account]}}]}`, false, false, false},
		{`{from: [{source: {ipBlocks: [127.0.0.1]}}]}`, true, true, false},
		{`{from: [{source: {notIpBlocks: [127.0.0.1/32]}}]}`, false, false, true},
		{`{when: [{key: destination.ip, values: [127.0.0.2]}]}`, true, true, false},
		{`{when: [{key: destination.ip, notValues: [127.0.0.2]}]}`, false, false, true},
		{`{when: [{key: destination.ip, values: [127.0.0.1/24]}]}`, true, true, true},
		{`{to: [{operation: {ports: ["8080"]}}]}`, true, true, false},
		{`{to: [{operation: {notPorts: ["8080"]}}]}`, false, false, true},
		{`{when: [{key: destination.port, values: ["8080"]}]}`, true, true, false},
		{`{when: [{key: source.ip, values: [127.0.0.3]}]}`, false, false, true},
		{`{when: [{key: source.namespace, values: [namespace]}]}`, false, true, false},
		{`{when: [{key: source.principal, notValues: ["td/*"]}]}`, true, false, true},
		// Either of two alternatives, and both of two clauses.
		{`{from: [{source: {namespaces: [namespace]}}, {source: {namespaces: [ns-alt]}}], to: [{operation: {ports: ["9090"]}}]}`, false, false, true},
		{`{from: [{source: {namespaces: [namespace]}}], when: [{key: destination.port, values: ["9090"]}]}`, false, false, false},
	} {
		rules := ambientRules(parsed(t, test.rule), "namespace", securityv1beta1.AuthorizationPolicy_DENY)
		plain, tls, other := plain, tls, other
		if rules.hold(&plain) != test.plain || rules.hold(&tls) != test.tls || rules.hold(&other) != test.other {
			t.Errorf("%s: got %v, %v, %v", test.rule, rules.hold(&plain), rules.hold(&tls), rules.hold(&other))
		}
	}
}

func TestWhatZtunnelIsToldOfRules(t *testing.T) {
	for _, test := range []struct {
		rule        string
		allow, deny bool
	}{
		{`{to: [{operation: {methods: [GET]}}]}`, false, false},
		{`{to: [{operation: {methods: [GET], ports: ["8080"]}}]}`, false, true},
		{`{to: [{operation: {methods: [GET]}}, {operation: {ports: ["8080"]}}]}`, false, true},
		{`{from: [{source: {namespaces: [namespace]}}], to: [{operation: {paths: [/a]}}]}`, false, false},
		{`{from: [{source: {namespaces: [namespace], requestPrincipals: ["*"]}}]}`, false, true},
		{`{from: [{source: {remoteIpBlocks: [127.0.0.1]}}]}`, false, false},
		{`{from: [{source: {namespaces: [namespace]}}], when: [{key: "request.headers[a]", values: [b]}]}`, false, false},
		{`{when: [{key: source.serviceAccount, values: [namespace/account]}]}`, false, false},
		{`{when: [{key: connection.sni, values: ["*"]}]}`, false, false},
		// Trust domains are passed over without a word.
		{`{from: [{source: {trustDomains: [td]}}]}`, false, false},
		{`{from: [{source: {namespaces: [namespace], trustDomains: [other]}}]}`, true, true},
		{`{when: [{key: source.trustDomain, values: [td]}]}`, false, false},
		// What is no port or address is left out.
		{`{to: [{operation: {ports: [http]}}]}`, false, false},
		{`{to: [{operation: {ports: [http, "8080"]}}]}`, true, true},
		{`{from: [{source: {ipBlocks: [nowhere], namespaces: [namespace]}}]}`, true, true},
	} {
		facts := tls
		allow := ambientRules(parsed(t, test.rule), "namespace", securityv1beta1.AuthorizationPolicy_ALLOW).hold(&facts)
		deny := ambientRules(parsed(t, test.rule), "namespace", securityv1beta1.AuthorizationPolicy_DENY).hold(&facts)
		if allow != test.allow || deny != test.deny {
			t.Errorf("%s: an ALLOW matches: %v, a DENY: %v", test.rule, allow, deny)
		}
	}
}
