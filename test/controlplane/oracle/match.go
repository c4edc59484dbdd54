package oracle

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// expressions are compiled once for all.
var expressions sync.Map

// fullMatch tells whether the whole value matches a regular expression, which
// Envoy and Go both take for RE2.
func fullMatch(expression, value string) (bool, error) {
	compiled, known := expressions.Load(expression)
	if !known {
		fresh, err := regexp.Compile(`\A(?:` + expression + `)\z`)
		if err != nil {
			return false, fmt.Errorf("regular expression %q: %w", expression, err)
		}
		compiled, _ = expressions.LoadOrStore(expression, fresh)
	}
	return compiled.(*regexp.Regexp).MatchString(value), nil
}

func matchString(m *matcher.StringMatcher, value string) (bool, error) {
	fold := func(s string) string { return s }
	if m.IgnoreCase {
		fold = strings.ToLower
	}
	value = fold(value)
	switch pattern := m.MatchPattern.(type) {
	case *matcher.StringMatcher_Exact:
		return value == fold(pattern.Exact), nil
	case *matcher.StringMatcher_Prefix:
		return strings.HasPrefix(value, fold(pattern.Prefix)), nil
	case *matcher.StringMatcher_Suffix:
		return strings.HasSuffix(value, fold(pattern.Suffix)), nil
	case *matcher.StringMatcher_Contains:
		return strings.Contains(value, fold(pattern.Contains)), nil
	case *matcher.StringMatcher_SafeRegex:
		if m.IgnoreCase {
			return false, errors.New("a regular expression that ignores case")
		}
		return fullMatch(pattern.SafeRegex.Regex, value)
	default:
		return false, fmt.Errorf("string matcher %T", pattern)
	}
}

// matchHeader matches a header; value is nil if the request has none.
func matchHeader(m *route.HeaderMatcher, value *string) (bool, error) {
	matched, err := matchHeaderValue(m, value)
	return matched != m.InvertMatch, err
}

func matchHeaderValue(m *route.HeaderMatcher, value *string) (bool, error) {
	switch specifier := m.HeaderMatchSpecifier.(type) {
	case *route.HeaderMatcher_PresentMatch:
		return (value != nil) == specifier.PresentMatch, nil
	case *route.HeaderMatcher_StringMatch:
		if value == nil && m.TreatMissingHeaderAsEmpty {
			value = new(string)
		}
		// Inversion does not make an absent header match (Envoy's HeaderUtility).
		if value == nil {
			return m.InvertMatch, nil
		}
		return matchString(specifier.StringMatch, *value)
	default:
		return false, fmt.Errorf("header matcher %T", specifier)
	}
}

func inRange(cidr *core.CidrRange, address netip.Addr) (bool, error) {
	base, err := netip.ParseAddr(cidr.AddressPrefix)
	if err != nil {
		return false, err
	}
	prefix, err := base.Prefix(int(cidr.PrefixLen.GetValue()))
	if err != nil {
		return false, err
	}
	return prefix.Contains(address), nil
}

// matchMetadata matches a value in dynamic metadata.
func matchMetadata(m *matcher.MetadataMatcher, metadata map[string]map[string]any) (bool, error) {
	var value any = metadata[m.Filter]
	for _, segment := range m.Path {
		object, _ := value.(map[string]any)
		value = object[segment.GetKey()]
	}
	matched, err := matchValue(m.Value, value)
	return matched != m.Invert, err
}

func matchValue(m *matcher.ValueMatcher, value any) (bool, error) {
	switch pattern := m.MatchPattern.(type) {
	case *matcher.ValueMatcher_StringMatch:
		text, ok := value.(string)
		if !ok {
			return false, nil
		}
		return matchString(pattern.StringMatch, text)
	case *matcher.ValueMatcher_PresentMatch:
		return pattern.PresentMatch && value != nil, nil
	case *matcher.ValueMatcher_OrMatch:
		return anyOf(pattern.OrMatch.ValueMatchers, func(m *matcher.ValueMatcher) (bool, error) { return matchValue(m, value) })
	case *matcher.ValueMatcher_ListMatch:
		list, ok := value.([]any)
		if !ok {
			return false, nil
		}
		return anyOf(list, func(element any) (bool, error) { return matchValue(pattern.ListMatch.GetOneOf(), element) })
	default:
		return false, fmt.Errorf("value matcher %T", pattern)
	}
}

// anyOf tells whether the predicate holds for an element.
func anyOf[T any](elements []T, holds func(T) (bool, error)) (bool, error) {
	for _, element := range elements {
		if matched, err := holds(element); matched || err != nil {
			return matched, err
		}
	}
	return false, nil
}

// allOf tells whether the predicate holds for each element.
func allOf[T any](elements []T, holds func(T) (bool, error)) (bool, error) {
	failed, err := anyOf(elements, func(element T) (bool, error) {
		matched, err := holds(element)
		return !matched, err
	})
	return !failed && err == nil, err
}

// Envoy's URI templates: "*" is one path element, "**" any further ones.
func matchTemplate(template, path string) (bool, error) {
	if strings.ContainsAny(template, "{}") {
		return false, fmt.Errorf("path template %q has variables", template)
	}
	var expression strings.Builder
	for i, element := range strings.Split(strings.TrimPrefix(template, "/"), "/") {
		expression.WriteString("/")
		if err := writeElement(&expression, element); err != nil {
			return false, fmt.Errorf("element %d of path template %q: %w", i, template, err)
		}
	}
	return fullMatch(expression.String(), path)
}

// literals are the characters of a path element, of which "*" takes at least
// one and "**" any number, slashes included (Envoy's uri_template_lib).
const literals = `[a-zA-Z0-9\-._~%!$&'()+,;:@=]`

func writeElement(expression *strings.Builder, element string) error {
	switch before, after, found := strings.Cut(element, "**"); {
	case element == "*":
		expression.WriteString(literals + "+")
	case found && before == "":
		expression.WriteString(strings.TrimSuffix(literals, "]") + "/]*" + regexp.QuoteMeta(after))
	case strings.Contains(element, "*"):
		return errors.New("an operator within an element")
	default:
		expression.WriteString(regexp.QuoteMeta(element))
	}
	return nil
}

// lookup finds a header whatever the case of its name.
func lookup(headers map[string]string, name string) *string {
	if value, ok := headers[name]; ok {
		return &value
	}
	for candidate, value := range headers {
		if strings.EqualFold(candidate, name) {
			return &value
		}
	}
	return nil
}

// sortedKeys returns the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
