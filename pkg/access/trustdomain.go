package access

import (
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// trustDomains are the mesh's own trust domain and its aliases. Sidecars,
// gateways and waypoints take a principal of one for a principal of any; ztunnel
// is told of none.
type trustDomains []string

// ofPrincipal returns the principals that Envoy is told of for one that a policy
// names (istio pilot/pkg/security/trustdomain/bundle.go,
// ReplaceTrustDomainAliases). cluster.local always stands for the mesh's own.
func (t trustDomains) ofPrincipal(principal string) []string {
	domain, rest, _ := strings.Cut(principal, "/")
	if strings.Count(rest, "/") != 3 || domain == "*" || !t.holds(domain) && domain != mesh.DefaultTrustDomain {
		return []string{principal}
	}
	var principals []string
	for _, own := range t {
		replaced := own + "/" + rest
		if suffix, wildcard := strings.CutPrefix(domain, "*"); wildcard && strings.HasSuffix(own, suffix) {
			replaced = principal
		}
		if !slices.Contains(principals, replaced) {
			principals = append(principals, replaced)
		}
	}
	return principals
}

// ofDomain returns the trust domains that Envoy is told of for one that a policy
// names (ExpandTrustDomainAliases).
func (t trustDomains) ofDomain(domain string) []string {
	if slices.Contains(t, domain) {
		return t
	}
	return []string{domain}
}

// holds compares as istiod does: either side may be written with a wildcard
// (istio pilot/pkg/security/trustdomain/util.go, stringMatch).
func (t trustDomains) holds(domain string) bool {
	return slices.ContainsFunc(t, func(own string) bool {
		return own == "*" || edgeMatch(own, domain) || edgeMatch(domain, own)
	})
}

func edgeMatch(pattern, value string) bool {
	prefix, isPrefix := strings.CutSuffix(pattern, "*")
	suffix, isSuffix := strings.CutPrefix(pattern, "*")
	return pattern == value || isPrefix && strings.HasPrefix(value, prefix) || isSuffix && strings.HasSuffix(value, suffix)
}
