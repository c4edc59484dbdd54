package checks_test

import (
	"slices"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// What the model says of calls is worth nothing where who enforces it does not do so, or
// cannot be asked.
func TestCallsAreNotSaidToBeKeptWhereTheDataPlaneDiffers(t *testing.T) {
	const partly = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop, generation: 1}\n" +
		"spec: {rules: [{from: [{source: {namespaces: [shop]}}]}]}\n" +
		"status: {conditions: [{type: ZtunnelAccepted, status: \"True\", reason: UnsupportedValue, message: no such thing, observedGeneration: 1}]}"
	cart := fixture.Deployment("shop", "cart", fixture.TemplateLabel("sidecar.istio.io/inject", "false"))
	for _, test := range []struct {
		cause   string
		objects []any
		edit    func(*mesh.NodeEvidence)
	}{
		{cause: "", objects: enrolled()},
		{cause: "ztunnel-captured", objects: enrolled(), edit: func(node *mesh.NodeEvidence) { node.Captured = nil }},
		{cause: "ztunnel-captured", objects: enrolled(), edit: func(node *mesh.NodeEvidence) { node.Problem = "no route" }},
		{cause: "redirected", objects: append(slices.Clone(fixtureWithout("Pod")), fixture.PodsOf(cart)[1])},
		{cause: "ztunnel-hbone", objects: enrolled(), edit: func(node *mesh.NodeEvidence) {
			node.Workloads = map[string]mesh.ZtunnelWorkload{"shop/cart-5d8f7-0": {Protocol: "TCP", Identity: identity}}
		}},
		{cause: "ztunnel-policies", objects: enrolled(), edit: func(node *mesh.NodeEvidence) {
			node.Workloads = map[string]mesh.ZtunnelWorkload{"shop/cart-5d8f7-0": {Protocol: "HBONE", Identity: identity, Policies: []string{"shop/p"}}}
		}},
		{cause: "ztunnel-waypoints", objects: enrolled(service), edit: func(node *mesh.NodeEvidence) {
			node.Services = map[string]mesh.ZtunnelService{"shop/cart.shop.svc.cluster.local": {Waypoint: "shop/way.shop.svc.cluster.local"}}
		}},
		{cause: "ztunnel-certificates", objects: enrolled(), edit: func(node *mesh.NodeEvidence) { node.Certificates = nil }},
		{cause: "ztunnel-accepted", objects: enrolled(partly)},
		{cause: "policy-waypoints", objects: enrolled(service, policy("shop", `{targetRefs: [{group: "", kind: Service, name: cart}], rules: [{}]}`))},
	} {
		t.Run(test.cause, func(t *testing.T) {
			snapshot, evidence := fixture.Snapshot(test.objects...), evidence()
			if test.edit != nil {
				node := evidence.Nodes[fixture.Node]
				test.edit(&node)
				evidence.Nodes[fixture.Node] = node
			}
			// What is about istiod would not hold either, where a node is edited.
			asked := slices.DeleteFunc(checks.VerifyChecks(), func(check checks.Check) bool {
				return check.ID == "ztunnel-in-step" && !slices.Contains([]string{"", "ztunnel-captured"}, test.cause)
			})
			results := checks.Run(asked, checks.Subject{
				Snapshot: snapshot, Namespace: fixture.Find(snapshot, "shop"), Evidence: evidence, Handed: &checks.Handed{}, Past: was(),
			})
			want, message := pass, "calls are decided as before the enrolment, but for what its plan announced"
			if test.cause != "" {
				want, message = skip, "it means nothing while "+test.cause+" does not hold"
			}
			i := slices.IndexFunc(results, func(result v1alpha1.CheckResult) bool { return result.ID == "calls-kept" })
			if i < 0 || results[i].Status != want || results[i].Message != message {
				t.Errorf("calls-kept is not %s, %q: %s", want, message, describe(results))
			}
		})
	}
}
