package mesh_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

func layer7(rules string) []string {
	snapshot := fixture.Snapshot("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop}\nspec:\n  rules: " + rules)
	return mesh.Layer7Fields(&snapshot.AuthorizationPolicies()[0].Spec)
}

func TestLayer7Fields(t *testing.T) {
	tests := []struct {
		rules string
		want  []string
	}{
		{`[]`, nil},
		{`[{}]`, nil},
		{`[{from: [{source: {principals: ["a"], notPrincipals: ["b"], namespaces: ["c"], notNamespaces: ["d"], ipBlocks: ["10.0.0.0/8"], notIpBlocks: ["11.0.0.0/8"], serviceAccounts: ["e"], notServiceAccounts: ["f"]}}]}]`, nil},
		{`[{to: [{operation: {ports: ["80"], notPorts: ["81"]}}]}]`, nil},
		{`[{from: [{source: {requestPrincipals: ["*"]}}]}]`, []string{"spec.rules[0].from[0].source.requestPrincipals"}},
		{`[{from: [{source: {notRequestPrincipals: ["*"]}}]}]`, []string{"spec.rules[0].from[0].source.notRequestPrincipals"}},
		{`[{from: [{source: {remoteIpBlocks: ["10.0.0.0/8"]}}]}]`, []string{"spec.rules[0].from[0].source.remoteIpBlocks"}},
		{`[{from: [{source: {notRemoteIpBlocks: ["10.0.0.0/8"]}}]}]`, []string{"spec.rules[0].from[0].source.notRemoteIpBlocks"}},
		{`[{to: [{operation: {hosts: ["a"]}}]}]`, []string{"spec.rules[0].to[0].operation.hosts"}},
		{`[{to: [{operation: {notHosts: ["a"]}}]}]`, []string{"spec.rules[0].to[0].operation.notHosts"}},
		{`[{to: [{operation: {methods: ["*"]}}]}]`, []string{"spec.rules[0].to[0].operation.methods"}},
		{`[{to: [{operation: {notMethods: ["GET"]}}]}]`, []string{"spec.rules[0].to[0].operation.notMethods"}},
		{`[{to: [{operation: {paths: ["/*"]}}]}]`, []string{"spec.rules[0].to[0].operation.paths"}},
		{`[{to: [{operation: {notPaths: ["/a"]}}]}]`, []string{"spec.rules[0].to[0].operation.notPaths"}},
		{`[{when: [{key: source.ip, values: [a]}, {key: source.namespace, values: [a]}, {key: source.principal, values: [a]}, {key: destination.ip, values: [a]}, {key: destination.port, notValues: [a]}]}]`, nil},
		{`[{when: [{key: "request.headers[x]", values: [a]}]}]`, []string{"spec.rules[0].when[0].key (request.headers[x])"}},
		{`[{when: [{key: "request.auth.claims[iss]", values: [a]}]}]`, []string{"spec.rules[0].when[0].key (request.auth.claims[iss])"}},
		{`[{when: [{key: remote.ip, values: [a]}]}]`, []string{"spec.rules[0].when[0].key (remote.ip)"}},
		{`[{when: [{key: connection.sni, values: [a]}]}]`, []string{"spec.rules[0].when[0].key (connection.sni)"}},
		{`[{when: [{key: experimental.envoy.filters.a, values: [a]}]}]`, []string{"spec.rules[0].when[0].key (experimental.envoy.filters.a)"}},
		{`[{from: [{source: {principals: [a]}}]}, {from: [{source: {principals: [a]}}, {source: {requestPrincipals: [b]}}], to: [{operation: {ports: ["80"]}}, {operation: {methods: [GET], paths: [/a]}}], when: [{key: source.ip, values: [a]}, {key: remote.ip, values: [a]}]}]`, []string{
			"spec.rules[1].from[1].source.requestPrincipals", "spec.rules[1].to[1].operation.methods", "spec.rules[1].to[1].operation.paths", "spec.rules[1].when[1].key (remote.ip)",
		}},
	}
	for _, test := range tests {
		t.Run(test.rules, func(t *testing.T) {
			if diff := cmp.Diff(test.want, layer7(test.rules)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
