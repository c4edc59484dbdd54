package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
)

// Options are what an operator may choose about an enrolment.
type Options struct {
	Translation translate.Options
	// Include are other namespaces that may be written: their services get waypoints
	// where callers here would no longer follow their routes.
	Include []string
	// Accept are findings that do not block: CHECK-ID for all of a check,
	// CHECK-ID:NAMESPACE/NAME for those about one object, CHECK-ID:NAME about one
	// without a namespace.
	Accept []string
	// Cordon has the node of a DaemonSet's pod cordoned while the run itself replaces
	// that pod.
	Cordon bool
	// ResumePaused has paused Deployments resumed for their restart.
	ResumePaused bool
	// MaxParallelRestarts is how many workloads that need not wait for each other are
	// restarted at the same time; up to 1 they are one after another.
	MaxParallelRestarts int
	// Strategy is what gives pods their new mode; empty is StrategyTemplate.
	Strategy Strategy
	// Workload is the only one that is moved, as deployment/cart; empty means all of
	// the namespace.
	Workload string
	// Service is the only one that gets a waypoint, as service/cart, and nothing else
	// is done; empty means all that need one.
	Service string
	// Simplify deletes what was replaced, at the end.
	Simplify bool
	// CleanTemplates restarts workloads to take annotations out of their templates that
	// only sidecars read. It is a choice of a simplification only, made anew each time.
	CleanTemplates bool
	// RestartedAt is the time that templates get which are restarted for newer sidecars,
	// as kubectl rollout restart writes it.
	RestartedAt string
	// Unverified is true where a run before has stopped before its last gate held: the
	// plan has that one even if nothing else is left to be done.
	Unverified bool
	// Until is the last phase whose steps the plan holds; empty means all.
	Until v1alpha1.Phase
}

// OptionsOf are the options that a plan was made with.
func OptionsOf(planned v1alpha1.MigrationPlan) Options {
	options := Options{Accept: planned.Accepted}
	if chosen := planned.Options; chosen != nil {
		options.Translation = translate.Options{
			Scope: translate.Scope(chosen.WaypointScope), Skip: chosen.WaypointSkip, Add: chosen.WaypointAdd,
			Waypoint: chosen.Waypoint, WaypointNamespace: chosen.WaypointNamespace, Replicas: chosen.WaypointReplicas,
			MixedCallers: translate.MixedCallers(chosen.MixedCallers), EnvoyFilters: chosen.AllowEnvoyFilter, TakenOff: chosen.TakenOff,
		}
		options.Include, options.Until, options.Workload, options.Service = chosen.IncludeNamespaces, chosen.Until, chosen.Workload, chosen.Service
		options.Cordon, options.ResumePaused, options.Simplify, options.RestartedAt = chosen.Cordon, chosen.ResumePaused, chosen.Simplify, chosen.RestartedAt
		options.MaxParallelRestarts, options.Strategy = chosen.MaxParallelRestarts, Strategy(chosen.Strategy)
	}
	return options
}

// Beside are the namespaces that a plan may write in besides the one that it is for,
// so that their details have to be known as well.
func (o Options) Beside() []string {
	beside := slices.Clone(o.Include)
	if in := o.Translation.WaypointNamespace; in != "" && !slices.Contains(beside, in) {
		beside = append(beside, in)
	}
	return beside
}

// Chosen are the options as a plan has them.
func (o Options) Chosen() v1alpha1.PlanOptions {
	parallel := o.MaxParallelRestarts
	if parallel <= 1 {
		parallel = 0
	}
	strategy := o.Strategy
	if !o.byNamespace() {
		strategy = ""
	}
	return v1alpha1.PlanOptions{
		MaxParallelRestarts: parallel, Strategy: string(strategy),
		WaypointScope: string(o.Translation.Scope), WaypointSkip: o.Translation.Skip, WaypointAdd: o.Translation.Add,
		Waypoint: o.Translation.Waypoint, WaypointNamespace: o.Translation.WaypointNamespace, WaypointReplicas: o.Translation.Replicas,
		MixedCallers: string(o.Translation.MixedCallers), AllowEnvoyFilter: o.Translation.EnvoyFilters,
		IncludeNamespaces: o.Include, Until: o.Until, Workload: o.Workload, Service: o.Service, TakenOff: o.Translation.TakenOff, Cordon: o.Cordon, ResumePaused: o.ResumePaused, Simplify: o.Simplify,
		CleanTemplates: o.CleanTemplates, RestartedAt: o.RestartedAt,
	}
}

// Validate wants choices that there are, and checks that can be accepted.
func (o Options) Validate() error {
	gates := slices.Concat(checks.EnrollGates(), checks.PlanGates(), checks.SimplifyGates(), checks.ServiceRollbackGates())
	if err := ValidateAccepted(o.Accept, gates); err != nil {
		return err
	}
	if err := (Span{Until: o.Until}).Validate(); err != nil {
		return err
	}
	if err := o.validateStrategy(); err != nil {
		return err
	}
	return o.Translation.Validate()
}

// ValidateAccepted wants what --accept names to be findings of some checks.
func ValidateAccepted(accepted []string, of []checks.Check) error {
	for _, one := range accepted {
		id, _, _ := strings.Cut(one, ":")
		if !slices.ContainsFunc(of, func(check checks.Check) bool { return check.ID == id }) {
			return fmt.Errorf("there is no check %q to accept: docs/checks.md lists them", id)
		}
	}
	return nil
}

// Accepts says which findings were accepted by what --accept names.
func Accepts(accepted []string) func(v1alpha1.CheckResult) bool {
	return Options{Accept: accepted}.accepts
}

// accepts says whether a finding was accepted.
func (o Options) accepts(result v1alpha1.CheckResult) bool {
	return slices.ContainsFunc(o.Accept, func(accepted string) bool {
		id, name, narrowed := strings.Cut(accepted, ":")
		if id != result.ID || !narrowed {
			return id == result.ID
		}
		if result.Object == nil {
			return false
		}
		full := result.Object.Name
		if result.Object.Namespace != "" {
			full = result.Object.Namespace + "/" + full
		}
		return full == name
	})
}

// unmatched are what was accepted and is the name of no finding of a plan: a typing
// mistake, or what does not have to be accepted any more.
func unmatched(planned v1alpha1.MigrationPlan) []string {
	var without []string
	for _, accepted := range planned.Accepted {
		names := Options{Accept: []string{accepted}}.accepts
		if !slices.ContainsFunc(planned.Gates, func(result v1alpha1.CheckResult) bool {
			return found(result) && names(result)
		}) {
			without = append(without, accepted)
		}
	}
	return without
}
