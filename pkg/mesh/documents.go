package mesh

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
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
	// line counts from 1, as do documents.
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

func (e *SyntaxError) Error() string { return e.at.String() + ": " + e.err.Error() }

func (e *SyntaxError) Unwrap() error { return e.err }

// readDocuments hands every object of a file to yield, one after the other, so
// that no more than one is in memory besides what yield keeps: a dump of a large
// cluster is one document of hundreds of megabytes. It stops at the first error,
// its own or yield's.
func readDocuments(file string, from io.Reader, yield func(document) error) error {
	lines := &lineReader{file: file, from: bufio.NewReaderSize(from, 1<<16)}
	// Whether it is JSON shows in the first line that says anything.
	for {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		text := bytes.TrimSpace(bytes.TrimPrefix(line, byteOrderMark))
		if len(text) == 0 || text[0] == '#' {
			continue
		}
		lines.unread(bytes.TrimPrefix(line, byteOrderMark))
		if text[0] == '{' || text[0] == '[' {
			return readJSON(file, lines, yield)
		}
		return readYAML(lines, yield)
	}
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// lineReader reads lines of any length and counts them.
type lineReader struct {
	file   string
	from   *bufio.Reader
	number int
	again  []byte
}

// next returns a line with its end; the last one may lack it. The error is
// io.EOF, or names the file.
func (r *lineReader) next() ([]byte, error) {
	r.number++
	if line := r.again; line != nil {
		r.again = nil
		return line, nil
	}
	line, err := r.from.ReadBytes('\n')
	if len(line) > 0 {
		return line, nil
	}
	if errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	return nil, fmt.Errorf("read %s: %w", r.file, err)
}

// unread makes next return a line again.
func (r *lineReader) unread(line []byte) {
	r.again = line
	r.number--
}

// list collects what a list says besides its items, and items that do not say
// of which kind they are, as the items of a PodList do.
type list struct {
	at      position
	header  map[string]any
	seen    bool
	pending []document
	yield   func(document) error
}

// add takes an item in.
func (l *list) add(item map[string]any, at position) error {
	l.seen = true
	one := document{content: item, at: at}
	if kind, _ := item["kind"].(string); kind == "" {
		l.pending = append(l.pending, one)
		return nil
	}
	return l.yield(one)
}

// end hands on what had to wait until the kind of the list was known.
func (l *list) end() error {
	kind, _ := l.header["kind"].(string)
	of, isList := strings.CutSuffix(kind, "List")
	if !l.seen && !isList {
		if len(l.header) == 0 {
			return nil
		}
		return l.yield(document{content: l.header, at: l.at})
	}
	for _, item := range l.pending {
		if of == "" || !isList {
			return &SyntaxError{at: item.at, err: errors.New("an item of the list has no kind: it is not a Kubernetes object")}
		}
		item.content["kind"], item.content["apiVersion"] = of, l.header["apiVersion"]
		if err := l.yield(item); err != nil {
			return err
		}
	}
	return l.yield(document{content: l.header, at: l.at, list: true})
}
