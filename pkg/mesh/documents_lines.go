package mesh

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// lineReader reads lines, whole or piece by piece, and counts them.
type lineReader struct {
	file string
	from *bufio.Reader
	// again is what was put back.
	again []byte
	// number is that of the line that was read last.
	number int
	// begins is true where a line begins next.
	begins bool
	// failure ended the reading.
	failure error
}

// newLineReader reads UTF-8, or what a byte order mark says: a Windows shell
// writes what it redirects in UTF-16.
func newLineReader(file string, from io.Reader) *lineReader {
	text := transform.NewReader(from, unicode.BOMOverride(transform.Nop))
	return &lineReader{file: file, from: bufio.NewReaderSize(text, 1<<16), begins: true}
}

// piece returns what follows, at most up to the end of the line: some JSON is a
// single line of hundreds of megabytes. It is valid until the next call. The
// error is io.EOF, or names the file.
func (r *lineReader) piece() ([]byte, error) {
	piece, err := r.again, error(nil)
	r.again = nil
	if piece == nil {
		piece, err = r.read()
	}
	if err != nil {
		return nil, err
	}
	if r.begins {
		r.number++
	}
	r.begins = endsLine(piece)
	return piece, nil
}

// read returns what was read before an error and the error by the next call.
func (r *lineReader) read() ([]byte, error) {
	if r.failure != nil {
		return nil, r.failure
	}
	piece, err := r.from.ReadSlice('\n')
	if err == nil || errors.Is(err, bufio.ErrBufferFull) {
		return piece, nil
	}
	r.failure = err
	if !errors.Is(err, io.EOF) {
		r.failure = fmt.Errorf("read %s: %w", r.file, err)
	}
	if len(piece) == 0 {
		return nil, r.failure
	}
	return piece, nil
}

// line returns a whole line with its end; the last one may lack it. It is valid
// until the next call.
func (r *lineReader) line() ([]byte, error) {
	line, err := r.piece()
	if err != nil || endsLine(line) {
		return line, err
	}
	line = bytes.Clone(line)
	for !endsLine(line) {
		piece, err := r.piece()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		line = append(line, piece...)
	}
	return line, nil
}

// unread puts the beginning of a line back.
func (r *lineReader) unread(piece []byte) {
	r.again = bytes.Clone(piece)
	r.begins = true
	r.number--
}

func endsLine(piece []byte) bool { return bytes.HasSuffix(piece, []byte("\n")) }

// nextDocument goes to the first line that says anything, behind blank lines,
// comments, directives of YAML and the marks between documents. It says whether
// that is JSON.
func (r *lineReader) nextDocument() (isJSON bool, err error) {
	for {
		piece, err := r.piece()
		if err != nil {
			return false, err
		}
		piece = bytes.TrimPrefix(piece, byteOrderMark)
		text := bytes.TrimSpace(piece)
		content, separates := separator(piece)
		switch {
		case separates && len(content) > 0:
			// "--- {kind: Pod}", of which the mark is read.
			r.unread(content)
		case len(piece) == 0:
			// Nothing but a byte order mark, at the end.
		case len(text) == 0 && !r.begins:
			// Nothing but blanks, and more to come.
			r.unread(piece)
			return false, nil
		case separates, len(text) == 0, text[0] == '#', piece[0] == '%':
			if err := r.skipLine(); err != nil {
				return false, err
			}
		default:
			r.unread(piece)
			return looksLikeJSON(text), nil
		}
	}
}

// skipLine leaves out the rest of a line.
func (r *lineReader) skipLine() error {
	for !r.begins {
		if _, err := r.piece(); err != nil {
			return err
		}
	}
	return nil
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// separator says whether a line is a mark between documents, and returns what
// follows the mark on the same line.
func separator(line []byte) ([]byte, bool) {
	if !bytes.HasPrefix(line, []byte("---")) && !bytes.HasPrefix(line, []byte("...")) {
		return nil, false
	}
	rest := line[3:]
	if len(rest) > 0 && !bytes.ContainsAny(rest[:1], " \t\r\n") {
		return nil, false
	}
	rest = bytes.TrimLeft(rest, " \t\r\n")
	if len(rest) > 0 && rest[0] == '#' {
		rest = nil
	}
	return rest, true
}

// looksLikeJSON tells JSON from mappings and lists of YAML in flow style and from
// templates by what follows the first bracket.
func looksLikeJSON(text []byte) bool {
	inside := bytes.TrimSpace(text[1:])
	switch text[0] {
	case '{':
		return len(inside) == 0 || bytes.ContainsAny(inside[:1], `"}`)
	case '[':
		return len(inside) == 0 || bytes.ContainsAny(inside[:1], `{]`) && !bytes.HasPrefix(inside, []byte("{{"))
	default:
		return false
	}
}
