package translate_test

import (
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
)

// asking is a mesh in which cart has its calls decided by an external authorizer.
func asking(provider, in string, parts ...string) []any {
	authorizer := fixture.Deployment(in, "opa")
	all := []any{fixture.Without("ConfigMap", shop()...), fixture.MeshConfig("extensionProviders: [" + provider + "]"), authorizer, fixture.PodsOf(authorizer, fixture.Sidecar)}
	if in != "shop" {
		all = append(all, fixture.Namespace(in, nil))
	}
	for _, part := range append(parts, `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask, namespace: shop}
spec: {selector: {matchLabels: {app: cart}}, action: CUSTOM, provider: {name: opa}, rules: [{}]}`, `
apiVersion: v1
kind: Service
metadata: {name: opa, namespace: `+in+`}
spec: {clusterIP: 10.0.0.5, selector: {app: opa}, ports: [{name: grpc, port: 9191}]}`) {
		all = append(all, fixture.YAML(part))
	}
	return all
}

// TestWhoAsksExternalAuthorizers: behind a waypoint the waypoint asks, which what admits
// the pods need not admit.
func TestWhoAsksExternalAuthorizers(t *testing.T) {
	t.Parallel()
	const (
		remote  = "{name: opa, envoyExtAuthzGrpc: {service: opa.authz.svc.cluster.local, port: 9191}}"
		comes   = "waypoint shop/waypoint comes to ask its external authorizer, Service authz/opa, in place of the pods, and AuthorizationPolicy authz/p "
		admit   = "have a rule of it admit principal cluster.local/ns/shop/sa/waypoint, too, before this"
		refused = comes + "refuses that: each call that it is to decide is refused; " + admit
	)
	policy := func(namespace, spec string) string {
		return "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: " + namespace + "}\nspec: " + spec
	}
	local := func(address string) string {
		return "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: own, namespace: shop}\n" +
			"spec: {hosts: [opa.local], resolution: STATIC, ports: [{number: 9191, name: grpc, protocol: GRPC}], endpoints: [{address: " + address + "}]}"
	}
	const own = "{name: opa, envoyExtAuthzGrpc: {service: opa.local, port: 9191}}"
	for _, test := range []struct {
		name          string
		provider, in  string
		parts         []string
		problem, loss string
	}{
		{"no policy", remote, "authz", nil, "", ""},
		{"the pods alone", remote, "authz", []string{policy("authz", "{selector: {matchLabels: {app: opa}}, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/cart]}}]}]}")}, refused, ""},
		{"by service account", remote, "authz", []string{policy("authz", "{rules: [{from: [{source: {serviceAccounts: [shop/cart]}}]}]}")}, refused, ""},
		{"over HTTP", strings.Replace(remote, "Grpc", "Http", 1), "authz", []string{policy("authz", "{rules: [{from: [{source: {serviceAccounts: [shop/cart]}}]}]}")}, refused, ""},
		{"by a name with its namespace", strings.Replace(remote, "service: ", "service: authz/", 1), "authz", []string{policy("authz", "{rules: [{from: [{source: {serviceAccounts: [shop/cart]}}]}]}")}, refused, ""},
		{"calls are let in without it", strings.Replace(remote, "port: 9191", "port: 9191, failOpen: true", 1), "authz", []string{policy("authz", "{rules: [{from: [{source: {serviceAccounts: [shop/cart]}}]}]}")},
			comes + "refuses that: each call that it is to decide is let in without it (failOpen); " + admit, ""},
		{"the whole namespace", remote, "authz", []string{policy("authz", "{rules: [{from: [{source: {namespaces: [shop]}}]}]}")}, "", ""},
		{"the waypoint already", remote, "authz", []string{policy("authz", "{rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/cart]}}]}, {from: [{source: {principals: [cluster.local/ns/shop/sa/waypoint]}}]}]}")}, "", ""},
		{"nobody who asks today", remote, "authz", []string{policy("authz", "{rules: [{from: [{source: {namespaces: [pay]}}]}]}")}, "", ""},
		{"other pods", remote, "authz", []string{policy("authz", "{selector: {matchLabels: {app: other}}, rules: [{from: [{source: {principals: [a]}}]}]}")}, "", ""},
		{"on dry run", remote, "authz", []string{strings.Replace(policy("authz", "{rules: [{from: [{source: {serviceAccounts: [shop/cart]}}]}]}"), "namespace: authz}", "namespace: authz, annotations: {istio.io/dry-run: 'true'}}", 1)}, "", ""},
		{"a refusal of all but the pods", remote, "authz", []string{policy("authz", "{action: DENY, rules: [{from: [{source: {notPrincipals: [cluster.local/ns/shop/sa/cart]}}]}]}")},
			comes + "refuses that: each call that it is to decide is refused; exempt principal cluster.local/ns/shop/sa/waypoint from it (notPrincipals) before this", ""},
		{"a refusal of some requests of all but the pods", remote, "authz", []string{policy("authz", "{action: DENY, rules: [{from: [{source: {notPrincipals: [cluster.local/ns/shop/sa/cart]}}], to: [{operation: {paths: [/admin]}}]}]}")},
			"", comes + "may refuse that: then each call that it is to decide is refused; exempt principal cluster.local/ns/shop/sa/waypoint from it (notPrincipals) before this"},
		{"a refusal of others", remote, "authz", []string{policy("authz", "{action: DENY, rules: [{from: [{source: {namespaces: [pay]}}]}]}")}, "", ""},
		{"a refusal of everybody", remote, "authz", []string{policy("authz", "{action: DENY, rules: [{from: [{source: {notNamespaces: [pay]}}]}]}")}, "", ""},
		{"beside the pods, without a waypoint", strings.ReplaceAll(remote, "opa.authz", "opa.shop"), "shop", []string{policy("shop", "{selector: {matchLabels: {app: opa}}, rules: [{from: [{source: {serviceAccounts: [cart]}}]}]}")},
			strings.ReplaceAll(refused, "authz/", "shop/"), ""},
		{"beside the pods, behind a waypoint", strings.ReplaceAll(remote, "opa.authz", "opa.shop"), "shop",
			[]string{policy("shop", "{selector: {matchLabels: {app: opa}}, rules: [{from: [{source: {serviceAccounts: [cart]}}], to: [{operation: {methods: [POST]}}]}]}")}, "", ""},
		{"in each pod", own, "authz", []string{local("127.0.0.1")},
			"each sidecar asks its external authorizer at its own pod (ServiceEntry shop/own), and waypoint shop/waypoint would ask at the waypoint's, where nobody answers: each call that it is to decide is refused; " +
				"run the authorizer behind a Service and have extensionProviders name that, or leave the services out by --waypoint-skip", ""},
		{"at a socket", own, "authz", []string{local("'unix:///run/opa.sock'")}, "each sidecar asks its external authorizer at its own pod (ServiceEntry shop/own)", ""},
		{"outside the mesh", own, "authz", []string{local("192.0.2.7")}, "", ""},
		{"one that is not known", "{name: other}", "authz", nil, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			snapshot := fixture.Snapshot(asking(test.provider, test.in, test.parts...)...)
			translation, err := translate.Namespace(snapshot, fixture.Find(snapshot, "shop"), translate.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var problems, losses []string
			for _, problem := range translation.Problems {
				problems = append(problems, problem.Message+"; "+problem.Remedy)
			}
			for _, loss := range translation.Losses {
				losses = append(losses, loss.Message)
			}
			for _, compared := range []struct {
				kind, want string
				got        []string
			}{{"problem", test.problem, problems}, {"loss", test.loss, losses}} {
				if compared.want == "" && len(compared.got) > 0 || compared.want != "" && (len(compared.got) != 1 || !strings.HasPrefix(compared.got[0], compared.want)) {
					t.Errorf("%s: got %q, want %q", compared.kind, compared.got, compared.want)
				}
			}
		})
	}
}
