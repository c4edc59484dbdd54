package render

import (
	"fmt"
	"io"

	"github.com/aymanbagabas/go-udiff"
	"sigs.k8s.io/yaml"
)

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
		text := udiff.Unified(diff.Name+" (now)", diff.Name+" (after)", string(before), string(after))
		if _, err := io.WriteString(out, text); err != nil {
			return err
		}
	}
	return nil
}
