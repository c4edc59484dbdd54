package randommesh

import (
	"fmt"
	"maps"
)

// The issuers of tokens.
const (
	issuerOne = "https://one.example"
	issuerTwo = "https://two.example"
)

func (d *drawing) policies() {
	if d.in(30) {
		d.tokens = true
		d.requestAuthentication()
	}
	count := pick(d.dice, []weighted[int]{{5, 0}, {25, 1}, {35, 2}, {25, 3}, {10, 4}})
	for i := range count {
		d.authorization(fmt.Sprintf("policy-%d", i+1))
	}
}

func (d *drawing) requestAuthentication() {
	rule := map[string]any{"issuer": issuerOne, "jwks": `{"keys":[]}`}
	if d.in(30) {
		rule["audiences"] = []any{"shop"}
	}
	if d.in(30) {
		rule["forwardOriginalToken"] = true
	}
	rules := []any{rule}
	if d.in(40) {
		rules = append(rules, map[string]any{"issuer": issuerTwo, "jwks": `{"keys":[]}`})
	}
	spec := map[string]any{"jwtRules": rules}
	namespace, name := d.mesh.Namespace, "tokens"
	switch {
	case d.in(50):
		spec["selector"] = d.selector()
	case d.in(20):
		namespace, name = RootNamespace, d.mesh.Namespace+"-tokens"
		spec["selector"] = d.wholeMesh()
	}
	d.add(securityVersion, "RequestAuthentication", namespace, name, nil, map[string]any{"spec": spec})
}

// selector selects some pods of the namespace.
func (d *drawing) selector() map[string]any {
	of := one(d.dice, d.pods...)
	if d.in(20) {
		return map[string]any{"matchLabels": map[string]any{"tier": of.tier}}
	}
	return map[string]any{"matchLabels": map[string]any{"app": of.name}}
}

// wholeMesh selects what other meshes in the same cluster do not have.
func (d *drawing) wholeMesh() map[string]any {
	return map[string]any{"matchLabels": map[string]any{"mesh": seedLabel(d.mesh.Seed)}}
}

// authorization draws a policy.
func (d *drawing) authorization(name string) {
	spec := map[string]any{}
	action := pick(d.dice, []weighted[string]{{60, "ALLOW"}, {28, "DENY"}, {5, "AUDIT"}, {7, "CUSTOM"}})
	if action != "ALLOW" || d.in(50) {
		spec["action"] = action
	}
	if action == "CUSTOM" {
		spec["provider"] = map[string]any{"name": Provider}
	}
	namespace := d.mesh.Namespace
	switch scope := d.IntN(100); {
	case scope < 62:
		spec["selector"] = d.selector()
	case scope < 85:
	case scope < 90:
		namespace, name = RootNamespace, d.mesh.Namespace+"-"+name
		spec["selector"] = d.wholeMesh()
	case scope < 93:
		namespace, name = RootNamespace, d.mesh.Namespace+"-"+name
		d.mesh.Exclusive = true
	default:
		spec["targetRefs"] = []any{d.targetRef()}
	}
	if rules := d.rules(action); rules != nil {
		spec["rules"] = rules
	}
	d.add(securityVersion, "AuthorizationPolicy", namespace, name, nil, map[string]any{"spec": spec})
	// Of AUDIT there is no dry run (istio pkg/config/validation).
	if action != "CUSTOM" && d.in(5) && action != "AUDIT" {
		d.last().SetAnnotations(map[string]string{"istio.io/dry-run": "true"})
	}
}

// targetRef is what sidecars ignore, and a waypoint will not.
func (d *drawing) targetRef() map[string]any {
	if d.in(30) || len(d.serviceNames) == 0 {
		return map[string]any{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}
	}
	return map[string]any{"group": "", "kind": "Service", "name": one(d.dice, d.serviceNames...)}
}

// rules are none for an ALLOW that allows nothing.
func (d *drawing) rules(action string) []any {
	switch {
	case action == "ALLOW" && d.in(10):
		return nil
	case d.in(6):
		return []any{map[string]any{}}
	}
	rules := []any{d.rule(action)}
	if d.in(35) {
		rules = append(rules, d.rule(action))
	}
	return rules
}

// rule has at least one of the three parts.
func (d *drawing) rule(action string) map[string]any {
	rule, often := map[string]any{}, 25
	if d.tokens {
		// Tokens are asked for so that policies can go by them.
		often = 45
	}
	for len(rule) == 0 {
		if d.in(55) {
			rule["from"] = d.clauses("source", func() map[string]any { return d.source(action) })
		}
		if d.in(60) {
			rule["to"] = d.clauses("operation", d.operation)
		}
		if d.in(often) {
			rule["when"] = []any{d.condition(action)}
			if d.in(15) {
				rule["when"] = append(rule["when"].([]any), d.condition(action))
			}
		}
	}
	return rule
}

func (d *drawing) clauses(name string, draw func() map[string]any) []any {
	clauses := []any{map[string]any{name: draw()}}
	if d.in(20) {
		clauses = append(clauses, map[string]any{name: draw()})
	}
	return clauses
}

// field is one of a source or an operation: its names, negated too, and what it is
// compared with.
type field struct {
	weight        int
	name, negated string
	values        []string
}

// fields draws one field as a rule, or two.
func (d *drawing) fields(of []field, negated int) map[string]any {
	choices := make([]weighted[field], len(of))
	for i, candidate := range of {
		choices[i] = weighted[field]{candidate.weight, candidate}
	}
	drawn := map[string]any{}
	for range 1 + d.IntN(2) {
		chosen := pick(d.dice, choices)
		name := chosen.name
		if d.in(negated) {
			name = chosen.negated
		}
		drawn[name] = some(d.dice, chosen.values...)
	}
	return drawn
}

// source draws who calls. CUSTOM policies may only go by addresses.
func (d *drawing) source(action string) map[string]any {
	fields := []field{
		{6, "ipBlocks", "notIpBlocks", blocks},
		{3, "remoteIpBlocks", "notRemoteIpBlocks", blocks},
	}
	if action == "CUSTOM" {
		return d.fields(fields, 20)
	}
	if d.tokens || d.in(5) {
		fields = append(fields, field{12, "requestPrincipals", "notRequestPrincipals", []string{"*", issuerOne + "/alice", issuerOne + "/*", "*/bob"}})
	}
	if d.in(15) {
		// They exclude the others that go by identity.
		return d.fields(append(fields, field{25, "serviceAccounts", "notServiceAccounts", d.serviceAccounts()}), 20)
	}
	return d.fields(append(fields,
		field{35, "principals", "notPrincipals", d.principals()},
		field{25, "namespaces", "notNamespaces", d.callerNamespaces()},
	), 20)
}

func (d *drawing) front() string { return d.mesh.Namespace + "-front" }

func (d *drawing) principals() []string {
	own, front := "cluster.local/ns/"+d.mesh.Namespace, "cluster.local/ns/"+d.front()
	return []string{own + "/sa/web", own + "/sa/cart", own + "/sa/shared", front + "/sa/web", front + "/sa/edge", own + "/*", "*/sa/web", "*"}
}

func (d *drawing) callerNamespaces() []string {
	return []string{d.mesh.Namespace, d.front(), "elsewhere", d.mesh.Namespace + "*", "*-front"}
}

func (d *drawing) serviceAccounts() []string {
	return []string{"web", "cart", d.front() + "/web", d.front() + "/edge"}
}

// blocks hold few of the addresses that pods have: which pod gets which is not
// known beforehand.
var blocks = []string{"203.0.113.0/24", "203.0.113.7", "198.51.100.0/25"}

func (d *drawing) operation() map[string]any {
	return d.fields([]field{
		{25, "methods", "notMethods", []string{"GET", "POST", "DELETE", "P*", "*"}},
		{30, "paths", "notPaths", []string{"/", "/items", "/items/*", "*/admin", "/items/{*}/edit", "/{**}/admin", "*"}},
		{8, "hosts", "notHosts", []string{"web", "cart.example.com", "*.example.com", "web." + d.mesh.Namespace + "*"}},
		{20, "ports", "notPorts", []string{"8080", "9090", "7000", "80"}},
	}, 15)
}

// condition draws one of the rarer attributes.
func (d *drawing) condition(action string) map[string]any {
	keys := []weighted[field]{
		{8, field{name: "request.headers[x-team]", values: []string{"red", "blue*", "*", "*green"}}},
		{4, field{name: "source.ip", values: blocks}},
		{3, field{name: "remote.ip", values: blocks}},
		{2, field{name: "destination.ip", values: []string{"10.0.0.0/8", "203.0.113.0/24"}}},
		{5, field{name: "destination.port", values: []string{"8080", "9090", "7000", "80"}}},
		{2, field{name: "connection.sni", values: []string{"*.example.com", "web.example.com"}}},
	}
	if action != "CUSTOM" {
		keys = append(keys,
			weighted[field]{6, field{name: "source.namespace", values: d.callerNamespaces()}},
			weighted[field]{5, field{name: "source.principal", values: d.principals()}},
			weighted[field]{3, field{name: "source.serviceAccount", values: d.serviceAccounts()}},
		)
	}
	if action != "CUSTOM" && d.tokens {
		keys = append(keys,
			weighted[field]{9, field{name: "request.auth.claims[groups]", values: []string{"ops", "dev*", "*"}}},
			weighted[field]{9, field{name: "request.auth.claims[realm][roles]", values: []string{"ops", "dev"}}},
			weighted[field]{9, field{name: "request.auth.principal", values: []string{issuerOne + "/alice", "*"}}},
			weighted[field]{9, field{name: "request.auth.audiences", values: []string{"shop", "other"}}},
			weighted[field]{9, field{name: "request.auth.presenter", values: []string{"portal"}}},
		)
	}
	chosen := pick(d.dice, keys)
	condition := map[string]any{"key": chosen.name}
	maps.Copy(condition, d.fields([]field{{1, "values", "notValues", chosen.values}}, 20))
	return condition
}
