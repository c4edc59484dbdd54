package translate

import (
	"slices"

	"google.golang.org/protobuf/proto"
	securityv1beta1 "istio.io/api/security/v1beta1"
	clientsecurityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// The `when` keys that have to read differently elsewhere.
const (
	keyDestinationPort = "destination.port"
	keyDestinationIP   = "destination.ip"
	keyServiceAccount  = "source.serviceAccount"
)

// behindService writes a rule of a policy with some action as it has to read at a
// waypoint, in front of a Service. It returns nil for a rule that can match no call to the Service.
func behindService(rule *securityv1beta1.Rule, action securityv1beta1.AuthorizationPolicy_Action, ports portMap, waypoints []string) *securityv1beta1.Rule {
	copied := withoutExemption(rule, waypoints)
	if len(copied.GetTo()) > 0 {
		operations, every := translateOperations(copied.GetTo(), ports)
		if len(operations) == 0 && !every {
			return nil
		}
		if action == securityv1beta1.AuthorizationPolicy_ALLOW && needsHTTP(rule.GetTo()) && !needsHTTP(operations) && !ports.allHTTP() {
			operations = demandHTTP(operations)
		}
		copied.To = operations
	}
	conditions, possible := translateConditions(copied.GetWhen(), ports)
	if !possible {
		return nil
	}
	copied.When = conditions
	return copied
}

// translateOperations translates the ports of operations. Every is true where one of
// them matches every call to the Service.
func translateOperations(to []*securityv1beta1.Rule_To, ports portMap) (translated []*securityv1beta1.Rule_To, every bool) {
	for _, one := range to {
		operation := one.GetOperation()
		if wanted := operation.GetPorts(); len(wanted) > 0 {
			if operation.Ports = ports.translate(wanted); len(operation.GetPorts()) == 0 {
				continue
			}
		}
		if unwanted := operation.GetNotPorts(); len(unwanted) > 0 {
			operation.NotPorts = ports.translate(unwanted)
		}
		if operation == nil || proto.Equal(operation, &securityv1beta1.Operation{}) {
			return nil, true
		}
		translated = append(translated, one)
	}
	return translated, false
}

// needsHTTP says whether any operation is about HTTP. Where other protocols are
// spoken, Envoy is then not told of any part of an ALLOW rule (istio
// pilot/pkg/security/authz/model/model.go, Generate with forTCP).
func needsHTTP(to []*securityv1beta1.Rule_To) bool {
	return slices.ContainsFunc(to, func(one *securityv1beta1.Rule_To) bool {
		operation := one.GetOperation()
		return len(operation.GetMethods())+len(operation.GetNotMethods())+len(operation.GetPaths())+len(operation.GetNotPaths())+
			len(operation.GetHosts())+len(operation.GetNotHosts()) > 0
	})
}

// demandHTTP keeps a rule about HTTP of which the operations that were are left out:
// any method is one.
func demandHTTP(operations []*securityv1beta1.Rule_To) []*securityv1beta1.Rule_To {
	if len(operations) == 0 {
		operations = []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{}}}
	}
	for _, one := range operations {
		one.Operation.Methods = []string{"*"}
	}
	return operations
}

// translateConditions does so with conditions. Possible is false where one of them
// can never hold.
func translateConditions(when []*securityv1beta1.Condition, ports portMap) (translated []*securityv1beta1.Condition, possible bool) {
	for _, condition := range when {
		if condition.GetKey() != keyDestinationPort {
			translated = append(translated, condition)
			continue
		}
		if wanted := condition.GetValues(); len(wanted) > 0 {
			if condition.Values = ports.translate(wanted); len(condition.GetValues()) == 0 {
				return nil, false
			}
		}
		condition.NotValues = ports.translate(condition.GetNotValues())
		if len(condition.GetValues()) > 0 || len(condition.GetNotValues()) > 0 {
			translated = append(translated, condition)
		}
	}
	return translated, true
}

// withoutExemption is a rule without what an exemption of waypoints has put into it:
// at the waypoint itself it says nothing, and elsewhere it is put in anew.
func withoutExemption(rule *securityv1beta1.Rule, waypoints []string) *securityv1beta1.Rule {
	copied, _ := proto.Clone(rule).(*securityv1beta1.Rule)
	for _, from := range copied.GetFrom() {
		source := from.GetSource()
		if source == nil {
			continue
		}
		source.NotPrincipals = without(source.GetNotPrincipals(), waypoints)
		source.NotServiceAccounts = without(source.GetNotServiceAccounts(), accountsOf(waypoints))
		if proto.Equal(source, &securityv1beta1.Source{}) {
			copied.From = nil
			break
		}
	}
	return copied
}

// without is a list without some values, nil where that leaves none.
func without(list, values []string) []string {
	var kept []string
	for _, value := range list {
		if !slices.Contains(values, value) {
			kept = append(kept, value)
		}
	}
	return kept
}

// exempt lets a rule of a DENY policy pass over calls from waypoints. A source that
// goes by service accounts must not name principals (istio pkg/config/validation,
// ValidateAuthorizationPolicy).
func exempt(rule *securityv1beta1.Rule, waypoints []string) {
	if len(rule.GetFrom()) == 0 {
		rule.From = []*securityv1beta1.Rule_From{{Source: &securityv1beta1.Source{}}}
	}
	for _, from := range rule.GetFrom() {
		if from.GetSource() == nil {
			from.Source = &securityv1beta1.Source{}
		}
		source := from.GetSource()
		if len(source.GetServiceAccounts())+len(source.GetNotServiceAccounts()) > 0 {
			source.NotServiceAccounts = with(source.GetNotServiceAccounts(), accountsOf(waypoints))
		} else {
			source.NotPrincipals = with(source.GetNotPrincipals(), waypoints)
		}
	}
}

// with is a list with some values at its end, unless they are there.
func with(list, values []string) []string {
	return append(slices.Clone(list), without(values, list)...)
}

// accountsOf writes principals as service accounts.
func accountsOf(principals []string) []string {
	var accounts []string
	for _, principal := range principals {
		namespace, account := identityParts(principal)
		accounts = append(accounts, namespace+"/"+account)
	}
	return accounts
}

// located is a policy that means the same in whichever namespace it is: service
// accounts without a namespace are those of the policy's own.
func located(policy *clientsecurityv1.AuthorizationPolicy) *clientsecurityv1.AuthorizationPolicy {
	moved := policy.DeepCopy()
	for _, rule := range moved.Spec.GetRules() {
		for _, from := range rule.GetFrom() {
			if source := from.GetSource(); source != nil {
				source.ServiceAccounts = qualified(source.GetServiceAccounts(), policy.Namespace)
				source.NotServiceAccounts = qualified(source.GetNotServiceAccounts(), policy.Namespace)
			}
		}
		for _, condition := range rule.GetWhen() {
			if condition.GetKey() == "source.serviceAccount" {
				condition.Values = qualified(condition.GetValues(), policy.Namespace)
				condition.NotValues = qualified(condition.GetNotValues(), policy.Namespace)
			}
		}
	}
	return moved
}

// layer4 is a rule without what needs HTTP: it matches whatever the rule matches,
// and more.
func layer4(rule *securityv1beta1.Rule) *securityv1beta1.Rule {
	trimmed := &securityv1beta1.Rule{}
	for _, from := range rule.GetFrom() {
		source := from.GetSource()
		kept := &securityv1beta1.Source{
			Principals: source.GetPrincipals(), NotPrincipals: source.GetNotPrincipals(),
			Namespaces: source.GetNamespaces(), NotNamespaces: source.GetNotNamespaces(),
			ServiceAccounts: source.GetServiceAccounts(), NotServiceAccounts: source.GetNotServiceAccounts(),
			IpBlocks: source.GetIpBlocks(), NotIpBlocks: source.GetNotIpBlocks(),
		}
		if proto.Equal(kept, &securityv1beta1.Source{}) {
			trimmed.From = nil
			break
		}
		trimmed.From = append(trimmed.From, &securityv1beta1.Rule_From{Source: kept})
	}
	for _, to := range rule.GetTo() {
		operation := to.GetOperation()
		kept := &securityv1beta1.Operation{Ports: operation.GetPorts(), NotPorts: operation.GetNotPorts()}
		if proto.Equal(kept, &securityv1beta1.Operation{}) {
			trimmed.To = nil
			break
		}
		trimmed.To = append(trimmed.To, &securityv1beta1.Rule_To{Operation: kept})
	}
	for _, condition := range rule.GetWhen() {
		if layer4Key(condition.GetKey()) {
			trimmed.When = append(trimmed.When, condition)
		}
	}
	copied, _ := proto.Clone(trimmed).(*securityv1beta1.Rule)
	return copied
}
