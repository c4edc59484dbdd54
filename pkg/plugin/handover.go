package plugin

import (
	"errors"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	"github.com/spf13/cobra"
)

// handover is how what sidecars do at layer 7 is handed over to waypoints, and which
// findings were accepted: the same for every command that plans an enrolment.
type handover struct {
	scope, waypoint, waypointNamespace string
	skip, add                          []string
	replicas                           int32
	mixedCallers                       string
	envoyFilters                       bool
	accept                             []string
	include                            []string
	resumePaused, cordon               bool
	maxParallel                        int
	strategy                           string
	simplify, cleanTemplates           bool
}

// The flags' names.
const (
	flagScope             = "waypoint-scope"
	flagSkip              = "waypoint-skip"
	flagAdd               = "waypoint-add"
	flagWaypoint          = "waypoint"
	flagWaypointNamespace = "waypoint-namespace"
	flagReplicas          = "waypoint-replicas"
	flagMixedCallers      = "mixed-callers"
	flagEnvoyFilters      = "allow-envoyfilter"
	flagAccept            = "accept"
	flagInclude           = "include-namespaces"
	flagResumePaused      = "resume-paused"
	flagCordon            = "cordon"
	flagSimplify          = "simplify"
	flagRestart           = "restart"
	flagMaxParallel       = "max-parallel-restarts"
	flagStrategy          = "strategy"
)

// addFlags adds the flags that shape the waypoints and what is handed over to them.
func (h *handover) addFlags(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&h.scope, flagScope, string(translate.ScopeService),
		"Who uses the waypoint: service, each Service that needs it, or namespace, all Services of the namespace as soon as one needs it")
	flags.StringSliceVar(&h.skip, flagSkip, nil, "Give this `SERVICE` no waypoint although it needs one; what ends with that has to be accepted")
	flags.StringSliceVar(&h.add, flagAdd, nil, "Give this `SERVICE` a waypoint although it needs none; a headless one's pods get one of their own")
	flags.StringVar(&h.waypoint, flagWaypoint, translate.DefaultWaypoint, "`NAME` of the waypoint; it is created where it does not exist. The names of waypoints for the pods of headless Services begin with it")
	flags.StringVar(&h.waypointNamespace, flagWaypointNamespace, "", "`NAMESPACE` of the waypoints, where it is not the one that is enrolled")
	flags.Int32Var(&h.replicas, flagReplicas, 0, "How many pods each new waypoint has; from 2 on they get a PodDisruptionBudget. 0 leaves it to Istio, which runs one")
	flags.StringVar(&h.mixedCallers, flagMixedCallers, string(translate.MixedCallersBlock),
		"What becomes of calls that pass by the waypoint, as those of sidecars do, where policies need HTTP to decide them: "+
			"block, do not enroll; deny, refuse them; l4, go by identities, addresses and ports, which lets in what HTTP rules would have refused")
	flags.BoolVar(&h.resumePaused, flagResumePaused, false,
		"Resume paused Deployments for their restart, and pause them again afterwards; what was changed in their templates meanwhile is rolled out, too")
	flags.BoolVar(&h.envoyFilters, flagEnvoyFilters, false, "Copy EnvoyFilters to the waypoint, which Istio does not support there")
}

// addAcceptFlag adds the flag that lets findings not block.
func (h *handover) addAcceptFlag(command *cobra.Command) {
	command.Flags().StringSliceVar(&h.accept, flagAccept, nil,
		"Go ahead in spite of this finding: `CHECK-ID` for all findings of a check, CHECK-ID:NAMESPACE/NAME for those about one object. The record of the run holds it")
}

// addIncludeFlag adds the flag that lets other namespaces be written.
func (h *handover) addIncludeFlag(command *cobra.Command) {
	command.Flags().StringSliceVar(&h.include, flagInclude, nil,
		"Write this other `NAMESPACE`, too: its services get a waypoint where callers that have left their sidecars would no longer follow their routes")
}

// addCordonFlag adds the flag that has nodes cordoned.
func (h *handover) addCordonFlag(command *cobra.Command) {
	command.Flags().BoolVar(&h.cordon, flagCordon, false,
		"Cordon each node while the pod on it is replaced of a DaemonSet whose update strategy is OnDelete. Nodes that are cordoned already stay so")
}

// addMaxParallelFlag adds the flag that has workloads restarted at the same time.
func (h *handover) addMaxParallelFlag(command *cobra.Command) {
	command.Flags().IntVar(&h.maxParallel, flagMaxParallel, 1,
		"Restart up to this many workloads at the same time, of those that need not wait for each other; each behind its own gate")
}

// addStrategyFlag adds the flag that says what gives pods their new mode.
func (h *handover) addStrategyFlag(command *cobra.Command) {
	command.Flags().StringVar(&h.strategy, flagStrategy, string(plan.StrategyTemplate),
		"What moves the pods: template, a write to each pod template, which restarts it in its turn; namespace, the namespace's labels, "+
			"after which pods are evicted in order and templates stay as their owners have them")
}

// addSimplifyFlag adds the flag that deletes what was replaced.
func (h *handover) addSimplifyFlag(command *cobra.Command) {
	command.Flags().BoolVar(&h.simplify, flagSimplify, false,
		"At the end, delete what waypoints and ambient mode have replaced, as the command simplify does")
}

func (h *handover) options() plan.Options {
	return plan.Options{
		Translation: translate.Options{
			Scope: translate.Scope(h.scope), Skip: h.skip, Add: h.add, Waypoint: h.waypoint, WaypointNamespace: h.waypointNamespace,
			Replicas: h.replicas, MixedCallers: translate.MixedCallers(h.mixedCallers), EnvoyFilters: h.envoyFilters,
		},
		Accept: h.accept, Include: h.include, ResumePaused: h.resumePaused, Cordon: h.cordon, Simplify: h.simplify,
		MaxParallelRestarts: h.maxParallel, Strategy: plan.Strategy(h.strategy),
	}
}

func (h *handover) validate() error {
	if err := h.options().Validate(); err != nil {
		return usageError("%w", err)
	}
	return nil
}

// ofOneNamespace says whether something was chosen that only fits one namespace.
func (h *handover) ofOneNamespace() bool { return len(h.skip) > 0 || len(h.add) > 0 }

// plannedError makes wrong usage of options that do not fit the mesh.
func plannedError(err error) error {
	var option *translate.OptionError
	if errors.As(err, &option) {
		return &ExitError{Status: StatusUsage, Err: err}
	}
	return err
}
