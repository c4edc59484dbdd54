package access

import (
	"regexp"
	"strings"
)

// matchString compares a value with one of a policy's in the four forms that
// those have: exact, a prefix (abc*), a suffix (*abc) and presence (*), which is
// any value but the empty one. With fold, case does not count (istio
// pilot/pkg/security/authz/matcher/string.go, StringMatcherWithPrefix; ztunnel
// src/rbac.rs, StringMatch). A second wildcard is an ordinary character.
func matchString(pattern, value string, fold bool) bool {
	switch {
	case pattern == "*":
		return value != ""
	case strings.HasPrefix(pattern, "*"):
		suffix := pattern[1:]
		return len(value) >= len(suffix) && equalText(value[len(value)-len(suffix):], suffix, fold)
	case strings.HasSuffix(pattern, "*"):
		prefix := pattern[:len(pattern)-1]
		return len(value) >= len(prefix) && equalText(value[:len(prefix)], prefix, fold)
	default:
		return equalText(value, pattern, fold)
	}
}

func equalText(a, b string, fold bool) bool {
	return a == b || fold && strings.EqualFold(a, b)
}

// holdsInOrder says whether a text holds all parts, one after the other.
func holdsInOrder(text string, parts []string) bool {
	for _, part := range parts {
		at := strings.Index(text, part)
		if at < 0 {
			return false
		}
		text = text[at+len(part):]
	}
	return true
}

// namespaceParts is how Envoy is told of namespaces: what they are made of must
// stand somewhere in the principal, and * is for anything, slashes too, so that
// *a means every namespace (istio authz/model/generator.go,
// srcNamespaceGenerator).
func namespaceParts(pattern string) []string {
	return strings.Split("/ns/"+pattern+"/", "*")
}

// matchTrustDomain compares a trust domain with one of a policy's: its first *
// stands for anything, a further one for itself (istio authz/model/generator.go,
// srcTrustDomainGenerator).
func matchTrustDomain(pattern, domain string) bool {
	prefix, suffix, wildcard := strings.Cut(pattern, "*")
	if !wildcard {
		return domain == pattern
	}
	return len(domain) >= len(prefix)+len(suffix) && strings.HasPrefix(domain, prefix) && strings.HasSuffix(domain, suffix)
}

// The operators of a path template: one element of a path, or all that is left
// of it (istio pkg/config/security, MatchOneTemplate and MatchAnyTemplate).
const (
	oneElement  = "{*}"
	anyElements = "{**}"
)

func isPathTemplate(path string) bool {
	return strings.Contains(path, oneElement) || strings.Contains(path, anyElements)
}

// pathTemplate is what Envoy makes of a path template: istiod hands it on
// without the braces, and Envoy takes * for at least one character of a path's
// element and ** for any number of characters of a path (Envoy
// source/extensions/path/uri_template_lib, kPathGlob and kTextGlob).
func pathTemplate(path string) *regexp.Regexp {
	const character = `[a-zA-Z0-9\-._~%!$&'()+,;:@=`
	text := regexp.QuoteMeta(strings.NewReplacer(oneElement, "*", anyElements, "**").Replace(path))
	text = strings.ReplaceAll(text, `\*\*`, character+`/]*`)
	text = strings.ReplaceAll(text, `\*`, character+`]+`)
	return regexp.MustCompile(`^` + text + `$`)
}
