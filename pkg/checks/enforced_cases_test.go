package checks_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
)

func enforcedCases() []testCase {
	const object = "AuthorizationPolicy shop/p"
	const methods = "rules: [{to: [{operation: {methods: [GET]}}]}]"
	const selector = "selector: {matchLabels: {app: cart}}"
	const toService = `{group: "", kind: Service, name: cart}`
	reference := func(kind, name string) v1alpha1.ObjectReference {
		return v1alpha1.ObjectReference{APIVersion: "security.istio.io/v1", Kind: kind, Namespace: "shop", Name: name}
	}
	gone := func(kind, name string) *checks.Handed {
		return &checks.Handed{Drifts: []checks.Drift{{Object: reference(kind, name), Gone: true}}}
	}
	changed := &checks.Handed{Drifts: []checks.Drift{{Object: reference("AuthorizationPolicy", "p"), Field: "spec.action", Expected: "DENY", Found: "ALLOW"}}}
	judged := &checks.Handed{Judged: []v1alpha1.ObjectReference{reference("AuthorizationPolicy", "p"), reference("RequestAuthentication", "j")}}
	way := gateway("shop", "way", "istio-waypoint", "")
	fronted := func(more ...any) []any {
		return enrolled(append([]any{way, "apiVersion: v1\nkind: Service\nmetadata: {name: cart, namespace: shop, labels: {istio.io/use-waypoint: way}}\n" +
			"spec: {selector: {app: cart}, ports: [{port: 80}]}"}, more...)...)
	}
	of := func(kind, name, metadata, spec, conditions string) string {
		return fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: %s\nmetadata: {name: %s, namespace: shop, generation: 2%s}\nspec: {%s}\nstatus: {conditions: [%s]}",
			kind, name, metadata, spec, conditions)
	}
	at := func(target, conditions string) string {
		return of("AuthorizationPolicy", "p", "", "targetRefs: ["+target+"], "+methods, conditions)
	}
	condition := func(status, reason string, generation int) string {
		return fmt.Sprintf(`{type: WaypointAccepted, status: "%s", reason: %s, observedGeneration: %d}`, status, reason, generation)
	}
	const accepted = "status.conditions[WaypointAccepted]"
	const copied = `, labels: {ambient.kubectl-ambient.dev/origin: p}, annotations: {ambient.kubectl-ambient.dev/origin: AuthorizationPolicy shop/p}`
	jwt := of("RequestAuthentication", "j", "", selector+", jwtRules: [{issuer: a}]", "")
	byMethod := of("AuthorizationPolicy", "p", "", selector+", "+methods, "")
	const plain = "apiVersion: v1\nkind: Service\nmetadata: {name: cart, namespace: shop}\nspec: {selector: {app: cart}, ports: [{name: http, port: 80}]}"
	off := &checks.Handed{TakenOff: []string{"cart"}}
	uncovered := []finding{{fail, object, "spec.rules[0].to[0].operation.methods", "nothing at a waypoint does"}}
	const toWay = "{group: gateway.networking.k8s.io, kind: Gateway, name: way}"
	const toOther = "{group: gateway.networking.k8s.io, kind: Gateway, name: other}"
	const deleting = "{to: [{operation: {methods: [DELETE]}}]}"
	const payService = "apiVersion: v1\nkind: Service\nmetadata: {name: pay, namespace: shop}\nspec: {selector: {app: pay}, ports: [{port: 80}]}"
	pay := fixture.Deployment("shop", "pay", fixture.TemplateLabel("sidecar.istio.io/inject", "false"))
	denied := of("AuthorizationPolicy", "p", "", selector+", action: DENY, rules: ["+deleting+"]", "")
	forAll := of("AuthorizationPolicy", "p", "", "action: DENY, rules: ["+deleting+"]", "")
	guard := func(selector string) string {
		return of("AuthorizationPolicy", "p-guard", copied, selector+"action: DENY, rules: [{from: [{source: {notPrincipals: [cluster.local/ns/shop/sa/way]}}]}]", "")
	}
	later := fixture.Deployment("shop", "late", fixture.TemplateLabel("sidecar.istio.io/inject", "false"))
	late := []any{later, fixture.PodsOf(later, fixture.Ambient)}
	attached := func(target, spec string) string {
		return of("AuthorizationPolicy", "q", "", "targetRefs: ["+target+"], "+spec, "")
	}
	meshWide := func(class, status string) string {
		return strings.Replace(at("{group: gateway.networking.k8s.io, kind: GatewayClass, name: "+class+"}", status), "namespace: shop", "namespace: istio-system", 1)
	}
	// shared is a Service behind a waypoint of infra, and a policy at one of that name.
	shared := func(namespace, status string) []any {
		return enrolled(admitting(gateway("infra", "way", "istio-waypoint", "")), gateway("elsewhere", "way", "istio-waypoint", ""), strings.Replace(at(toWay, status), "namespace: shop", "namespace: "+namespace, 1),
			"apiVersion: v1\nkind: Service\nmetadata: {name: cart, namespace: shop, labels: {istio.io/use-waypoint: way, istio.io/use-waypoint-namespace: infra}}\nspec: {selector: {app: cart}, ports: [{port: 80}]}")
	}
	differs := func(status v1alpha1.CheckStatus) []finding {
		return []finding{{status, object, "spec.rules[0].to[0].operation.methods", "for calls to Service shop/cart somebody's AuthorizationPolicy shop/q is attached with other rules"}}
	}
	return []testCase{
		{name: "all is there", check: "handed-over", objects: enrolled()},
		{name: "a copy is gone", check: "handed-over", objects: enrolled(), handed: gone("AuthorizationPolicy", "p"), want: []finding{{fail, object, "", "it is gone: somebody has deleted it"}}},
		{name: "one was changed", check: "handed-over", objects: enrolled(), handed: changed, want: []finding{{fail, object, "spec.action", `spec.action is "ALLOW", and was "DENY"`}}},
		{name: "a waypoint that nothing names is gone", check: "handed-over", objects: enrolled(), handed: gone("Gateway", "way"), want: []finding{{fail, "Gateway shop/way", "", "it is gone"}}},
		{name: "a waypoint that is named is gone, which waypoint-missing says", check: "handed-over", objects: []any{fixture.Without("Gateway", fronted()...)}, handed: gone("Gateway", "way")},
		{name: "one cannot be read", check: "handed-over", objects: enrolled(), handed: &checks.Handed{Unseen: []v1alpha1.ObjectReference{reference("WasmPlugin", "w")}}, want: []finding{{unknown, "WasmPlugin shop/w", "", "it cannot be read"}}},

		{name: "none", check: "policies-accepted", objects: enrolled()},
		{name: "accepted", check: "policies-accepted", objects: fronted(at(toService, condition("True", "Accepted", 2)))},
		{name: "an earlier one was", check: "policies-accepted", objects: fronted(at(toService, condition("True", "Accepted", 1))), want: []finding{{fail, object, accepted, "it is not taken up by istiod yet"}}},
		{name: "nothing is said", check: "policies-accepted", objects: fronted(at(toService, "")), want: []finding{{fail, object, accepted, "it is not taken up by istiod yet"}}},
		{name: "refused", check: "policies-accepted", objects: fronted(at(toService, condition("False", "AncestorNotBound", 2))), want: []finding{{fail, object, accepted, "AncestorNotBound"}}},
		{name: "one target of two", check: "policies-accepted", objects: fronted(at(toService+", {group: gateway.networking.k8s.io, kind: Gateway, name: way}", condition("True", "PartiallyInvalid", 2))), want: []finding{{fail, object, accepted, "PartiallyInvalid"}}},
		{name: "at a Service without waypoint, where it never holds", check: "policies-accepted", objects: enrolled(service, at(toService, ""))},
		{name: "at a Service that is not there", check: "policies-accepted", objects: enrolled(at(toService, ""))},
		{name: "at an ingress gateway", check: "policies-accepted", objects: enrolled(gateway("shop", "way", "istio", ""), at("{group: gateway.networking.k8s.io, kind: Gateway, name: way}", ""))},
		{name: "with a selector", check: "policies-accepted", objects: fronted(byMethod)},
		{name: "the mesh's, for the class of waypoints", check: "policies-accepted", objects: fronted(waypointClass, meshWide("istio-waypoint", condition("True", "Accepted", 2)))},
		{name: "the mesh's, for the class of waypoints, refused", check: "policies-accepted", objects: fronted(waypointClass, meshWide("istio-waypoint", condition("False", "TargetNotFound", 2))), want: []finding{{fail, "AuthorizationPolicy istio-system/p", accepted, "TargetNotFound"}}},
		{name: "the mesh's, for the class of waypoints, of which nothing is said", check: "policies-accepted", objects: fronted(waypointClass, meshWide("istio-waypoint", "")), want: []finding{{fail, "AuthorizationPolicy istio-system/p", accepted, "it is not taken up by istiod yet"}}},
		{name: "the mesh's, for the class of waypoints, where none is used", check: "policies-accepted", objects: enrolled(service, waypointClass, meshWide("istio-waypoint", ""))},
		{name: "at a waypoint of another namespace that is used", check: "policies-accepted", objects: shared("infra", condition("True", "Accepted", 2))},
		{name: "at a waypoint of another namespace that is used, refused", check: "policies-accepted", objects: shared("infra", condition("False", "TargetNotFound", 2)), want: []finding{{fail, "AuthorizationPolicy infra/p", accepted, "TargetNotFound"}}},
		{name: "at a waypoint of another namespace that is used, of which nothing is said", check: "policies-accepted", objects: shared("infra", ""), want: []finding{{fail, "AuthorizationPolicy infra/p", accepted, "it is not taken up by istiod yet"}}},
		{name: "at a waypoint of another namespace that others use", check: "policies-accepted", objects: shared("elsewhere", "")},
		{name: "the mesh's, for another class", check: "policies-accepted", objects: fronted(waypointClass, meshWide("istio", ""))},
		{name: "another namespace's, for the class of waypoints, where it never counts", check: "policies-accepted", objects: fronted(waypointClass, strings.Replace(meshWide("istio-waypoint", ""), "istio-system", "pay", 1))},

		{name: "none", check: "layer7-enforced", objects: fronted()},
		{name: "about connections", check: "layer7-enforced", objects: fronted(policy("shop", `{rules: [{to: [{operation: {ports: ["80"]}}]}]}`))},
		{name: "one that was there when the namespace was enrolled", check: "layer7-enforced", objects: fronted(byMethod, jwt), handed: judged},
		{name: "one whose guard selects what has come since", check: "layer7-enforced", objects: fronted(forAll, guard(""), late), handed: judged, past: was(before())},
		{
			name: "one whose guards do not select what has come since", check: "layer7-enforced", objects: fronted(forAll, guard("selector: {matchLabels: {app: cart}}, "), late), handed: judged, past: was(before()),
			want: []finding{{fail, "Deployment shop/late", "spec.template.metadata.labels", "it has come since the enrolment, and no guard of AuthorizationPolicy shop/p selects its pods"}},
		},
		{name: "one whose guards do not select what was there", check: "layer7-enforced", objects: fronted(forAll, guard("selector: {matchLabels: {app: cart}}, "), late), handed: judged, past: was(before(late))},
		{name: "one for others whose guards do not select what has come since", check: "layer7-enforced", objects: fronted(denied, guard("selector: {matchLabels: {app: cart}}, "), late), handed: judged, past: was(before())},
		{name: "one without guards, and something has come since", check: "layer7-enforced", objects: fronted(forAll, late), handed: judged, past: was(before())},
		{name: "one with a selector", check: "layer7-enforced", objects: fronted(byMethod), want: uncovered},
		{name: "one without", check: "layer7-enforced", objects: fronted(policy("shop", "{"+methods+"}")), want: uncovered},
		{name: "the mesh's", check: "layer7-enforced", objects: fronted(policy("istio-system", "{"+methods+"}")), want: []finding{{fail, "AuthorizationPolicy istio-system/p", "spec.rules[0].to[0].operation.methods", "nothing at a waypoint does"}}},
		{name: "another namespace's", check: "layer7-enforced", objects: fronted(policy("pay", "{"+methods+"}"))},
		{name: "for other pods", check: "layer7-enforced", objects: fronted(policy("shop", "{selector: {matchLabels: {app: pay}}, "+methods+"}"))},
		{name: "a check by somebody else", check: "layer7-enforced", objects: fronted(policy("shop", "{action: CUSTOM, provider: {name: a}, rules: [{}]}")), want: []finding{{fail, object, "spec.action", "nothing at a waypoint does"}}},
		{name: "one that only logs", check: "layer7-enforced", objects: fronted(policy("shop", "{action: AUDIT, "+methods+"}"))},
		{name: "a dry run", check: "layer7-enforced", objects: fronted(dryRun("true", "{"+methods+"}"))},
		{name: "tokens", check: "layer7-enforced", objects: fronted(jwt), want: []finding{{fail, "RequestAuthentication shop/j", "spec.jwtRules", "nothing at a waypoint does"}}},
		{
			name: "one whose copy is of before", check: "layer7-enforced", objects: fronted(byMethod, of("AuthorizationPolicy", "p-1", copied, "targetRefs: ["+toService+"], "+methods, "")),
			want: []finding{{unknown, object, "spec.rules[0].to[0].operation.methods", "made or changed since"}},
		},
		{name: "somebody has attached another", check: "layer7-enforced", objects: fronted(byMethod, of("AuthorizationPolicy", "q", "", "targetRefs: ["+toService+"], "+methods, ""))},
		{name: "somebody has attached one that lets in more", check: "layer7-enforced", objects: fronted(byMethod, attached(toService, "rules: [{}, {to: [{operation: {methods: [GET]}}]}]")), want: differs(warn)},
		{name: "somebody has attached the same for other ports", check: "layer7-enforced", objects: fronted(
			of("AuthorizationPolicy", "p", "", selector+`, rules: [{to: [{operation: {methods: [GET], ports: ["8080"]}}]}]`, ""), attached(toService, `rules: [{to: [{operation: {methods: [GET], ports: ["80", "81"]}}]}]`))},
		{
			name: "somebody has attached the same without ports", check: "layer7-enforced", objects: fronted(
				of("AuthorizationPolicy", "p", "", selector+`, rules: [{to: [{operation: {methods: [GET], ports: ["8080"]}}]}]`, ""), attached(toService, methods)), want: differs(warn),
		},
		{name: "somebody's DENY is about something else", check: "layer7-enforced", objects: fronted(denied, attached(toWay, "action: DENY, rules: [{to: [{operation: {methods: [TRACE]}}]}]")), want: differs(fail)},
		{name: "somebody's DENY refuses that, too", check: "layer7-enforced", objects: fronted(denied, attached(toWay, "action: DENY, rules: [{to: [{operation: {methods: [TRACE]}}]}, "+deleting+"]"))},
		{name: "somebody only tries it", check: "layer7-enforced", objects: fronted(denied, of("AuthorizationPolicy", "q", `, annotations: {istio.io/dry-run: "true"}`, "action: DENY, targetRefs: ["+toWay+"], rules: ["+deleting+"]", "")), want: uncovered},
		{name: "somebody's DENY is at a waypoint that these pods are not behind", check: "layer7-enforced", objects: fronted(gateway("shop", "other", "istio-waypoint", ""), denied, attached(toOther, "action: DENY, rules: ["+deleting+"]")), want: uncovered},
		{
			name: "another Service leads to the same pods", check: "layer7-enforced", objects: fronted(behind("alias", "way"), denied, attached(toService, "action: DENY, rules: ["+deleting+"]")),
			want: []finding{{fail, object, "spec.rules[0].to[0].operation.methods", "nothing at a waypoint does for calls to Service shop/alias"}},
		},
		{
			name: "pods whose Service has no waypoint", check: "layer7-enforced", objects: fronted(pay, fixture.PodsOf(pay, fixture.Ambient), payService, policy("shop", "{action: DENY, rules: ["+deleting+"]}"), attached(toWay, "action: DENY, rules: ["+deleting+"]")),
			want: []finding{{fail, object, "spec.rules[0].to[0].operation.methods", "nothing at a waypoint does for calls to Pod shop/pay-"}},
		},
		{name: "pods that no Service leads to", check: "layer7-enforced", objects: fronted(pay, fixture.PodsOf(pay, fixture.Ambient), policy("shop", "{action: DENY, rules: ["+deleting+"]}"), attached(toWay, "action: DENY, rules: ["+deleting+"]"))},
		{name: "somebody has attached another authorizer", check: "layer7-enforced", objects: fronted(policy("shop", "{action: CUSTOM, provider: {name: a}, rules: [{}]}"), attached(toService, "action: CUSTOM, provider: {name: b}, rules: [{}]")), want: []finding{{fail, object, "spec.action", "somebody's AuthorizationPolicy shop/q is attached with other rules"}}},
		{name: "somebody has attached the same tokens", check: "layer7-enforced", objects: fronted(jwt, of("RequestAuthentication", "k", "", "targetRefs: ["+toService+"], jwtRules: [{issuer: a}]", ""))},
		{
			name: "somebody has attached other tokens", check: "layer7-enforced", objects: fronted(jwt, of("RequestAuthentication", "k", "", "targetRefs: ["+toService+"]", "")),
			want: []finding{{warn, "RequestAuthentication shop/j", "spec.jwtRules", "for calls to Service shop/cart somebody's RequestAuthentication shop/k is attached with other rules"}},
		},
		{name: "somebody has attached another that denies", check: "layer7-enforced", objects: fronted(byMethod, of("AuthorizationPolicy", "q", "", "action: DENY, targetRefs: ["+toService+"], "+methods, "")), want: uncovered},
		{name: "another is attached where no traffic passes", check: "layer7-enforced", objects: enrolled(service, byMethod, of("AuthorizationPolicy", "q", "", "targetRefs: ["+toService+"], "+methods, "")), want: uncovered},
		{name: "its Service was taken off its waypoint, which taken-off says", check: "layer7-enforced", objects: enrolled(plain, byMethod), handed: off},
		{name: "another Service was taken off", check: "layer7-enforced", objects: enrolled(plain, byMethod), handed: &checks.Handed{TakenOff: []string{"web"}}, want: uncovered},

		{name: "none", check: "taken-off", objects: enrolled(plain, byMethod)},
		{name: "one that needs no waypoint", check: "taken-off", objects: enrolled(plain), handed: off},
		{name: "one that has a waypoint again", check: "taken-off", objects: fronted(byMethod), handed: off},
		{
			name: "one that needs one", check: "taken-off", objects: enrolled(plain, byMethod), handed: off,
			want: []finding{{warn, "Service shop/cart", "metadata.labels[istio.io/use-waypoint]", "a rollback has taken it off its waypoint, and it needs a waypoint"}},
		},
	}
}

func TestRecordsThatCannotBeReadAreUnknown(t *testing.T) {
	snapshot := fixture.Snapshot(enrolled()...)
	for _, result := range checks.Run(checks.VerifyChecks(), checks.Subject{Snapshot: snapshot, Namespace: fixture.Find(snapshot, "shop"), Evidence: evidence()}) {
		if want := result.ID == "handed-over"; want != (result.Status == unknown) {
			t.Errorf("%s is %s", result.ID, result.Status)
		}
	}
}
