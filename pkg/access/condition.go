package access

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// attribute is what a condition looks at.
type attribute int

// The attributes. Those that sidecars and ztunnel compare differently are two.
const (
	attributeSourceIP attribute = iota
	attributeRemoteIP
	attributeDestinationIP
	attributePort
	attributeServerName
	attributeNamespaceInPrincipal
	attributeNamespace
	attributeServiceAccount
	attributeTrustDomain
	attributePrincipal
	attributeRequestPrincipal
	attributeClaim
	attributeHeader
	attributeHost
	attributeMethod
	attributePath
	// attributeUnknown is for metadata of other filters, which nobody can tell:
	// nothing matches it.
	attributeUnknown
)

// condition is that an attribute has one of some values, or none of them.
type condition struct {
	attribute attribute
	// name is a header's, in lower case, or a claim's.
	name    string
	negated bool
	values  []value
}

// value is one that a policy writes, in the form that is fit for comparing.
type value struct {
	text   string
	prefix netip.Prefix
	port   uint32
	// identity is that of an exact principal or of a service account.
	identity Identity
	// exact is false for a principal that is not one whole identity.
	exact bool
	// parts are those of a namespace in a principal.
	parts    []string
	template *regexp.Regexp
	// issuer and subject are those of a request's principal.
	issuer, subject claimText
}

// claimText is a pattern, or a text in which a wildcard is an ordinary character.
type claimText struct {
	text  string
	exact bool
}

func (c claimText) matches(claim string) bool {
	if c.exact {
		// A token without the claim has no text to compare.
		return claim != "" && c.text == claim
	}
	return claim != "" && matchString(c.text, claim, false)
}

func (c *condition) holds(f *facts) bool {
	for i := range c.values {
		if c.matches(&c.values[i], f) {
			return !c.negated
		}
	}
	return c.negated
}

func (c *condition) matches(v *value, f *facts) bool {
	switch c.attribute {
	case attributeSourceIP:
		return v.prefix.Contains(f.source)
	case attributeRemoteIP:
		return v.prefix.Contains(f.remote)
	case attributeDestinationIP:
		return containsAny(v.prefix, f.destinations)
	case attributePort:
		return v.port == f.port
	case attributeServerName:
		return v.matchesServerName(f.serverName)
	case attributeNamespaceInPrincipal, attributeNamespace, attributeServiceAccount, attributeTrustDomain, attributePrincipal:
		return f.identified() && c.matchesIdentity(v, f)
	case attributeRequestPrincipal:
		return f.accepted && v.issuer.matches(f.request.Token.Issuer) && v.subject.matches(f.request.Token.Subject)
	case attributeClaim:
		return f.accepted && f.request.Token.claims(c.name, v.text)
	case attributeHeader:
		return f.request.header(c.name, v.text)
	case attributeHost:
		return matchString(v.text, f.request.Host, true)
	case attributeMethod:
		return matchString(v.text, f.request.Method, false)
	case attributePath:
		if v.template != nil {
			// A copy, lest every call is kept for the sake of this.
			return v.template.MatchString(strings.Clone(f.request.Path))
		}
		return matchString(v.text, f.request.Path, false)
	default:
		return false
	}
}

func containsAny(prefix netip.Prefix, addresses []netip.Addr) bool {
	for _, address := range addresses {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

// matchesIdentity is for callers that have one.
func (c *condition) matchesIdentity(v *value, f *facts) bool {
	switch c.attribute {
	case attributeNamespaceInPrincipal:
		if v.exact {
			return f.identity.Namespace == v.text
		}
		return holdsInOrder(f.principalText(), v.parts)
	case attributeNamespace:
		return matchString(v.text, f.identity.Namespace, false)
	case attributeServiceAccount:
		return f.identity.Namespace == v.identity.Namespace && f.identity.ServiceAccount == v.identity.ServiceAccount
	case attributeTrustDomain:
		return matchTrustDomain(v.text, f.identity.TrustDomain)
	default:
		if v.exact {
			return f.identity == v.identity
		}
		return v.text == "*" || matchString(v.text, f.principalText(), false)
	}
}

func (v *value) matchesServerName(name serverName) bool {
	if name.service == nil {
		return matchString(v.text, name.plain, false)
	}
	return matchString(v.text, "outbound_."+strconv.FormatUint(uint64(name.port), 10)+"_._."+name.service.Host, false)
}

// claims says whether a claim of the token, or one in its list, matches. Those
// that have fields of their own have the names of RFC 7519.
func (t *Token) claims(name, pattern string) bool {
	switch name {
	case "iss":
		return t.Issuer != "" && matchString(pattern, t.Issuer, false)
	case "sub":
		return t.Subject != "" && matchString(pattern, t.Subject, false)
	case "azp":
		return t.Presenter != "" && matchString(pattern, t.Presenter, false)
	case "aud":
		return matchAny(pattern, t.Audiences)
	default:
		return matchAny(pattern, t.Claims[name])
	}
}

func matchAny(pattern string, values []string) bool {
	for _, value := range values {
		if matchString(pattern, value, false) {
			return true
		}
	}
	return false
}

// header says whether a header matches. * is for any that is there, an empty one
// too (istio authz/matcher/header.go, HeaderMatcher).
func (r *Request) header(name, pattern string) bool {
	text, set := r.Headers[name]
	switch name {
	case ":method":
		text, set = r.Method, true
	case ":authority", "host":
		text, set = r.Host, r.Host != ""
	case ":path":
		text, set = r.Path, true
	}
	return set && (pattern == "*" || matchString(pattern, text, false))
}
