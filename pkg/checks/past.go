package checks

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// Past is a namespace as it was before it was enrolled, and what has become of it since.
type Past struct {
	Baseline v1alpha1.Baseline
	// Snapshot is what Baseline holds of the mesh.
	Snapshot *mesh.Snapshot
	// Deleted are the objects that runs have deleted, Lost those of which a plan said that
	// an effect of theirs ends.
	Deleted, Lost []v1alpha1.ObjectReference
	// Moved are the workloads that runs have moved.
	Moved []v1alpha1.ObjectReference
	// Edited are the policies that somebody has made, changed or deleted since.
	Edited []v1alpha1.ObjectReference
	// Changes are the calls that are decided differently although no plan said so and
	// nobody has edited a policy; Following those that are because of that.
	Changes, Following []v1alpha1.CallChange
	// Foretold counts the kinds of calls that the plans said would be decided differently.
	Foretold int
	// Compared counts the calls that were compared, Incomplete says what was not.
	Compared   int
	Incomplete []string
}

// The checks against what was.
const (
	IDStrictKept    = "strict-kept"
	IDCallsKept     = "calls-kept"
	IDRoutesKept    = "routes-kept"
	IDWorkloadsKept = "workloads-kept"
	IDTrafficSeen   = "traffic-seen"
	IDPlaintextSeen = "plaintext-seen"
)

// pastChecks compare a namespace with what it was before it was enrolled.
func pastChecks() []Check {
	return []Check{strictKept(), callsKept(), routesKept(), workloadsKept(), trafficSeen(), plaintextSeen()}
}

// past is a check against what was: without a record of that it is skipped, and says why.
func past(check Check, run func(Subject, *Past) []Finding) Check {
	check.Category = CategoryPast
	check.Run = func(subject Subject) []Finding {
		switch {
		case subject.Past != nil:
			return run(subject, subject.Past)
		case subject.NoPast != "":
			return []Finding{{Status: v1alpha1.StatusSkip, Message: "it cannot be compared: " + subject.NoPast}}
		default:
			// handed-over is unknown for that, and blocks.
			return []Finding{{Status: v1alpha1.StatusSkip, Message: "it cannot be compared: the records of runs were not read"}}
		}
	}
	return check
}

// since is when the baseline was taken, as messages say it.
func (p *Past) since() string { return p.Baseline.Taken.UTC().Format(time.RFC3339) }

func callsKept() Check {
	return past(Check{
		ID: IDCallsKept, Severity: v1alpha1.SeverityError,
		About: "Whether the policies that there are now decide each kind of call as those before the enrolment did.",
		Why: "The same model decides that judges a plan, for the mesh as the record holds it and as it is. What the plan announced, or what was accepted of it, is no finding; " +
			"what is let in besides fails, what is refused besides is a warning. Where somebody has edited policies since, what follows from that is a warning that names them, and that " +
			"says so where the namespace is weaker than before: whoever edits a policy may want it so, and of what was edited after the enrolment nothing can be accepted. Where not all calls " +
			"could be compared a difference may be missed: that is unknown, and accepted where it was accepted of the plan that not all were (" + IDCallsCompared + ").",
		Needs: []string{mesh.KindAuthorizationPolicy, mesh.KindPeerAuthentication, mesh.KindRequestAuthentication, mesh.KindService, mesh.KindPod},
		DependsOn: []string{
			"istio-installed", "waypoint-missing", "waypoint-unready", "waypoint-shape", "waypoint-diverted", "waypoint-copies", "policy-waypoints",
			"handed-over", "policies-accepted", "layer7-enforced", "no-sidecars", "dataplane-mode", "labels-consistent", "outside-mesh", "redirected",
			IDZtunnelCaptured, "ztunnel-hbone", "ztunnel-policies", "ztunnel-waypoints", "ztunnel-accepted", "ztunnel-certificates", "ztunnel-in-step", IDStrictKept,
		},
		Passed: "calls are decided as before the enrolment, but for what its plan announced",
	}, func(_ Subject, past *Past) []Finding {
		var findings []Finding
		for _, text := range past.Incomplete {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusUnknown, Message: "not every kind of call was compared: " + text,
				Remedy: "simplify the policies; what was accepted of the plan as " + IDCallsCompared + " is accepted here",
			})
		}
		findings = append(findings, past.calls(past.Changes, v1alpha1.CallNewlyAllowed, v1alpha1.StatusFail, "let in that was refused before", "")...)
		findings = append(findings, past.calls(past.Changes, v1alpha1.CallNewlyDenied, v1alpha1.StatusWarn, "refused that was let in before", "")...)
		because := fmt.Sprintf("; somebody has edited since: %s", some(namesOf(past.Edited)))
		findings = append(findings, past.calls(past.Following, v1alpha1.CallNewlyAllowed, v1alpha1.StatusWarn, "let in that was refused before", because+", so that the namespace is weaker than before")...)
		findings = append(findings, past.calls(past.Following, v1alpha1.CallNewlyDenied, v1alpha1.StatusWarn, "refused that was let in before", because)...)
		if len(findings) == 0 && past.Foretold > 0 {
			findings = append(findings, Finding{
				Status: v1alpha1.StatusPass, Message: fmt.Sprintf("calls are decided as before the enrolment, but for %s that its plan announced", count(past.Foretold, "kind")),
			})
		}
		return findings
	})
}

func namesOf(objects []v1alpha1.ObjectReference) []string {
	var names []string
	for _, object := range objects {
		names = append(names, object.String())
	}
	return names
}

// calls makes a finding of each server's calls that are decided differently in one way.
func (p *Past) calls(changes []v1alpha1.CallChange, effect v1alpha1.CallEffect, status v1alpha1.CheckStatus, what, because string) []Finding {
	var findings []Finding
	for i, change := range changes {
		of := func(other v1alpha1.CallChange) bool { return other.Effect == effect && other.Server == change.Server }
		if !of(change) || slices.ContainsFunc(changes[:i], of) {
			continue
		}
		kinds := 0
		for _, other := range changes[i:] {
			if of(other) {
				kinds += max(other.Alike, 1)
			}
		}
		text := fmt.Sprintf("a kind of call is %s", what)
		if kinds > 1 {
			text = fmt.Sprintf("%d kinds of calls are %s, such as", kinds, strings.Replace(what, "that was", "that were", 1))
		}
		findings = append(findings, Finding{
			Status: status, Object: reference(change.Server),
			Message: fmt.Sprintf("%s: %s from %s: %s, before %s%s", text, DescribeCall(change), DescribeCaller(change.Caller), Verdict(change.After), Verdict(change.Before), because),
			Remedy:  "compare the policies with those of the record: kubectl ambient history shows its run",
		})
	}
	return findings
}

func routesKept() Check {
	return past(Check{
		ID: IDRoutesKept, Severity: v1alpha1.SeverityError,
		About: "Whether the routes and timeouts of VirtualServices, DestinationRules and routes of the Gateway API that sidecars enforced for Services here are enforced still, by a waypoint.",
		Why: "Only a proxy that reads requests routes them, or gives up waiting: in ambient mode the waypoint of the Service that they are for. What the plan said would end, what a run has deleted " +
			"because it was replaced, and Services that were taken off their waypoint are no findings.",
		Needs:     append([]string{mesh.KindVirtualService, mesh.KindDestinationRule, mesh.KindGateway, mesh.KindService}, routeKinds()...),
		DependsOn: []string{"waypoint-missing", "waypoint-unready", "waypoint-diverted"},
		Passed:    "what routed calls before the enrolment does so still",
	}, func(subject Subject, past *Past) []Finding {
		namespace, found := past.Snapshot.Namespace(subject.Namespace.Name)
		if !found {
			return nil
		}
		now := subject.Snapshot.WaypointNeeds(subject.Namespace)
		var findings []Finding
		for _, need := range past.Snapshot.WaypointNeeds(namespace) {
			if need.Service.Kind != mesh.KindService || !past.routed(need, namespace) {
				continue
			}
			for _, reason := range need.Reasons {
				if finding, lost := subject.unrouted(past, need.Service, reason, now); lost {
					findings = append(findings, finding)
				}
			}
		}
		return findings
	})
}

// routed says whether anything routed calls to a Service: sidecars of the namespace, or
// a waypoint.
func (p *Past) routed(need mesh.ServiceNeed, namespace mesh.Namespace) bool {
	if slices.ContainsFunc(p.Snapshot.Pods(namespace.Name), mesh.Pod.HasSidecar) {
		return true
	}
	_, fronted := p.waypointOf(p.Snapshot, namespace, need.Service)
	return fronted
}

func (p *Past) waypointOf(snapshot *mesh.Snapshot, namespace mesh.Namespace, object v1alpha1.ObjectReference) (exists, fronted bool) {
	for _, service := range snapshot.Services(namespace.Name) {
		if service.Name == object.Name {
			_, fronted = snapshot.WaypointOf(service.Labels, namespace)
			// Calls to a headless Service go to its pods, whatever it is labelled.
			return true, fronted && !mesh.Headless(service)
		}
	}
	return false, false
}

// unrouted says what has become of an object that routed calls to a Service, where it
// does not any more.
func (s Subject) unrouted(past *Past, service v1alpha1.ObjectReference, reason mesh.Reason, now []mesh.ServiceNeed) (Finding, bool) {
	exists, fronted := past.waypointOf(s.Snapshot, s.Namespace, service)
	if reason.Kind != mesh.NeedRouting || !exists || lists(past.Deleted, reason.Object) || lists(past.Lost, reason.Object) {
		return Finding{}, false
	}
	still := slices.ContainsFunc(now, func(need mesh.ServiceNeed) bool {
		return same(need.Service, service) && slices.ContainsFunc(need.Reasons, func(other mesh.Reason) bool { return same(other.Object, reason.Object) })
	})
	finding := Finding{Object: reference(reason.Object), Field: reason.Field}
	switch {
	case !still:
		finding.Status, finding.Message = v1alpha1.StatusWarn, fmt.Sprintf("it routed calls to %s, and is gone or names other Services: somebody has changed it", service)
	case fronted, s.direct(service), s.Handed != nil && slices.Contains(s.Handed.TakenOff, service.Name):
		return finding, false
	default:
		finding.Status, finding.Message = v1alpha1.StatusFail, fmt.Sprintf("sidecars routed calls to %s by it, and nothing does now: the Service has no waypoint", service)
		finding.Remedy = fmt.Sprintf("kubectl ambient enroll -n %s service/%s", s.Namespace.Name, service.Name)
	}
	return finding, true
}
