package classes

import (
	"slices"
	"strings"
)

// patternKind is how a pattern compares.
type patternKind uint8

const (
	patternExact patternKind = iota
	patternPrefix
	patternSuffix
	patternPresent
	patternTemplate
)

// stringPattern is one value of a policy's list, as Istio compares it
// (pilot/pkg/security/authz/matcher/string.go).
type stringPattern struct {
	kind patternKind
	text string
	// template is set for patternTemplate only.
	template *pathTemplate
}

// parsePattern reads "*", "abc*", "*abc" or "abc". A star elsewhere is a
// character like others.
func parsePattern(value string) stringPattern {
	switch {
	case value == "*":
		return stringPattern{kind: patternPresent}
	case strings.HasPrefix(value, "*"):
		return stringPattern{kind: patternSuffix, text: value[1:]}
	case strings.HasSuffix(value, "*"):
		return stringPattern{kind: patternPrefix, text: value[:len(value)-1]}
	default:
		return stringPattern{kind: patternExact, text: value}
	}
}

func (p stringPattern) matches(value string) bool {
	switch p.kind {
	case patternPresent:
		return value != ""
	case patternPrefix:
		return strings.HasPrefix(value, p.text)
	case patternSuffix:
		return strings.HasSuffix(value, p.text)
	case patternTemplate:
		return p.template.matches(value)
	default:
		return value == p.text
	}
}

// condition is one list of a policy: it holds where any of its patterns matches.
// It is the whole list that a policy asserts or negates (istio
// pilot/pkg/security/authz/model/model.go), never one value of it; so values of
// one list need no witnesses of their own.
type condition []stringPattern

// conditions are those about one attribute, whether asserted or negated.
type conditions []condition

// add takes in a list as policies write it; a list that is there already, in
// whatever order, adds nothing.
func (c *conditions) add(values []string, parse func(string) stringPattern) {
	if len(values) == 0 {
		return
	}
	values = slices.Compact(slices.Sorted(slices.Values(values)))
	list := make(condition, 0, len(values))
	for _, value := range values {
		list = append(list, parse(value))
	}
	c.addList(list)
}

// addOne takes in a condition of one pattern.
func (c *conditions) addOne(pattern stringPattern) { c.addList(condition{pattern}) }

func (c *conditions) addList(list condition) {
	if !slices.ContainsFunc(*c, func(other condition) bool { return slices.Equal(other, list) }) {
		*c = append(*c, list)
	}
}

// patterns are the distinct ones of all conditions.
func (c conditions) patterns() []stringPattern {
	var all []stringPattern
	seen := map[stringPattern]bool{}
	for _, list := range c {
		for _, pattern := range list {
			if !seen[pattern] {
				seen[pattern] = true
				all = append(all, pattern)
			}
		}
	}
	return all
}

// texts are the distinct texts of the patterns of one kind, sorted.
func (c conditions) texts(kind patternKind) []string {
	var texts []string
	for _, pattern := range c.patterns() {
		if pattern.kind == kind {
			texts = append(texts, pattern.text)
		}
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// signature says which of the conditions hold, given which patterns match.
func (c conditions) signature(match func(stringPattern) bool) string {
	signature := make([]byte, len(c))
	for i, list := range c {
		signature[i] = '0'
		if slices.ContainsFunc(list, match) {
			signature[i] = '1'
		}
	}
	return string(signature)
}

// of is the signature of a value.
func (c conditions) of(value string) string {
	return c.signature(func(pattern stringPattern) bool { return pattern.matches(value) })
}

// nothing is the signature of a value that no condition holds for, and of an
// attribute that is absent: an absent one matches no pattern, "*" included.
func (c conditions) nothing() string { return strings.Repeat("0", len(c)) }

// valueSpace is what values of one attribute look like.
type valueSpace struct {
	// common are everyday values, tried first; the first is the default.
	common []string
	// fillers go between a prefix and a suffix where these alone would not do,
	// the most natural first.
	fillers []string
	// possible says whether a value can be sent at all. Whether it can must not
	// depend on what lower-case letters and digits lie in its middle.
	possible func(string) bool
	// natural says whether a reader would take it for a real value; others are
	// taken only where no natural one is found.
	natural func(string) bool
}

// witnesses are values of which one stands for each combination of conditions
// that a value of the space can meet, the default first. Complete is false where
// one of them may have been missed.
//
// Why these candidates are all that is needed. Take any value v. If v is one of
// the exact constants, it is a candidate itself. Otherwise let p be the longest
// constant of a prefix pattern that v starts with and q the longest of a suffix
// pattern that v ends with, either of them empty where there is none. The prefix
// patterns that match v are then precisely those whose text p starts with, the
// suffix patterns those whose text q ends with, and no exact pattern matches: p
// and q decide. The value p+f+q matches the same patterns as soon as no longer
// prefix constant starts with p and the first character of f, no longer suffix
// constant ends with the last character of f and q, and the whole is no
// constant. That v itself may be shorter than p and q together makes no
// difference. Presence matches every value but the empty one, which stands for
// an attribute that is absent and is the caller's to add.
func (s valueSpace) witnesses(c conditions) (values []string, complete bool) {
	seen := map[string]bool{}
	take := func(value string) {
		if signature := c.of(value); s.possible(value) && !seen[signature] {
			seen[signature] = true
			values = append(values, value)
		}
	}
	for _, value := range s.common {
		take(value)
	}
	for _, value := range c.texts(patternExact) {
		take(value)
	}
	complete = true
	// Suffixes outside, so that prefixes alone come first: they read best.
	prefixes := append([]string{""}, c.texts(patternPrefix)...)
	for _, suffix := range append([]string{""}, c.texts(patternSuffix)...) {
		for _, prefix := range prefixes {
			signature := c.signature(func(pattern stringPattern) bool { return pattern.spans(prefix, suffix) })
			if seen[signature] {
				continue
			}
			value, exists := s.between(prefix, suffix, func(value string) bool { return c.of(value) == signature })
			complete = complete && exists
			if value != "" {
				take(value)
			}
		}
	}
	return values, complete
}

// spans says whether the pattern matches values whose longest matching prefix and
// suffix constants are these, and that are no constant themselves.
func (p stringPattern) spans(prefix, suffix string) bool {
	switch p.kind {
	case patternPresent:
		return true
	case patternPrefix:
		return strings.HasPrefix(prefix, p.text)
	case patternSuffix:
		return strings.HasSuffix(suffix, p.text)
	default:
		return false
	}
}

// between is the most natural value from prefix to suffix that fits; empty where
// there is none. Exists is false where none fits even among impossible values:
// the characters tried may then have been too few. Where only impossible ones
// fit, prefix or suffix make them so, and the class is empty.
func (s valueSpace) between(prefix, suffix string, fits func(string) bool) (value string, exists bool) {
	for candidate := range s.spanning(prefix, suffix) {
		if candidate == "" || !fits(candidate) {
			continue
		}
		exists = true
		switch {
		case !s.possible(candidate):
		case s.natural(candidate):
			return candidate, true
		case value == "":
			value = candidate
		}
	}
	return value, exists
}

// plain are the characters that fillers are made of where no natural one does.
const plain = "xyzabcdefghijklmnopqrstuvw0123456789"

// spanning yields values from prefix to suffix: overlapping, adjacent, with the
// natural fillers, and with one or two plain characters between them.
func (s valueSpace) spanning(prefix, suffix string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for overlap := min(len(prefix), len(suffix)); overlap >= 0; overlap-- {
			if strings.HasSuffix(prefix, suffix[:overlap]) && !yield(prefix+suffix[overlap:]) {
				return
			}
		}
		for _, filler := range s.fillers {
			if !yield(prefix + filler + suffix) {
				return
			}
		}
		for _, first := range plain {
			if !yield(prefix + string(first) + suffix) {
				return
			}
		}
		for _, first := range plain {
			for _, last := range plain {
				if !yield(prefix + string(first) + string(last) + suffix) {
					return
				}
			}
		}
	}
}

// optional puts the absent attribute, an empty value, in front, and drops the
// value that conditions cannot tell from it.
func optional(values []string, c conditions) []string {
	nothing := c.nothing()
	return append([]string{""}, slices.DeleteFunc(values, func(value string) bool { return c.of(value) == nothing })...)
}
