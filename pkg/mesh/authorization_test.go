package mesh_test

import (
	"errors"
	"strings"
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

func TestMalformedBlocks(t *testing.T) {
	tests := []struct {
		rules string
		want  []mesh.FieldValue
	}{
		{`[]`, nil},
		{`[{}, {from: [{}], to: [{}], when: [{key: source.ip}]}]`, nil},
		{`[{from: [{source: {ipBlocks: [10.0.0.1, 10.0.0.0/8, "fd00::1", "fd00::/8"], notIpBlocks: [10.0.0.7/8], remoteIpBlocks: [0.0.0.0/0], notRemoteIpBlocks: ["::/0"]}}]}]`, nil},
		{`[{from: [{source: {ipBlocks: [10.0.0.0/99]}}]}]`, []mesh.FieldValue{{Field: "spec.rules[0].from[0].source.ipBlocks[0]", Value: "10.0.0.0/99"}}},
		{`[{}, {from: [{source: {principals: [a]}}, {source: {notIpBlocks: [10.0.0.1, nonsense], remoteIpBlocks: [""], notRemoteIpBlocks: [10.0.0.0/]}}]}]`, []mesh.FieldValue{
			{Field: "spec.rules[1].from[1].source.notIpBlocks[1]", Value: "nonsense"}, {Field: "spec.rules[1].from[1].source.remoteIpBlocks[0]", Value: ""},
			{Field: "spec.rules[1].from[1].source.notRemoteIpBlocks[0]", Value: "10.0.0.0/"},
		}},
		{`[{when: [{key: source.ip, values: [a]}, {key: remote.ip, notValues: [10.0.0.1, b]}, {key: destination.ip, values: [c]}, {key: source.namespace, values: [d]}, {key: "request.headers[x]", values: [e]}]}]`, []mesh.FieldValue{
			{Field: "spec.rules[0].when[0].values[0]", Value: "a"}, {Field: "spec.rules[0].when[1].notValues[1]", Value: "b"}, {Field: "spec.rules[0].when[2].values[0]", Value: "c"},
		}},
	}
	for _, test := range tests {
		t.Run(test.rules, func(t *testing.T) {
			snapshot := fixture.Snapshot("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop}\nspec:\n  rules: " + test.rules)
			if diff := cmp.Diff(test.want, mesh.MalformedBlocks(&snapshot.AuthorizationPolicies()[0].Spec)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnUnknownAction(t *testing.T) {
	content := fixture.Content(fixture.YAML("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop}\nspec: {action: FOO, rules: [{}]}"))
	_, err := mesh.NewSnapshot(content)
	var of *mesh.ObjectError
	if !errors.As(err, &of) || of.Object.Kind != mesh.KindAuthorizationPolicy || of.Object.Namespace != "shop" || of.Object.Name != "p" {
		t.Fatalf("the error does not name the policy: %v", err)
	}
	if want := "AuthorizationPolicy shop/p: spec.action: "; !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "FOO") {
		t.Errorf("the error does not name the field and what stands there: %v", err)
	}
}
