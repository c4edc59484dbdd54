package render

import (
	"encoding/json"
	"fmt"
	"io"

	"sigs.k8s.io/yaml"
)

// Format is how a document is written.
type Format string

// The formats. Human is tables and text.
const (
	FormatHuman Format = ""
	FormatJSON  Format = "json"
	FormatYAML  Format = "yaml"
)

// ParseFormat reads the value of -o.
func ParseFormat(text string) (Format, error) {
	switch format := Format(text); format {
	case FormatHuman, FormatJSON, FormatYAML:
		return format, nil
	default:
		return "", fmt.Errorf("unknown output format %q: use json or yaml", text)
	}
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
