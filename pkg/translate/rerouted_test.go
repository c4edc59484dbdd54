package translate_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
)

// reroutedYAML are a Service with a Service for each of its versions.
const reroutedYAML = `apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.0.0.1, selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart-v1, namespace: shop}
spec: {clusterIP: 10.0.0.2, selector: {app: cart, version: v1}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart-v2, namespace: shop}
spec: {clusterIP: 10.0.0.3, selector: {app: cart, version: v2}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: two, namespace: shop}
spec: {clusterIP: 10.0.0.4, selector: {app: two}, ports: [{name: http, port: 80}, {name: http-more, port: 81}]}
`

const versions = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart, namespace: shop}
spec: {host: cart, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
`

const cartRoutes = "VirtualService shop/cart"

// virtualService has some HTTP routes, and besides them what the text says.
func virtualService(http string, besides ...string) string {
	return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: cart, namespace: shop}\nspec: {hosts: [cart], http: %s%s}\n",
		http, strings.Join(append([]string{""}, besides...), ", "))
}

// httpRoute has some rules and is accepted.
func httpRoute(rules string) string {
	const accepted = "{type: Accepted, status: 'True', observedGeneration: 2, reason: Accepted, message: '', lastTransitionTime: '2026-01-01T00:00:00Z'}"
	return fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart, namespace: shop, generation: 2}
spec: {parentRefs: [{group: "", kind: Service, name: cart}], rules: %s}
status: {parents: [{parentRef: {group: "", kind: Service, name: cart}, controllerName: istio.io/gateway-controller, conditions: [%s, %s]}]}
`, rules, accepted, strings.ReplaceAll(accepted, "type: Accepted", "type: ResolvedRefs"))
}

// TestRerouted wants a VirtualService to go only where an HTTPRoute in force says the
// same, in every part of it.
func TestRerouted(t *testing.T) {
	const (
		toCart   = "[{route: [{destination: {host: cart}}]}]"
		ruleCart = "[{backendRefs: [{name: cart, port: 80}]}]"
		split    = "[{route: [{destination: {host: cart, subset: v1}, weight: 90}, {destination: {host: cart, subset: v2}, weight: 10}]}]"
		weighed  = "[{route: [{destination: {host: cart}, weight: 90}, {destination: {host: two, port: {number: 80}}, weight: 10}]}]"
		ruled    = "[{backendRefs: [{name: cart-v1, port: 80, weight: 9}, {name: cart-v2, port: 80, weight: 1}]}]"
	)
	for _, test := range []struct {
		name  string
		parts []string
		// kept is part of the reason; empty where it goes.
		kept string
	}{
		{"the same", []string{virtualService(toCart), httpRoute(ruleCart)}, ""},
		{"the same, for the mesh by name", []string{virtualService(toCart, "gateways: [mesh]"), httpRoute("[{matches: [{path: {type: PathPrefix, value: /}}], backendRefs: [{name: cart, port: 80}]}]")}, ""},
		{"what is behind a route for everything", []string{virtualService("[{route: [{destination: {host: cart}}]}, {fault: null, route: [{destination: {host: two, port: {number: 81}}}]}]"), httpRoute(ruleCart)}, ""},
		{"versions", []string{virtualService(split), versions, httpRoute(ruled)}, "spec.http[0].route[0].destination.subset has no counterpart"},
		{"weights", []string{virtualService(weighed), httpRoute("[{backendRefs: [{name: cart, port: 80, weight: 9}, {name: two, port: 80, weight: 1}]}]")}, ""},
		{"other weights", []string{virtualService(weighed), httpRoute("[{backendRefs: [{name: cart, port: 80}, {name: two, port: 80}]}]")}, "spec.http[0] is not what its spec.rules[0] says"},
		{"matches", []string{
			virtualService("[{match: [{uri: {exact: /a}, method: {exact: GET}, headers: {X-Team: {exact: blue}}}, {uri: {prefix: /b}}], route: [{destination: {host: cart.shop.svc.cluster.local, port: {number: 80}}}], timeout: 5s}]"),
			httpRoute("[{matches: [{path: {type: Exact, value: /a}, method: GET, headers: [{name: x-team, value: blue}]}, {path: {type: RegularExpression, value: '/b.*'}}], timeouts: {request: 5000ms}, backendRefs: [{name: cart, port: 80}]}]"),
		}, ""},
		{"nothing stands in for it", []string{virtualService(toCart)}, "no route of Gateway API stands in for it"},
		{"a prefix of elements", []string{
			virtualService("[{match: [{uri: {prefix: /b}}], route: [{destination: {host: cart}}]}]"),
			httpRoute("[{matches: [{path: {type: PathPrefix, value: /b}}], backendRefs: [{name: cart, port: 80}]}]"),
		}, "spec.rules[0].matches[0].path has no counterpart"},
		{"another order", []string{
			virtualService("[{match: [{uri: {regex: '/b.*'}}], route: [{destination: {host: cart}}]}, {match: [{uri: {exact: /bo}}], route: [{destination: {host: two, port: {number: 80}}}]}]"),
			httpRoute("[{matches: [{path: {type: RegularExpression, value: '/b.*'}}], backendRefs: [{name: cart, port: 80}]}, {matches: [{path: {type: Exact, value: /bo}}], backendRefs: [{name: two, port: 80}]}]"),
		}, "spec.http[0].match[0] is not what its spec.rules[1].matches[0] says"},
		{"a fault", []string{virtualService("[{fault: {abort: {httpStatus: 500, percentage: {value: 1}}}, route: [{destination: {host: cart}}]}]"), httpRoute(ruleCart)}, "spec.http[0].fault has no counterpart"},
		{"retries", []string{virtualService("[{retries: {attempts: 3}, route: [{destination: {host: cart}}]}]"), httpRoute(ruleCart)}, "spec.http[0].retries has no counterpart"},
		{"who calls", []string{virtualService("[{match: [{sourceLabels: {app: web}}], route: [{destination: {host: cart}}]}]"), httpRoute(ruleCart)}, "match[0].sourceLabels has no counterpart"},
		{"gateways", []string{virtualService(toCart, "gateways: [mesh, edge]"), httpRoute(ruleCart)}, "spec.gateways names gateways"},
		{"tcp", []string{virtualService(toCart, "tcp: [{route: [{destination: {host: cart}}]}]"), httpRoute(ruleCart)}, "spec.tcp has no counterpart"},
		{"a filter", []string{virtualService(toCart), httpRoute("[{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [x]}}], backendRefs: [{name: cart, port: 80}]}]")}, "spec.rules[0].filters has no counterpart"},
		{"a field of tomorrow", []string{virtualService(toCart), httpRoute("[{tomorrow: true, backendRefs: [{name: cart, port: 80}]}]")}, "it is not understood in whole"},
		{"more rules", []string{
			virtualService("[{match: [{uri: {exact: /a}}], route: [{destination: {host: cart}}]}]"),
			httpRoute("[{matches: [{path: {type: Exact, value: /a}}], backendRefs: [{name: cart, port: 80}]}, {matches: [{path: {type: Exact, value: /}}], backendRefs: [{name: cart, port: 80}]}]"),
		}, "nothing in the VirtualService says what its spec.rules[1].matches[0] does"},
		{"fewer rules", []string{
			virtualService("[{match: [{uri: {exact: /aa}}, {uri: {exact: /b}}], route: [{destination: {host: cart}}]}]"),
			httpRoute("[{matches: [{path: {type: Exact, value: /aa}}], backendRefs: [{name: cart, port: 80}]}]"),
		}, "nothing in it says what spec.http[0].match[1] does"},
		{"one port of it", []string{virtualService(toCart), strings.ReplaceAll(httpRoute(ruleCart), "name: cart}]", "name: cart, port: 80}]")}, "is for one port only"},
		{"not accepted", []string{virtualService(toCart), strings.ReplaceAll(httpRoute(ruleCart), "{type: Accepted, status: 'True'", "{type: Accepted, status: 'False'")}, "istiod does not say that it is Accepted"},
		{"accepted as it was", []string{virtualService(toCart), strings.ReplaceAll(httpRoute(ruleCart), "observedGeneration: 2", "observedGeneration: 1")}, "istiod does not say that it is Accepted"},
		{"two of them", []string{virtualService(toCart), httpRoute(ruleCart), strings.Replace(httpRoute(ruleCart), "name: cart", "name: other", 1)}, "several routes of Gateway API"},
		{"a second VirtualService", []string{virtualService(toCart), strings.Replace(virtualService(toCart), "name: cart", "name: other", 1), httpRoute(ruleCart)}, "VirtualService shop/other routes that Service as well"},
		{"another API", []string{virtualService(toCart), strings.Replace(httpRoute(ruleCart), "kind: HTTPRoute", "kind: GRPCRoute", 1)}, "only HTTP routes can be compared"},
		{"a host for several", []string{strings.Replace(virtualService(toCart), "hosts: [cart]", "hosts: ['*.shop.svc.cluster.local']", 1), httpRoute(ruleCart)}, "is not that of one Service"},
	} {
		t.Run(test.name, func(t *testing.T) {
			parts := []any{
				fixture.Installation(), fixture.Namespace("shop", map[string]string{"istio.io/dataplane-mode": "ambient"}), fixture.Deployment("shop", "cart"), fixture.YAML(reroutedYAML),
			}
			for _, part := range test.parts {
				parts = append(parts, fixture.Loose(part))
			}
			snapshot := fixture.Snapshot(parts...)
			namespace := fixture.Find(snapshot, "shop")
			translation, err := translate.Namespace(snapshot, namespace, translate.Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, one := range translate.SupersededIn(snapshot, namespace, translation) {
				if one.Object.String() != cartRoutes {
					continue
				}
				if test.kept == "" && (one.Kept != "" || len(one.Routes) != 1 || one.Routes[0].Kind != "HTTPRoute") {
					t.Errorf("it stays: %s; routes %v", one.Kept, one.Routes)
				}
				if test.kept != "" && (!strings.Contains(one.Kept, test.kept) || len(one.Routes) > 0) {
					t.Errorf("it is kept for %q, not for %q", one.Kept, test.kept)
				}
				return
			}
			t.Error("it is not spoken of")
		})
	}
}

// TestSubsetsUnnamed wants subsets to go that nothing chooses, wherever it is.
func TestSubsetsUnnamed(t *testing.T) {
	const elsewhere = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: from-web, namespace: web}
spec: {hosts: [cart.shop.svc.cluster.local], exportTo: ["."], tcp: [{route: [{destination: {host: cart.shop.svc.cluster.local, subset: v2}}]}]}
`
	const whole = "DestinationRule shop/cart: v1 v2, left [], nothing true, "
	for _, test := range []struct {
		name  string
		parts []string
		want  []string
	}{
		{"nothing names them", []string{versions}, []string{whole}},
		{"all are named", []string{versions, virtualService("[{route: [{destination: {host: cart, subset: v1}}], mirror: {host: cart, subset: v2}}]")}, nil},
		{"another namespace names one", []string{versions, elsewhere}, []string{"DestinationRule shop/cart: v1, left [1], nothing false, "}},
		{"subsets of another host", []string{versions, strings.ReplaceAll(elsewhere, "cart.shop", "basket.shop")}, []string{whole}},
		{"a traffic policy", []string{strings.Replace(versions, "host: cart,", "host: cart, trafficPolicy: {connectionPool: {http: {maxRetries: 1}}},", 1)}, []string{"DestinationRule shop/cart: v1 v2, left [], nothing false, "}},
		{"it keeps another rule from its host", []string{versions, "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: all, namespace: istio-system}\nspec: {host: '*.local'}\n"}, []string{"DestinationRule shop/cart: v1 v2, left [], nothing false, "}},
		{"another namespace has a Service of that name", []string{versions, "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: cart, namespace: web}\nspec: {host: cart, subsets: [{name: v1}]}\n", strings.ReplaceAll(elsewhere, "cart.shop.svc.cluster.local", "cart")}, []string{whole}},
		{"another namespace has a rule for it", []string{versions, "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: cart, namespace: web}\nspec: {host: cart.shop.svc.cluster.local}\n"}, []string{"DestinationRule shop/cart: v1 v2, left [], nothing false, "}},
		{"an EnvoyFilter", []string{versions, "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: pool, namespace: istio-system}\nspec: {configPatches: [{applyTo: CLUSTER, match: {context: GATEWAY, cluster: {subset: v2}}}]}\n"}, []string{whole + "EnvoyFilter istio-system/pool may mean its subset v2"}},
		{"a Rollout", []string{versions, "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: cart, namespace: shop}\nspec: {strategy: {canary: {trafficRouting: {istio: {destinationRule: {name: cart}}}}}}\n"}, []string{whole + "Rollout cart writes its subsets"}},
		{"an owner", []string{strings.Replace(versions, "namespace: shop}", "namespace: shop, ownerReferences: [{apiVersion: flagger.app/v1beta1, kind: Canary, name: cart, uid: '1'}]}", 1)}, []string{whole + "it is made by Canary cart, which knows what for"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			parts := []any{fixture.Namespace("shop", nil), fixture.YAML(reroutedYAML)}
			for _, part := range test.parts {
				parts = append(parts, fixture.Loose(part))
			}
			var found []string
			for _, one := range translate.SubsetsUnnamed(fixture.Snapshot(parts...), "shop") {
				found = append(found, fmt.Sprintf("%s: %s, left %v, nothing %t, %s", one.Object, strings.Join(one.Names, " "), one.Left, one.Nothing, one.Kept))
			}
			if diff := cmp.Diff(test.want, found); diff != "" {
				t.Errorf("the subsets are (-want +got):\n%s", diff)
			}
		})
	}
}
