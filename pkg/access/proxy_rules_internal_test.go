package access

import (
	"net/netip"
	"testing"
)

// asked is a call that Envoy sees on a port that speaks HTTP.
func asked(edits ...func(*facts)) *facts {
	facts := tls
	facts.remote = netip.MustParseAddr("1.2.3.4")
	facts.accepted = true
	facts.request = &Request{
		HTTP: true, Method: "GET", Path: "/a/b", Host: "Shop.example.com:8080", Headers: map[string]string{"x-team": "blue", "x-empty": ""},
		Token: Token{
			Issuer: "https://issuer", Valid: true, Subject: "me", Audiences: []string{"shop", "web"}, Presenter: "portal",
			Claims: map[string][]string{"groups": {"dev", "ops"}, "realm][roles": {"admin"}},
		},
	}
	for _, edit := range edits {
		edit(&facts)
	}
	return &facts
}

func TestEnvoyCompares(t *testing.T) {
	for _, test := range []struct {
		rule string
		want bool
	}{
		{`{}`, true},
		{`{from: [{source: {}}]}`, true},
		{`{from: [{source: {principals: [td/ns/namespace/sa/account]}}]}`, true},
		{`{from: [{source: {principals: [td/ns/namespace/sa/acc]}}]}`, false},
		{`{from: [{source: {principals: ["td/ns/*"]}}]}`, true},
		{`{from: [{source: {principals: ["*/account"]}}]}`, true},
		{`{from: [{source: {principals: ["*"]}}]}`, true},
		{`{from: [{source: {notPrincipals: ["*"]}}]}`, false},
		{`{from: [{source: {principals: ["spiffe://td/ns/namespace/sa/account"]}}]}`, false},
		{`{from: [{source: {namespaces: [namespace]}}]}`, true},
		{`{from: [{source: {namespaces: [name]}}]}`, false},
		{`{from: [{source: {namespaces: ["n*e"]}}]}`, true},
		{`{from: [{source: {namespaces: ["*x*"]}}]}`, false},
		// What a wildcard stands for may go past the namespace.
		{`{from: [{source: {namespaces: ["*a"]}}]}`, true},
		{`{from: [{source: {notNamespaces: [namespace]}}]}`, false},
		{`{from: [{source: {serviceAccounts: [account]}}]}`, true},
		{`{from: [{source: {serviceAccounts: [other/account]}}]}`, false},
		{`{from: [{source: {trustDomains: [td]}}]}`, true},
		{`{from: [{source: {trustDomains: ["t*d"]}}]}`, true},
		{`{from: [{source: {notTrustDomains: ["*"]}}]}`, false},
		{`{from: [{source: {ipBlocks: [127.0.0.0/8]}}]}`, true},
		{`{from: [{source: {ipBlocks: [1.2.3.4]}}]}`, false},
		{`{from: [{source: {remoteIpBlocks: [1.2.3.4]}}]}`, true},
		{`{from: [{source: {notRemoteIpBlocks: [1.2.0.0/16]}}]}`, false},
		{`{from: [{source: {requestPrincipals: ["https://issuer/me"]}}]}`, true},
		{`{from: [{source: {requestPrincipals: ["https://issuer/*"]}}]}`, true},
		{`{from: [{source: {requestPrincipals: ["*/me"]}}]}`, true},
		{`{from: [{source: {requestPrincipals: ["*r/me"]}}]}`, true},
		// A wildcard at the end of an issuer is none where the issuer has a slash.
		{`{from: [{source: {requestPrincipals: ["https:*"]}}]}`, true},
		{`{from: [{source: {requestPrincipals: ["https://iss*"]}}]}`, false},
		{`{from: [{source: {requestPrincipals: ["*"]}}]}`, true},
		{`{from: [{source: {requestPrincipals: ["https://issuer"]}}]}`, false},
		{`{from: [{source: {notRequestPrincipals: ["*"]}}]}`, false},
		{`{when: [{key: request.auth.principal, values: ["https://issuer/me"]}]}`, true},
		{`{when: [{key: request.auth.audiences, values: [web]}]}`, true},
		{`{when: [{key: request.auth.presenter, values: ["port*"]}]}`, true},
		{`{when: [{key: "request.auth.claims[groups]", values: [ops]}]}`, true},
		{`{when: [{key: "request.auth.claims[groups]", notValues: [dev]}]}`, false},
		{`{when: [{key: "request.auth.claims[missing]", notValues: [dev]}]}`, true},
		{`{when: [{key: "request.auth.claims[realm][roles]", values: [admin]}]}`, true},
		{`{when: [{key: "request.auth.claims[iss]", values: ["https://issuer"]}]}`, true},
		{`{when: [{key: "request.auth.claims[sub]", values: [me]}]}`, true},
		{`{when: [{key: "request.headers[X-Team]", values: ["bl*"]}]}`, true},
		{`{when: [{key: "request.headers[x-empty]", values: ["*"]}]}`, true},
		{`{when: [{key: "request.headers[x-none]", values: ["*"]}]}`, false},
		{`{when: [{key: "request.headers[x-none]", notValues: ["*"]}]}`, true},
		{`{when: [{key: "request.headers[:method]", values: [GET]}]}`, true},
		{`{when: [{key: remote.ip, values: [1.2.3.4]}]}`, true},
		{`{when: [{key: connection.sni, values: ["*.example.com"]}]}`, true},
		{`{when: [{key: destination.ip, values: [127.0.0.2]}]}`, true},
		{`{when: [{key: "experimental.envoy.filters.a[b]", values: ["*"]}]}`, false},
		{`{to: [{operation: {hosts: ["shop.example.com:8080"]}}]}`, true},
		{`{to: [{operation: {hosts: ["shop.example.com"]}}]}`, false},
		{`{to: [{operation: {hosts: ["SHOP.*"]}}]}`, true},
		{`{to: [{operation: {notHosts: ["*"]}}]}`, false},
		{`{to: [{operation: {methods: [get]}}]}`, false},
		{`{to: [{operation: {methods: ["*"]}}]}`, true},
		{`{to: [{operation: {notMethods: [POST]}}]}`, true},
		{`{to: [{operation: {paths: ["/a/*"]}}]}`, true},
		{`{to: [{operation: {paths: ["/a/{*}"]}}]}`, true},
		{`{to: [{operation: {paths: ["/{*}"]}}]}`, false},
		{`{to: [{operation: {paths: ["/{**}"]}}]}`, true},
		{`{to: [{operation: {paths: ["/a/b/{**}"]}}]}`, false},
		{`{to: [{operation: {notPaths: ["*/b"]}}]}`, false},
		{`{to: [{operation: {ports: ["80", "8080"]}}]}`, true},
		{`{to: [{operation: {ports: ["8080"], methods: [POST]}}, {operation: {ports: ["8080"]}}]}`, true},
		{`{from: [{source: {namespaces: [namespace]}}], to: [{operation: {methods: [POST]}}]}`, false},
		{`{from: [{source: {namespaces: [namespace]}}], when: [{key: "request.headers[x-team]", values: [red]}]}`, false},
	} {
		facts := asked(func(facts *facts) { facts.serverName.plain = "shop.example.com" })
		compiler := proxyCompiler{namespace: "namespace", domains: trustDomains{"td"}, allow: true}
		if got := compiler.rules(parsed(t, test.rule)).hold(facts); got != test.want {
			t.Errorf("%s: got %v, want %v", test.rule, got, test.want)
		}
	}
}

// What Envoy cannot be told of makes a rule of an ALLOW disappear, and a rule of
// a DENY match more.
func TestWhatEnvoyIsNotTold(t *testing.T) {
	for _, test := range []struct {
		name        string
		rule        string
		tcp         bool
		allow, deny bool
	}{
		{"HTTP on a port without", `{to: [{operation: {methods: [POST]}}]}`, true, false, true},
		{"HTTP beside something else", `{to: [{operation: {methods: [POST], ports: ["1"]}}]}`, true, false, false},
		{"HTTP in one of two alternatives", `{to: [{operation: {methods: [GET]}}, {operation: {ports: ["8080"]}}]}`, true, false, true},
		{"who asks, by token", `{from: [{source: {requestPrincipals: [x]}}]}`, true, false, true},
		{"the client's address needs no HTTP", `{from: [{source: {remoteIpBlocks: [1.2.3.4]}}]}`, true, true, true},
		{"nor does the server's name", `{when: [{key: connection.sni, notValues: [x]}]}`, true, true, true},
		{"a port that is none", `{to: [{operation: {ports: [http]}}]}`, false, false, true},
		{"one port that is none", `{to: [{operation: {ports: [http, "1"]}}]}`, false, false, false},
		{"a block that is none", `{from: [{source: {notIpBlocks: [nowhere]}}]}`, false, false, true},
		{"a key without a name", `{when: [{key: request.headers, values: [x]}]}`, false, false, true},
		{"a key that is none", `{when: [{key: destination.name, values: [x]}]}`, false, false, false},
	} {
		got := func(allow bool) bool {
			compiler := proxyCompiler{namespace: "namespace", domains: trustDomains{"td"}, allow: allow, tcp: test.tcp}
			return compiler.rules(parsed(t, test.rule)).hold(asked())
		}
		if got(true) != test.allow || got(false) != test.deny {
			t.Errorf("%s: an ALLOW matches: %v, a DENY: %v", test.name, got(true), got(false))
		}
	}
}

func TestWithoutIdentityOrTokenOnlyNegationsMatch(t *testing.T) {
	for rule, want := range map[string]bool{
		`{from: [{source: {principals: ["*"]}}]}`:                         false,
		`{from: [{source: {notPrincipals: ["*"]}}]}`:                      true,
		`{from: [{source: {namespaces: ["*"]}}]}`:                         false,
		`{from: [{source: {notServiceAccounts: [a]}}]}`:                   true,
		`{from: [{source: {notTrustDomains: ["*"]}}]}`:                    true,
		`{from: [{source: {requestPrincipals: ["*"]}}]}`:                  false,
		`{from: [{source: {notRequestPrincipals: ["*"]}}]}`:               true,
		`{when: [{key: "request.auth.claims[groups]", values: ["dev"]}]}`: false,
	} {
		facts := asked(func(facts *facts) { facts.identity, facts.accepted = Identity{}, false })
		if got := (proxyCompiler{domains: trustDomains{"td"}}).rules(parsed(t, rule)).hold(facts); got != want {
			t.Errorf("%s: got %v, want %v", rule, got, want)
		}
	}
}

func TestTrustDomainsHaveAliases(t *testing.T) {
	domains := trustDomains{"td", "old", "older"}
	identity := func(domain string) *facts {
		return &facts{identity: Identity{domain, "namespace", "account"}}
	}
	for _, test := range []struct {
		rule, domain string
		want         bool
	}{
		{`{from: [{source: {principals: [td/ns/namespace/sa/account]}}]}`, "old", true},
		{`{from: [{source: {principals: [old/ns/namespace/sa/account]}}]}`, "td", true},
		{`{from: [{source: {principals: [cluster.local/ns/namespace/sa/account]}}]}`, "older", true},
		{`{from: [{source: {principals: [cluster.local/ns/namespace/sa/account]}}]}`, "cluster.local", false},
		{`{from: [{source: {principals: [foreign/ns/namespace/sa/account]}}]}`, "td", false},
		{`{from: [{source: {principals: [foreign/ns/namespace/sa/account]}}]}`, "foreign", true},
		{`{from: [{source: {principals: ["*ld/ns/namespace/sa/account"]}}]}`, "td", true},
		{`{from: [{source: {principals: ["*/ns/namespace/sa/account"]}}]}`, "foreign", true},
		{`{from: [{source: {notPrincipals: [td/ns/namespace/sa/account]}}]}`, "old", false},
		{`{from: [{source: {trustDomains: [td]}}]}`, "older", true},
		{`{from: [{source: {trustDomains: [foreign]}}]}`, "td", false},
		{`{from: [{source: {notTrustDomains: [old]}}]}`, "td", false},
	} {
		if got := (proxyCompiler{domains: domains}).rules(parsed(t, test.rule)).hold(identity(test.domain)); got != test.want {
			t.Errorf("%s, called from %s: got %v, want %v", test.rule, test.domain, got, test.want)
		}
	}
}

func TestSidecarsAskForServersByServiceAndPort(t *testing.T) {
	facts := facts{serverName: serverName{service: &Service{Host: "cart.shop.svc.cluster.local"}, port: 80}}
	rule := parsed(t, `{when: [{key: connection.sni, values: [outbound_.80_._.cart.shop.svc.cluster.local]}]}`)
	if !(proxyCompiler{}).rules(rule).hold(&facts) {
		t.Error("the name that a sidecar asks for does not match")
	}
}
