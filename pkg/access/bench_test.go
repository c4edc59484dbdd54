package access_test

import (
	"fmt"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// town is a namespace of 50 Services, half of them in ambient mode behind a
// waypoint, and 200 policies.
func town() *mesh.Snapshot {
	parts := []any{installation(""), fixture.Namespace("shop", with(ambient, "istio-injection", "enabled", useWaypoint, "waypoint")), waypoint}
	for i := range 50 {
		name := fmt.Sprintf("app-%d", i)
		deployment := fixture.Deployment("shop", name)
		edit := fixture.Sidecar
		if i%2 == 0 {
			optOut(deployment)
			edit = fixture.Ambient
		}
		parts = append(parts, deployment, fixture.PodsOf(deployment, edit), fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: %s}
spec: {clusterIP: 10.96.1.%d, selector: {app: %s}, ports: [{name: http, port: 80, targetPort: 8080}]}`, name, i, name))
		for j := range 4 {
			parts = append(parts, policyIn("shop", fmt.Sprintf("%s-%d", name, j), []string{
				`{selector: {matchLabels: {app: ` + name + `}}, rules: [{` + fromWeb + `, to: [{operation: {methods: [GET], paths: ["/a*"]}}]}, {from: [{source: {namespaces: [web]}}]}]}`,
				`{selector: {matchLabels: {app: ` + name + `}}, action: DENY, rules: [{from: [{source: {notNamespaces: [web, ingress]}}], to: [{operation: {ports: ["8080"]}}]}]}`,
				`{targetRefs: [{kind: Service, group: "", name: ` + name + `}], rules: [{` + fromWeb + `, to: [{operation: {methods: [GET]}}]}]}`,
				`{selector: {matchLabels: {app: ` + name + `}}, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/waypoint]}}]}]}`,
			}[j]))
		}
	}
	return fixture.Snapshot(parts...)
}

func BenchmarkDecide(b *testing.B) {
	state := access.Of(town(), []string{"shop"}, access.Overlay{})
	var calls []access.Call
	for _, server := range state.Servers {
		for _, caller := range []access.Caller{web, webAmbient, ingress, stranger} {
			calls = append(calls, access.Call{Caller: caller, Server: server, Service: server.Services()[0], Port: 80, Request: get})
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		state.Decide(calls[i%len(calls)])
	}
}

func BenchmarkBuilder(b *testing.B) {
	snapshot := town()
	var builder access.Builder
	b.ReportAllocs()
	for b.Loop() {
		builder.Of(snapshot, []string{"shop"}, access.Overlay{})
	}
}
