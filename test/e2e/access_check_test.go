package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/oracle"
)

// How many calls of each stage are asked about, and how many disagreements of a
// mesh are printed.
const (
	modelledAtOnce = 800
	comparedAtOnce = 800
	mostTold       = 6
)

// inventedOneIn is of how many calls one is not a witness of its kind.
const inventedOneIn = 3

// check holds what was seen at a stage against the model, against what was seen
// before the migration, and against what the plan expected.
func (r *trial) check(seen *sighting) {
	dice := rand.New(rand.NewPCG(r.mesh.Seed, uint64(2*len(r.there.planned.Steps)+2*seen.step+len(r.nameOf(seen.stage)))))
	for range modelledAtOnce {
		r.checkModel(seen, dice)
	}
	r.kept.add(r.mesh.Seed, r.nameOf(seen.stage), seen)
	if seen != r.before && r.before != nil {
		for range comparedAtOnce {
			r.checkBefore(seen, dice)
		}
	}
}

// disagree prints a disagreement, and counts on after some.
func (r *trial) disagree(seen *sighting, of call, server *access.Server, format string, arguments ...any) {
	r.told++
	if r.told > mostTold {
		r.Fail()
		return
	}
	r.Errorf("seed %d, %s: %s %s called by %s:\n%s\nagain: ACCESS_SEED=%d go test -count=1 -run TestAccess .",
		r.mesh.Seed, r.nameOf(seen.stage), server.Mode, server.Workload, of, fmt.Sprintf(format, arguments...), r.mesh.Seed)
}

func oneOf[T any](dice *rand.Rand, of []T) T { return of[dice.IntN(len(of))] }

var allModes = []access.Mode{access.ModeSidecar, access.ModeAmbient, access.ModeGateway, access.ModeOutside}

// otherPort is one that nothing in a mesh names.
const otherPort = 65535

// direct are the ports at which calls to a pod's own address are tried.
func direct(server *access.Server) []uint32 {
	return slices.Concat(server.Ports, server.PolicyPorts(), []uint32{otherPort})
}

// draw draws a call to a server, but for who calls.
func (s *sighting) draw(dice *rand.Rand, server *subject) (call, bool) {
	drawn := call{address: oneOf(dice, server.addresses), request: server.requests[0]}
	if dice.IntN(8) > 0 {
		drawn.request = oneOf(dice, server.requests)
	}
	if dice.IntN(inventedOneIn) == 0 {
		drawn = server.constants.invent(dice, drawn)
	}
	if services := own(server.Server); len(services) > 0 && dice.IntN(4) > 0 {
		service := oneOf(dice, services)
		drawn.service, drawn.port = service.Reference.Name, oneOf(dice, service.Ports).Port
		return drawn, true
	}
	drawn.port = oneOf(dice, direct(server.Server))
	return drawn, true
}

// checkModel holds the access model against the oracle.
func (r *trial) checkModel(seen *sighting, dice *rand.Rand) {
	server := oneOf(dice, seen.servers)
	asked, ok := seen.draw(dice, server)
	asked.mode = oneOf(dice, allModes)
	if asked.mode != access.ModeOutside {
		asked.identity = oneOf(dice, server.identities)
		if member := oneOf(dice, seen.members); dice.IntN(2) == 0 && !member.identity.None() {
			asked.identity = member.identity
		}
	}
	if !ok || !seen.possible(asked) || server.Mode == access.ModeGateway {
		return
	}
	decision, ok := seen.modelled(asked, server.Server)
	if !ok {
		return
	}
	verdicts, err := seen.observed(asked, server.Server)
	if err != nil {
		r.disagree(seen, asked, server.Server, "the oracle cannot tell: %v", err)
		return
	}
	for pod, verdict := range verdicts {
		if verdict.Outcome == oracle.Unreachable {
			r.totals.unreachable.Add(1)
			r.noteUnreachable(verdict)
			continue
		}
		r.totals.modelled.Add(1)
		seen.keep(asked, server.Server, pod, verdict)
		if asked.invented {
			r.totals.invented.Add(1)
		}
		if outcomes[verdict.Outcome] != decision.Outcome {
			r.disagree(seen, asked, server.Server, "model:  %s\noracle: %s (%s)", told(decision), verdict.Outcome, verdict.By)
		}
	}
	r.checkPlan(seen, asked, server.Server, decision)
}

// noteUnreachable counts calls that fail for other reasons than policy, by reason.
func (r *trial) noteUnreachable(verdict oracle.Verdict) {
	reason := verdict.By[strings.LastIndex(verdict.By, ": ")+1:]
	count, _ := r.totals.reasons.LoadOrStore(reason, new(atomic.Int64))
	count.(*atomic.Int64).Add(1)
}

// outcomes are the model's names of the oracle's.
var outcomes = map[oracle.Outcome]access.Outcome{
	oracle.Allowed: access.Allowed, oracle.Denied: access.Denied, oracle.Delegated: access.Delegated,
}

func told(decision access.Decision) string {
	return fmt.Sprintf("%s at %q: %s %v", outcomeNames[decision.Outcome], decision.Point, decision.Reason, decision.Policies)
}

// checkPlan wants the stage that the plan expected to decide as the mesh does.
func (r *trial) checkPlan(seen *sighting, asked call, server *access.Server, decision access.Decision) {
	if seen.restored() {
		return
	}
	expected := r.expected(seen.stage)
	if expected == nil {
		r.disagree(seen, asked, server, "the plan has no such stage")
		return
	}
	alike := slices.IndexFunc(expected.Servers, func(other *access.Server) bool { return other.Workload == server.Workload && other.Mode == server.Mode })
	if alike < 0 {
		r.disagree(seen, asked, server, "the plan expects no such server")
		return
	}
	planned, ok := modelled(expected, asked, expected.Servers[alike])
	if !ok {
		r.disagree(seen, asked, server, "the plan expects no such Service")
		return
	}
	r.totals.projected.Add(1)
	if planned.Outcome != decision.Outcome && !r.addressed(seen.stage, server.Workload) {
		r.disagree(seen, asked, server, "as read:    %s\nas planned: %s", told(decision), told(planned))
	}
}

// expected is what the plan of a leg expects at a stage; nil where it knows of none.
func (r *trial) expected(at stage) *access.State {
	leg, id := r.leg(at), ""
	if at.step >= 0 {
		id = leg.planned.Steps[at.step].ID
	}
	// A step that restarts something has two stages: during and after.
	var expected *access.State
	for _, of := range leg.stages {
		if of.Step == id && (expected == nil || !at.during) {
			expected = of.State
		}
	}
	return expected
}

// addressed says whether a policy goes by the addresses of a workload's pods, which are
// other ones once it is restarted: the plan cannot know them, and says so.
func (r *trial) addressed(at stage, workload v1alpha1.ObjectReference) bool {
	report := r.leg(at).planned.Access
	return report != nil && slices.ContainsFunc(report.Incomplete, func(text string) bool {
		return strings.HasPrefix(text, workload.String()+": destination.ip")
	})
}

// span is what becomes of a call, from the narrowest to the widest.
type span struct {
	narrowest, widest access.Outcome
	// known is true where any of it was decided, unreachable where any of it was
	// not because it fails for other reasons than policy.
	known, unreachable bool
	by                 []string
}

func (s *span) add(verdict oracle.Verdict) {
	if text := fmt.Sprintf("%s (%s)", verdict.Outcome, verdict.By); !slices.Contains(s.by, text) {
		s.by = append(s.by, text)
	}
	outcome, decided := outcomes[verdict.Outcome]
	if !decided {
		s.unreachable = true
		return
	}
	s.decide(outcome)
}

// decide adds an outcome.
func (s *span) decide(outcome access.Outcome) {
	if !s.known || outcome < s.narrowest {
		s.narrowest = outcome
	}
	if !s.known || outcome > s.widest {
		s.widest = outcome
	}
	s.known = true
}

// join adds what becomes of the call elsewhere.
func (s *span) join(other span) {
	if other.known {
		s.decide(other.narrowest)
		s.decide(other.widest)
	}
	s.unreachable = s.unreachable || other.unreachable
	s.by = append(s.by, other.by...)
}

// differs says whether a call has an effect that it had not before.
func (s span) differs(effect v1alpha1.CallEffect, was span) bool {
	if effect == v1alpha1.CallNewlyDenied {
		return s.narrowest < was.narrowest
	}
	return s.widest > was.widest
}

// spanOf asks the oracle about a call in some modes to all pods of a workload.
func (s *sighting) spanOf(asked call, workload v1alpha1.ObjectReference, modes []access.Mode) (span, error) {
	var all span
	for _, mode := range modes {
		asked.mode = mode
		identity := asked.identity
		if mode == access.ModeOutside {
			asked.identity = access.Identity{}
		}
		for _, server := range s.state.Servers {
			if server.Workload != workload || !s.possible(asked) || asked.service == "" && !slices.Contains(direct(server), asked.port) {
				continue
			}
			verdicts, err := s.observed(asked, server)
			if err != nil {
				return all, err
			}
			for _, verdict := range verdicts {
				all.add(verdict)
			}
		}
		asked.identity = identity
	}
	return all, nil
}

// misspoken says whether a call speaks no HTTP to a port of a Service that declares it:
// the sidecar of the caller, which the oracle does not look at, expects it just as a
// waypoint does, whether or not the server's knows of the Service.
func (s *sighting) misspoken(asked call) bool {
	return !asked.request.HTTP && slices.ContainsFunc(s.state.Services, func(service *access.Service) bool {
		return service.Reference.Name == asked.service && slices.ContainsFunc(service.Ports, func(port access.ServicePort) bool {
			return port.Port == asked.port && port.Protocol == access.ProtocolHTTP
		})
	})
}

// ends are how it was before or is to be in the end: what is decided at a stage is to be
// as at one of them.
func (r *trial) ends(at stage) []*sighting {
	if at.back && !at.restored() {
		return []*sighting{r.back.began, r.before}
	}
	return []*sighting{r.before}
}

// modesOf are those in which somebody calls who calls at another stage, too.
func (s *sighting) modesOf(caller *member) []access.Mode {
	for _, other := range s.members {
		if other.name == caller.name && other.identity == caller.identity {
			return other.modes
		}
	}
	return caller.modes
}

// checkBefore wants the oracle to decide as before the migration, or on the way back as
// before it or after it, but for what the plan has announced.
func (r *trial) checkBefore(seen *sighting, dice *rand.Rand) {
	server := oneOf(dice, seen.servers)
	caller := oneOf(dice, seen.members)
	asked, ok := seen.draw(dice, server)
	if !ok || server.Mode == access.ModeGateway {
		return
	}
	if dice.IntN(2) == 0 {
		// What could be told apart before is asked, too.
		for _, former := range r.before.servers {
			if former.Workload == server.Workload {
				asked.request, asked.address, asked.invented = oneOf(dice, former.requests), oneOf(dice, former.addresses), false
			}
		}
	}
	asked.identity = caller.identity
	var was span
	for _, end := range r.ends(seen.stage) {
		if !end.tells(asked, caller, server.Workload) {
			return
		}
		then, err := end.spanOf(asked, server.Workload, end.modesOf(caller))
		if err != nil {
			r.disagree(seen, asked, server.Server, "the oracle cannot tell how it was %s: %v", r.nameOf(end.stage), err)
			return
		}
		if then.unreachable && seen.back && !seen.restored() {
			// Whether policies admit what fails there for other reasons is what the
			// model says: the plan compares that.
			then.join(end.foreseen(end.state, asked, server.Workload, end.modesOf(caller)))
		}
		was.join(then)
	}
	for _, mode := range caller.modes {
		asked.mode = mode
		now, err := seen.spanOf(asked, server.Workload, []access.Mode{mode})
		if err != nil {
			r.disagree(seen, asked, server.Server, "the oracle cannot tell: %v", err)
			return
		}
		if was.known && !was.unreachable && was.narrowest > access.Denied && now.unreachable && !seen.misspoken(asked) {
			r.disagree(seen, asked, server.Server, "unreachable to %s:\nbefore: %s\nnow:    %s", caller.name, strings.Join(was.by, ", "), strings.Join(now.by, ", "))
		}
		if !was.known || !now.known {
			continue
		}
		r.totals.compared.Add(1)
		for _, effect := range []v1alpha1.CallEffect{v1alpha1.CallNewlyAllowed, v1alpha1.CallNewlyDenied} {
			r.checkChange(seen, change{asked, server.Server, caller, effect, was, now})
		}
	}
}

// tells says whether the oracle takes a call at a stage, in each mode in which somebody
// calls there, and to such a port of the workload: of two ends, one alone says too little
// of how it was.
func (s *sighting) tells(asked call, caller *member, workload v1alpha1.ObjectReference) bool {
	named := asked.service != "" || slices.ContainsFunc(s.state.Servers, func(server *access.Server) bool {
		return server.Workload == workload && slices.Contains(direct(server), asked.port)
	})
	return named && !slices.ContainsFunc(s.modesOf(caller), func(mode access.Mode) bool {
		other := asked
		if other.mode = mode; mode == access.ModeOutside {
			other.identity = access.Identity{}
		}
		return !s.possible(other)
	})
}

// checkChange wants a change to be announced, if it is one.
func (r *trial) checkChange(seen *sighting, found change) {
	if !found.now.differs(found.effect, found.was) {
		return
	}
	why := r.unannounced(seen, found)
	if why == "" {
		r.totals.announced.Add(1)
		return
	}
	r.disagree(seen, found.asked, found.server, "%s and not announced to %s, since %s:\nbefore: %s\nnow:    %s",
		found.effect, found.caller.name, why, strings.Join(found.was.by, ", "), strings.Join(found.now.by, ", "))
}
