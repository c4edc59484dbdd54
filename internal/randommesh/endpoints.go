package randommesh

import "fmt"

// Endpoints are an EndpointSlice that somebody has to write, and to write again
// whenever the pods change: their names and addresses are not known beforehand.
type Endpoints struct {
	// Service is the one that has no selector, App the label of the pods.
	Service, App string
	// Bound is true where the endpoints are to name their pods, besides having their
	// addresses.
	Bound bool
	// PortName and Port are those of the only port.
	PortName string
	Port     int64
}

// otherWays adds what leads to pods without a Service that selects them, and a
// RequestAuthentication of the namespace's own at its waypoint. They have dice of
// their own, so that the rest of a mesh does not depend on them.
func (d *drawing) otherWays() {
	d.dice = newDice(^d.mesh.Seed)
	if d.in(30) {
		d.serviceEntry()
	}
	if d.in(30) {
		d.byHand()
	}
	if d.tokens && d.in(40) {
		d.ownTokens()
	}
}

func (d *drawing) serviceEntry() {
	of := one(d.dice, d.pods...)
	port := map[string]any{"name": one(d.dice, "http", "admin"), "number": int64(80), "protocol": one(d.dice, "HTTP", "HTTP", "TCP")}
	if d.in(70) {
		port["targetPort"] = one[int64](d.dice, 8080, 8080, 7000)
	}
	d.add("networking.istio.io/v1", "ServiceEntry", d.mesh.Namespace, "entry", nil, map[string]any{"spec": map[string]any{
		"hosts": []any{of.name + "." + d.mesh.Namespace + ".example"}, "addresses": []any{fmt.Sprintf("198.19.%d.%d", d.mesh.Seed/250%250, 1+d.mesh.Seed%250)},
		"location": "MESH_INTERNAL", "resolution": "STATIC", "ports": []any{port},
		"workloadSelector": map[string]any{"labels": map[string]any{"app": of.name}},
	}})
}

func (d *drawing) byHand() {
	made := Endpoints{Service: "by-hand", App: one(d.dice, d.pods...).name, Bound: d.in(40), PortName: one(d.dice, "http", "http", "tcp", "plain"), Port: one[int64](d.dice, 8080, 9090)}
	d.service(made.Service, map[string]any{"ports": []any{map[string]any{"name": made.PortName, "port": int64(80), "targetPort": made.Port}}})
	d.mesh.Endpoints = append(d.mesh.Endpoints, made)
}

func (d *drawing) ownTokens() {
	rule := map[string]any{"issuer": issuerOne, "jwks": `{"keys":[]}`}
	if d.in(30) {
		rule["forwardOriginalToken"] = true
	}
	d.add(securityVersion, "RequestAuthentication", d.mesh.Namespace, "tokens-at-waypoint", nil, map[string]any{"spec": map[string]any{
		"targetRefs": []any{d.targetRef()}, "jwtRules": []any{rule},
	}})
}
