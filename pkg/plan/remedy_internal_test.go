package plan

import (
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// What is said of a call that is refused depends on who makes it, how it goes and what
// refuses it.
func TestDeniedRemedy(t *testing.T) {
	t.Parallel()
	const (
		byIdentity = "have a policy that selects the pods admit it by identity, address and port"
		byAddress  = "have a policy that selects the pods admit it by address and port"
	)
	atZtunnel := v1alpha1.CallVerdict{Outcome: "denied", Point: string(access.AtZtunnel)}
	for name, test := range map[string]struct {
		change v1alpha1.CallChange
		want   string
	}{
		"it ends":            {v1alpha1.CallChange{Until: "verify", Direct: true, After: atZtunnel}, "it ends with step verify"},
		"at the waypoint":    {v1alpha1.CallChange{After: v1alpha1.CallVerdict{Point: string(access.AtWaypoint)}}, "have the policies at the waypoint admit it"},
		"behind it":          {v1alpha1.CallChange{After: atZtunnel}, "have the policies that select the pods admit the waypoint"},
		"with a sidecar":     {v1alpha1.CallChange{Direct: true, After: atZtunnel, Caller: v1alpha1.CallCaller{Mode: string(access.ModeSidecar)}}, byIdentity},
		"outside the mesh":   {v1alpha1.CallChange{Direct: true, After: atZtunnel, Caller: v1alpha1.CallCaller{Mode: string(access.ModeOutside)}}, byAddress},
		"a DENY policy":      {v1alpha1.CallChange{Direct: true, After: v1alpha1.CallVerdict{Reason: access.ReasonDeny}}, "have the policies of the pods leave it out by identity, address or port"},
		"STRICT":             {v1alpha1.CallChange{Direct: true, After: v1alpha1.CallVerdict{Reason: access.ReasonPlaintext}}, "bring the caller into the mesh, or have the PeerAuthentication take plaintext"},
		"at a sidecar, back": {v1alpha1.CallChange{Direct: true, After: v1alpha1.CallVerdict{Point: string(access.AtSidecar)}}, byIdentity},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := deniedRemedy(test.change, new(access.State)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// What is said of a call that is let in depends on where it goes and what refused it.
func TestAllowedRemedy(t *testing.T) {
	t.Parallel()
	strict := v1alpha1.CallVerdict{Outcome: "denied", Reason: access.ReasonPlaintext}
	for name, test := range map[string]struct {
		change v1alpha1.CallChange
		want   string
	}{
		"its caller proves itself": {v1alpha1.CallChange{Effect: v1alpha1.CallNewlyProven, Direct: true, Until: "verify"}, "if it is not meant, have the policies that admit who makes it leave it out"},
		"through a waypoint":       {v1alpha1.CallChange{Before: strict}, "have a policy at the waypoint refuse it"},
		"plaintext":                {v1alpha1.CallChange{Direct: true, Before: strict}, "have a policy that selects the pods ask for an identity"},
		"past a waypoint":          {v1alpha1.CallChange{Direct: true}, "have a policy that selects the pods refuse it by identity, address or port"},
		"for a while":              {v1alpha1.CallChange{Until: "verify"}, "have a policy at the waypoint refuse it; it ends with step verify"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := allowedRemedy(test.change); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
