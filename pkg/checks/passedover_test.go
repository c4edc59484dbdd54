package checks_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// Of a waypoint that istiod passes over although a Service names it, ztunnel was not
// told: that both agree is no sign that calls go through it.
func TestVerifyNamesAWaypointThatIsPassedOver(t *testing.T) {
	const named = "apiVersion: v1\nkind: Service\nmetadata: {name: cart, namespace: shop, labels: {istio.io/use-waypoint: way%s}}\n" +
		"spec: {selector: {app: cart}, ports: [{port: 80}], clusterIP: 10.0.0.1}"
	const toWay = "{action: DENY, targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: way}], rules: [{}]}"
	here, elsewhere := fmt.Sprintf(named, ""), fmt.Sprintf(named, ", istio.io/use-waypoint-namespace: infra")
	forPods := gateway("shop", "way", "istio-waypoint", ", labels: {istio.io/waypoint-for: workload}")
	for _, test := range []struct {
		name    string
		objects []any
		want    map[string]v1alpha1.CheckStatus
	}{
		{
			"a waypoint for pods", []any{here, forPods, policy("shop", toWay)},
			map[string]v1alpha1.CheckStatus{"waypoint-shape": fail, "ztunnel-waypoints": skip, "policy-waypoints": fail},
		},
		{
			"a waypoint of another namespace that admits nobody", []any{elsewhere, gateway("infra", "way", "istio-waypoint", "")},
			map[string]v1alpha1.CheckStatus{"waypoint-shape": fail, "ztunnel-waypoints": skip},
		},
		{
			"a waypoint of another namespace that admits everybody, and is passed by", []any{elsewhere, admitting(gateway("infra", "way", "istio-waypoint", ""))},
			map[string]v1alpha1.CheckStatus{"waypoint-shape": pass, "ztunnel-waypoints": fail},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			snapshot := fixture.Snapshot(enrolled(append(test.objects, waypointClass)...)...)
			evidence := evidence()
			node := evidence.Nodes[fixture.Node]
			node.Services = map[string]mesh.ZtunnelService{"shop/cart.shop.svc.cluster.local": {}}
			evidence.Nodes[fixture.Node] = node
			results := checks.Run(checks.VerifyChecks(), checks.Subject{
				Snapshot: snapshot, Namespace: fixture.Find(snapshot, "shop"), Evidence: evidence, Handed: &checks.Handed{}, Past: was(),
			})
			for id, want := range test.want {
				i := slices.IndexFunc(results, func(result v1alpha1.CheckResult) bool { return result.ID == id })
				if i < 0 || results[i].Status != want {
					t.Errorf("%s is not %s: %s", id, want, describe(results))
				}
			}
		})
	}
}
