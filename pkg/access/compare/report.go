package compare

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// Changes are the calls that are decided differently at any stage from how they are
// at the first one, each kind by one of its kind.
func (c *Comparison) Changes() []v1alpha1.CallChange {
	var changes []v1alpha1.CallChange
	for _, one := range c.servers {
		spans := map[spanKey]*seenAt{}
		former := map[formerKey][]*seenAt{}
		for stage := 1; stage < len(c.stages); stage++ {
			for caller := range one.callers {
				c.addStage(spans, former, one, stage, caller)
			}
		}
		for _, found := range mergeSpans(spans) {
			changes = append(changes, c.change(one, found))
		}
	}
	slices.SortStableFunc(changes, func(a, b v1alpha1.CallChange) int { return cmp.Compare(a.Effect, b.Effect) })
	return changes
}

// spanKey is a difference in the calls of one caller.
type spanKey struct {
	difference difference
	caller     int
	member     string
}

// formerKey is a caller, as it is told apart from others.
type formerKey struct {
	caller int
	member *participant
}

// seenAt are the stages at which there is a difference, in order.
type seenAt struct{ stages []int }

func (s *seenAt) add(stage int) {
	if last := len(s.stages) - 1; last < 0 || s.stages[last] != stage {
		s.stages = append(s.stages, stage)
	}
}

// addStage notes a stage for each difference that there is at it. Former are the
// differences of callers at the stage before: where neither they nor the servers have
// changed since, these are.
func (c *Comparison) addStage(spans map[spanKey]*seenAt, former map[formerKey][]*seenAt, one *subject, stage, caller int) {
	for _, member := range one.callers[caller].members {
		who := formerKey{caller, member}
		if stage > 1 && one.keys[stage] == one.keys[stage-1] && slices.Equal(member.at(stage), member.at(stage-1)) {
			for _, seen := range former[who] {
				seen.add(stage)
			}
			continue
		}
		var found []*seenAt
		for _, difference := range c.differences(one, stage, caller, modes{before: member.at(0), now: member.at(stage), after: member.at(len(c.stages) - 1), meant: member.asMeant()}) {
			key := spanKey{difference, caller, member.name}
			if spans[key] == nil {
				spans[key] = &seenAt{}
			}
			spans[key].add(stage)
			found = append(found, spans[key])
		}
		former[who] = found
	}
}

// span is a difference over consecutive stages, in the calls of some callers alike.
type span struct {
	difference  difference
	caller      int
	first, last int
	members     []string
}

// mergeSpans tells callers as one whose calls differ in the same way at the same
// time.
func mergeSpans(spans map[spanKey]*seenAt) []span {
	var merged []span
	for _, key := range slices.SortedFunc(maps.Keys(spans), compareKeys) {
		for _, part := range consecutive(spans[key].stages) {
			i := slices.IndexFunc(merged, func(one span) bool {
				return one.difference == key.difference && one.caller == key.caller && one.first == part[0] && one.last == part[len(part)-1]
			})
			if i >= 0 {
				merged[i].members = append(merged[i].members, key.member)
				continue
			}
			merged = append(merged, span{key.difference, key.caller, part[0], part[len(part)-1], []string{key.member}})
		}
	}
	return merged
}

// consecutive cuts a growing list where it leaves something out.
func consecutive(stages []int) [][]int {
	var parts [][]int
	for i, stage := range stages {
		if i == 0 || stage != stages[i-1]+1 {
			parts = append(parts, nil)
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], stage)
	}
	return parts
}

func compareKeys(a, b spanKey) int {
	return cmp.Or(cmp.Compare(a.difference.effect, b.difference.effect), cmp.Compare(a.difference.target, b.difference.target),
		cmp.Compare(a.caller, b.caller), cmp.Compare(a.difference.mode, b.difference.mode), cmp.Compare(a.difference.at, b.difference.at),
		cmp.Compare(a.difference.before, b.difference.before), compareBools(a.difference.meant, b.difference.meant), cmp.Compare(a.difference.alike, b.difference.alike),
		cmp.Compare(a.difference.all, b.difference.all), cmp.Compare(a.member, b.member))
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// mostMembers is how many callers of a kind are named.
const mostMembers = 3

func (c *Comparison) change(one *subject, of span) v1alpha1.CallChange {
	difference := of.difference
	before, _ := c.explain(one, 0, of.caller, difference, difference.before)
	after, call := c.explain(one, of.first, of.caller, difference, difference.mode)
	names := strings.Join(of.members[:min(mostMembers, len(of.members))], ", ")
	if more := len(of.members) - mostMembers; more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	change := v1alpha1.CallChange{
		Effect: v1alpha1.CallNewlyAllowed, From: c.stages[of.first].Step, Server: one.workload, Port: one.targets[difference.target].port,
		Service: one.targets[difference.target].service, Before: verdict(before), After: verdict(after), Alike: difference.alike, Repairs: difference.meant,
		Caller:  v1alpha1.CallCaller{Name: names, Mode: string(difference.mode), Principal: call.Caller.Identity.Principal()},
		Request: requestOf(call),
	}
	switch difference.effect {
	case newlyDenied:
		change.Effect = v1alpha1.CallNewlyDenied
	case newlyProven:
		change.Effect = v1alpha1.CallNewlyProven
	case newlyAllowed:
	}
	change.Kinds = c.kinds(one, of, call)
	change.AnyOther = one.targets[difference.target].other
	change.Direct = !slices.ContainsFunc(one.table(of.first).state.Way(call), func(hop access.Hop) bool { return hop.Waypoint != nil })
	if len(of.members) > mostMembers {
		change.Caller.Names = of.members
	}
	if len(one.addresses) > 1 {
		change.Caller.Address = call.Caller.Address.String()
	}
	if of.last < len(c.stages)-1 {
		change.Until = c.stages[of.last+1].Step
	}
	return change
}

// kinds are the other calls of a difference, which policies can tell from the one that
// stands for them.
func (c *Comparison) kinds(one *subject, of span, call access.Call) []v1alpha1.CallKind {
	var kinds []v1alpha1.CallKind
	for _, at := range of.difference.calls() {
		if at == of.difference.at {
			continue
		}
		call.Request = one.requests[at%len(one.requests)]
		kind := v1alpha1.CallKind{Request: requestOf(call)}
		if len(one.addresses) > 1 {
			kind.Address = one.addresses[at/len(one.requests)].String()
		}
		kinds = append(kinds, kind)
	}
	return kinds
}

// explain decides the call of a difference again, to say why it is as it is: by the
// server whose outcome makes the difference.
func (c *Comparison) explain(one *subject, stage, caller int, of difference, mode access.Mode) (access.Decision, access.Call) {
	var worst access.Decision
	var of1 access.Call
	found := false
	for _, server := range one.table(stage).servers {
		call, reachable := one.call(server, row{caller, of.target, mode})
		if !reachable {
			continue
		}
		call.Caller.Address = one.addresses[of.at/len(one.requests)]
		call.Request = one.requests[of.at%len(one.requests)]
		decision := one.table(stage).state.Decide(call)
		wider := of.effect != newlyDenied && decision.Outcome > worst.Outcome
		narrower := of.effect == newlyDenied && decision.Outcome < worst.Outcome
		if !found || wider || narrower {
			worst, of1, found = decision, call, true
		}
	}
	return worst, of1
}

func verdict(decision access.Decision) v1alpha1.CallVerdict {
	outcome := "allowed"
	switch decision.Outcome {
	case access.Denied:
		outcome = "denied"
	case access.Delegated:
		outcome = "delegated"
	case access.Allowed:
	}
	return v1alpha1.CallVerdict{Outcome: outcome, Point: string(decision.Point), Policies: decision.Policies, Reason: decision.Reason}
}

func requestOf(call access.Call) v1alpha1.CallRequest {
	request := call.Request
	told := v1alpha1.CallRequest{
		Method: request.Method, Host: request.Host, Path: request.Path, Headers: request.Headers, ServerName: request.ServerName, Token: tokenOf(request.Token),
	}
	if request.ForwardedFor.IsValid() {
		told.ForwardedFor = request.ForwardedFor.String()
	}
	return told
}

func tokenOf(token access.Token) string {
	switch {
	case token.Issuer == "":
		return ""
	case !token.Valid:
		return "a bad token of " + token.Issuer
	}
	text := "a token of " + token.Issuer
	if token.Subject != "" {
		text += " for " + token.Subject
	}
	for _, name := range slices.Sorted(maps.Keys(token.Claims)) {
		text += fmt.Sprintf(", %s %s", name, strings.Join(token.Claims[name], " "))
	}
	if len(token.Audiences) > 0 {
		text += ", audience " + strings.Join(token.Audiences, " ")
	}
	return text
}

// Waits are the callers that a workload has to wait for: calls of theirs to its
// Services are decided differently at the last stage, where they have not moved, and
// as before where they have.
type Waits struct {
	Workload v1alpha1.ObjectReference
	// For are workloads of the states; Others callers that do not move.
	For    []v1alpha1.ObjectReference
	Others []string
	// After are workloads that had better move before it: what calls of theirs to
	// headless Services lose meanwhile is mTLS, whatever policies say.
	After []v1alpha1.ObjectReference
}

// Waits finds for each workload whom it has to wait for.
func (c *Comparison) Waits() []Waits {
	last := len(c.stages) - 1
	var all []Waits
	for _, one := range c.servers {
		waits := Waits{Workload: one.workload}
		for caller, class := range one.callers {
			for _, member := range class.members {
				moves := member.workload.Name != "" && !slices.Equal(member.at(0), member.at(last))
				waitsFor, after := c.waitsFor(one, last, caller, member)
				switch {
				case !waitsFor && after && moves && member.workload != one.workload:
					waits.After = append(waits.After, member.workload)
				case !waitsFor:
				case moves:
					waits.For = append(waits.For, member.workload)
				case !slices.Contains(waits.Others, member.name):
					waits.Others = append(waits.Others, member.name)
				}
			}
		}
		if len(waits.For)+len(waits.Others)+len(waits.After) > 0 {
			slices.Sort(waits.Others)
			all = append(all, waits)
		}
	}
	return all
}

// waitsFor says whether calls of a caller that has not moved would be decided
// differently; after says so of those to headless Services alone. Calls to a pod's
// own address, and of callers outside the mesh, are not waited for: nobody knows of
// them when they end.
func (c *Comparison) waitsFor(one *subject, last, caller int, member *participant) (waitsFor, after bool) {
	passing := slices.DeleteFunc(slices.Clone(member.at(0)), func(mode access.Mode) bool { return mode != access.ModeSidecar && mode != access.ModeGateway })
	if len(passing) == 0 || len(one.servers[0]) == 0 {
		return false, false
	}
	for _, of := range c.differences(one, last, caller, modes{before: passing, now: passing}) {
		switch to := one.targets[of.target]; {
		case to.service == nil:
		case one.headless(to):
			after = true
		default:
			waitsFor = true
		}
	}
	return waitsFor, after
}

// headless says whether a target is a headless Service.
func (s *subject) headless(of target) bool {
	return slices.ContainsFunc(s.servers[0], func(server *access.Server) bool {
		service := s.service(server, of)
		return service != nil && service.Headless
	})
}
