package translate

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Scope is what names a waypoint.
type Scope string

// The scopes: each Service that needs the waypoint, or the namespace for all of
// them.
const (
	ScopeService   Scope = "service"
	ScopeNamespace Scope = "namespace"
)

// MixedCallers is what becomes of the calls of callers that still have a sidecar, or
// that pass by the waypoint in another way, to servers that have lost theirs.
type MixedCallers string

// The choices. Block holds a server back until its callers have moved, Deny refuses
// such calls as far as they cannot be decided without HTTP, and Layer4 goes by
// identities, addresses and ports alone, which lets in what the rest of the policies
// would have refused.
const (
	MixedCallersBlock  MixedCallers = "block"
	MixedCallersDeny   MixedCallers = "deny"
	MixedCallersLayer4 MixedCallers = "l4"
)

// DefaultWaypoint is the waypoint's name unless another is asked for: that which
// istioctl gives it.
const DefaultWaypoint = "waypoint"

// Options are what an operator may choose. The zero value is the default.
type Options struct {
	Scope Scope
	// Skip are Services that get no waypoint although they need one, Add those
	// that get one although they do not.
	Skip, Add []string
	// Waypoint is the waypoint's name, WaypointNamespace its namespace where that
	// is another one.
	Waypoint, WaypointNamespace string
	// Replicas is how many pods the waypoint has; 0 leaves it to Istio. From two
	// on it gets a PodDisruptionBudget.
	Replicas     int32
	MixedCallers MixedCallers
	// RoutingOnly is for a namespace that stays on sidecars: its services get a
	// waypoint where routes of theirs would not be followed by ambient callers.
	RoutingOnly bool
	// EnvoyFilters carries EnvoyFilters over, which Istio does not support at
	// waypoints.
	EnvoyFilters bool
	// Only is the one Service that gets a waypoint, needed or not; empty means all of
	// the namespace. What others have already stays as it is.
	Only string
	// TakenOff are Services that get no waypoint, since a rollback has taken them off
	// theirs. What is lost with that was judged then.
	TakenOff []string
}

// withDefaults fills in what was not chosen.
func (o Options) withDefaults(namespace string) Options {
	if o.Scope == "" {
		o.Scope = ScopeService
	}
	if o.Waypoint == "" {
		o.Waypoint = DefaultWaypoint
	}
	if o.WaypointNamespace == "" {
		o.WaypointNamespace = namespace
	}
	if o.MixedCallers == "" {
		o.MixedCallers = MixedCallersBlock
	}
	return o
}

// OptionError is an option that does not fit the mesh.
type OptionError struct{ Text string }

func (e *OptionError) Error() string { return e.Text }

// Validate wants choices that there are.
func (o Options) Validate() error {
	if scopes := []Scope{"", ScopeService, ScopeNamespace}; !slices.Contains(scopes, o.Scope) {
		return fmt.Errorf("unknown waypoint scope %q: use %s or %s", o.Scope, ScopeService, ScopeNamespace)
	}
	if choices := []MixedCallers{"", MixedCallersBlock, MixedCallersDeny, MixedCallersLayer4}; !slices.Contains(choices, o.MixedCallers) {
		return fmt.Errorf("unknown choice %q for mixed callers: use %s, %s or %s", o.MixedCallers, MixedCallersBlock, MixedCallersDeny, MixedCallersLayer4)
	}
	for _, name := range o.Skip {
		if slices.Contains(o.Add, name) {
			return fmt.Errorf("service %q is to have a waypoint and to be skipped: decide for one", name)
		}
	}
	if o.Replicas < 0 {
		return fmt.Errorf("a waypoint cannot have %d replicas", o.Replicas)
	}
	if problems := validation.IsDNS1035Label(o.Waypoint); o.Waypoint != "" && len(problems) > 0 {
		return fmt.Errorf("%q cannot be the name of a waypoint: it is that of a Service, too, which has letters, digits and hyphens, 63 at most", o.Waypoint)
	}
	return nil
}
