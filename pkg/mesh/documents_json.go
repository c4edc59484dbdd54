package mesh

import (
	"encoding/json"
	"errors"
	"io"
	"slices"

	sigsjson "sigs.k8s.io/json"
)

// readJSON reads objects that follow each other, lists item by item, up to a mark
// between documents. It returns the number of the next document.
func readJSON(lines *lineReader, number int, yield func(document) error) (int, error) {
	text := &jsonText{lines: lines, first: lines.number + 1}
	reading := jsonReader{decoder: json.NewDecoder(text), text: text, at: position{file: lines.file}}
	for ; reading.decoder.More(); number++ {
		reading.at.document = number
		if err := reading.document(yield); err != nil {
			return number, err
		}
	}
	if text.failure != nil {
		return number, text.failure
	}
	if _, err := reading.decoder.Token(); !errors.Is(err, io.EOF) {
		reading.at.document = number
		return number, reading.fault(err)
	}
	return number, nil
}

type jsonReader struct {
	decoder *json.Decoder
	text    *jsonText
	at      position
}

// document reads one value.
func (r jsonReader) document(yield func(document) error) error {
	token, err := r.decoder.Token()
	if err != nil {
		return r.fault(err)
	}
	at := r.place(r.decoder.InputOffset() - 1)
	whole := newList(at, yield)
	switch token {
	case json.Delim('{'):
		err = r.fields(whole)
	case json.Delim('['):
		whole.bare, whole.seen = true, true
		err = r.items(whole)
	default:
		return at.errorf("it is not a Kubernetes object")
	}
	if err != nil {
		return err
	}
	return whole.end()
}

// fields reads up to the end of an object whose opening brace was read.
func (r jsonReader) fields(of *list) error {
	for r.decoder.More() {
		token, err := r.decoder.Token()
		if err != nil {
			return r.fault(err)
		}
		name, _ := token.(string)
		if _, again := of.header[name]; again || name == "items" && of.seen {
			return r.place(r.decoder.InputOffset()-1).errorf("duplicate field %q", name)
		}
		if name == "items" {
			err = r.itemsField(of)
		} else {
			of.header[name], _, err = r.value()
		}
		if err != nil {
			return err
		}
	}
	return r.close()
}

// itemsField reads the value of the field items, which is a list in lists only.
func (r jsonReader) itemsField(of *list) error {
	token, err := r.decoder.Token()
	if err != nil {
		return r.fault(err)
	}
	switch token {
	case json.Delim('['):
		of.seen = true
		return r.items(of)
	case json.Delim('{'):
		inner := newList(of.at, nil)
		of.header["items"] = inner.header
		return r.fields(inner)
	case nil:
		return nil
	default:
		of.header["items"] = token
		return nil
	}
}

// items reads up to the end of a list whose opening bracket was read.
func (r jsonReader) items(of *list) error {
	for r.decoder.More() {
		value, at, err := r.value()
		if err != nil {
			return err
		}
		if err := of.add(value, at); err != nil {
			return err
		}
	}
	return r.close()
}

// close reads the bracket that ends an object or a list.
func (r jsonReader) close() error {
	if _, err := r.decoder.Token(); err != nil {
		return r.fault(err)
	}
	return nil
}

// value reads one value, whole numbers as integers, and says where it begins.
func (r jsonReader) value() (any, position, error) {
	var raw json.RawMessage
	if err := r.decoder.Decode(&raw); err != nil {
		return nil, position{}, r.fault(err)
	}
	at := r.place(r.decoder.InputOffset() - int64(len(raw)))
	var value any
	strict, err := sigsjson.UnmarshalStrict(raw, &value, sigsjson.DisallowDuplicateFields)
	if err == nil && len(strict) > 0 {
		err = strict[0]
	}
	if err != nil {
		return nil, at, at.errorf("%w", err)
	}
	return value, at, nil
}

// place is where the line of an offset is. Nobody asks for earlier ones again.
func (r jsonReader) place(offset int64) position {
	at := r.at
	at.line = r.text.line(offset)
	return at
}

// fault says where the text is not JSON.
func (r jsonReader) fault(err error) error {
	if r.text.failure != nil {
		return r.text.failure
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return r.place(r.text.read).errorf("it ends in the middle of an object")
	}
	// The decoder counts differently in lists and outside. What it has not
	// consumed begins with what it stumbled over.
	offset := r.decoder.InputOffset()
	rest, _ := io.ReadAll(r.decoder.Buffered())
	var raw json.RawMessage
	var syntax *json.SyntaxError
	if errors.As(json.Unmarshal(rest, &raw), &syntax) {
		offset += max(syntax.Offset-1, 0)
	}
	return r.place(offset).errorf("%w", err)
}

// jsonText hands on the text of a document, up to the mark that ends it, and knows
// in which line an offset is.
type jsonText struct {
	lines *lineReader
	rest  []byte
	read  int64
	// first is the number of the line that ends at the first of ends.
	first   int
	ends    []int64
	failure error
}

func (t *jsonText) Read(into []byte) (int, error) {
	if len(t.rest) == 0 {
		if err := t.next(); err != nil {
			return 0, err
		}
	}
	n := copy(into, t.rest)
	t.rest = t.rest[n:]
	t.read += int64(n)
	return n, nil
}

func (t *jsonText) next() error {
	begins := t.lines.begins
	piece, err := t.lines.piece()
	if err != nil {
		if !errors.Is(err, io.EOF) {
			t.failure = err
		}
		return err
	}
	if _, separates := separator(piece); separates && begins {
		t.lines.unread(piece)
		return io.EOF
	}
	t.rest = piece
	if endsLine(piece) {
		t.ends = append(t.ends, t.read+int64(len(piece)))
	}
	return nil
}

// line is the number of the line that an offset is in. The lines before it are
// forgotten.
func (t *jsonText) line(offset int64) int {
	behind, _ := slices.BinarySearch(t.ends, offset+1)
	t.first += behind
	t.ends = t.ends[:copy(t.ends, t.ends[behind:])]
	return t.first
}
