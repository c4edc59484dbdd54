package mesh

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// said is what readDocuments hands on, a line each: where it is, and what. What a
// list says besides its items follows "list".
func said(file string, from io.Reader) ([]string, error) {
	var all []string
	err := readDocuments(file, from, func(one document) error {
		text, err := json.Marshal(one.content)
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%d/%d %s", one.at.line, one.at.document, text)
		if one.list {
			line = "list " + line
		}
		all = append(all, line)
		return nil
	})
	return all, err
}

const (
	podA = `{"kind":"Pod","p":"a"}`
	podB = `{"kind":"Pod","p":"b"}`
)

func TestReadDocuments(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"nothing", "", nil},
		{"blank lines", "\n \n\t\n", nil},
		{"comments", "# one\n  # two", nil},
		{"one document", "kind: Pod\np: a\n", []string{"1/1 " + podA}},
		{"no newline at the end", "kind: Pod\np: a", []string{"1/1 " + podA}},
		{"two documents", "kind: Pod\np: a\n---\nkind: Pod\np: b\n", []string{"1/1 " + podA, "4/2 " + podB}},
		{"line ends of Windows", "kind: Pod\r\np: a\r\n---\r\nkind: Pod\r\np: b\r\n", []string{"1/1 " + podA, "4/2 " + podB}},
		{"a byte order mark", "\ufeffkind: Pod\np: a\n", []string{"1/1 " + podA}},
		{"a byte order mark after a mark", "\ufeff---\n\ufeffkind: Pod\np: a\n", []string{"2/1 " + podA}},
		{"nothing but byte order marks", "\ufeff\ufeff", nil},
		{"nothing of UTF-16", utf16Of("\ufeff"), nil},
		{"UTF-16", utf16Of("kind: Pod\np: a\n---\nkind: Pod\np: b\n"), []string{"1/1 " + podA, "4/2 " + podB}},
		{"comments before and between", "# about\n\nkind: Pod\n# more\np: a\n---\n# about b\nkind: Pod\np: b\n# end\n", []string{"3/1 " + podA, "8/2 " + podB}},
		{"marks around", "---\nkind: Pod\np: a\n---\n---\n# nothing\n---\nkind: Pod\np: b\n---\n", []string{"2/1 " + podA, "8/2 " + podB}},
		{"a comment behind the mark", "--- # first\nkind: Pod\np: a\n---\t# second\nkind: Pod\np: b\n", []string{"2/1 " + podA, "5/2 " + podB}},
		{"blanks behind the mark", "---  \t\nkind: Pod\np: a\n", []string{"2/1 " + podA}},
		{"content behind the mark", "--- {kind: Pod, p: a}\n--- {kind: Pod, p: b}\n", []string{"1/1 " + podA, "2/2 " + podB}},
		{"JSON behind the mark", "--- " + podA + "\n---\n" + podB, []string{"1/1 " + podA, "3/2 " + podB}},
		{"a tag behind the mark", "--- !!map\nkind: Pod\np: a\n", []string{"1/1 " + podA}},
		{"an end", "kind: Pod\np: a\n...\n# comment\n---\nkind: Pod\np: b\n...\n", []string{"1/1 " + podA, "6/2 " + podB}},
		{"directives", "%YAML 1.1\n---\nkind: Pod\np: a\n...\n%YAML 1.1\n---\nkind: Pod\np: b\n", []string{"3/1 " + podA, "8/2 " + podB}},
		{"more than three dashes", "kind: Pod\np: |\n  ----\n  ---\n   ---\n", []string{`1/1 {"kind":"Pod","p":"----\n---\n ---\n"}`}},
		{"a null document", "null\n---\n~\n---\nkind: Pod\np: a\n", []string{"5/3 " + podA}},
		{"an empty mapping", "{}\n---\n{}", nil},
		{"flow style", "{kind: Pod,\n p: a}\n", []string{"1/1 " + podA}},
		{"an indented document", "  kind: Pod\n  p: a\n", []string{"1/1 " + podA}},
		{"an anchor", "kind: Pod\np: &name a\nm: *name\n", []string{`1/1 {"kind":"Pod","m":"a","p":"a"}`}},
		{"a merge key", "x: &x {p: a}\nz:\n  <<: *x\n", []string{`1/1 {"x":{"p":"a"},"z":{"p":"a"}}`}},
		{"numbers", "a: 9007199254740993\nb: 1.5\nc: 1e3\nd: 0x10\ne: 1.0\n", []string{`1/1 {"a":9007199254740993,"b":1.5,"c":1000,"d":16,"e":1}`}},
		{"keys that are no texts", "1: a\ntrue: b\n", []string{`1/1 {"1":"a","true":"b"}`}},
		{"a document of another kind of file", "replicas: 3\nimage: {tag: x}\n", []string{`1/1 {"image":{"tag":"x"},"replicas":3}`}},

		{"a list", "apiVersion: v1\nitems:\n- kind: Pod\n  p: a\n- kind: Pod\n  p: b\nkind: List\n", []string{"3/1 " + podA, "5/1 " + podB, `list 1/1 {"apiVersion":"v1","kind":"List"}`}},
		{"a list whose items are indented", "kind: List\nitems:\n  - kind: Pod\n    p: a\n  - p: b\n    kind: Pod\n", []string{"3/1 " + podA, "5/1 " + podB, `list 1/1 {"kind":"List"}`}},
		{"a list with line ends of Windows", "kind: List\r\nitems:\r\n- kind: Pod\r\n  p: a\r\n", []string{"3/1 " + podA, `list 1/1 {"kind":"List"}`}},
		{"a list with comments and blank lines", "# l\nkind: List\nitems: # the items\n\n# first\n- kind: Pod\n\n# inside\n  # deeper\n  p: a\n# second\n-\n  # below\n  kind: Pod\n  p: b\n\n# after\nmetadata: {}\n",
			[]string{"6/1 " + podA, "12/1 " + podB, `list 2/1 {"kind":"List","metadata":{}}`}},
		{"items after a dash alone", "kind: List\nitems:\n-\n  kind: Pod\n  p: a\n- # comment\n  kind: Pod\n  p: b\n", []string{"3/1 " + podA, "6/1 " + podB, `list 1/1 {"kind":"List"}`}},
		{"items with more blanks after the dash", "kind: List\nitems:\n-   kind: Pod\n    p: a\n-  p: b\n   kind: Pod\n", []string{"3/1 " + podA, "5/1 " + podB, `list 1/1 {"kind":"List"}`}},
		{"items in flow style in block style", "kind: List\nitems:\n- {kind: Pod, p: a}\n- {kind: Pod,\n  p: b}\n", []string{"3/1 " + podA, "4/1 " + podB, `list 1/1 {"kind":"List"}`}},
		{"items with an anchor of their own", "kind: List\nitems:\n- &a\n  kind: Pod\n  p: &n a\n  m: *n\n", []string{`3/1 {"kind":"Pod","m":"a","p":"a"}`, `list 1/1 {"kind":"List"}`}},
		{"block scalars in items", "kind: List\nitems:\n- kind: Pod\n  p: |\n    - kind: Pod\n    ---\n    items:\n    # no comment\n   # a comment\n  m: >-\n    - b\n\n    c\n- kind: Pod\n  p: b\n",
			[]string{`3/1 {"kind":"Pod","m":"- b\nc","p":"- kind: Pod\n---\nitems:\n# no comment\n"}`, "14/1 " + podB, `list 1/1 {"kind":"List"}`}},
		{"long texts in items", "kind: List\nitems:\n- kind: Pod\n  p: one\n    - two\n    --- three\n  m: \"four\n    - five\n    items:\n    six\"\n",
			[]string{`3/1 {"kind":"Pod","m":"four - five items: six","p":"one - two --- three"}`, `list 1/1 {"kind":"List"}`}},
		{"line breaks of another kind", "kind: List\nitems:\n- kind: Pod\n  p: |-\n    a\n\u2028    b\n- kind: Pod\n  p: b\n",
			[]string{`3/1 {"kind":"Pod","p":"a\n\u2028b"}`, "7/1 " + podB, `list 1/1 {"kind":"List"}`}},
		{"items below", "kind: List\nitems:\n- kind: Pod\n  items:\n  - a\n  - b\n- kind: Pod\n  p:\n  - items:\n    - c\n",
			[]string{`3/1 {"items":["a","b"],"kind":"Pod"}`, `7/1 {"kind":"Pod","p":[{"items":["c"]}]}`, `list 1/1 {"kind":"List"}`}},
		{"items that are not at the top", "kind: Pod\np:\n  items:\n  - a\nm: |\n  items:\n  - b\n", []string{`1/1 {"kind":"Pod","m":"items:\n- b\n","p":{"items":["a"]}}`}},
		{"a list in flow style", "kind: List\nitems: [{kind: Pod, p: a}, {kind: Pod, p: b}]\n", []string{"1/1 " + podA, "1/1 " + podB, `list 1/1 {"kind":"List"}`}},
		{"a list whose key is in quotes", "kind: List\n\"items\":\n- kind: Pod\n  p: a\n", []string{"1/1 " + podA, `list 1/1 {"kind":"List"}`}},
		{"an empty list", "kind: List\nitems: []\n", []string{`list 1/1 {"kind":"List"}`}},
		{"a list of null", "kind: PodList\nitems: null\n", []string{`list 1/1 {"kind":"PodList"}`}},
		{"a list of nothing", "kind: PodList\nitems:\nmetadata: {}\n", []string{`list 1/1 {"kind":"PodList","metadata":{}}`}},
		{"items without a kind around", "items:\n- kind: Pod\n  p: a\n", []string{"2/1 " + podA, `list 1/1 {}`}},
		{"a typed list", "apiVersion: v1\nkind: PodList\nitems:\n- p: a\n- kind: Pod\n  p: b\n", []string{`4/1 {"apiVersion":"v1","kind":"Pod","p":"a"}`, "5/1 " + podB, `list 1/1 {"apiVersion":"v1","kind":"PodList"}`}},
		{"a typed list whose kind comes last", "items:\n- p: a\n- kind: Pod\n  p: b\nkind: PodList\napiVersion: v1\n", []string{"3/1 " + podB, `2/1 {"apiVersion":"v1","kind":"Pod","p":"a"}`, `list 1/1 {"apiVersion":"v1","kind":"PodList"}`}},
		{"a list in a list", "kind: List\nitems:\n- kind: List\n  items:\n  - kind: Pod\n    p: a\n  - apiVersion: v1\n    kind: PodList\n    items: [{p: b}]\n",
			[]string{"3/1 " + podA, `3/1 {"apiVersion":"v1","kind":"Pod","p":"b"}`, `list 3/1 {"apiVersion":"v1","kind":"PodList"}`, `list 3/1 {"kind":"List"}`, `list 1/1 {"kind":"List"}`}},
		{"a snapshot", "kind: MeshSnapshot\nitems:\n- kind: Pod\n  p: a\n", []string{"3/1 " + podA, `list 1/1 {"kind":"MeshSnapshot"}`}},
		{"a snapshot of nothing", "kind: MeshSnapshot\n", []string{`list 1/1 {"kind":"MeshSnapshot"}`}},
		{"a kind that has items", "kind: Basket\nmetadata: {name: x}\nitems:\n- apple\n- p: b\n", []string{`1/1 {"kind":"Basket","metadata":{"name":"x"}}`}},
		{"a kind that has items of another type", "kind: Basket\nitems: {a: b}\n", []string{`1/1 {"items":{"a":"b"},"kind":"Basket"}`}},
		{"a kind that ends as lists do", "kind: AllowList\nmetadata: {name: x}\n", []string{`1/1 {"kind":"AllowList","metadata":{"name":"x"}}`}},
		{"a list of objects without a list around", "- kind: Pod\n  p: a\n- p: b\n", []string{"1/1 " + podA, `3/1 {"p":"b"}`, "list 1/1 {}"}},
		{"such a list behind a mark", "---\n-\n  kind: Pod\n  p: a\n# end\n---\n[]\n", []string{"2/1 " + podA, "list 2/1 {}", "list 7/2 {}"}},
		{"lists after lists", "kind: List\nitems:\n- kind: Pod\n  p: a\n---\nkind: List\nitems:\n- kind: Pod\n  p: b\n",
			[]string{"3/1 " + podA, `list 1/1 {"kind":"List"}`, "8/2 " + podB, `list 6/2 {"kind":"List"}`}},

		{"JSON", podA, []string{"1/1 " + podA}},
		{"JSON over several lines", "\n{\n  \"kind\": \"Pod\",\n  \"p\": \"a\"\n}\n", []string{"2/1 " + podA}},
		{"JSON after JSON", podA + podB + "\n\n" + podA, []string{"1/1 " + podA, "1/2 " + podB, "3/3 " + podA}},
		{"JSON and marks", podA + "\n---\n" + podB + "\n--- # yaml\nkind: Pod\np: a\n---\n{\"kind\":\n\"Pod\"}\n", []string{"1/1 " + podA, "3/2 " + podB, "5/3 " + podA, `8/4 {"kind":"Pod"}`}},
		{"JSON with line ends of Windows and a byte order mark", "\ufeff{\r\n\"kind\": \"Pod\"\r\n}\r\n", []string{`1/1 {"kind":"Pod"}`}},
		{"a JSON list", "{\n\"kind\": \"List\",\n\"items\": [\n{\n\"kind\": \"Pod\",\n\"p\": \"a\"\n},\n\n" + podB + "]}", []string{"4/1 " + podA, "9/1 " + podB, `list 1/1 {"kind":"List"}`}},
		{"a JSON list in one line", `{"items":[` + podA + `,` + podB + `],"kind":"List"}`, []string{"1/1 " + podA, "1/1 " + podB, `list 1/1 {"kind":"List"}`}},
		{"a typed JSON list", `{"kind":"PodList","apiVersion":"v1","items":[{"p":"a"},` + podB + `]}`, []string{`1/1 {"apiVersion":"v1","kind":"Pod","p":"a"}`, "1/1 " + podB, `list 1/1 {"apiVersion":"v1","kind":"PodList"}`}},
		{"a typed JSON list whose kind comes last", `{"items":[{"p":"a"},` + podB + `],"kind":"PodList","apiVersion":"v1"}`, []string{"1/1 " + podB, `1/1 {"apiVersion":"v1","kind":"Pod","p":"a"}`, `list 1/1 {"apiVersion":"v1","kind":"PodList"}`}},
		{"an empty JSON list", `{"kind":"List","items":[]}`, []string{`list 1/1 {"kind":"List"}`}},
		{"a JSON list of null", `{"kind":"List","items":null}`, []string{`list 1/1 {"kind":"List"}`}},
		{"JSON of a kind that has items", `{"kind":"Basket","items":["a",{"p":1}]} {"kind":"Basket","items":{"a":{"items":["b"]}}} {"kind":"Basket","items":3}`,
			[]string{`1/1 {"kind":"Basket"}`, `1/2 {"items":{"a":{"items":["b"]}},"kind":"Basket"}`, `1/3 {"items":3,"kind":"Basket"}`}},
		{"a JSON array", "[\n" + podA + ",\n{\"p\":\"b\"}]", []string{"2/1 " + podA, `3/1 {"p":"b"}`, "list 1/1 {}"}},
		{"JSON numbers", `{"a":9007199254740993,"b":1.5,"c":1e3,"d":-0}`, []string{`1/1 {"a":9007199254740993,"b":1.5,"c":1000,"d":0}`}},
		{"JSON text with what looks like marks", `{"kind":"Pod","p":"\n---\n- items:"}`, []string{`1/1 {"kind":"Pod","p":"\n---\n- items:"}`}},
		{"an empty JSON object", "{}\n[]\n{ }", []string{"list 2/2 {}"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for name, from := range map[string]io.Reader{"at once": strings.NewReader(test.text), "byte by byte": iotest.OneByteReader(strings.NewReader(test.text))} {
				got, err := said("f", from)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	}
}

func utf16Of(text string) string {
	bytes := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(text)) {
		bytes = append(bytes, byte(unit), byte(unit>>8))
	}
	return string(bytes)
}

func TestReadDocumentsSaysWhereItFails(t *testing.T) {
	pods := strings.Repeat("- kind: Pod\n  p: a\n", 10)
	tests := []struct{ name, text, want string }{
		{"a text", "hello\n", "f:1 (document 1): it is not a Kubernetes object"},
		{"a number behind a mark", "---\n\n# x\n5\n", "f:4 (document 1): it is not a Kubernetes object"},
		{"a tab", "kind: Pod\nmetadata:\n\tname: a\n", "f:3 (document 1): found character that cannot start any token"},
		{"a tab in the second document", "kind: Pod\n---\nmetadata:\n\tname: a\n", "f:4 (document 2): found character that cannot start any token"},
		{"two colons", "kind: Pod\np: a: b\n", "f:2 (document 1): mapping values are not allowed in this context"},
		{"two colons at once", "p: a: b\n", "f:1 (document 1): mapping values are not allowed in this context"},
		{"an open quote", "kind: Pod\np: \"a\nm: b\n", "f:3 (document 1): found unexpected end of stream"},
		{"an open bracket", "kind: Pod\np: [a\nm: b\n", "f:3 (document 1): did not find expected ',' or ']'"},
		{"a line out of place", "kind: Pod\np:\n    a: b\n  c: d\n", "f:4 (document 1): did not find expected key"},
		{"a line out of place among items", "kind: List\nitems:\n- kind: Pod\n  p: a\n- kind: Pod\n  p: b\n c: d\n", "f:7 (document 1): did not find expected '-' indicator"},
		{"a key twice", "kind: Pod\np: a\nm: b\np: c\n", "f:4 (document 1): key \"p\" already set in map"},
		{"a key twice and again", "kind: Pod\np: a\np: b\np: c\n", "f:3 (document 1): key \"p\" already set in map"},
		{"a key twice in an item", "kind: List\nitems:\n" + pods + "- kind: Pod\n  p: a\n  p: b\n", "f:25 (document 1): key \"p\" already set in map"},
		{"a key twice behind the items", "kind: List\nitems:\n" + pods + "metadata: {}\nkind: List\n", "f:24 (document 1): key \"kind\" already set in map"},
		{"items twice", "kind: List\nitems:\n" + pods + "items:\n- kind: Pod\n", "f:23 (document 1): key \"items\" already set in map"},
		{"two colons behind the items", "kind: List\nitems:\n" + pods + "metadata: a: b\n", "f:23 (document 1): mapping values are not allowed in this context"},
		{"a control character", "kind: Pod\np: a\nm: \x01\n", "f:3 (document 1): control characters are not allowed"},
		{"what is not UTF-8", "kind: Pod\np: a\nm: \xff\n", "f:3 (document 1): invalid leading UTF-8 octet"},
		{"an unknown anchor", "kind: Pod\np: a\nm: *b\n", "f:3 (document 1): unknown anchor: neither documents nor the items of a list can share anchors"},
		{"an anchor of another item", "kind: List\nitems:\n- &a\n  kind: Pod\n- kind: Pod\n  p: *a\n", "f:6 (document 1): unknown anchor: neither documents nor the items of a list can share anchors"},
		{"an infinite number", "kind: Pod\np: .inf\n", "f:1 (document 1): json: unsupported value: +Inf"},
		{"a key that is null", "kind: Pod\n~: hunter2\n", "f:1 (document 1): a key of a mapping is not a text"},
		{"a template", "kind: Pod\np: {{ .Values.name }}\n", "f:2 (document 1): a key of a mapping is not a text: render"},
		{"a template around everything", "{{- if .Values.on }}\nkind: Pod\n{{- end }}\n", "f:1 (document 1): did not find expected node content"},
		{"a list of texts", "kind: List\nitems:\n- kind: Pod\n- a\n- b\n", "f:4 (document 1): an item of the list is not an object"},
		{"a list of texts in flow style", "kind: List\nitems: [a]\n", "f:1 (document 1): an item of the list is not an object"},
		{"a list of nothing", "kind: List\nitems:\n-\n- kind: Pod\n", "f:3 (document 1): an item of the list is not an object"},
		{"a list that is none", "kind: PodList\nitems: {a: b}\n", "f:1 (document 1): items is not a list"},
		{"a list and something else", "kind: List\nitems:\n- kind: Pod\n  p: a\n\n  m: b\np: {}\n  items: x\n", "f:8 (document 1): "},
		{"a list that ends with less indentation", "kind: List\nitems:\n  - kind: Pod\n  p: a\n", "f:1 (document 1): items is not a list"},
		{"items without a kind", "kind: List\nitems:\n- kind: Pod\n- p: a\n- p: b\n", "f:4 (document 1): an item of the list has no kind: it is not a Kubernetes object"},
		{"items without a kind anywhere", "items:\n- p: a\n", "f:2 (document 1): an item of the list has no kind: it is not a Kubernetes object"},
		{"texts without a list around", "---\n- a\n- b\n", "f:2 (document 1): an item of the list is not an object"},
		{"texts in flow style", "[a, b]\n", "f:1 (document 1): an item of the list is not an object"},
		{"something behind a list", "- kind: Pod\n- kind: Pod\nkind: Pod\n", "f:3 (document 1): it is neither an item of the list nor a document of its own"},

		{"JSON that ends", "{\"kind\":\n\"Pod\",\n", "f:3 (document 1): it ends in the middle of an object"},
		{"JSON that ends in an item", "{\"kind\":\"List\",\n\"items\":[\n{\"kind\":\"Pod\"},\n{\"kind\":", "f:4 (document 1): it ends in the middle of an object"},
		{"JSON that ends behind an item", "{\"kind\":\"List\",\n\"items\":[\n{\"kind\":\"Pod\"}\n", "f:4 (document 1): it ends in the middle of an object"},
		{"JSON that a mark ends", "{\"kind\":\n---\n\"Pod\"}", "f:2 (document 1): it ends in the middle of an object"},
		{"no quotes", "{\n\"kind\": Pod\n}", "f:2 (document 1): invalid character 'P' looking for beginning of value"},
		{"no quotes around a key", "{\n\n kind: \"Pod\"\n}", "f:3 (document 1): invalid character 'k'"},
		{"no quotes in an item", "{\"items\":[\n" + podA + ",\n" + podA + ",\n{\"kind\":\n\"Pod\",\n\"p\": b}]}", "f:6 (document 1): invalid character 'b' looking for beginning of value"},
		{"no comma between items", "{\"items\":[\n" + podA + "\n" + podA + "]}", "f:3 (document 1): expected comma after array element"},
		{"no comma between fields", "{\"kind\":\"List\"\n\"items\":[]}", "f:2 (document 1): invalid character '\"' after object key:value pair"},
		{"a comma too much", "[" + podA + ",\n]", "f:2 (document 1): invalid character ']' looking for beginning of value"},
		{"a bracket too much", podA + "\n}\n", "f:2 (document 2): invalid character '}' looking for beginning of value"},
		{"the wrong bracket", "{\"kind\":\"List\",\"items\":[\n}", "f:2 (document 1): invalid character '}'"},
		{"another document", podA + "\n" + podB + "\n{\n\"kind\": x}", "f:4 (document 3): invalid character 'x' looking for beginning of value"},
		{"a text behind JSON", podA + "\nkind: Pod\n", "f:2 (document 2): invalid character 'k' looking for beginning of value"},
		{"a text as JSON", podA + "\n\"a\"\n", "f:2 (document 2): it is not a Kubernetes object"},
		{"a JSON list of texts", "{\"items\":[\n" + podA + ",\n\"hunter2\"]}", "f:3 (document 1): an item of the list is not an object"},
		{"a JSON array of texts", "[\n\"hunter2\"]", "f:2 (document 1): an item of the list is not an object"},
		{"a JSON list that is none", "{\"kind\":\"List\",\n\"items\":{}}", "f:1 (document 1): items is not a list"},
		{"JSON items without a kind", "{\"items\":[\n{}]}", "f:2 (document 1): an item of the list has no kind"},
		{"a JSON key twice", "{\"kind\":\"Pod\",\n\"p\":1,\n\"p\":2}", "f:3 (document 1): duplicate field \"p\""},
		{"a JSON key twice below", "{\"kind\":\"Pod\",\n\"p\":{\"a\":1,\"a\":2}}", "f:2 (document 1): duplicate field \"a\""},
		{"a JSON key twice in an item", "{\"items\":[" + podA + ",\n{\"kind\":\"Pod\",\"kind\":\"Pod\"}]}", "f:2 (document 1): duplicate field \"kind\""},
		{"JSON items twice", "{\"items\":[],\n\"items\":[]}", "f:2 (document 1): duplicate field \"items\""},
		{"JSON that is nested too deep", `{"kind":` + strings.Repeat("[", 20000), "f:1 (document 1): invalid character '[' exceeded max depth"},
		{"YAML that is nested too deep", `kind: ` + strings.Repeat("[", 20000), "f:1 (document 1): exceeded max depth of 10000"},
		{"a laugh", "a: &a [x,x,x,x,x,x,x,x,x]\n" + laughs() + "\n", "f:1 (document 1): document contains excessive aliasing"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for name, from := range map[string]io.Reader{"at once": strings.NewReader(test.text), "byte by byte": iotest.OneByteReader(strings.NewReader(test.text))} {
				_, err := said("f", from)
				if err == nil || !strings.HasPrefix(err.Error(), test.want) {
					t.Fatalf("%s: the error is\n  %v, want\n  %s", name, err, test.want)
				}
				if strings.ContainsAny(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("the error is not one line, or tells too much: %q", err)
				}
				if isTemplate := strings.Contains(test.text, "{{"); isTemplate != strings.Contains(err.Error(), "render templates first") {
					t.Errorf("the error does not say what to do about templates: %v", err)
				}
				var syntax *SyntaxError
				if !errors.As(err, &syntax) {
					t.Errorf("the error is a %T", err)
				}
			}
		})
	}
}

// laughs multiply what they refer to.
func laughs() string {
	lines := []string{}
	for c := 'b'; c < 'k'; c++ {
		lines = append(lines, fmt.Sprintf("%c: &%c [%s]", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), ",")))
	}
	return strings.Join(lines, "\n")
}

func TestReadDocumentsReadsLongLines(t *testing.T) {
	long := strings.Repeat("x - y --- ", 50_000)
	pod := fmt.Sprintf(`{"kind":"Pod","p":%q}`, long)
	items := strings.Repeat(podA+",", 20_000)
	for name, test := range map[string]struct {
		text  string
		count int
		last  string
	}{
		"YAML":                 {"kind: Pod\np: \"" + long + "\"\n---\nkind: Pod\np: b\n", 2, "4/2 " + podB},
		"a comment":            {"# " + long + "\nkind: Pod\np: b\n", 1, "2/1 " + podB},
		"a comment at the end": {"kind: Pod\np: b\n# " + long, 1, "1/1 " + podB},
		"behind a mark":        {"--- # " + long + "\nkind: Pod\np: b\n", 1, "2/1 " + podB},
		"JSON":                 {pod + "\n---\n" + podB, 2, "3/2 " + podB},
		"JSON behind a mark":   {"--- " + pod + "\n---\n" + podB, 2, "3/2 " + podB},
		"JSON in one line":     {`{"items":[` + items + podB + "]}\n" + podB, 20_003, "2/2 " + podB},
		"items":                {"items:\n- kind: Pod\n  p: \"" + long + "\"\n- kind: Pod\n  p: b\n", 3, `list 1/1 {}`},
		"blanks":               {strings.Repeat(" ", 100_000) + podB, 1, "1/1 " + podB},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := said("f", strings.NewReader(test.text))
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != test.count || got[len(got)-1] != test.last {
				t.Errorf("there are %d documents, the last is %.100s; want %d and %s", len(got), got[len(got)-1], test.count, test.last)
			}
		})
	}
}

// What is read before the reading fails is not taken for the whole.
func TestReadDocumentsPassesFailuresOn(t *testing.T) {
	broken := errors.New("the disk is broken")
	for _, text := range []string{"", "# x", "kind: Pod\np: a", "kind: Pod\np: a\n", "kind: List\nitems:\n- kind: Pod\n", podA, podA + "\n", `{"items":[` + podA, `{"kind": "P`} {
		t.Run(text, func(t *testing.T) {
			// The second reader would go on, as a terminal does.
			from := io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken), strings.NewReader("\nm: b\n"))
			_, err := said("f", from)
			if !errors.Is(err, broken) || err.Error() != "read f: the disk is broken" {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestReadDocumentsStopsWhereItIsTold(t *testing.T) {
	enough := errors.New("enough")
	for _, text := range []string{
		"kind: Pod\n---\nkind: Pod\n", "items:\n- kind: Pod\n- kind: Pod\n", "kind: List\nitems: [{kind: Pod}, {kind: Pod}]", podA + podA, `{"items":[` + podA + "," + podA + "]}",
		`{"items":[{}, {}],"kind":"PodList"}`, "[" + podA + "," + podA + "]", "- kind: Pod\n- kind: Pod\n", `{"kind":"List","items":[{"kind":"List","items":[` + podA + "," + podA + "]}]}",
	} {
		calls := 0
		err := readDocuments("f", strings.NewReader(text), func(document) error {
			calls++
			return enough
		})
		if !errors.Is(err, enough) || calls != 1 {
			t.Errorf("%s: it was called %d times and returned %v", text, calls, err)
		}
	}
}

// A list that is read item by item holds what it holds when it is parsed at
// once, in every style that it may be written in.
func TestAListIsReadAsItIsParsed(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		objects := make([]any, random.IntN(4))
		for i := range objects {
			objects[i] = map[string]any{"apiVersion": "v1", "kind": "Thing", "content": randomValue(random, 4)}
		}
		whole := map[string]any{"apiVersion": "v1", "kind": "List", "items": objects, "metadata": map[string]any{"resourceVersion": "", "x": randomValue(random, 2)}}
		for style, text := range styles(t, whole) {
			var plain map[string]any
			if err := yaml.Unmarshal([]byte(text), &plain); err != nil {
				t.Fatalf("seed %d, %s: %v", seed, style, err)
			}
			want, _ := plain["items"].([]any)
			var got []any
			err := readDocuments("f", strings.NewReader(text), func(one document) error {
				if !one.list {
					got = append(got, one.content)
				}
				return nil
			})
			if err != nil {
				t.Fatalf("seed %d, %s: %v\n%s", seed, style, err, text)
			}
			if a, b := marshalled(t, want), marshalled(t, got); a != b && len(want) > 0 {
				t.Fatalf("seed %d, %s:\n%s\nis read as\n%s\nfrom\n%s", seed, style, a, b, text)
			}
		}
	}
}

func styles(t *testing.T, list map[string]any) map[string]string {
	t.Helper()
	block, err := yaml.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	compact := marshalled(t, list)
	pretty, err := json.MarshalIndent(list, "", "    ")
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"block style": string(block), "line ends of Windows": strings.ReplaceAll(string(block), "\n", "\r\n"),
		"JSON": compact, "indented JSON": string(pretty), "behind a mark": "--- # x\n" + string(block),
		"indented items": indentItems(t, list),
	}
}

// indentItems writes the items as Helm and hands do: two columns further in.
func indentItems(t *testing.T, list map[string]any) string {
	t.Helper()
	var text strings.Builder
	text.WriteString("kind: List\nitems:\n")
	items, _ := list["items"].([]any)
	for _, item := range items {
		block, err := yaml.Marshal(item)
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString("  # an item\n  - " + strings.ReplaceAll(strings.TrimSuffix(string(block), "\n"), "\n", "\n    ") + "\n\n")
	}
	if len(items) == 0 {
		text.WriteString("  []\n")
	}
	return text.String() + "apiVersion: v1\n"
}

func marshalled(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var words = []string{
	"a", "items:", "- b", "---", "--- c", "...", "# no comment", "key: value", "'", "\"", "{{ x }}", "[d, e]", "&f", "*g", "|", "%h", "  two blanks", "trailing ",
	"\n", "\n\n", "\n- i", "\n---\n", "\n  - deeper\n", "\titems:\n\t- j", "true", "null", "007", "1e3", "2020-01-01", "ü", strings.Repeat("long - ", 30),
}

func randomValue(random *rand.Rand, depth int) any {
	switch kind := random.IntN(8); {
	case depth == 0 || kind < 3:
		text := words[random.IntN(len(words))]
		for random.IntN(2) == 0 {
			text += words[random.IntN(len(words))]
		}
		return text
	case kind < 5:
		value := map[string]any{}
		for range random.IntN(4) {
			value[words[random.IntN(len(words))]] = randomValue(random, depth-1)
		}
		return value
	case kind < 7:
		value := make([]any, random.IntN(4))
		for i := range value {
			value[i] = randomValue(random, depth-1)
		}
		return value
	default:
		return []any{nil, true, false, 0, -3, 1 << 40, 1.5}[random.IntN(7)]
	}
}
