package compare

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
)

// outcomes are what the servers of a workload make of a call: pods of both kinds
// may answer it during a restart. The zero value is not decided yet.
type outcomes uint8

const (
	decided outcomes = 1 << iota
	denies
	delegates
	allows
)

// with adds an outcome.
func (o outcomes) with(outcome access.Outcome) outcomes {
	switch outcome {
	case access.Denied:
		return o | decided | denies
	case access.Delegated:
		return o | decided | delegates
	default:
		return o | decided | allows
	}
}

// widest and narrowest are the outcomes at the ends.
func (o outcomes) widest() access.Outcome {
	switch {
	case o&allows != 0:
		return access.Allowed
	case o&delegates != 0:
		return access.Delegated
	default:
		return access.Denied
	}
}

func (o outcomes) narrowest() access.Outcome {
	switch {
	case o&denies != 0:
		return access.Denied
	case o&delegates != 0:
		return access.Delegated
	default:
		return access.Allowed
	}
}

// table holds what the servers of a workload, as they are at some stages, make of
// the calls to it, as far as that was asked.
type table struct {
	state   *access.State
	servers []*access.Server
	rows    map[row][]outcomes
}

// row is calls of one class of callers in one mode to one target.
type row struct {
	caller, target int
	mode           access.Mode
}

// table returns that of a stage.
func (s *subject) table(stage int) *table {
	one, known := s.tables[s.keys[stage]]
	if !known {
		one = &table{state: s.states[stage], servers: s.servers[stage], rows: map[row][]outcomes{}}
		s.tables[s.keys[stage]] = one
	}
	return one
}

// decide returns the outcomes of a row, by address and request.
func (c *Comparison) decide(one *subject, of *table, at row) []outcomes {
	if known, is := of.rows[at]; is {
		return known
	}
	made := make([]outcomes, len(one.addresses)*len(one.requests))
	for _, server := range of.servers {
		call, reachable := one.call(server, at)
		if !reachable {
			continue
		}
		for i, address := range one.addresses {
			call.Caller.Address = address
			for j := range one.requests {
				call.Request = one.requests[j]
				at := i*len(one.requests) + j
				made[at] = made[at].with(of.state.Decide(call).Outcome)
				c.compared++
			}
		}
	}
	of.rows[at] = made
	return made
}

// call is one of a row, but for its address and request.
func (s *subject) call(server *access.Server, at row) (access.Call, bool) {
	of := s.targets[at.target]
	call := access.Call{
		Caller: access.Caller{Mode: at.mode, Identity: s.callers[at.caller].identity}, Server: server, Port: of.port,
	}
	if at.mode == access.ModeOutside {
		call.Caller.Identity = access.Identity{}
	}
	if of.service == nil {
		return call, true
	}
	call.Service = s.service(server, of)
	return call, call.Service != nil
}

// difference is calls that are decided differently from before.
type difference struct {
	effect effect
	target int
	// mode is the caller's now, before what it was.
	mode, before access.Mode
	// at is the first such call, alike how many there are.
	at, alike int
	// all are those calls, encoded so that differences can be compared.
	all string
	// meant is true where the calls are decided as they are meant to be.
	meant bool
}

type effect int

// A call is newly proven that policies admitted already, had the caller only been
// able to prove who it is: sidecars do not where a pod's own address is dialled.
const (
	newlyAllowed effect = iota
	newlyProven
	newlyDenied
)

// memoKey is what the differences of a caller's calls to a workload follow from.
type memoKey struct {
	caller                    int
	servers                   int
	before, now, after, meant string
}

// modes are how a caller calls: before the first step, now, in the end, and in the
// state that tells what is meant.
type modes struct {
	before, now, after, meant []access.Mode
}

// differences compares calls of a class of callers, in the modes that one of them
// has, to a workload at a stage with those at the first one.
func (c *Comparison) differences(one *subject, stage, caller int, of modes) []difference {
	key := memoKey{caller, one.keys[stage], modeKey(of.before), modeKey(of.now), modeKey(of.after), modeKey(of.meant)}
	if known, is := one.memo[key]; is {
		return known
	}
	var found []difference
	first, current := one.table(0), one.table(stage)
	for at := range one.targets {
		expected := c.expected(one, first, caller, at, of.before)
		if c.options.BothEnds {
			for i, outcome := range c.expected(one, one.table(len(c.stages)-1), caller, at, of.after) {
				expected[i] |= outcome
			}
		}
		found = append(found, c.compareRows(one, first, current, caller, at, of, expected)...)
	}
	one.memo[key] = found
	return found
}

func modeKey(list []access.Mode) string {
	var names []string
	for _, mode := range list {
		names = append(names, string(mode))
	}
	return strings.Join(names, ",")
}

// expected are the outcomes of a class of callers, in any of some modes, at a target
// of a stage. The zero outcome is of calls that nobody makes, or answers.
func (c *Comparison) expected(one *subject, of *table, caller, at int, callerModes []access.Mode) []outcomes {
	all := make([]outcomes, len(one.addresses)*len(one.requests))
	if len(of.servers) == 0 {
		return all
	}
	for _, mode := range callerModes {
		for i, outcome := range c.decide(one, of, row{caller, at, mode}) {
			all[i] |= outcome
		}
	}
	return all
}

// compareRows wants each call of now to have an expected outcome: wider than any is
// newly allowed, narrower than any newly denied.
func (c *Comparison) compareRows(one *subject, first, current *table, caller, at int, of modes, was []outcomes) []difference {
	if len(of.before) == 0 {
		// Nobody was there to call.
		return nil
	}
	var found []difference
	for _, mode := range of.now {
		here := row{caller, at, mode}
		if c.callersElsewhere() && !one.meetsWaypoint(first, current, here, of.before) {
			// It goes the same way as to any other namespace.
			continue
		}
		meant := c.intended(one, first, current, here, of)
		var kinds differing
		for i, outcome := range c.decide(one, current, here) {
			if outcome == 0 || was[i] == 0 {
				continue
			}
			kind := difference{target: at, mode: mode, before: of.before[0], at: i}
			if outcome.widest() > was[i].widest() {
				kind.effect, kind.meant = newlyAllowed, meant[i].admits(outcome)
				if c.admits(one, first, here, of, i, outcome) {
					kind.effect = newlyProven
				}
				kinds.count(kind)
			}
			if outcome.narrowest() < was[i].narrowest() {
				kind.effect, kind.meant = newlyDenied, meant[i].refuses(outcome)
				kinds.count(kind)
			}
		}
		found = append(found, kinds.sorted()...)
	}
	return found
}

// admits says whether a call would have been let in at an end of the migration that is
// expected, had the caller only proved who it is there as it does now.
func (c *Comparison) admits(one *subject, first *table, at row, of modes, i int, outcome outcomes) bool {
	if at.mode != access.ModeAmbient {
		return false
	}
	if c.callersElsewhere() && slices.ContainsFunc(one.ways(first, at), func(way []access.Hop) bool { return through(way) != "" }) {
		// What the pods' policies say of the caller is not asked behind a waypoint.
		return false
	}
	if one.unproven(first, at, of.before) && c.decide(one, first, at)[i].widest() >= outcome.widest() {
		return true
	}
	last := one.table(len(c.stages) - 1)
	return c.options.BothEnds && len(last.servers) > 0 && one.unproven(last, at, of.after) && c.decide(one, last, at)[i].widest() >= outcome.widest()
}

// unproven says whether no server sees who calls, in some modes.
func (s *subject) unproven(of *table, at row, in []access.Mode) bool {
	return !slices.ContainsFunc(in, func(mode access.Mode) bool {
		return slices.ContainsFunc(s.ways(of, row{at.caller, at.target, mode}), func(way []access.Hop) bool { return !way[len(way)-1].Identity.None() })
	})
}

// ways are the points that calls of a row pass, by server.
func (s *subject) ways(of *table, at row) [][]access.Hop {
	var ways [][]access.Hop
	for _, server := range of.servers {
		if call, reachable := s.call(server, at); reachable {
			ways = append(ways, of.state.Way(call))
		}
	}
	return ways
}

// meetsWaypoint says whether calls of a row go through a waypoint, or went through one.
func (s *subject) meetsWaypoint(first, current *table, at row, before []access.Mode) bool {
	ways := s.ways(current, at)
	for _, mode := range before {
		ways = append(ways, s.ways(first, row{at.caller, at.target, mode})...)
	}
	return slices.ContainsFunc(ways, func(way []access.Hop) bool { return through(way) != "" })
}

// differing are the differences of a row by their kinds, each with all of its calls.
type differing struct {
	kinds []difference
	calls [][]byte
}

// count adds a difference to those of its kind, of which the first stands for all.
func (d *differing) count(one difference) {
	i := slices.IndexFunc(d.kinds, func(kind difference) bool { return kind.effect == one.effect && kind.meant == one.meant })
	if i < 0 {
		i, d.kinds, d.calls = len(d.kinds), append(d.kinds, one), append(d.calls, nil)
	}
	d.kinds[i].alike++
	d.calls[i] = binary.AppendVarint(d.calls[i], int64(one.at))
}

func (d *differing) sorted() []difference {
	for i := range d.kinds {
		d.kinds[i].all = string(d.calls[i])
	}
	slices.SortFunc(d.kinds, func(a, b difference) int {
		return cmp.Or(cmp.Compare(a.effect, b.effect), compareBools(a.meant, b.meant))
	})
	return d.kinds
}

// calls are the places of all calls of a difference, the first one first.
func (d difference) calls() []int {
	var places []int
	for encoded := []byte(d.all); len(encoded) > 0; {
		place, size := binary.Varint(encoded)
		if size <= 0 {
			return places
		}
		places, encoded = append(places, int(place)), encoded[size:]
	}
	return places
}
