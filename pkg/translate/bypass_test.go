package translate_test

import (
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
)

// cartGetOnly is a policy that decides calls to cart, and none to web.
const cartGetOnly = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: get-only, namespace: shop}
spec: {selector: {matchLabels: {app: cart}}, rules: [{to: [{operation: {methods: [GET]}}]}]}
---
`

// entryAPI is a host outside that goes through a waypoint.
const entryAPI = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec: {hosts: [api.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
---
`

func virtualServiceOfWeb(http string) string {
	return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec: {hosts: [web], http: [` + http + `]}
`
}

// delegate is a VirtualService that another one's routes are handed on to.
func delegate(namespace, host string) string {
	return `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: part, namespace: ` + namespace + `}
spec: {http: [{route: [{destination: {host: ` + host + `}}]}]}
`
}

// denyAdmin is a policy for the whole namespace.
func denyAdmin(operation string) string {
	return `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {` + operation + `}}]}]}
---
`
}

// entryCart is another name for the pods of cart.
func entryCart(namespace, spec string) string {
	return `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: internal, namespace: ` + namespace + `}
spec: {hosts: [cart.internal], location: MESH_INTERNAL, ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}], ` + spec + `}
---
`
}

// serviceB is one of another namespace, and its pods are not read.
const serviceB = `
apiVersion: v1
kind: Service
metadata: {name: b, namespace: other}
spec: {clusterIP: 10.0.1.1, selector: {app: b}, ports: [{name: http, port: 80}]}
---
`

// rootPolicy is one of the whole mesh.
func rootPolicy(selector, operation string) string {
	return `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: of-the-mesh, namespace: istio-system}
spec: {action: DENY, selector: {matchLabels: {` + selector + `}}, rules: [{to: [{operation: {` + operation + `}}]}]}
---
`
}

func routeOfWeb(kind, rule string) string {
	return `apiVersion: gateway.networking.k8s.io/v1
kind: ` + kind + `
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: web, port: 80}]
  rules: [` + rule + `]
`
}

// A waypoint of web that calls cart by its own identity goes past the policies of cart,
// however the route comes to lead there.
func TestRoutesPastPolicies(t *testing.T) {
	for _, test := range []struct {
		name, objects string
		// wanted is in a problem of the translation; it is empty where there is none.
		wanted string
	}{
		{"a route", cartGetOnly + virtualServiceOfWeb(`{route: [{destination: {host: cart}}]}`), "to Service shop/cart"},
		{"a route to itself", cartGetOnly + virtualServiceOfWeb(`{route: [{destination: {host: web, subset: v1}}]}`), ""},
		{"a mirror", cartGetOnly + virtualServiceOfWeb(`{route: [{destination: {host: web}}], mirror: {host: cart}}`), "to Service shop/cart"},
		{"mirrors", cartGetOnly + virtualServiceOfWeb(`{route: [{destination: {host: web}}], mirrors: [{destination: {host: cart}}]}`), "to Service shop/cart"},
		{"a mirror to itself", cartGetOnly + virtualServiceOfWeb(`{route: [{destination: {host: web}}], mirror: {host: web, subset: v2}}`), ""},
		{
			"a filter of a rule", cartGetOnly + routeOfWeb("HTTPRoute",
				`{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: cart, port: 80}}}], backendRefs: [{name: web, port: 80}]}`),
			"to Service shop/cart",
		},
		{
			"a filter of a backend", cartGetOnly + routeOfWeb("HTTPRoute",
				`{backendRefs: [{name: web, port: 80, filters: [{type: RequestMirror, requestMirror: {backendRef: {name: cart, port: 80}}}]}]}`),
			"to Service shop/cart",
		},
		{
			"a filter of a GRPCRoute", cartGetOnly + routeOfWeb("GRPCRoute",
				`{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: cart, port: 80}}}], backendRefs: [{name: web, port: 80}]}`),
			"to Service shop/cart",
		},
		{
			"a ServiceEntry", cartGetOnly + entryAPI + `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: api, namespace: shop}
spec: {hosts: [api.example.com], http: [{route: [{destination: {host: cart}}]}]}
`, "it leads calls for ServiceEntry api to Service shop/cart",
		},
		{
			"a ServiceEntry with a route", cartGetOnly + entryAPI + `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api, namespace: shop}
spec:
  parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: api}]
  rules: [{backendRefs: [{name: cart, port: 80}]}]
`, "it leads calls for ServiceEntry api to Service shop/cart",
		},
		{"a delegate", cartGetOnly + virtualServiceOfWeb(`{delegate: {name: part}}`) + delegate("shop", "cart"), "to Service shop/cart"},
		{
			"a delegate elsewhere", cartGetOnly + virtualServiceOfWeb(`{delegate: {name: part, namespace: other}}`) +
				delegate("other", "cart.shop.svc.cluster.local"), "to Service shop/cart",
		},
		{"a short host of a delegate elsewhere", cartGetOnly + virtualServiceOfWeb(`{delegate: {name: part, namespace: other}}`) + delegate("other", "cart"), ""},
		{"a delegate to itself", cartGetOnly + virtualServiceOfWeb(`{delegate: {name: part}}`) + delegate("shop", "web"), ""},
		{"a delegate of itself", cartGetOnly + virtualServiceOfWeb(`{delegate: {name: web}}`), ""},
		{"a delegate that is not there", cartGetOnly + virtualServiceOfWeb(`{delegate: {name: part}}`), ""},
		{"a policy for both", denyAdmin(`paths: ["/admin*"]`) + virtualServiceOfWeb(`{route: [{destination: {host: cart}}]}`), ""},
		{
			"a policy for both that names a port of one", denyAdmin(`ports: ["7000"], paths: ["/admin*"]`) +
				virtualServiceOfWeb(`{route: [{destination: {host: cart}}]}`), "to Service shop/cart",
		},
		{
			"a policy for both that leaves a port of one out", denyAdmin(`notPorts: ["7000"], paths: ["/admin*"]`) +
				virtualServiceOfWeb(`{route: [{destination: {host: cart}}]}`), "to Service shop/cart",
		},
		{
			"a policy for both that names all ports", denyAdmin(`ports: ["7000", "8080"], paths: ["/admin*"]`) +
				virtualServiceOfWeb(`{route: [{destination: {host: cart}}]}`), "",
		},
		{
			"a policy for both that names another port", denyAdmin(`ports: ["15020"], paths: ["/admin*"]`) +
				virtualServiceOfWeb(`{route: [{destination: {host: cart}}]}`), "",
		},
		{"another namespace without policies", serviceB + virtualServiceOfWeb(leadsToB), ""},
		{
			"another namespace with a policy of its own", serviceB + strings.ReplaceAll(cartGetOnly, "shop", "other") + virtualServiceOfWeb(leadsToB),
			"to Service other/b, and the waypoint would not ask AuthorizationPolicy other/get-only",
		},
		{
			"another namespace and a root policy for some pods", serviceB + rootPolicy("app: b", "methods: [POST]") + virtualServiceOfWeb(leadsToB),
			"to Service other/b, and the waypoint would not ask AuthorizationPolicy istio-system/of-the-mesh",
		},
		{
			"another namespace and a root policy that names ports", serviceB + rootPolicy("", `methods: [POST], ports: ["80"]`) + virtualServiceOfWeb(leadsToB),
			"to Service other/b, and the waypoint would not ask AuthorizationPolicy istio-system/of-the-mesh",
		},
		{"another namespace and a root policy for all pods", serviceB + rootPolicy("", "methods: [POST]") + virtualServiceOfWeb(leadsToB), ""},
		{
			"a ServiceEntry that leads to another namespace, and a root policy for all pods", serviceB + rootPolicy("", "methods: [POST]") + entryAPI + `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: api, namespace: shop}
spec: {hosts: [api.example.com], http: [` + leadsToB + `]}
`, "it leads calls for ServiceEntry api to Service other/b",
		},
		{
			"a ServiceEntry that selects pods", cartGetOnly + entryCart("shop", selectsCart) + virtualServiceOfWeb(leadsToInternal),
			"it leads calls for Service web to ServiceEntry shop/internal, and the waypoint would not ask AuthorizationPolicy shop/get-only",
		},
		{
			"a mirror to a ServiceEntry that selects pods", cartGetOnly + entryCart("shop", selectsCart) +
				virtualServiceOfWeb(`{route: [{destination: {host: web}}], mirror: {host: cart.internal}}`),
			"to ServiceEntry shop/internal",
		},
		{
			"a ServiceEntry that selects the called pods", cartGetOnly + entryCart("shop", "resolution: STATIC, workloadSelector: {labels: {app: web}}") +
				virtualServiceOfWeb(leadsToInternal), "",
		},
		{
			"a ServiceEntry that selects pods elsewhere", cartGetOnly + entryCart("other", selectsCart) + virtualServiceOfWeb(leadsToInternal),
			"",
		},
		{
			"a ServiceEntry that selects pods elsewhere which have policies", strings.ReplaceAll(cartGetOnly, "shop", "other") +
				entryCart("other", selectsCart) + virtualServiceOfWeb(leadsToInternal),
			"to ServiceEntry other/internal, and the waypoint would not ask AuthorizationPolicy other/get-only",
		},
		{
			"a ServiceEntry with the address of a pod", cartGetOnly + podAt + entryCart("other", "resolution: STATIC, endpoints: [{address: 10.9.9.9}]") +
				virtualServiceOfWeb(leadsToInternal), "to ServiceEntry other/internal",
		},
		{
			"a ServiceEntry with the address of a Service", cartGetOnly + entryCart("shop", "resolution: STATIC, endpoints: [{address: 10.0.0.1}]") +
				virtualServiceOfWeb(leadsToInternal), "to ServiceEntry shop/internal",
		},
		{
			"a ServiceEntry with the name of a Service", cartGetOnly +
				entryCart("shop", "resolution: DNS, endpoints: [{address: cart.shop.svc.cluster.local}]") + virtualServiceOfWeb(leadsToInternal),
			"to ServiceEntry shop/internal",
		},
		{
			"a ServiceEntry with addresses that are called", cartGetOnly + entryCart("shop", "resolution: NONE, addresses: [10.0.0.1]") +
				virtualServiceOfWeb(leadsToInternal), "to ServiceEntry shop/internal",
		},
		{
			"a ServiceEntry with an address outside", cartGetOnly + entryCart("shop", "resolution: STATIC, endpoints: [{address: 192.0.2.1}]") +
				virtualServiceOfWeb(leadsToInternal), "",
		},
		{
			"an ExternalName", cartGetOnly + alias("cart.shop.svc.cluster.local") + virtualServiceOfWeb(`{route: [{destination: {host: alias}}]}`),
			"it leads calls for Service web to Service shop/alias, and the waypoint would not ask AuthorizationPolicy shop/get-only",
		},
		{
			"an ExternalName of a ServiceEntry", cartGetOnly + entryCart("shop", selectsCart) + alias("cart.internal") +
				virtualServiceOfWeb(`{route: [{destination: {host: alias}}]}`), "to Service shop/alias",
		},
		{
			"an ExternalName of itself", cartGetOnly + alias("web.shop.svc.cluster.local") +
				virtualServiceOfWeb(`{route: [{destination: {host: alias}}]}`), "",
		},
		{
			"an ExternalName of an ExternalName", cartGetOnly + alias("alias.shop.svc.cluster.local") +
				virtualServiceOfWeb(`{route: [{destination: {host: alias}}]}`), "",
		},
		{
			"a ServiceEntry with an endpoint without address", cartGetOnly + alias("cart.shop.svc.cluster.local") +
				entryCart("shop", "resolution: STATIC, endpoints: [{network: far}]") + virtualServiceOfWeb(leadsToInternal), "",
		},
		{"a Hostname", cartGetOnly + routeOfWeb("HTTPRoute", backendHostname("cart.shop.svc.cluster.local")), "to Service shop/cart"},
		{
			"a Hostname of a GRPCRoute", cartGetOnly + routeOfWeb("GRPCRoute", backendHostname("cart.shop.svc.cluster.local")), "to Service shop/cart",
		},
		{
			"a Hostname of a ServiceEntry", cartGetOnly + entryCart("shop", selectsCart) + routeOfWeb("HTTPRoute", backendHostname("cart.internal")),
			"to ServiceEntry shop/internal",
		},
		{
			"a Hostname that is copied to", cartGetOnly + routeOfWeb("HTTPRoute", `{filters: [{type: RequestMirror, requestMirror: {backendRef: `+
				`{group: networking.istio.io, kind: Hostname, name: cart.shop.svc.cluster.local, port: 80}}}], backendRefs: [{name: web, port: 80}]}`),
			"to Service shop/cart",
		},
		{"a Hostname of itself", cartGetOnly + routeOfWeb("HTTPRoute", backendHostname("web.shop.svc.cluster.local")), ""},
		{"a Hostname that is short", cartGetOnly + routeOfWeb("HTTPRoute", backendHostname("cart")), ""},
		{
			"a ServiceImport", cartGetOnly + routeOfWeb("HTTPRoute", `{backendRefs: [{group: multicluster.x-k8s.io, kind: ServiceImport, name: cart, port: 80}]}`),
			"to Service shop/cart",
		},
		{
			"a backend that may be anything", routeOfWeb("HTTPRoute", `{backendRefs: [{group: inference.networking.k8s.io, kind: InferencePool, name: pool}]}`),
			"it leads calls for Service web to InferencePool.inference.networking.k8s.io pool, which may lead anywhere",
		},
		{
			// istiod refuses it, whatever there is.
			"a Service of another group", cartGetOnly + routeOfWeb("HTTPRoute", `{backendRefs: [{group: example.com, kind: Service, name: cart}]}`), "",
		},
	} {
		t.Run(test.name, func(t *testing.T) { assertProblem(t, test.objects, test.wanted) })
	}
}

// alias is a Service that is another name for something.
func alias(of string) string {
	return `
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: shop}
spec: {type: ExternalName, externalName: ` + of + `, ports: [{name: http, port: 80}]}
---
`
}

func backendHostname(host string) string {
	return `{backendRefs: [{group: networking.istio.io, kind: Hostname, name: ` + host + `, port: 80}]}`
}

const (
	selectsCart     = "resolution: STATIC, workloadSelector: {labels: {app: cart}}"
	leadsToInternal = `{route: [{destination: {host: cart.internal}}]}`
	// podAt is one of the pods of cart, with an address.
	podAt = `
apiVersion: v1
kind: Pod
metadata: {name: cart-at, namespace: shop, labels: {app: cart}}
spec: {containers: [{name: cart, image: cart}]}
status: {phase: Running, podIP: 10.9.9.9, podIPs: [{ip: 10.9.9.9}]}
---
`
)

// leadsToB is a route to the Service of another namespace.
const leadsToB = `{route: [{destination: {host: b.other.svc.cluster.local}}]}`

// assertProblem translates the namespace shop with some objects.
func assertProblem(t *testing.T, objects, wanted string) {
	t.Helper()
	snapshot := fixture.Snapshot(shop(fixture.YAML(objects))...)
	translation, err := translate.Namespace(snapshot, fixture.Find(snapshot, "shop"), translate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, problem := range translation.Problems {
		found = append(found, problem.Object.String()+" "+problem.Field+": "+problem.Message)
	}
	got := strings.Join(found, "\n")
	if wanted == "" && got != "" || !strings.Contains(got, wanted) {
		t.Errorf("problems are:\n%s\nwanted: %q", got, wanted)
	}
}

// withoutReading translates objects in a mesh of which a kind may not be read.
func withoutReading(t *testing.T, kind, objects string) translate.Translation {
	t.Helper()
	content := fixture.Content(shop(fixture.YAML(objects))...)
	content.Coverage[kind] = mesh.Coverage{State: mesh.CoverageForbidden, Reason: "not you"}
	snapshot, err := mesh.NewSnapshot(content)
	if err != nil {
		t.Fatal(err)
	}
	translation, err := translate.Namespace(snapshot, fixture.Find(snapshot, "shop"), translate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return translation
}

func TestADelegateThatCannotBeReadMayLeadAnywhere(t *testing.T) {
	problems := withoutReading(t, mesh.KindVirtualService, virtualServiceOfWeb(`{delegate: {name: part, namespace: other}}`)).Problems
	if len(problems) != 1 || problems[0].Field != "spec.http[0].delegate" {
		t.Errorf("the problems are %v, wanted one about the delegate", problems)
	}
}

func TestAHostWithoutServiceEntriesMayLeadAnywhere(t *testing.T) {
	for _, objects := range []string{virtualServiceOfWeb(leadsToInternal), routeOfWeb("HTTPRoute", backendHostname("cart.internal"))} {
		problems := withoutReading(t, mesh.KindServiceEntry, objects).Problems
		if len(problems) != 1 || !strings.Contains(problems[0].Message, "to host cart.internal, and ServiceEntries could not be read") {
			t.Errorf("the problems are %v, wanted one about the host", problems)
		}
	}
}

// A waypoint decides before its routes change a request, a server's sidecar after those
// of the caller did.
func TestRoutesThatChangeWhatPoliciesRead(t *testing.T) {
	const found = "of calls for Service web, which AuthorizationPolicy shop/no-admin goes by"
	for _, test := range []struct{ name, objects, wanted string }{
		{"a path", denyAdmin(`paths: ["/admin*"]`) + virtualServiceOfWeb(`{rewrite: {uri: /}, route: [{destination: {host: web}}]}`), "the path " + found},
		{"a path that nothing goes by", denyAdmin(`methods: [GET]`) + virtualServiceOfWeb(`{rewrite: {uri: /}, route: [{destination: {host: web}}]}`), ""},
		{"a host", denyAdmin(`hosts: [web]`) + virtualServiceOfWeb(`{rewrite: {authority: web}, route: [{destination: {host: web}}]}`), "the host " + found},
		{"a host beside a path", denyAdmin(`paths: [/]`) + virtualServiceOfWeb(`{rewrite: {authority: web}, route: [{destination: {host: web}}]}`), ""},
		{
			"a path of a route", denyAdmin(`paths: ["/admin*"]`) + routeOfWeb("HTTPRoute",
				`{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /}}}], backendRefs: [{name: web, port: 80}]}`),
			"the path " + found,
		},
		{"a header", noRed + virtualServiceOfWeb(`{headers: {request: {set: {X-Team: red}}}, route: [{destination: {host: web}}]}`), "the header x-team " + found},
		{
			"a header of a route", noRed + routeOfWeb("HTTPRoute",
				`{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [X-Team]}}], backendRefs: [{name: web, port: 80}]}`),
			"the header x-team " + found,
		},
		{"another header", noRed + virtualServiceOfWeb(`{headers: {request: {set: {x-other: red}}}, route: [{destination: {host: web}}]}`), ""},
	} {
		t.Run(test.name, func(t *testing.T) { assertProblem(t, test.objects, test.wanted) })
	}
}

const noRed = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: shop}
spec: {action: DENY, rules: [{when: [{key: "request.headers[x-team]", values: [red]}]}]}
---
`
