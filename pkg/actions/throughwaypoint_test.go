package actions

import (
	"context"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// A restart is not over while ztunnel passes by the waypoint that the pods name.
func TestLookCapturedWaitsForTheWaypointOfPods(t *testing.T) {
	named := switched(fixture.TemplateLabel("istio.io/use-waypoint", "own"))
	snapshot := fixture.Snapshot(ambientShop, named, fixture.PodsOf(named, fixture.Ambient), fixture.YAML(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: own, namespace: shop, labels: {istio.io/waypoint-for: workload}}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status: {addresses: [{type: Hostname, value: own.shop.svc.cluster.local}]}`))
	gate := gateOf(v1alpha1.GateCaptured, reference("Deployment", "cart"))
	for waypoint, want := range map[string][]string{
		"":                                {"does not send calls to the pod through waypoint shop/own"},
		"shop/own.shop.svc.cluster.local": nil,
	} {
		runner, _ := looker(snapshot)
		known := runner.Evidence
		runner.Evidence = func(ctx context.Context, nodes []string) (*mesh.Evidence, error) {
			evidence, err := known(ctx, nodes)
			for _, node := range evidence.Nodes {
				for name, workload := range node.Workloads {
					workload.Waypoint = waypoint
					node.Workloads[name] = workload
				}
			}
			return evidence, err
		}
		got, err := runner.lookCaptured(t.Context(), snapshot, gate)
		if err != nil {
			t.Fatal(err)
		}
		missing(t, got, want...)
	}
}
