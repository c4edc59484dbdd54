package e2e

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/classes"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// change is a call that the oracle decides otherwise than it did.
type change struct {
	asked    call
	server   *access.Server
	caller   *member
	effect   v1alpha1.CallEffect
	was, now span
}

// unannounced says why a change is none that the plan has announced; it is empty where
// the plan has.
//
// What a plan announces is one call of a kind, and how many it stands for: calls of a
// caller to a port whose requests and addresses are told apart by policies, and that
// change in the same direction over the same steps. Which others these are it does not
// tell. So the model has to find the change, too, in the stages from which the plan was
// made: this request's decisions there have to be those that were seen, at both ends. A
// change that stands for itself alone has, besides, to be about such a request, decided
// so before, from such an address.
//
// Three things are not told apart: a request of which nothing was announced, where the
// model finds the same change as was announced of other requests of that caller, at that
// port, for those steps; how far apart the outcomes are that an announced change which
// stands for several has for each of them; and callers whom nobody has seen: a plan has
// one of a class only where the identity that it takes for the class is nobody's.
func (r *trial) unannounced(seen *sighting, found change) string {
	if seen.restored() {
		return "nothing is after a rollback"
	}
	report := r.leg(seen.stage).planned.Access
	if report == nil {
		return "the plan compares no calls"
	}
	if r.addressed(seen.stage, found.server.Workload) {
		// The plan says that it cannot tell, which blocks.
		return ""
	}
	if why := r.unforeseen(seen, found); why != "" {
		return why
	}
	if !slices.ContainsFunc(report.Changes, func(announced v1alpha1.CallChange) bool { return r.announces(announced, seen.stage, found) }) {
		return "the plan has no such change"
	}
	return ""
}

// unforeseen says why the model does not find a change in the stages that the plan
// expects. Of a call that fails for other reasons at some pod, not all that policies
// decide has been seen.
func (r *trial) unforeseen(seen *sighting, found change) string {
	if found.was.unreachable || found.now.unreachable {
		return ""
	}
	expected, leg := r.expected(seen.stage), r.leg(seen.stage)
	if expected == nil {
		return "the plan has no such stage"
	}
	var was span
	for i, end := range r.ends(seen.stage) {
		// The first stage of a plan is how all is when it begins, the last how it ends.
		state := leg.stages[0].State
		if i > 0 {
			state = leg.stages[len(leg.stages)-1].State
		}
		was.join(seen.foreseen(state, found.asked, found.server.Workload, end.modesOf(found.caller)))
	}
	now := seen.foreseen(expected, found.asked, found.server.Workload, []access.Mode{found.asked.mode})
	switch {
	case !was.known || !now.known:
		return "the plan expects nobody to answer"
	case !now.differs(found.effect, was):
		return "the model does not find the change in the plan's stages"
	case found.effect == v1alpha1.CallNewlyDenied && (was.narrowest != found.was.narrowest || now.narrowest != found.now.narrowest),
		found.effect != v1alpha1.CallNewlyDenied && (was.widest != found.was.widest || now.widest != found.now.widest):
		return "the model finds another change in the plan's stages"
	}
	return ""
}

// foreseen is what the model makes of a call in a state, as spanOf is what the oracle
// makes of it.
func (s *sighting) foreseen(state *access.State, asked call, workload v1alpha1.ObjectReference, modes []access.Mode) span {
	var all span
	identity := asked.identity
	for _, mode := range modes {
		asked.mode, asked.identity = mode, identity
		if mode == access.ModeOutside {
			asked.identity = access.Identity{}
		}
		for _, server := range state.Servers {
			if server.Workload != workload || !s.possible(asked) || asked.service == "" && !slices.Contains(direct(server), asked.port) {
				continue
			}
			if decision, ok := modelled(state, asked, server); ok {
				all.decide(decision.Outcome)
			}
		}
	}
	return all
}

// announces says whether an announced change is about such a call at a stage.
func (r *trial) announces(announced v1alpha1.CallChange, at stage, found change) bool {
	asked, service := found.asked, ""
	if announced.Service != nil {
		service = announced.Service.Name
	}
	names := announced.Caller.Names
	if len(names) == 0 {
		names = strings.Split(announced.Caller.Name, ", ")
	}
	// What is newly proven is let in, too.
	effect := announced.Effect == found.effect || announced.Effect == v1alpha1.CallNewlyProven && found.effect == v1alpha1.CallNewlyAllowed
	if !effect || announced.Server != found.server.Workload || service != asked.service || announced.Port != asked.port ||
		announced.Caller.Mode != string(asked.mode) || !slices.Contains(names, found.caller.name) {
		return false
	}
	leg := r.leg(at)
	position := func(id string) int {
		return slices.IndexFunc(leg.planned.Steps, func(step v1alpha1.Step) bool { return step.ID == id })
	}
	until := position(announced.Until)
	if at.step < position(announced.From) || announced.Until != "" && at.step >= until && (at.step > until || !at.during) {
		return false
	}
	return r.ofItsKind(announced, at, found)
}

// ofItsKind says whether a call is by a caller whom policies cannot tell from the one
// that was announced, and of the announced kind as far as that can be told.
func (r *trial) ofItsKind(announced v1alpha1.CallChange, at stage, found change) bool {
	asked, class := found.asked, r.leg(at).atomsOf(found.server.Workload).CallerClass
	if asked.mode != access.ModeOutside && class(asked.identity, netip.Addr{}) != class(identityOf(announced.Caller.Principal), netip.Addr{}) {
		return false
	}
	if announced.Alike != 1 {
		return true
	}
	if address, err := netip.ParseAddr(announced.Caller.Address); err == nil && class(access.Identity{}, asked.address) != class(access.Identity{}, address) {
		return false
	}
	return asked.request.HTTP == (announced.Request.Method != "") && (at.back || announced.Before.Outcome == found.outcomeBefore())
}

// outcomeBefore is how the plan writes what became of the call.
func (c change) outcomeBefore() string {
	outcome := c.was.widest
	if c.effect == v1alpha1.CallNewlyDenied {
		outcome = c.was.narrowest
	}
	return outcomeNames[outcome]
}

var outcomeNames = map[access.Outcome]string{access.Allowed: "allowed", access.Denied: "denied", access.Delegated: "delegated"}

// identityOf reads a principal as policies write it.
func identityOf(principal string) access.Identity {
	domain, rest, _ := strings.Cut(principal, "/ns/")
	namespace, account, _ := strings.Cut(rest, "/sa/")
	return access.Identity{TrustDomain: domain, Namespace: namespace, ServiceAccount: account}
}

// atomsOf are what a plan tells calls to a workload apart by: the policies of all its
// stages.
func (l *leg) atomsOf(workload v1alpha1.ObjectReference) *classes.Atoms {
	if known, is := l.atoms[workload]; is {
		return known
	}
	var servers []*access.Server
	for _, of := range l.stages {
		for _, server := range of.State.Servers {
			if server.Workload == workload {
				servers = append(servers, server)
			}
		}
	}
	if l.atoms == nil {
		l.atoms = map[v1alpha1.ObjectReference]*classes.Atoms{}
	}
	l.atoms[workload] = atomsOf(servers...)
	return l.atoms[workload]
}
