package plan

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// overview sums up what a plan changes, restarts and announces.
func overview(snapshot *mesh.Snapshot, planned v1alpha1.MigrationPlan) v1alpha1.Overview {
	sum := v1alpha1.Overview{Changes: map[string]int{}, Unmatched: unmatched(planned)}
	for reference, does := range written(planned) {
		switch {
		case does.creates && does.deletes:
			// Nothing is left of it.
		case does.creates:
			sum.Creates = counted(sum.Creates, reference.Kind)
		case does.deletes:
			sum.Deletes = counted(sum.Deletes, reference.Kind)
		default:
			sum.Changes[reference.Kind]++
		}
	}
	for _, step := range planned.Steps {
		for _, reference := range step.Gate.Workloads {
			workload, found := snapshot.Workload(reference)
			if pods, restarts := restartedBy(step, workload, snapshot.PodsOf(workload)); found && restarts {
				sum.RestartedWorkloads++
				sum.RestartedPods += len(pods)
			}
		}
	}
	for _, gate := range planned.Gates {
		switch {
		case gate.Blocks() && !slices.Contains(sum.Blockers, gate.ID):
			sum.Blockers = append(sum.Blockers, gate.ID)
		case gate.Accepted && !slices.Contains(sum.Accepted, gate.ID):
			sum.Accepted = append(sum.Accepted, gate.ID)
		case announces(gate) && risky(gate.Category) && !slices.Contains(sum.Risks, gate.ID):
			sum.Risks = append(sum.Risks, gate.ID)
		case announces(gate) && !risky(gate.Category) && !slices.Contains(sum.Differences, gate.ID):
			sum.Differences = append(sum.Differences, gate.ID)
		}
	}
	return sum
}

// deeds are what a plan does to an object, besides changing it.
type deeds struct{ creates, deletes bool }

func written(planned v1alpha1.MigrationPlan) map[v1alpha1.ObjectReference]deeds {
	objects := map[v1alpha1.ObjectReference]deeds{}
	for _, step := range planned.Steps {
		for _, change := range step.Changes {
			does := objects[change.Object]
			objects[change.Object] = deeds{creates: does.creates || change.Create != nil, deletes: does.deletes || change.Delete}
		}
	}
	return objects
}

func counted(counts map[string]int, kind string) map[string]int {
	if counts == nil {
		counts = map[string]int{}
	}
	counts[kind]++
	return counts
}

// announces says whether a gate has something to say that does not block.
func announces(gate v1alpha1.CheckResult) bool {
	return !gate.Blocks() && !gate.Accepted && (gate.Status == v1alpha1.StatusWarn || gate.Status == v1alpha1.StatusUnknown)
}

// risky says whether what the checks of a category announce is about the way to
// ambient mode, and not about what is different there.
func risky(category string) bool {
	return slices.Contains([]string{
		checks.CategoryPrerequisites, checks.CategoryComponents, checks.CategoryWorkloads, checks.CategoryOwnership,
	}, category)
}

// waypointUses are the waypoints in front of services once a plan is carried out.
func waypointUses(handovers []handover, planned v1alpha1.MigrationPlan) []v1alpha1.WaypointUse {
	objects := written(planned)
	var uses []v1alpha1.WaypointUse
	use := func(namespace, name string, services int) {
		i := slices.IndexFunc(uses, func(use v1alpha1.WaypointUse) bool { return use.Namespace == namespace && use.Name == name })
		if i < 0 {
			i = len(uses)
			gateway := v1alpha1.ObjectReference{APIVersion: gatewayVersion, Kind: mesh.KindGateway, Namespace: namespace, Name: name}
			uses = append(uses, v1alpha1.WaypointUse{Namespace: namespace, Name: name, Created: objects[gateway].creates})
		}
		uses[i].Services += services
	}
	for _, one := range handovers {
		for _, service := range one.translation.Services {
			if service.WaypointName != "" {
				use(service.WaypointNamespace, service.WaypointName, 1)
			}
		}
	}
	for _, one := range handovers {
		for _, direct := range one.translation.Direct {
			use(direct.Namespace, direct.Name, len(direct.Services))
		}
	}
	return uses
}

// restartedBy are those of a workload's pods that a step makes anew, and whether it
// restarts the workload at all. On the way back, a step that writes nothing makes anew
// those that lack a sidecar.
func restartedBy(step v1alpha1.Step, workload mesh.Workload, pods []mesh.Pod) ([]mesh.Pod, bool) {
	switch {
	case step.Gate.Evicts:
		return pods, true
	case len(step.Changes) > 0:
		return pods, workload.Renews() || workload.Paused
	case step.Gate.Kind == v1alpha1.GateInjected:
		lacking := slices.DeleteFunc(pods, func(pod mesh.Pod) bool { return !lacksSince(pod, step.Gate.Since) })
		return lacking, len(lacking) > 0
	default:
		return nil, false
	}
}
