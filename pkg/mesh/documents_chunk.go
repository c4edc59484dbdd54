package mesh

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	sigsjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// chunk is lines of YAML that are parsed together.
type chunk struct {
	text bytes.Buffer
	// numbers are those of the lines in the file.
	numbers []int
}

func (c *chunk) empty() bool { return len(c.numbers) == 0 }

func (c *chunk) add(line []byte, number int) {
	c.numbers = append(c.numbers, number)
	c.text.Write(line)
	if !endsLine(line) {
		c.text.WriteByte('\n')
	}
}

func (c *chunk) reset() {
	c.text.Reset()
	c.numbers = c.numbers[:0]
}

// parse returns what the lines say, as JSON would: whole numbers as integers. An
// error says in which line of the file it is.
func (c *chunk) parse(at position) (any, error) {
	data, err := yaml.YAMLToJSONStrict(c.text.Bytes())
	var value any
	if err == nil {
		err = sigsjson.UnmarshalCaseSensitivePreserveInts(data, &value)
	}
	if err == nil {
		return value, nil
	}
	problem := yamlProblem.FindStringSubmatch(err.Error())
	message := problem[2]
	if line := c.lineOf(problem[1], message); line > 0 {
		at.line = c.numbers[min(line, len(c.numbers))-1]
	}
	switch {
	case strings.HasPrefix(message, "unsupported map key"), strings.HasPrefix(message, "invalid map key"):
		// It goes on with the key and what is behind it.
		message = "a key of a mapping is not a text"
	case strings.HasPrefix(message, "unknown anchor"):
		message = "unknown anchor: neither documents nor the items of a list can share anchors"
	default:
		message = quotedValue.ReplaceAllString(message, "a value")
	}
	if bytes.Contains(c.text.Bytes(), []byte("{{")) {
		message += ": render templates first, and pass what helm template or kustomize build prints"
	}
	return nil, at.errorf("%s", message)
}

// quotedValue is how the parser quotes a value. It may be one of a Secret.
var quotedValue = regexp.MustCompile("`.*`")

// yamlProblem takes what the parser says apart: the line, counted from the start
// of what it was given, and what is the matter there.
var yamlProblem = regexp.MustCompile(`^(?:yaml: )?(?:unmarshal errors:\s*)?(?:line (\d+): )?(.*)`)

// lineOf counts the lines up to a problem from 1. It is 0 where nothing tells.
func (c *chunk) lineOf(stated, message string) int {
	if line, err := strconv.Atoi(stated); err == nil {
		if parserProblem.MatchString(message) {
			// The parser counts from 0 where its scanner counts from 1 (go-yaml
			// v2, decode.go, fail).
			line++
		}
		return line
	}
	if anchor := unknownAnchor.FindStringSubmatch(message); anchor != nil {
		return c.lineAt(bytes.Index(c.text.Bytes(), []byte("*"+anchor[1])))
	}
	if strings.Contains(message, "UTF-8") || strings.Contains(message, "character") {
		return c.lineAt(bytes.IndexFunc(c.text.Bytes(), unprintable))
	}
	return c.lineAt(bytes.Index(c.text.Bytes(), []byte("{{")))
}

var (
	parserProblem = regexp.MustCompile(`^(?:did not find expected (?:<|node content|'-'|key|',')|found undefined tag handle|found duplicate %|found incompatible YAML)`)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced`)
)

// lineAt is 0 for an offset that was not found.
func (c *chunk) lineAt(offset int) int {
	if offset < 0 {
		return 0
	}
	return bytes.Count(c.text.Bytes()[:offset], []byte("\n")) + 1
}

// unprintable says which characters YAML does not allow (YAML 1.2, 5.1).
func unprintable(r rune) bool {
	switch {
	case r < ' ':
		return !slices.Contains([]rune("\t\r\n"), r)
	case r < 0xa0:
		return r >= 0x7f && r != 0x85
	default:
		return slices.Contains([]rune{utf8.RuneError, 0xfeff, 0xfffe, 0xffff}, r)
	}
}
