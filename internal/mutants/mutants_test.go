package main

import (
	"slices"
	"testing"
)

// TestMutantsFit: each mutant's place is where it was, and no two are one.
func TestMutantsFit(t *testing.T) {
	t.Parallel()
	var names []string
	for _, one := range mutants {
		if _, err := one.mutated("../.."); err != nil {
			t.Errorf("%s: %v", one.what, err)
		}
		if one.old == one.new || slices.Contains(names, one.what) {
			t.Errorf("%s: it changes nothing, or is there twice", one.what)
		}
		names = append(names, one.what)
	}
}
