package render

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Format is how a document is written.
type Format string

// The formats. Human is tables and text, wide the same with everything that
// there is to say, name the names alone.
const (
	FormatHuman Format = ""
	FormatWide  Format = "wide"
	FormatName  Format = "name"
	FormatJSON  Format = "json"
	FormatYAML  Format = "yaml"
	FormatJUnit Format = "junit"
)

// ParseFormat reads the value of -o. Besides json and yaml it accepts what a
// command can write, too.
func ParseFormat(text string, too ...Format) (Format, error) {
	accepted := append(slices.Clone(too), FormatJSON, FormatYAML)
	format := Format(text)
	if format == FormatHuman || slices.Contains(accepted, format) {
		return format, nil
	}
	var names []string
	for _, one := range accepted {
		names = append(names, string(one))
	}
	last := len(names) - 1
	return "", fmt.Errorf("unknown output format %q: use %s or %s", text, strings.Join(names[:last], ", "), names[last])
}

// Document writes one document as JSON or YAML.
func Document(out io.Writer, format Format, document any) error {
	data, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the document: %w", err)
	}
	data = append(data, '\n')
	if format == FormatYAML {
		if data, err = yaml.JSONToYAML(data); err != nil {
			return fmt.Errorf("encode the document: %w", err)
		}
	}
	_, err = out.Write(data)
	return err
}
