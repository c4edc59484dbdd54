package oracle

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"
)

// ztunnelCall is what a server's ztunnel knows of a connection.
type ztunnelCall struct {
	// identity is empty for plaintext.
	identity    string
	source      netip.Addr
	destination netip.AddrPort
}

// policiesOf returns the policies that a ztunnel applies to a workload: those
// that name its namespace, those of the mesh, and those that the workload lists
// (ztunnel's src/state.rs). One that is listed but not known is passed over.
func policiesOf(policies map[string]*security.Authorization, workload *workloadapi.Workload) []*security.Authorization {
	var result []*security.Authorization
	for _, policy := range policies {
		if policy.Scope == security.Scope_GLOBAL || policy.Scope == security.Scope_NAMESPACE && policy.Namespace == workload.Namespace {
			result = append(result, policy)
		}
	}
	for _, name := range workload.AuthorizationPolicies {
		if policy := policies[name]; policy != nil {
			result = append(result, policy)
		}
	}
	slices.SortFunc(result, func(a, b *security.Authorization) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return result
}

// decideZtunnel decides by the policies of a workload: denials first, then, if
// there are policies that allow, one of them must match. Dry runs do not count.
func decideZtunnel(policies []*security.Authorization, call ztunnelCall) Verdict {
	for _, policy := range policies {
		if policy.Action == security.Action_DENY && !policy.DryRun && ztunnelMatches(policy, call) {
			return Verdict{Denied, "DENY " + policyName(policy)}
		}
	}
	restricted := false
	for _, policy := range policies {
		if policy.Action != security.Action_ALLOW || policy.DryRun {
			continue
		}
		if ztunnelMatches(policy, call) {
			return Verdict{Allowed, "ALLOW " + policyName(policy)}
		}
		restricted = true
	}
	if restricted {
		return Verdict{Denied, "no ALLOW matches"}
	}
	return Verdict{Allowed, "no ALLOW"}
}

func policyName(policy *security.Authorization) string {
	return policy.Namespace + "/" + policy.Name
}

// ztunnelMatches tells whether one of the rules matches, with all its clauses
// (ztunnel's src/rbac.rs).
func ztunnelMatches(policy *security.Authorization, call ztunnelCall) bool {
	return slices.ContainsFunc(policy.Groups, func(rule *security.Group) bool {
		return !slices.ContainsFunc(rule.Rules, func(clause *security.Rules) bool { return !clauseMatches(clause, call) })
	})
}

// clauseMatches tells whether one of the matches of a clause holds. A clause
// without any matches everything, but a match without any condition nothing.
func clauseMatches(clause *security.Rules, call ztunnelCall) bool {
	return len(clause.Matches) == 0 || slices.ContainsFunc(clause.Matches, func(match *security.Match) bool {
		return !isEmptyMatch(match) && matchHolds(match, call)
	})
}

// isEmptyMatch tells whether a match states no condition. Ztunnel skips such.
func isEmptyMatch(m *security.Match) bool {
	return len(m.Namespaces)+len(m.NotNamespaces)+len(m.ServiceAccounts)+len(m.NotServiceAccounts)+
		len(m.Principals)+len(m.NotPrincipals)+len(m.SourceIps)+len(m.NotSourceIps)+
		len(m.DestinationIps)+len(m.NotDestinationIps)+len(m.DestinationPorts)+len(m.NotDestinationPorts) == 0
}

func matchHolds(m *security.Match, call ztunnelCall) bool {
	principal, namespace, account := identityParts(call.identity)
	return holds(m.Namespaces, m.NotNamespaces, identified(call, stringIs(namespace))) &&
		holds(m.ServiceAccounts, m.NotServiceAccounts, identified(call, func(wanted *security.ServiceAccountMatch) bool {
			return wanted.Namespace == namespace && wanted.ServiceAccount == account
		})) &&
		holds(m.Principals, m.NotPrincipals, identified(call, stringIs(principal))) &&
		holds(m.SourceIps, m.NotSourceIps, addressIn(call.source)) &&
		holds(m.DestinationIps, m.NotDestinationIps, addressIn(call.destination.Addr())) &&
		holds(m.DestinationPorts, m.NotDestinationPorts, func(port uint32) bool { return port == uint32(call.destination.Port()) })
}

// holds tells whether one of the wanted values matches, if there are any, and
// none of the unwanted ones.
func holds[T any](wanted, unwanted []T, matches func(T) bool) bool {
	return (len(wanted) == 0 || slices.ContainsFunc(wanted, matches)) && !slices.ContainsFunc(unwanted, matches)
}

// identified lets nothing match that has no identity.
func identified[T any](call ztunnelCall, matches func(T) bool) func(T) bool {
	return func(wanted T) bool { return call.identity != "" && matches(wanted) }
}

func stringIs(value string) func(*security.StringMatch) bool {
	return func(wanted *security.StringMatch) bool {
		switch match := wanted.MatchType.(type) {
		case *security.StringMatch_Exact:
			return value == match.Exact
		case *security.StringMatch_Prefix:
			return strings.HasPrefix(value, match.Prefix)
		case *security.StringMatch_Suffix:
			return strings.HasSuffix(value, match.Suffix)
		case *security.StringMatch_Presence:
			return value != ""
		default:
			return false
		}
	}
}

func addressIn(address netip.Addr) func(*security.Address) bool {
	return func(wanted *security.Address) bool {
		base, ok := netip.AddrFromSlice(wanted.Address)
		if !ok {
			return false
		}
		prefix, err := base.Prefix(int(wanted.Length))
		return err == nil && prefix.Contains(address)
	}
}

const spiffePrefix = "spiffe://"

// identityParts returns an identity as policies write it, without the scheme,
// and its namespace and service account.
func identityParts(identity string) (principal, namespace, account string) {
	principal = strings.TrimPrefix(identity, spiffePrefix)
	parts := strings.Split(principal, "/")
	if len(parts) == 5 && parts[1] == "ns" && parts[3] == "sa" {
		return principal, parts[2], parts[4]
	}
	return principal, "", ""
}

// identityOf is the identity of a workload.
func identityOf(workload *workloadapi.Workload) string {
	domain := cmp.Or(workload.TrustDomain, "cluster.local")
	return fmt.Sprintf("%s%s/ns/%s/sa/%s", spiffePrefix, domain, workload.Namespace, cmp.Or(workload.ServiceAccount, "default"))
}
