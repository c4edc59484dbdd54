package render

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
	"sigs.k8s.io/yaml"
)

// contextLines is how many unchanged lines surround a change, as diff -u has it.
const contextLines = 3

// ObjectDiff is one object before and after.
type ObjectDiff struct {
	// Name is how the diff calls it, such as "Deployment shop/cart".
	Name          string
	Before, After map[string]any
}

// Diff writes objects as a unified diff of their YAML.
func Diff(out io.Writer, diffs []ObjectDiff) error {
	for _, diff := range diffs {
		before, err := yaml.Marshal(diff.Before)
		if err != nil {
			return fmt.Errorf("%s: %w", diff.Name, err)
		}
		after, err := yaml.Marshal(diff.After)
		if err != nil {
			return fmt.Errorf("%s: %w", diff.Name, err)
		}
		unified := difflib.UnifiedDiff{
			A: lines(before), FromFile: diff.Name + " (now)",
			B: lines(after), ToFile: diff.Name + " (after)",
			Context: contextLines,
		}
		if err := difflib.WriteUnifiedDiff(out, unified); err != nil {
			return fmt.Errorf("%s: %w", diff.Name, err)
		}
	}
	return nil
}

// lines splits text behind each line break.
func lines(text []byte) []string {
	return slices.Collect(strings.Lines(string(text)))
}
