package mesh

import (
	"bytes"
	"errors"
	"io"
	"regexp"
)

// readYAML reads up to the end of a document. A list in block style, as kubectl
// writes it, is cut into its items by their indentation: parsing a list of
// hundreds of megabytes at once would take its size many times over. Items that
// share anchors are not understood, since each is parsed by itself.
func readYAML(lines *lineReader, number int, yield func(document) error) error {
	at := position{file: lines.file, line: lines.number + 1, document: number}
	reading := yamlDocument{at: at, list: newList(at, yield)}
	for {
		begins := lines.begins
		line, err := lines.line()
		if errors.Is(err, io.EOF) {
			return reading.end()
		}
		if err != nil {
			return err
		}
		if _, separates := separator(line); separates && begins {
			lines.unread(line)
			return reading.end()
		}
		if err := reading.add(line, lines.number); err != nil {
			return err
		}
	}
}

// yamlDocument is a document in the making.
type yamlDocument struct {
	at   position
	list *list
	// rest are the lines that belong to no item of a list.
	rest chunk
	// sequence is true where the whole document is a list of objects.
	sequence bool
	// inItems is true behind the line "items:" and up to the end of the list.
	inItems bool
	// indentation is that of the items' dashes; -1 before the first.
	indentation int
	item        chunk
}

// itemsKey is the line before the items of a list in block style.
var itemsKey = regexp.MustCompile(`^items:[ \t]*(?:#.*)?\r?\n?$`)

func (d *yamlDocument) add(line []byte, number int) error {
	if d.inItems {
		return d.addToItems(line, number)
	}
	if d.rest.empty() && dashed(line) {
		d.sequence, d.inItems, d.list.bare = true, true, true
		return d.addToItems(line, number)
	}
	if itemsKey.Match(line) {
		d.inItems, d.indentation = true, -1
	}
	d.rest.add(line, number)
	return nil
}

// addToItems takes a line behind "items:". An item begins with a dash that is
// indented as the first one's is; a line with less before it ends the list.
func (d *yamlDocument) addToItems(line []byte, number int) error {
	text := bytes.TrimLeft(line, " ")
	indentation := len(line) - len(text)
	first := d.indentation < 0
	switch {
	case isBlank(text):
		if d.item.empty() {
			return nil
		}
	case dashed(text) && (first || indentation == d.indentation):
		if err := d.endItem(); err != nil {
			return err
		}
		d.indentation = indentation
	case first || indentation <= d.indentation:
		if err := d.endItem(); err != nil {
			return err
		}
		d.inItems = false
		return d.add(line, number)
	}
	d.item.add(line, number)
	return nil
}

// isBlank says whether a line ends nothing. YAML 1.1 knows more line breaks than
// those that lines are told by here: what follows one is still the same line.
func isBlank(text []byte) bool {
	return len(bytes.TrimSpace(text)) == 0 || text[0] == '#' || otherBreak.Match(text)
}

var otherBreak = regexp.MustCompile("^[\u0085\u2028\u2029]")

// dashed says whether a line begins an entry of a list.
func dashed(text []byte) bool {
	rest, found := bytes.CutPrefix(text, []byte("-"))
	return found && (len(rest) == 0 || bytes.ContainsAny(rest[:1], " \t\r\n"))
}

func (d *yamlDocument) endItem() error {
	if d.item.empty() {
		return nil
	}
	d.peek()
	at := d.at
	at.line = d.item.numbers[0]
	value, err := d.item.parse(at)
	d.item.reset()
	if err != nil {
		return err
	}
	items, isList := value.([]any)
	if !isList || len(items) != 1 {
		return at.errorf("it is not an item of the list")
	}
	return d.list.add(items[0], at)
}

// peek looks for the kind of the list where it stands before the items, so that
// the items of a PodList need not wait for it.
func (d *yamlDocument) peek() {
	if d.list.seen || d.sequence {
		return
	}
	// What is wrong with it is reported when it is read to its end.
	if header, err := d.rest.parse(d.at); err == nil {
		d.list.header, _ = header.(map[string]any)
	}
}

func (d *yamlDocument) end() error {
	if err := d.endItem(); err != nil {
		return err
	}
	if d.sequence && !d.rest.empty() {
		at := d.at
		at.line = d.rest.numbers[0]
		return at.errorf("it is neither an item of the list nor a document of its own")
	}
	value, err := d.rest.parse(d.at)
	if err != nil {
		return err
	}
	switch value := value.(type) {
	case nil:
		return d.list.end()
	case map[string]any:
		return d.endMap(value)
	case []any:
		d.list.bare = true
		return d.list.all(value)
	default:
		return d.at.errorf("it is not a Kubernetes object")
	}
}

// endMap takes what a document says besides the items that were cut out of it. A
// list in flow style was not cut into its items.
func (d *yamlDocument) endMap(value map[string]any) error {
	d.list.header = value
	items, isList := value["items"].([]any)
	if isList || value["items"] == nil {
		delete(value, "items")
	}
	if isList {
		return d.list.all(items)
	}
	return d.list.end()
}
