package mesh

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// document is one object in a file: a document of its own, an item of a list,
// or what a list says besides its items.
type document struct {
	content map[string]any
	at      position
	// list is true for what a list says besides its items.
	list bool
}

// position is a place in a file.
type position struct {
	file string
	// line counts from 1, as do documents. Documents that hold nothing do not
	// count.
	line, document int
}

func (p position) String() string {
	return fmt.Sprintf("%s:%d (document %d)", p.file, p.line, p.document)
}

// SyntaxError says where a file cannot be understood.
type SyntaxError struct {
	at  position
	err error
}

// Error is a line of text, whatever the file holds that it quotes.
func (e *SyntaxError) Error() string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, e.at.String()+": "+e.err.Error())
}

func (e *SyntaxError) Unwrap() error { return e.err }

func (p position) errorf(format string, arguments ...any) error {
	return &SyntaxError{at: p, err: fmt.Errorf(format, arguments...)}
}

// readDocuments hands every object of a file to yield, one after the other, so
// that no more than one is in memory besides what yield keeps: a dump of a large
// cluster is one document of hundreds of megabytes. It stops at the first error,
// its own or yield's.
func readDocuments(file string, from io.Reader, yield func(document) error) error {
	lines := newLineReader(file, from)
	for number := 1; ; {
		isJSON, err := lines.nextDocument()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if isJSON {
			number, err = readJSON(lines, number, yield)
		} else {
			number, err = number+1, readYAML(lines, number, yield)
		}
		if err != nil {
			return err
		}
	}
}
