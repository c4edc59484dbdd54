package plan

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// orderRestarts puts the restarts among steps into an order in which callers come
// before the servers that wait for them, as far as there is one, and returns the
// workloads that have to wait in vain. Alike ones stay in their order. With parallel
// above 1 it numbers waves of as many at most, of which none waits for another.
func orderRestarts(steps []v1alpha1.Step, waits []compare.Waits, parallel int) []checks.Held {
	first := slices.IndexFunc(steps, restarts)
	if first < 0 {
		return nil
	}
	last := first
	for last < len(steps) && restarts(steps[last]) {
		last++
	}
	restarting := steps[first:last]
	pending := map[v1alpha1.ObjectReference]bool{}
	for _, step := range restarting {
		pending[restarted(step)] = true
	}
	held := heldByOthers(waits, pending)
	order := make([]v1alpha1.Step, 0, len(restarting))
	for wave := 1; len(order) < len(restarting); wave++ {
		members := nextWave(restarting, waits, pending, max(parallel, 1))
		if len(members) == 0 {
			cycle := heldByEachOther(waits, pending)
			held = append(held, cycle...)
			// Who only waits for one of them can still wait.
			members = append(members, slices.IndexFunc(restarting, func(step v1alpha1.Step) bool {
				return pending[restarted(step)] && reaches(waits, restarted(step), restarted(step), pending)
			}))
		}
		for _, member := range members {
			delete(pending, restarted(restarting[member]))
			step := restarting[member]
			if parallel > 1 {
				step.Wave = wave
			}
			order = append(order, step)
		}
	}
	copy(restarting, order)
	return onceEach(held)
}

func restarts(step v1alpha1.Step) bool {
	return step.Phase == v1alpha1.PhaseRestartWorkloads && !pauses(step)
}

// restarted is the workload that a step restarts, or waits for.
func restarted(step v1alpha1.Step) v1alpha1.ObjectReference {
	if len(step.Changes) > 0 {
		return step.Changes[0].Object
	}
	return step.Gate.Workloads[0]
}

// nextWave are the places of the steps that come next, as many as may be taken at
// once: first what an earlier run has left behind, nodes that it cordoned and
// workloads that it has begun; then workloads that wait for none that is pending. It
// is empty where each of them waits for another.
func nextWave(steps []v1alpha1.Step, waits []compare.Waits, pending map[v1alpha1.ObjectReference]bool, most int) []int {
	free := func(step v1alpha1.Step) bool { return len(pendingCallers(waits, restarted(step), pending)) == 0 }
	for _, comes := range []func(v1alpha1.Step) bool{
		func(step v1alpha1.Step) bool { return restarted(step).Kind == mesh.KindNode },
		func(step v1alpha1.Step) bool { return isBegun(step) && !step.Gate.Evicts },
		func(step v1alpha1.Step) bool { return free(step) && !comesAfter(waits, restarted(step), pending) },
	} {
		var members []int
		for i, step := range steps {
			if !pending[restarted(step)] || !comes(step) || len(members) == most || byItself(step) && len(members) > 0 {
				continue
			}
			members = append(members, i)
			if byItself(step) {
				break
			}
		}
		if len(members) > 0 {
			return members
		}
	}
	// Of those that had better come after others, one is tried at a time.
	next := slices.IndexFunc(steps, func(step v1alpha1.Step) bool { return pending[restarted(step)] && free(step) })
	if next < 0 {
		return nil
	}
	return []int{next}
}

// isBegun says whether a step writes nothing itself that makes pods anew: an earlier run
// has, or the namespace's labels do.
func isBegun(step v1alpha1.Step) bool {
	return len(step.Changes) == 0 && len(step.Gate.Workloads) > 0 &&
		(step.Phase == v1alpha1.PhaseRestartWorkloads || step.Phase == v1alpha1.PhaseRestoreWorkloads)
}

// byItself says whether a step is taken by itself, whatever may be taken at once: while
// a node is cordoned, what comes up elsewhere takes the room that is left.
func byItself(step v1alpha1.Step) bool {
	return step.Gate.Cordon || restarted(step).Kind == mesh.KindNode
}

// comesAfter says whether a workload had better come after one that is pending.
func comesAfter(waits []compare.Waits, workload v1alpha1.ObjectReference, pending map[v1alpha1.ObjectReference]bool) bool {
	return slices.ContainsFunc(waits, func(one compare.Waits) bool {
		return one.Workload == workload && slices.ContainsFunc(one.After, func(other v1alpha1.ObjectReference) bool { return pending[other] })
	})
}

// pendingCallers are those that a workload waits for and that have not moved.
func pendingCallers(waits []compare.Waits, workload v1alpha1.ObjectReference, pending map[v1alpha1.ObjectReference]bool) []v1alpha1.ObjectReference {
	var callers []v1alpha1.ObjectReference
	for _, one := range waits {
		if one.Workload != workload {
			continue
		}
		for _, caller := range one.For {
			if pending[caller] && !slices.Contains(callers, caller) {
				callers = append(callers, caller)
			}
		}
	}
	return callers
}

// heldByOthers are workloads that wait for callers which no step moves.
func heldByOthers(waits []compare.Waits, pending map[v1alpha1.ObjectReference]bool) []checks.Held {
	var held []checks.Held
	for _, one := range waits {
		if !pending[one.Workload] {
			continue
		}
		callers := slices.Clone(one.Others)
		for _, caller := range one.For {
			if !pending[caller] {
				callers = append(callers, caller.String())
			}
		}
		if len(callers) > 0 {
			held = append(held, checks.Held{Workload: one.Workload, Callers: callers})
		}
	}
	return held
}

// heldInPlace are workloads that no step restarts, as those that have moved already,
// where a step would refuse calls to their Services that pass by the waypoint: they
// cannot wait for the callers, only the step can. What is dialled past Services is not
// waited for, nor are headless Services, whose callers pass by waypoints for ever.
func heldInPlace(snapshot *mesh.Snapshot, steps []v1alpha1.Step, changes []v1alpha1.CallChange) []checks.Held {
	var held []checks.Held
	for _, change := range changes {
		if phaseOf(steps, change.From) == v1alpha1.PhaseEnableAmbient {
			// Pods that were outside the mesh come into it, and with that under the
			// policies that are about them.
			continue
		}
		passing := change.Direct && (change.Caller.Mode == string(access.ModeSidecar) || change.Caller.Mode == string(access.ModeGateway))
		if change.Effect != v1alpha1.CallNewlyDenied || !passing || change.Service == nil || snapshot.IsHeadless(*change.Service) ||
			slices.ContainsFunc(steps, func(step v1alpha1.Step) bool { return restarts(step) && restarted(step) == change.Server }) {
			continue
		}
		callers := change.Caller.Names
		if len(callers) == 0 {
			callers = []string{change.Caller.Name}
		}
		i := slices.IndexFunc(held, func(one checks.Held) bool { return one.Workload == change.Server && one.Step == change.From })
		if i < 0 {
			i = len(held)
			held = append(held, checks.Held{Workload: change.Server, Step: change.From})
		}
		for _, caller := range callers {
			if !slices.Contains(held[i].Callers, caller) {
				held[i].Callers = append(held[i].Callers, caller)
			}
		}
	}
	return held
}

func phaseOf(steps []v1alpha1.Step, id string) v1alpha1.Phase {
	i := slices.IndexFunc(steps, func(step v1alpha1.Step) bool { return step.ID == id })
	if i < 0 {
		return ""
	}
	return steps[i].Phase
}

// heldByEachOther are pending workloads of which none can be the first.
func heldByEachOther(waits []compare.Waits, pending map[v1alpha1.ObjectReference]bool) []checks.Held {
	var held []checks.Held
	for _, one := range waits {
		if !pending[one.Workload] || !reaches(waits, one.Workload, one.Workload, pending) {
			continue
		}
		var callers []string
		for _, caller := range pendingCallers(waits, one.Workload, pending) {
			if caller == one.Workload || reaches(waits, caller, one.Workload, pending) {
				callers = append(callers, caller.String())
			}
		}
		held = append(held, checks.Held{Workload: one.Workload, Callers: callers, Cycle: true})
	}
	return held
}

// reaches says whether one workload waits for another, or for one that does.
func reaches(waits []compare.Waits, from, to v1alpha1.ObjectReference, pending map[v1alpha1.ObjectReference]bool) bool {
	seen := map[v1alpha1.ObjectReference]bool{}
	queue := pendingCallers(waits, from, pending)
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		if next == to {
			return true
		}
		if !seen[next] {
			seen[next] = true
			queue = append(queue, pendingCallers(waits, next, pending)...)
		}
	}
	return false
}

// onceEach keeps the first of what is said of a workload and its kind of waiting.
func onceEach(held []checks.Held) []checks.Held {
	var kept []checks.Held
	for _, one := range held {
		if !slices.ContainsFunc(kept, func(other checks.Held) bool { return other.Workload == one.Workload && other.Cycle == one.Cycle }) {
			kept = append(kept, one)
		}
	}
	return kept
}
