package checks

import (
	"strings"
	"unicode"
)

// Line makes what a finding says, or a table's cell, one line of text. It may quote what a file holds,
// in which there can be anything: line breaks, or what a terminal takes for
// commands.
func Line(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}
