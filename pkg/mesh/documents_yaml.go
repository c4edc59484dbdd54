package mesh

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	sigsjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// readYAML reads the documents of a file. A list in block style, as kubectl
// writes it, is cut into its items by their indentation: parsing a list of
// hundreds of megabytes at once would take its size many times over.
func readYAML(lines *lineReader, yield func(document) error) error {
	for number := 1; ; number++ {
		more, err := readYAMLDocument(lines, number, yield)
		if err != nil || !more {
			return err
		}
	}
}

// chunk is consecutive lines that are parsed together.
type chunk struct {
	text bytes.Buffer
	line int
}

func (c *chunk) add(line []byte, number int) {
	if c.text.Len() == 0 {
		c.line = number
	}
	c.text.Write(line)
	if !bytes.HasSuffix(line, []byte("\n")) {
		c.text.WriteByte('\n')
	}
}

// readYAMLDocument reads up to the end of a document, and says whether there may
// be another.
func readYAMLDocument(lines *lineReader, number int, yield func(document) error) (more bool, err error) {
	reading := yamlDocument{
		at:   position{file: lines.file, line: lines.number + 1, document: number},
		list: &list{yield: yield, header: map[string]any{}},
	}
	for {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			return false, reading.end()
		}
		if err != nil {
			return false, err
		}
		if content, separates := separator(line); separates {
			if len(content) > 0 {
				// "--- {kind: Pod}" and "--- # a comment".
				lines.unread(content)
			}
			return true, reading.end()
		}
		if err := reading.add(line, lines.number); err != nil {
			return false, err
		}
	}
}

// separator says whether a line ends a document, and returns what follows the
// mark on the same line.
func separator(line []byte) ([]byte, bool) {
	if !bytes.HasPrefix(line, []byte("---")) && !bytes.HasPrefix(line, []byte("...")) {
		return nil, false
	}
	rest := line[3:]
	if len(rest) > 0 && !bytes.ContainsAny(rest[:1], " \t\r\n") {
		return nil, false
	}
	rest = bytes.TrimSpace(rest)
	if len(rest) == 0 || rest[0] == '#' {
		return nil, true
	}
	return append(rest, '\n'), true
}

// yamlDocument is a document in the making.
type yamlDocument struct {
	at   position
	list *list
	// rest are the lines that belong to no item of a list.
	rest chunk
	// inItems is true behind the line "items:" and up to the end of the list.
	inItems bool
	// indentation is that of the items' dashes; -1 before the first.
	indentation int
	item        chunk
}

func (d *yamlDocument) add(line []byte, number int) error {
	if !d.inItems {
		if itemsKey.Match(line) {
			d.inItems, d.indentation = true, -1
		}
		d.rest.add(line, number)
		return nil
	}
	text := bytes.TrimLeft(line, " ")
	indentation := len(line) - len(text)
	blank := len(bytes.TrimSpace(text)) == 0 || text[0] == '#'
	dash := text[0] == '-' && (len(text) == 1 || bytes.ContainsAny(text[1:2], " \t\r\n"))
	switch {
	case blank && d.item.text.Len() == 0:
		return nil
	case d.indentation < 0 && dash:
		d.indentation = indentation
	case !blank && (indentation < d.indentation || d.indentation < 0 || indentation == d.indentation && !dash):
		// The list has ended.
		if err := d.endItem(); err != nil {
			return err
		}
		d.inItems = false
		return d.add(line, number)
	}
	if dash && indentation == d.indentation {
		if err := d.endItem(); err != nil {
			return err
		}
		line = bytes.Clone(line)
		line[indentation] = ' '
	}
	d.item.add(line, number)
	return nil
}

var itemsKey = regexp.MustCompile(`^items:\s*(#.*)?\r?\n?$`)

func (d *yamlDocument) endItem() error {
	if d.item.text.Len() == 0 {
		return nil
	}
	at := d.at
	at.line = d.item.line
	value, err := parseYAML(&d.item, at)
	d.item = chunk{}
	if err != nil {
		return err
	}
	item, isObject := value.(map[string]any)
	if !isObject {
		return &SyntaxError{at: at, err: errors.New("an item of the list is not an object")}
	}
	return d.list.add(item, at)
}

func (d *yamlDocument) end() error {
	if err := d.endItem(); err != nil {
		return err
	}
	if d.rest.text.Len() > 0 {
		d.at.line = d.rest.line
	}
	value, err := parseYAML(&d.rest, d.at)
	if err != nil {
		return err
	}
	d.list.at = d.at
	switch value := value.(type) {
	case nil:
		return nil
	case map[string]any:
		return d.ofMap(value)
	case []any:
		d.list.header["kind"] = "List"
		return d.items(value)
	default:
		return &SyntaxError{at: d.at, err: errors.New("it is not a Kubernetes object")}
	}
}

func (d *yamlDocument) ofMap(value map[string]any) error {
	items, flow := value["items"].([]any)
	delete(value, "items")
	d.list.header = value
	if flow {
		// A list in flow style was not cut into its items.
		return d.items(items)
	}
	return d.list.end()
}

func (d *yamlDocument) items(items []any) error {
	d.list.seen = true
	for _, item := range items {
		object, isObject := item.(map[string]any)
		if !isObject {
			return &SyntaxError{at: d.at, err: errors.New("an item of the list is not an object")}
		}
		if err := d.list.add(object, d.at); err != nil {
			return err
		}
	}
	return d.list.end()
}

// lineInError is how the parser says where it failed, counted from the start of
// what it was given.
var lineInError = regexp.MustCompile(`(?:error converting YAML to JSON: )?yaml: (?:unmarshal errors:\s*)?line (\d+): `)

func parseYAML(text *chunk, at position) (any, error) {
	data, err := yaml.YAMLToJSONStrict(text.text.Bytes())
	if err == nil {
		var value any
		if err = sigsjson.UnmarshalCaseSensitivePreserveInts(data, &value); err == nil {
			return value, nil
		}
	}
	message := err.Error()
	if match := lineInError.FindStringSubmatchIndex(message); match != nil {
		if offset, convErr := strconv.Atoi(message[match[2]:match[3]]); convErr == nil && text.line > 0 {
			at.line = text.line + offset - 1
		}
		message = message[match[1]:]
	}
	if bytes.Contains(text.text.Bytes(), []byte("{{")) {
		message += ": render templates first, and pass what helm template or kustomize build prints"
	}
	return nil, &SyntaxError{at: at, err: errors.New(strings.TrimPrefix(strings.TrimSpace(message), "yaml: "))}
}
