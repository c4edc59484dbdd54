package checks

import (
	"strings"
	"unicode"
)

// line makes what a finding says one line of text. It may quote what a file holds,
// in which there can be anything: line breaks, or what a terminal takes for
// commands.
func line(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}
