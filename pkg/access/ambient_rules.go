package access

import (
	"slices"

	securityv1beta1 "istio.io/api/security/v1beta1"
)

// ambientRules returns a rule as ztunnel enforces it, or none where it never
// matches: what istiod makes of it (istio
// pilot/pkg/serviceregistry/ambient/authorization.go, handleRule), as ztunnel
// reads that (ztunnel src/rbac.rs, matches). Of a rule that needs HTTP an ALLOW
// loses the whole. Any other loses what needs HTTP, and ztunnel passes over an
// alternative of which nothing is left.
//
// Trust domains are no HTTP to istiod, which yet tells ztunnel nothing of them.
func ambientRules(written *securityv1beta1.Rule, namespace string, action securityv1beta1.AuthorizationPolicy_Action) rules {
	if action == securityv1beta1.AuthorizationPolicy_ALLOW && needsHTTP(written) {
		return nil
	}
	var made rule
	if len(written.GetTo()) > 0 {
		var alternatives clause
		for _, to := range written.GetTo() {
			operation := to.GetOperation()
			alternatives = alternatives.with(ambientConditions(
				ambientList{attributePort, operation.GetPorts(), operation.GetNotPorts()},
			))
		}
		made = append(made, alternatives)
	}
	if len(written.GetFrom()) > 0 {
		var alternatives clause
		for _, from := range written.GetFrom() {
			source := from.GetSource()
			alternatives = alternatives.with(append(ambientConditions(
				ambientList{attributeSourceIP, source.GetIpBlocks(), source.GetNotIpBlocks()},
				ambientList{attributeNamespace, source.GetNamespaces(), source.GetNotNamespaces()},
				ambientList{attributePrincipal, source.GetPrincipals(), source.GetNotPrincipals()},
			), ambientAccounts(namespace, source.GetServiceAccounts(), source.GetNotServiceAccounts())...))
		}
		made = append(made, alternatives)
	}
	for _, when := range written.GetWhen() {
		var conditions conjunction
		if of, known := ambientKeys[when.GetKey()]; known {
			conditions = ambientConditions(ambientList{of, when.GetValues(), when.GetNotValues()})
		}
		made = append(made, clause{}.with(conditions))
	}
	return rules{made}
}

// with adds an alternative, if there is anything in it.
func (c clause) with(conditions conjunction) clause {
	if len(conditions) == 0 {
		return c
	}
	return append(c, conditions)
}

// ambientKeys are the keys of conditions that ztunnel knows.
var ambientKeys = map[string]attribute{
	keySourceIP: attributeSourceIP, keyNamespace: attributeNamespace, keyPrincipal: attributePrincipal,
	keyDestinationIP: attributeDestinationIP, keyDestinationPort: attributePort,
}

func needsHTTP(written *securityv1beta1.Rule) bool {
	return slices.ContainsFunc(written.GetTo(), func(to *securityv1beta1.Rule_To) bool {
		operation := to.GetOperation()
		return len(operation.GetHosts())+len(operation.GetNotHosts())+len(operation.GetMethods())+len(operation.GetNotMethods())+
			len(operation.GetPaths())+len(operation.GetNotPaths()) > 0
	}) || slices.ContainsFunc(written.GetFrom(), func(from *securityv1beta1.Rule_From) bool {
		source := from.GetSource()
		return len(source.GetRequestPrincipals())+len(source.GetNotRequestPrincipals())+
			len(source.GetRemoteIpBlocks())+len(source.GetNotRemoteIpBlocks()) > 0
	}) || slices.ContainsFunc(written.GetWhen(), func(when *securityv1beta1.Condition) bool {
		_, known := ambientKeys[when.GetKey()]
		return !known
	})
}

type ambientList struct {
	attribute         attribute
	values, notValues []string
}

// ambientConditions leaves out values that are no ports or addresses, as istiod
// does, and lists of which nothing is left.
func ambientConditions(lists ...ambientList) conjunction {
	var conditions conjunction
	for _, list := range lists {
		conditions = conditions.with(list.attribute, false, list.values)
		conditions = conditions.with(list.attribute, true, list.notValues)
	}
	return conditions
}

func (c conjunction) with(of attribute, negated bool, texts []string) conjunction {
	made := condition{attribute: of, negated: negated}
	for _, text := range texts {
		if value, err := (proxyCompiler{}).value(of, text); err == nil {
			made.values = append(made.values, value)
		}
	}
	if len(made.values) == 0 {
		return c
	}
	return append(c, made)
}

func ambientAccounts(namespace string, accounts, notAccounts []string) conjunction {
	var conditions conjunction
	for _, list := range []struct {
		accounts []string
		negated  bool
	}{{accounts, false}, {notAccounts, true}} {
		made := condition{attribute: attributeServiceAccount, negated: list.negated}
		for _, account := range list.accounts {
			made.values = append(made.values, value{text: account, identity: parseServiceAccount(account, namespace)})
		}
		if len(made.values) > 0 {
			conditions = append(conditions, made)
		}
	}
	return conditions
}
