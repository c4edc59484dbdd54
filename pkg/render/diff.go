package render

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
	"sigs.k8s.io/yaml"
)

// contextLines is how many unchanged lines surround a change, as diff -u has it.
const contextLines = 3

// ObjectDiff is one object before and after. One that is created has no before,
// one that is deleted no after.
type ObjectDiff struct {
	// Name is how the diff calls it, such as "Deployment shop/cart".
	Name          string
	Before, After map[string]any
}

// Diff writes objects as a unified diff of their YAML.
func Diff(out io.Writer, diffs []ObjectDiff) error { return unified(out, diffs, "now", "after") }

// Departures writes how objects have changed since a plan was made.
func Departures(out io.Writer, diffs []ObjectDiff) error {
	return unified(out, diffs, "in the plan", "now")
}

func unified(out io.Writer, diffs []ObjectDiff, was, is string) error {
	for _, diff := range diffs {
		before, from, err := side(diff.Before, diff.Name+" ("+was+")")
		if err != nil {
			return fmt.Errorf("%s: %w", diff.Name, err)
		}
		after, to, err := side(diff.After, diff.Name+" ("+is+")")
		if err != nil {
			return fmt.Errorf("%s: %w", diff.Name, err)
		}
		unified := difflib.UnifiedDiff{A: before, FromFile: from, B: after, ToFile: to, Context: contextLines}
		if err := difflib.WriteUnifiedDiff(out, unified); err != nil {
			return fmt.Errorf("%s: %w", diff.Name, err)
		}
	}
	return nil
}

// side is one side of a diff and what it is called, as diff -N has it: of an
// object that is not there, nothing. Status is not what a plan writes.
func side(object map[string]any, name string) (text []string, called string, err error) {
	if object == nil {
		return nil, "/dev/null", nil
	}
	declared := maps.Clone(object)
	delete(declared, "status")
	data, err := yaml.Marshal(declared)
	return lines(data), name, err
}

// lines splits text behind each line break.
func lines(text []byte) []string {
	return slices.Collect(strings.Lines(string(text)))
}
