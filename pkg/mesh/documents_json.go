package mesh

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	sigsjson "sigs.k8s.io/json"
)

// readJSON reads objects that follow each other, lists item by item.
func readJSON(file string, lines *lineReader, yield func(document) error) error {
	counting := &lineCounter{from: lines, first: lines.number + 1}
	decoder := json.NewDecoder(counting)
	fail := func(number int, err error) error {
		offset := decoder.InputOffset()
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			offset = syntax.Offset
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			offset, err = counting.read, errors.New("it ends in the middle of an object")
		}
		return &SyntaxError{at: position{file, counting.line(offset), number}, err: err}
	}
	for number := 1; ; number++ {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return counting.failure
		}
		if err != nil {
			return fail(number, err)
		}
		at := position{file, counting.line(decoder.InputOffset() - 1), number}
		whole := &list{at: at, header: map[string]any{}, yield: yield}
		reading := jsonList{decoder: decoder, counting: counting, list: whole}
		switch token {
		case json.Delim('{'):
			err = reading.object()
		case json.Delim('['):
			// Several objects without a list around them.
			whole.header["kind"] = "List"
			err = reading.items()
		default:
			err = fmt.Errorf("%v is not a Kubernetes object", token)
		}
		var stopped *stop
		switch {
		case errors.As(err, &stopped):
			return stopped.err
		case err != nil:
			return fail(number, err)
		}
		if err := whole.end(); err != nil {
			return err
		}
	}
}

// stop tells an error of the caller from one of the text.
type stop struct{ err error }

func (s *stop) Error() string { return s.err.Error() }

type jsonList struct {
	decoder  *json.Decoder
	counting *lineCounter
	list     *list
}

// object reads up to the end of an object whose opening brace was read.
func (r jsonList) object() error {
	for r.decoder.More() {
		key, err := r.decoder.Token()
		if err != nil {
			return err
		}
		if key == "items" {
			token, err := r.decoder.Token()
			if err != nil {
				return err
			}
			if token == json.Delim('[') {
				if err := r.items(); err != nil {
					return err
				}
				continue
			}
			if token != nil {
				return errors.New("items is not a list")
			}
			continue
		}
		value, err := r.value()
		if err != nil {
			return err
		}
		name, _ := key.(string)
		r.list.header[name] = value
	}
	_, err := r.decoder.Token()
	return err
}

// items reads up to the end of a list whose opening bracket was read.
func (r jsonList) items() error {
	r.list.seen = true
	for r.decoder.More() {
		at := r.list.at
		before := r.decoder.InputOffset()
		value, err := r.value()
		if err != nil {
			return err
		}
		at.line = r.counting.line(before + 1)
		item, isObject := value.(map[string]any)
		if !isObject {
			return fmt.Errorf("an item of the list is not an object: %v", value)
		}
		if err := r.list.add(item, at); err != nil {
			return &stop{err}
		}
	}
	_, err := r.decoder.Token()
	return err
}

// value reads one value, whole numbers as integers.
func (r jsonList) value() (any, error) {
	var raw json.RawMessage
	if err := r.decoder.Decode(&raw); err != nil {
		return nil, err
	}
	var value any
	if err := sigsjson.UnmarshalCaseSensitivePreserveInts(raw, &value); err != nil {
		return nil, err
	}
	return value, nil
}

// lineCounter hands on lines and knows at which offset each starts.
type lineCounter struct {
	from    *lineReader
	first   int
	rest    []byte
	read    int64
	ends    []int64
	failure error
}

func (c *lineCounter) Read(into []byte) (int, error) {
	if len(c.rest) == 0 {
		line, err := c.from.next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				c.failure = err
			}
			return 0, err
		}
		c.rest = line
	}
	n := copy(into, c.rest)
	c.rest = c.rest[n:]
	c.read += int64(n)
	if len(c.rest) == 0 {
		c.ends = append(c.ends, c.read)
	}
	return n, nil
}

// line is the number of the line that an offset is in.
func (c *lineCounter) line(offset int64) int {
	behind, _ := slices.BinarySearch(c.ends, offset+1)
	return c.first + behind
}
