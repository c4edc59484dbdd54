package access_test

import (
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
)

// TestServicesOfTheSameSecond: the first by its host name says what a port carries.
func TestServicesOfTheSameSecond(t *testing.T) {
	const alike = `
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: cart, creationTimestamp: "2026-08-01T12:00:00Z"}
spec: {clusterIP: 10.96.0.1, selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: cart-pods, creationTimestamp: "2026-08-01T12:00:00Z"}
spec: {clusterIP: 10.96.0.2, selector: {app: cart}, ports: [{name: tcp, port: 8080}]}
`
	objects := append(installation(""), fixture.Namespace("shop", sidecars), alike, server(fixture.Sidecar), policy(`{rules: [{to: [{operation: {methods: [GET]}}]}]}`))
	state := access.Of(fixture.Snapshot(objects...), []string{"shop"}, access.Overlay{})
	// A port of TCP drops an ALLOW that needs HTTP.
	if decision := state.Decide(call(t, state, web, "cart", 80, get)); decision.Outcome != access.Denied {
		t.Errorf("%s", told(decision))
	}
}
