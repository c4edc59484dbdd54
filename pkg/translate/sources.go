package translate

import (
	"slices"
	"strings"

	securityv1beta1 "istio.io/api/security/v1beta1"
)

// goesBySource says whether a rule looks at who calls, or at what a waypoint may not
// pass on as it came: addresses and tokens.
func goesBySource(rule *securityv1beta1.Rule) bool {
	if len(rule.GetFrom()) > 0 {
		return true
	}
	return slices.ContainsFunc(rule.GetWhen(), func(condition *securityv1beta1.Condition) bool {
		key := condition.GetKey()
		return strings.HasPrefix(key, "source.") || key == "remote.ip" || strings.HasPrefix(key, "request.auth.")
	})
}

// mayMatchSource says whether the sources of a rule may match a principal. What
// depends on an address or a token may.
func mayMatchSource(rule *securityv1beta1.Rule, principal, policyNamespace string) bool {
	namespace, account := identityParts(principal)
	for _, condition := range rule.GetWhen() {
		switch condition.GetKey() {
		case "source.principal":
			if !mayMatch(condition.GetValues(), condition.GetNotValues(), principal) {
				return false
			}
		case "source.namespace":
			if !mayMatch(condition.GetValues(), condition.GetNotValues(), namespace) {
				return false
			}
		}
	}
	if len(rule.GetFrom()) == 0 {
		return true
	}
	return slices.ContainsFunc(rule.GetFrom(), func(from *securityv1beta1.Rule_From) bool {
		source := from.GetSource()
		return mayMatch(source.GetPrincipals(), source.GetNotPrincipals(), principal) &&
			mayMatch(source.GetNamespaces(), source.GetNotNamespaces(), namespace) &&
			mayMatch(qualified(source.GetServiceAccounts(), policyNamespace), qualified(source.GetNotServiceAccounts(), policyNamespace), namespace+"/"+account)
	})
}

// identityParts takes namespace and service account out of a principal.
func identityParts(principal string) (namespace, account string) {
	_, rest, _ := strings.Cut(principal, "/ns/")
	namespace, account, _ = strings.Cut(rest, "/sa/")
	return namespace, account
}

// qualify writes the service accounts of a rule with the namespace that they are of:
// without one they would be of that which the copy of a policy is in.
func qualify(rule *securityv1beta1.Rule, namespace string) {
	for _, from := range rule.GetFrom() {
		if source := from.GetSource(); source != nil {
			source.ServiceAccounts = qualified(source.GetServiceAccounts(), namespace)
			source.NotServiceAccounts = qualified(source.GetNotServiceAccounts(), namespace)
		}
	}
	for _, condition := range rule.GetWhen() {
		if condition.GetKey() == keyServiceAccount {
			condition.Values, condition.NotValues = qualified(condition.GetValues(), namespace), qualified(condition.GetNotValues(), namespace)
		}
	}
}

// qualified writes service accounts with their namespace.
func qualified(accounts []string, namespace string) []string {
	var all []string
	for _, account := range accounts {
		if !strings.Contains(account, "/") {
			account = namespace + "/" + account
		}
		all = append(all, account)
	}
	return all
}

func mayMatch(values, notValues []string, value string) bool {
	matches := func(pattern string) bool { return matchesPattern(pattern, value) }
	return (len(values) == 0 || slices.ContainsFunc(values, matches)) && !slices.ContainsFunc(notValues, matches)
}

// matchesPattern is how policies compare texts: a wildcard stands at the beginning,
// at the end, or for everything (docs: Authorization Policy, Rule).
func matchesPattern(pattern, value string) bool {
	if suffix, is := strings.CutPrefix(pattern, "*"); is {
		return strings.HasSuffix(value, suffix)
	}
	if prefix, is := strings.CutSuffix(pattern, "*"); is {
		return strings.HasPrefix(value, prefix)
	}
	return pattern == value
}
