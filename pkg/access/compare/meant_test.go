package compare_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
)

// attached makes a policy for cart at its waypoint.
func attached(spec string) string {
	return policy("attached", "{targetRefs: [{group: \"\", kind: Service, name: cart}], "+spec+"}")
}

// TestMeant: of what is decided differently, that is told apart which policies of pods
// say by themselves, unless calls come to pass by what somebody has attached to the
// waypoint that they went through.
func TestMeant(t *testing.T) {
	t.Parallel()
	const nothing, both = "rules: []", "rules: [{to: [{operation: {methods: [GET, POST]}}]}]"
	for _, test := range []struct {
		name string
		// before and after are what there is, with pods and callers in ambient mode.
		before, after []any
		// meant is what there is besides what runs have made, with sidecars.
		meant []any
		// are are the methods that the waypoint comes to let in or refuse, as meant or not.
		are, areNot []string
	}{
		{
			name:   "more is let in than policies say",
			before: []any{gateway, attached(nothing)}, after: []any{gateway, attached(both)},
			meant: []any{cartOnly(getsByAnybody)}, are: []string{"newly-allowed GET"}, areNot: []string{"newly-allowed POST"},
		},
		{
			name:   "more is refused than policies say",
			before: []any{gateway, attached(both)}, after: []any{gateway, attached(nothing)},
			meant: []any{cartOnly(getsByAnybody)}, are: []string{"newly-denied POST"}, areNot: []string{"newly-denied GET"},
		},
		{
			name:   "the waypoint is left that somebody has attached a policy to",
			before: []any{gateway, attached(nothing)}, after: []any{attached(both)}, areNot: []string{"newly-allowed GET"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			stager := stager{callers: []string{"web"}}
			ambient := []string{"cart", "web"}
			stages := []compare.Stage{stager.stage("", ambient, test.before...), stager.stage("mend", ambient, test.after...)}
			options := compare.Options{Meant: stager.state(access.Overlay{AllSidecars: true}, ambient, append(slices.Clone(test.meant), gateway)...)}
			var are, areNot []string
			for _, change := range compare.New(stages, options).Changes() {
				if change.Service == nil || change.Caller.Mode != string(access.ModeAmbient) {
					continue
				}
				if line := string(change.Effect) + " " + change.Request.Method; change.Repairs {
					are = append(are, line)
				} else {
					areNot = append(areNot, line)
				}
			}
			slices.Sort(are)
			slices.Sort(areNot)
			if diff := cmp.Diff(test.are, slices.Compact(are)); diff != "" {
				t.Errorf("meant (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.areNot, slices.Compact(areNot)); diff != "" {
				t.Errorf("not meant (-want +got):\n%s", diff)
			}
		})
	}
}
