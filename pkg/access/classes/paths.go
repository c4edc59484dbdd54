package classes

import (
	"encoding/binary"
	"maps"
	"slices"
)

// maxPathStates bounds the search for paths that meet combinations of templates.
const maxPathStates = 1 << 14

// pathWitnesses are paths of which one stands for each combination of conditions
// that a path can meet. Without templates the witnesses of the value space do.
// With templates the paths that the candidates miss are searched for: the
// automata of all patterns run side by side, and every state that they reach
// together, from the shortest path on, shows the combination that paths to it
// meet. That is complete unless there are more states than the bound.
func pathWitnesses(c conditions) (paths []string, complete bool) {
	plainOnes, templates := c.apart()
	candidates, complete := pathSpace.witnesses(plainOnes)
	if len(templates) == 0 {
		return candidates, complete
	}
	seen := map[string]bool{}
	take := func(path string) {
		if signature := c.of(path); !seen[signature] {
			seen[signature] = true
			paths = append(paths, path)
		}
	}
	for _, path := range candidates {
		take(path)
	}
	for _, template := range templates {
		take(template.instance())
	}
	return paths, searchPaths(c, take)
}

// apart are the conditions without their templates, and the templates.
func (c conditions) apart() (conditions, []*pathTemplate) {
	var without conditions
	var templates []*pathTemplate
	for _, list := range c {
		var rest condition
		for _, pattern := range list {
			if pattern.kind == patternTemplate {
				templates = append(templates, pattern.template)
			} else {
				rest = append(rest, pattern)
			}
		}
		without = append(without, rest)
	}
	return without, templates
}

// searchPaths shows a path for every state that the automata of the patterns
// reach together, shorter ones first. It returns false where it gave up.
func searchPaths(c conditions, show func(path string)) bool {
	var automata []automaton
	for _, pattern := range c.patterns() {
		automata = append(automata, pattern.automaton())
	}
	alphabet := pathAlphabet(c)
	type node struct {
		path   string
		states []int
	}
	known := map[string]bool{}
	var queue []node
	visit := func(from node, char byte) {
		states := make([]int, len(automata))
		key := make([]byte, 0, 2*len(automata))
		for i, automaton := range automata {
			states[i] = automaton.step(from.states[i], char)
			key = binary.AppendVarint(key, int64(states[i]))
		}
		if !known[string(key)] {
			known[string(key)] = true
			queue = append(queue, node{from.path + string([]byte{char}), states})
		}
	}
	visit(node{states: make([]int, len(automata))}, '/')
	for next := 0; next < len(queue); next++ {
		if len(queue) > maxPathStates {
			return false
		}
		show(queue[next].path)
		for _, char := range alphabet {
			visit(queue[next], char)
		}
	}
	return true
}

// pathAlphabet is a character that no constant has and templates match, the
// characters of the constants, and one that no constant has and templates do not
// match. All others act like the first or the last.
func pathAlphabet(c conditions) []byte {
	constants := map[byte]bool{'/': true}
	for _, pattern := range c.patterns() {
		text := pattern.text
		if pattern.kind == patternTemplate {
			text = pattern.template.head + pattern.template.tail.text
		}
		for i := range len(text) {
			if pathCharacter(rune(text[i])) {
				constants[text[i]] = true
			}
		}
	}
	fresh := func(characters string) []byte {
		for i := range len(characters) {
			if !constants[characters[i]] {
				return []byte{characters[i]}
			}
		}
		return nil
	}
	return slices.Concat(fresh(plain+"ABCDEFGHIJKLMNOPQRSTUVWXYZ"), slices.Sorted(maps.Keys(constants)), fresh(notInTemplates))
}

// notInTemplates are characters that templates do not match, those first that a
// path should have.
const notInTemplates = `=*|^"[]<>{}`

// pathCharacter says whether a path as policies see it, without query and
// fragment, can have the character.
func pathCharacter(char rune) bool { return char > ' ' && char != 0x7f && char != '?' && char != '#' }
