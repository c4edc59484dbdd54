package classes

import (
	"fmt"
	"strings"
)

// The operators of path templates (istio pkg/config/security/security.go).
const (
	matchOneTemplate = "{*}"
	matchAnyTemplate = "{**}"
)

// isPathTemplate says whether Istio hands a path to Envoy as a template.
func isPathTemplate(path string) bool {
	return strings.Contains(path, matchOneTemplate) || strings.Contains(path, matchAnyTemplate)
}

// oneSegment marks {*} in the head of a template; no literal has this byte.
const oneSegment = 0

// pathTemplate is a path template as a deterministic automaton. It is one
// because {*} stands for a whole, non-empty segment, and because after {**},
// which may be empty and span segments, only literals may follow (envoy
// source/extensions/path/uri_template_lib/uri_template_internal.cc).
type pathTemplate struct {
	// head is what comes before {**}, byte by byte.
	head string
	// any is true where there is {**}; tail is the literal after it.
	any  bool
	tail *suffixAutomaton
}

// parsePathTemplate reads one; Envoy refuses those it reports errors for.
func parsePathTemplate(path string) (*pathTemplate, error) {
	template := &pathTemplate{tail: newSuffixAutomaton("")}
	if !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("path template %q does not start with a slash", path)
	}
	segments := strings.Split(path[1:], "/")
	for i, segment := range segments {
		switch {
		case segment == matchAnyTemplate && !template.any:
			template.head += "/"
			template.any = true
			if rest := segments[i+1:]; len(rest) > 0 {
				template.tail = newSuffixAutomaton("/" + strings.Join(rest, "/"))
			}
		case segment == matchOneTemplate && !template.any:
			template.head += "/" + string(rune(oneSegment))
		case segment == "" && i != len(segments)-1:
			return nil, fmt.Errorf("path template %q has an empty segment", path)
		case strings.ContainsFunc(segment, func(char rune) bool { return !templateCharacter(char) }):
			return nil, fmt.Errorf("path template %q has the segment %q, which is neither a literal nor an operator in its place", path, segment)
		case !template.any:
			template.head += "/" + segment
		}
	}
	return template, nil
}

// templateCharacter says whether {*} matches the character. Envoy leaves out "="
// and "*", which RFC 3986 would allow.
func templateCharacter(char rune) bool {
	return 'a' <= char && char <= 'z' || 'A' <= char && char <= 'Z' || '0' <= char && char <= '9' ||
		strings.ContainsRune("-._~%!$&'()+,;:@", char)
}

// dead is the state from which nothing is accepted.
const dead = -1

// step is the state after one more byte. A state is twice the bytes of the head
// that are done, plus one inside a segment of {*}; past the head it counts on
// with the states of the tail.
func (t *pathTemplate) step(state int, char byte) int {
	past := 2 * len(t.head)
	switch {
	case state == dead:
		return dead
	case t.any && state >= past:
		if char != '/' && !templateCharacter(rune(char)) {
			return dead
		}
		return past + t.tail.step(state-past, char)
	case state%2 == 1 && char != '/':
		return alive(state, templateCharacter(rune(char)))
	case state%2 == 1:
		return t.step(state+1, char)
	case state == past:
		return dead
	case t.head[state/2] == oneSegment:
		return alive(state+1, templateCharacter(rune(char)))
	default:
		return alive(state+2, t.head[state/2] == char)
	}
}

func alive(state int, lives bool) int {
	if lives {
		return state
	}
	return dead
}

func (t *pathTemplate) accepts(state int) bool {
	past := 2 * len(t.head)
	if t.any {
		return state >= past && t.tail.accepts(state-past)
	}
	return state == past || state == past-1 && state > 0
}

func (t *pathTemplate) matches(path string) bool {
	state := 0
	for i := range len(path) {
		state = t.step(state, path[i])
	}
	return t.accepts(state)
}

// instance is a path that the template matches.
func (t *pathTemplate) instance() string {
	path := strings.ReplaceAll(t.head, string(rune(oneSegment)), "x")
	if t.any {
		path += "x" + t.tail.text
	}
	return path
}

// automaton reads a value byte by byte, from state zero on. The state that it ends
// in decides whether its pattern matches the value.
type automaton interface {
	step(state int, char byte) int
}

// automaton is the pattern's own.
func (p stringPattern) automaton() automaton {
	switch p.kind {
	case patternTemplate:
		return p.template
	case patternSuffix:
		return newSuffixAutomaton(p.text)
	case patternPrefix:
		return prefixAutomaton{text: p.text}
	case patternPresent:
		// What is present starts with something: a path is never empty.
		return prefixAutomaton{}
	default:
		return prefixAutomaton{text: p.text, exact: true}
	}
}

// prefixAutomaton counts the bytes that agree.
type prefixAutomaton struct {
	text  string
	exact bool
}

func (a prefixAutomaton) step(state int, char byte) int {
	switch {
	case state == len(a.text) && !a.exact:
		return state
	case state == dead || state == len(a.text) || a.text[state] != char:
		return dead
	default:
		return state + 1
	}
}

// suffixAutomaton counts the bytes of the text that the value ends with so far
// (Knuth, Morris and Pratt).
type suffixAutomaton struct {
	text string
	// borders are, by length, the longest proper border of the text's beginning.
	borders []int
}

func newSuffixAutomaton(text string) *suffixAutomaton {
	borders := make([]int, len(text)+1)
	for length, border := 2, 0; length <= len(text); length++ {
		for border > 0 && text[border] != text[length-1] {
			border = borders[border]
		}
		if text[border] == text[length-1] {
			border++
		}
		borders[length] = border
	}
	return &suffixAutomaton{text: text, borders: borders}
}

func (a *suffixAutomaton) step(state int, char byte) int {
	for state == len(a.text) || a.text[state] != char {
		if state == 0 {
			return 0
		}
		state = a.borders[state]
	}
	return state + 1
}

func (a *suffixAutomaton) accepts(state int) bool { return state == len(a.text) }
