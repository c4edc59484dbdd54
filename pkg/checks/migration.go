package checks

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// Migration is what a plan makes of a namespace's configuration, as far as checks
// judge it.
type Migration struct {
	// Carried are the objects whose effect the plan takes over to ambient mode, or
	// that have none.
	Carried []v1alpha1.ObjectReference
	// Fronted are the services that have a waypoint when the plan is carried out.
	Fronted []v1alpha1.ObjectReference
	// Direct are the headless Services whose pods have one.
	Direct []v1alpha1.ObjectReference
	// Deployed are the Gateways that the plan makes, or waits for.
	Deployed []v1alpha1.ObjectReference
	// Lost are effects that end, Unsolved what cannot be carried over as it should.
	Lost     []Lost
	Unsolved []Unsolved
	// Access is how the plan's steps decide calls; nil where that was not looked at.
	Access *v1alpha1.AccessReport
	// Unguarded are workloads for whose direct calls a policy is missing that a run
	// had created and somebody has deleted.
	Unguarded []v1alpha1.ObjectReference
	// GuardsStay are guards that a rollback leaves in place for others although they
	// refuse calls to what it takes off its waypoint.
	GuardsStay []Lost
	// Held are workloads that cannot move, since callers of theirs cannot move
	// before them, or that have moved and would come to refuse theirs.
	Held []Held
	// Refreshed are the workloads whose sidecars the plan replaces by ones that accept
	// HBONE, before anything comes to rely on that; OnlyRefreshes is true where it does
	// nothing else.
	Refreshed     []v1alpha1.ObjectReference
	OnlyRefreshes bool
	// ResumePaused is true where paused Deployments are resumed for their restart.
	ResumePaused bool
	// ByNamespace is true where pods are moved by the namespace's labels alone, and
	// evicted; Unnamed are then the workloads whose template would have to name a
	// waypoint.
	ByNamespace bool
	Unnamed     []v1alpha1.ObjectReference
	// Writes are what the steps write.
	Writes []Write
	// Parallel are the workloads that are restarted at the same time, wave by wave.
	Parallel [][]v1alpha1.ObjectReference
	// Simplification is what the plan deletes because it was replaced; nil where it is
	// not to.
	Simplification *Simplification
}

// Write is what the steps of a plan change of an object, or that they delete it.
type Write struct {
	Object v1alpha1.ObjectReference
	// Fields are the paths of what is changed, by their names.
	Fields  [][]string
	Deleted bool
}

// Lost is an effect that ends with the sidecars.
type Lost struct {
	Object  v1alpha1.ObjectReference
	Field   string
	Message string
	// Security is true where something was refused or checked.
	Security bool
	// Remedy is what keeps it; empty where a waypoint for the service would.
	Remedy string
}

// Unsolved is something that cannot be carried over as it should.
type Unsolved struct {
	Object                 v1alpha1.ObjectReference
	Field, Message, Remedy string
}

// Held is a workload and the callers that it would have to wait for.
type Held struct {
	Workload v1alpha1.ObjectReference
	// Callers are named as messages name them.
	Callers []string
	// Cycle is true where they wait for it in turn.
	Cycle bool
	// Unordered is true where nobody can promise who comes first.
	Unordered bool
	// Step is the one that would refuse their calls, where none restarts the
	// workload; it is empty where one does.
	Step string
}

// byNamespace says whether pods are moved by the namespace's labels alone.
func (s Subject) byNamespace() bool { return s.Migration != nil && s.Migration.ByNamespace }

// carries says whether the plan takes an object's effect over, or has its loss
// judged by a gate of its own. Without a plan nothing is.
func (s Subject) carries(object v1alpha1.ObjectReference) bool {
	if s.Migration == nil {
		return false
	}
	return lists(s.Migration.Carried, object) ||
		slices.ContainsFunc(s.Migration.Lost, func(lost Lost) bool { return same(lost.Object, object) }) ||
		slices.ContainsFunc(s.Migration.Unsolved, func(unsolved Unsolved) bool { return same(unsolved.Object, object) })
}

// planned says whether an object, by its labels, was made by a run, and a plan is at
// hand that says what becomes of it.
func (s Subject) planned(labels map[string]string) bool {
	return s.Migration != nil && labels[v1alpha1.OriginLabel] != ""
}

// fronted says whether a service has a waypoint when the plan is carried out.
func (s Subject) fronted(service v1alpha1.ObjectReference) bool {
	return s.Migration != nil && lists(s.Migration.Fronted, service)
}

// direct says whether calls to the addresses of a headless Service's pods go through
// a waypoint: when the plan is carried out, or now.
func (s Subject) direct(service v1alpha1.ObjectReference) bool {
	return s.Migration != nil && lists(s.Migration.Direct, service) || s.Snapshot.PodsNameWaypoint(service, s.Namespace)
}

// deployed says whether the plan makes a Gateway, or waits for it.
func (s Subject) deployed(namespace, name string) bool {
	return s.Migration != nil && lists(s.Migration.Deployed, v1alpha1.ObjectReference{Kind: mesh.KindGateway, Namespace: namespace, Name: name})
}

func lists(list []v1alpha1.ObjectReference, object v1alpha1.ObjectReference) bool {
	return slices.ContainsFunc(list, func(one v1alpha1.ObjectReference) bool { return same(one, object) })
}

// same compares objects whichever version of their kind they were read in.
func same(a, b v1alpha1.ObjectReference) bool {
	a.APIVersion, b.APIVersion = "", ""
	return a == b
}

// The IDs of the gates that judge a plan.
const (
	IDCarriedOver       = "carried-over"
	IDWaypointLosses    = "waypoint-losses"
	IDCallsCompared     = "calls-compared"
	IDCallsNewlyAllowed = "calls-newly-allowed"
	IDCallsNewlyProven  = "calls-newly-proven"
	IDCallsNewlyDenied  = "calls-newly-denied"
	IDMixedCallers      = "mixed-callers"
)

// PlanGates judge what a plan makes of a namespace's policies and routes. They come
// after EnrollGates.
func PlanGates() []Check {
	return slices.Concat(HandoverGates(), []Check{callsCompared(), callsNewlyAllowed(), callsNewlyProven(), callsNewlyDenied(), mixedCallers()})
}

// HandoverGates are those of them for which no calls have to be compared.
func HandoverGates() []Check { return []Check{carriedOver(), waypointLosses()} }

// planned is a check of a plan: without one it is unknown.
func planned(check Check, run func(Subject) []Finding) Check {
	check.Run = func(subject Subject) []Finding {
		if subject.Migration == nil {
			return []Finding{{Status: v1alpha1.StatusUnknown, Message: "it cannot be told without a plan", Remedy: "plan the enrolment"}}
		}
		return run(subject)
	}
	return check
}

func carriedOver() Check {
	return planned(Check{
		ID: IDCarriedOver, Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		About: "Looks at whether everything that has to be written for a waypoint can be.",
		Why: "A copy of a policy at a waypoint has to mean there what the policy means in sidecars, a policy for the whole mesh must not refuse the " +
			"waypoint, nor what stands in front of an external authorizer, which the waypoint comes to ask in place of the pods, and nothing of somebody else's is overwritten, " +
			"nor what somebody has changed since a run made it. What does not fit is named here.",
		Needs: []string{"AuthorizationPolicy", "RequestAuthentication", "Service"}, Passed: "everything that a waypoint needs can be written",
	}, func(subject Subject) []Finding {
		var findings []Finding
		for _, one := range subject.Migration.Unsolved {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusFail, Object: reference(one.Object), Field: one.Field, Message: one.Message, Remedy: one.Remedy,
			})
		}
		return findings
	})
}

func waypointLosses() Check {
	return planned(Check{
		ID: IDWaypointLosses, Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		About: "Names what sidecars did for services of this namespace and no waypoint will do.",
		Why: "A service without a waypoint has no proxy that reads requests, and a waypoint does not do everything that a sidecar did for calls of " +
			"its own pod. Where something was refused or checked, its loss has to be accepted; the rest is announced.",
		Needs: []string{"AuthorizationPolicy", "Service"}, Passed: "nothing that sidecars did for services here ends",
	}, func(subject Subject) []Finding {
		var findings []Finding
		for _, loss := range subject.Migration.Lost {
			finding := Finding{Status: v1alpha1.StatusWarn, Object: reference(loss.Object), Field: loss.Field, Message: loss.Message}
			if loss.Security {
				finding.Status = v1alpha1.StatusFail
				finding.Remedy = cmp.Or(loss.Remedy, "give the service a waypoint") + ", or accept it: --accept " + acceptable(IDWaypointLosses, loss.Object)
			}
			findings = append(findings, finding)
		}
		return findings
	})
}

// acceptable is what accepts the findings of a check about an object.
func acceptable(id string, object v1alpha1.ObjectReference) string {
	if object.Namespace == "" {
		return id + ":" + object.Name
	}
	return id + ":" + object.Namespace + "/" + object.Name
}

func callsCompared() Check {
	return planned(Check{
		ID: IDCallsCompared, Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		About: "Looks at whether every kind of call that the policies can tell apart was decided for each step of the plan.",
		Why: "The calls are built from the constants of the policies, one of each kind, and decided as sidecars, ztunnel and waypoints would. Where " +
			"there are too many kinds, or a condition cannot be modelled, a difference may be missed.",
		Needs: []string{"AuthorizationPolicy", "PeerAuthentication", "Service"}, Passed: "every kind of call was decided for each step",
	}, func(subject Subject) []Finding {
		access := subject.Migration.Access
		if access == nil {
			return []Finding{{Status: v1alpha1.StatusUnknown, Message: "calls were not compared", Remedy: "plan again"}}
		}
		var findings []Finding
		for _, text := range access.Unread {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusWarn, Object: reference(subject.Namespace.Reference()), Message: text, Remedy: "plan as somebody who may read that namespace, to have those calls compared, too",
			})
		}
		for _, text := range access.Incomplete {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusUnknown, Object: reference(subject.Namespace.Reference()), Message: text,
				Remedy: "simplify the policies, or accept that the rest was not compared: --accept " + IDCallsCompared,
			})
		}
		return findings
	})
}

func callsNewlyAllowed() Check {
	return planned(Check{
		ID: IDCallsNewlyAllowed, Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		About: "Looks for calls that are refused today and that a step of the plan would let in.",
		Why: "That is a hole in the policies, be it for as long as a restart takes. Each kind of call is named by one of its kind, with the policy " +
			"that refuses it today. Callers that leave their sidecars come to go through the waypoints of other namespaces, and those that get " +
			"them back to pass by these: what that lets in counts as well, and is announced where nothing but what runs have made refuses it today. Where runs have handed policies over before, what sidecars would let " +
			"in by the policies that there are now is announced only.",
		Needs:  []string{"AuthorizationPolicy", "PeerAuthentication", "Service"},
		Passed: "no step lets in a call that is refused today",
	}, func(subject Subject) []Finding {
		chosen := func(change v1alpha1.CallChange) bool {
			return subject.Migration.Access.MixedCallers == layer4Meanwhile && change.Direct && !change.Outbound
		}
		unguarded := func(change v1alpha1.CallChange) bool {
			return change.Direct && !chosen(change) && lists(subject.Migration.Unguarded, change.Server)
		}
		repaired := func(change v1alpha1.CallChange) bool { return change.Repairs && !chosen(change) && !unguarded(change) }
		announced := func(change v1alpha1.CallChange) bool { return change.Announced && !change.Repairs }
		expected := func(change v1alpha1.CallChange) bool {
			return chosen(change) || unguarded(change) || repaired(change) || announced(change)
		}
		findings := subject.changed(v1alpha1.CallNewlyAllowed, not(expected), func(server v1alpha1.ObjectReference, changes []v1alpha1.CallChange) Finding {
			return Finding{
				Status: v1alpha1.StatusFail, Message: describeChanges(changes, "that is refused today is let in", "that are refused today are let in"),
				Remedy: joined(changesRemedy(changes), "accept it: --accept "+acceptable(IDCallsNewlyAllowed, server)),
			}
		})
		// What the choice means was chosen with it. What a policy refused that somebody
		// has deleted is let in already of whoever passes by the waypoint.
		findings = append(findings, subject.letIn(chosen, "let in past the waypoint, as was chosen")...)
		findings = append(findings, subject.letIn(unguarded, "let in past the waypoint, as it is already for others: somebody has deleted the policy that refused it there")...)
		findings = append(findings, subject.letIn(announced, "let in since who calls goes another way, through a waypoint of that namespace or past it: nothing but what runs have made refuses it until then, or was announced to")...)
		return append(findings, subject.letIn(repaired, "let in, as the policies say for sidecars: what runs have made of them refuses it until then, or was taken away since, or they have come or changed since")...)
	})
}

func not(counts func(v1alpha1.CallChange) bool) func(v1alpha1.CallChange) bool {
	return func(change v1alpha1.CallChange) bool { return !counts(change) }
}

// letIn announces calls that are let in for a reason.
func (s Subject) letIn(counts func(v1alpha1.CallChange) bool, why string) []Finding {
	announced := s.changed(v1alpha1.CallNewlyAllowed, counts, func(_ v1alpha1.ObjectReference, changes []v1alpha1.CallChange) Finding {
		one, several := "that is refused today is "+why, "that are refused today are "+why
		return Finding{Status: v1alpha1.StatusWarn, Message: describeChanges(changes, one, several), Remedy: changesRemedy(changes)}
	})
	return slices.DeleteFunc(announced, func(finding Finding) bool { return finding.Status == v1alpha1.StatusSkip })
}

// layer4Meanwhile is the choice that lets direct calls in as far as ztunnel can tell
// them apart.
const layer4Meanwhile = "l4"

// every counts all changes.
func every(v1alpha1.CallChange) bool { return true }

func callsNewlyProven() Check {
	return planned(Check{
		ID: IDCallsNewlyProven, Category: CategoryPolicies, Severity: v1alpha1.SeverityWarning,
		About: "Looks for calls that policies admit from who makes them, and that are refused today because the caller does not prove who it is.",
		Why: "A sidecar that is asked for a pod's own address, and not for a Service, sends plaintext (istio " +
			"pilot/pkg/networking/core/cluster_builder.go, buildDefaultPassthroughCluster); ztunnel proves the caller's identity there as well. " +
			"What the policies say of that identity then holds.",
		Needs:  []string{"AuthorizationPolicy", "PeerAuthentication", "Service"},
		Passed: "no caller comes to prove who it is where it did not",
	}, func(subject Subject) []Finding {
		return subject.changed(v1alpha1.CallNewlyProven, every, func(_ v1alpha1.ObjectReference, changes []v1alpha1.CallChange) Finding {
			const one, several = "is let in that is refused today although policies admit who makes it", "are let in that are refused today although policies admit who makes them"
			return Finding{Status: v1alpha1.StatusWarn, Message: describeChanges(changes, one, several), Remedy: changesRemedy(changes)}
		})
	})
}

func callsNewlyDenied() Check {
	return planned(Check{
		ID: IDCallsNewlyDenied, Category: CategoryPolicies, Severity: v1alpha1.SeverityWarning,
		About: "Looks for calls that succeed today and that a step of the plan would refuse.",
		Why: "ztunnel cannot read requests: a direct call to a pod that has lost its sidecar is refused where nobody can tell it from one that has " +
			"to be. Each kind of call is named by one of its kind.",
		Needs:  []string{"AuthorizationPolicy", "PeerAuthentication", "Service"},
		Passed: "no step refuses a call that succeeds today",
	}, func(subject Subject) []Finding {
		return subject.changed(v1alpha1.CallNewlyDenied, every, func(_ v1alpha1.ObjectReference, changes []v1alpha1.CallChange) Finding {
			return Finding{
				Status: v1alpha1.StatusWarn, Message: describeChanges(changes, "that succeeds today is refused", "that succeed today are refused"),
				Remedy: changesRemedy(changes),
			}
		})
	})
}

// changesRemedy is what can be done about calls to one server that are decided
// differently, where it is the same for all of them.
func changesRemedy(changes []v1alpha1.CallChange) string {
	for _, change := range changes[1:] {
		if change.Remedy != changes[0].Remedy {
			return "CALLS says what can be done about each kind of them"
		}
	}
	return changes[0].Remedy
}

// changed makes a finding of each server's calls that are decided differently, in
// one way. Where not all were compared and none is known, none may be all the same.
func (s Subject) changed(
	effect v1alpha1.CallEffect, counts func(v1alpha1.CallChange) bool, found func(server v1alpha1.ObjectReference, changes []v1alpha1.CallChange) Finding,
) []Finding {
	report := s.Migration.Access
	if report == nil {
		return []Finding{{Status: v1alpha1.StatusSkip, Message: "calls were not compared"}}
	}
	var servers []v1alpha1.ObjectReference
	changes := map[v1alpha1.ObjectReference][]v1alpha1.CallChange{}
	for _, change := range report.Changes {
		if change.Effect != effect || !counts(change) {
			continue
		}
		if len(changes[change.Server]) == 0 {
			servers = append(servers, change.Server)
		}
		changes[change.Server] = append(changes[change.Server], change)
	}
	if len(servers) == 0 && len(report.Incomplete) > 0 {
		return []Finding{{Status: v1alpha1.StatusSkip, Message: "none is known, but not all calls were compared"}}
	}
	var findings []Finding
	for _, server := range servers {
		finding := found(server, changes[server])
		finding.Object = reference(server)
		findings = append(findings, finding)
	}
	return findings
}

// describeChanges counts the kinds of calls of one server, and shows the first.
func describeChanges(changes []v1alpha1.CallChange, one, several string) string {
	kinds := 0
	for _, change := range changes {
		kinds += max(change.Alike, 1)
	}
	if kinds == 1 {
		return "a kind of call " + one + ": " + DescribeChange(changes[0])
	}
	first := changes[0]
	first.Alike = 1
	return fmt.Sprintf("%d kinds of calls %s, such as: %s", kinds, several, DescribeChange(first))
}

func mixedCallers() Check {
	return planned(Check{
		ID: IDMixedCallers, Category: CategoryPolicies, Severity: v1alpha1.SeverityError,
		About: "Looks for workloads that protect themselves by HTTP and have callers that cannot move before them.",
		Why: "Callers with a sidecar pass by waypoints (istio#51445). Once the pod they call has lost its own sidecar, nothing reads their " +
			"requests. They have to move first; gateways, workloads of other namespaces and callers that nobody has seen do not move with this " +
			"namespace, and callers that call each other, or themselves, have no first. With --strategy=namespace there is no first either: from the step on " +
			"that takes the injection label away, any pod may be made anew. A workload that has moved cannot wait: it is named where a step " +
			"would refuse calls of such callers that succeed today.",
		Needs: []string{"AuthorizationPolicy", "Service", "Pod"}, Passed: "every workload can wait until its callers have moved",
	}, func(subject Subject) []Finding {
		var findings []Finding
		for _, held := range subject.Migration.Held {
			i := slices.IndexFunc(findings, func(finding Finding) bool { return *finding.Object == held.Workload })
			if i >= 0 {
				findings[i].Message += "; " + whyHeld(held)
				continue
			}
			message := whyHeld(held)
			if held.Step == "" {
				message = "calls that pass by the waypoint are decided differently once it has moved; " + message
			}
			findings = append(findings, Finding{
				Status: v1alpha1.StatusFail, Object: reference(held.Workload), Message: message,
				Remedy: "move the callers first, or choose what becomes of their calls meanwhile: --mixed-callers=deny refuses what cannot be decided, " +
					"--mixed-callers=l4 lets in what identities and ports allow",
			})
		}
		return findings
	})
}

func whyHeld(held Held) string {
	switch {
	case held.Step != "":
		return "no step has to move it, and step " + held.Step + " refuses calls that succeed today, of callers that pass by the waypoint: " + some(held.Callers)
	case held.Unordered:
		return "with --strategy=namespace its pods may move before these callers, whenever one is made anew: " + some(held.Callers)
	case held.Cycle:
		return "it waits for callers that wait for it: " + some(held.Callers)
	default:
		return "these callers still have sidecars when it moves: " + some(held.Callers)
	}
}

// DescribeChange says in a line what becomes of which call.
func DescribeChange(change v1alpha1.CallChange) string {
	before, after := Verdict(change.Before), Verdict(change.After)
	text := fmt.Sprintf("%s from %s: %s, today %s", DescribeCall(change), DescribeCaller(change.Caller), after, before)
	if change.Alike > 1 {
		text += fmt.Sprintf("; %d kinds of calls alike", change.Alike)
	}
	return text + "; " + DescribeSpan(change)
}

// DescribeSpan says from when until when a call is decided differently.
func DescribeSpan(change v1alpha1.CallChange) string {
	switch change.Until {
	case "":
		return "from step " + change.From + " on"
	case change.From:
		return "while step " + change.From + " runs"
	default:
		return "from step " + change.From + " until " + change.Until
	}
}

// DescribeCall says what is asked of whom.
func DescribeCall(change v1alpha1.CallChange) string {
	request := change.Request
	words := []string{"TCP"}
	if request.Method != "" {
		words = []string{request.Method, request.Host + request.Path}
	}
	if request.Token != "" {
		words = append(words, "with "+request.Token)
	}
	for _, name := range slices.Sorted(maps.Keys(request.Headers)) {
		words = append(words, fmt.Sprintf("with %s: %s", name, request.Headers[name]))
	}
	if request.ServerName != "" {
		words = append(words, "for "+request.ServerName)
	}
	if request.ForwardedFor != "" {
		words = append(words, "forwarded for "+request.ForwardedFor)
	}
	to := fmt.Sprintf("to a pod's port %d", change.Port)
	switch {
	case change.AnyOther:
		to = fmt.Sprintf("to any other port of a pod, such as %d", change.Port)
	case change.Service != nil:
		to = fmt.Sprintf("to %s port %d", change.Service.Name, change.Port)
	}
	return strings.Join(append(words, to), " ")
}

// DescribeCaller names a caller and how it takes part in the mesh.
func DescribeCaller(caller v1alpha1.CallCaller) string {
	mode := map[string]string{"sidecar": "with a sidecar", "ambient": "in ambient mode", "gateway": "a gateway"}[caller.Mode]
	text := caller.Name
	if mode != "" {
		text += " (" + mode + ")"
	}
	if caller.Address != "" {
		text += " at " + caller.Address
	}
	return text
}

// Verdict says what becomes of a call, where, and why.
func Verdict(verdict v1alpha1.CallVerdict) string {
	text := verdict.Outcome
	if verdict.Point != "" {
		text += " by " + verdict.Point
	}
	if verdict.Reason != "" {
		text += " (" + verdict.Reason
		var names []string
		for _, policy := range verdict.Policies {
			names = append(names, policy.Name)
		}
		if len(names) > 0 {
			text += ": " + some(names)
		}
		text += ")"
	}
	return text
}

// joined are remedies of which any one will do.
func joined(remedies ...string) string {
	return strings.Join(slices.DeleteFunc(remedies, func(remedy string) bool { return remedy == "" }), "; or ")
}
