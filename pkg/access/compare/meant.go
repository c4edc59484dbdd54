package compare

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// asMeant are the modes of a participant in the state that tells what is meant.
func (p *participant) asMeant() []access.Mode {
	if len(p.meant) > 0 {
		return p.meant
	}
	return p.at(0)
}

// addMeantModes notes how participants call in the state that tells what is meant.
func (c *Comparison) addMeantModes(byWorkload map[v1alpha1.ObjectReference]*participant) {
	if c.options.Meant == nil {
		return
	}
	for _, server := range c.options.Meant.Servers {
		if one, known := byWorkload[server.Workload]; known && !slices.Contains(one.meant, server.Mode) {
			one.meant = append(one.meant, server.Mode)
		}
	}
}

// addMeantServers notes who answers in it.
func (c *Comparison) addMeantServers(byWorkload map[v1alpha1.ObjectReference]*subject) {
	if c.options.Meant == nil {
		return
	}
	for _, server := range c.options.Meant.Servers {
		one, known := byWorkload[server.Workload]
		if !known {
			continue
		}
		if one.meant == nil {
			one.meant = &table{state: c.options.Meant, rows: map[row][]outcomes{}}
		}
		one.meant.servers = append(one.meant.servers, server)
	}
}

// intended are the outcomes that are meant for calls of a row: of who proves who it is
// by being in ambient mode now, those that it would have by that, too. The zero outcome
// is of calls about which nothing tells what is meant.
func (c *Comparison) intended(one *subject, first, current *table, at row, of modes) []outcomes {
	if one.meant == nil || !c.options.Leaving && !keepsWaypoints(one, first, current, at, of.before) {
		return make([]outcomes, len(one.addresses)*len(one.requests))
	}
	all := c.expected(one, one.meant, at.caller, at.target, of.meant)
	if at.mode == access.ModeAmbient && !slices.Contains(of.meant, at.mode) {
		for i, outcome := range c.decide(one, one.meant, at) {
			all[i] |= outcome
		}
	}
	return all
}

// keepsWaypoints says whether calls of a row still go through the waypoint that they go
// through at first.
func keepsWaypoints(one *subject, first, current *table, at row, before []access.Mode) bool {
	now := one.ways(current, at)
	for _, mode := range before {
		for _, way := range one.ways(first, row{at.caller, at.target, mode}) {
			left := through(way)
			if left != "" && slices.ContainsFunc(now, func(way []access.Hop) bool { return through(way) != left }) {
				return false
			}
		}
	}
	return true
}

// through names the waypoint on a way; it is empty where there is none.
func through(way []access.Hop) string {
	for _, hop := range way {
		if hop.Waypoint != nil {
			return hop.Waypoint.String()
		}
	}
	return ""
}

// admits says whether an outcome that is wider than before is meant.
func (o outcomes) admits(wider outcomes) bool { return o != 0 && o.widest() >= wider.widest() }

// refuses says so of one that is narrower.
func (o outcomes) refuses(narrower outcomes) bool {
	return o != 0 && o.narrowest() <= narrower.narrowest()
}
