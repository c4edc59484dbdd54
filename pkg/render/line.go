package render

import (
	"strings"
	"unicode"
)

// line makes text that may come from a file one line: without line breaks, nor what
// a terminal takes for commands.
func line(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}
