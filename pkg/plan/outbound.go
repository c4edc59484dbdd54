package plan

import (
	"fmt"
	"maps"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// outbound compares how calls of those who move are decided in other namespaces than
// some. Sidecars pass by the waypoints of the services that they call (istio#51445), and
// ztunnel does not: policies there come to be asked, and pods come to see the waypoint in
// place of the caller; or the other way round, where callers get sidecars again. Alone is
// the mesh by what policies say of sidecars, without what runs have made of them: calls
// that it would let in as well are told apart. Nil tells none apart.
func outbound(snapshot *mesh.Snapshot, builder *access.Builder, stages []compare.Stage, except []string, alone *mesh.Snapshot) *v1alpha1.AccessReport {
	made := &v1alpha1.AccessReport{}
	stages = moving(stages)
	if len(stages) == 1 {
		return made
	}
	for _, name := range behindWaypoints(snapshot, except) {
		if !snapshot.Scope().Holds(name) {
			made.Unread = append(made.Unread, fmt.Sprintf(
				"Namespace %s: callers that move come to call it another way, by its waypoints or past them, and its pods are known by their metadata alone", name))
			continue
		}
		// No step changes anything there: it is the callers who differ.
		there := builder.Of(snapshot, []string{name}, access.Overlay{}).BehindWaypoints()
		for i := range stages {
			stages[i].State = there
		}
		var options compare.Options
		if alone != nil && !simplifiedIn(snapshot, []string{name}) {
			// A namespace that was moved while its callers had sidecars refuses their direct
			// calls, as was chosen then: it lets them in, by its policies, as they come.
			options.Meant = builder.Of(alone, []string{name}, access.Overlay{AllSidecars: true})
		}
		made = joinedReports(made, outboundReport(stages, options))
	}
	noteRunsRefusals(snapshot, made.Changes, alone == nil)
	return made
}

// noteRunsRefusals marks the calls to other namespaces that are let in and that nothing but
// what runs have made refuses today. A namespace that was moved before its callers refuses
// their direct calls by such policies alone, until they come through its waypoint: that is
// announced. What a policy of somebody's refuses today, by name or because none of its rules
// admits it, is held against the plan. Where a run has deleted policies that it stood in for,
// those at the waypoint are what is left of what they admitted: beside a guard of the run
// it counts for nothing that the ALLOW policies which are left admit less, nor that a caller
// from outside the mesh has proven nothing so far. On the way back, the waypoint is passed
// by, and with it what anybody else refuses there.
func noteRunsRefusals(snapshot *mesh.Snapshot, changes []v1alpha1.CallChange, back bool) {
	for i, change := range changes {
		if change.Effect != v1alpha1.CallNewlyAllowed {
			continue
		}
		runs, somebodys := 0, 0
		for _, policy := range change.Before.Policies {
			if object, found := snapshot.Object(policy); found && Ours(object) {
				runs++
			} else {
				somebodys++
			}
		}
		changes[i].Announced = runs > 0 && somebodys == 0
		if !back && simplifiedIn(snapshot, []string{change.Server.Namespace}) {
			guarded := runs > 0 && change.Before.Reason != access.ReasonDeny
			changes[i].Announced = changes[i].Announced || guarded || change.Before.Reason == access.ReasonPlaintext
		}
	}
}

// outboundReport compares stages that callers elsewhere are set for.
func outboundReport(stages []compare.Stage, options compare.Options) *v1alpha1.AccessReport {
	report := reportOf(stages, options)
	for i := range report.Changes {
		report.Changes[i].Outbound = true
		report.Changes[i].Remedy = outboundRemedy(report.Changes[i])
	}
	return report
}

// outboundRemedy says where such a call would be decided as it is today.
func outboundRemedy(change v1alpha1.CallChange) string {
	switch denied := change.Effect == v1alpha1.CallNewlyDenied; {
	case denied && change.Direct:
		return "have the policies that select the pods admit it: callers with sidecars pass by the waypoint"
	case denied:
		return "have the policies at the waypoint admit it, and those that select the pods admit the waypoint"
	case change.Direct:
		return "have a policy that selects the pods refuse it: callers with sidecars pass by the waypoint"
	default:
		return "have a policy at the waypoint refuse it: behind it, pods see the waypoint in place of the caller"
	}
}

// noteAnnounced marks the calls of a rollback to other namespaces that are let in again
// and that the plans of the runs have announced to be refused: by that, these were let in
// before. Of what else waypoints there refuse, as by policies that have come since, nobody
// knows that.
func noteAnnounced(changes []v1alpha1.CallChange, records []v1alpha1.MigrationRecord) {
	known := map[letInKind]int{}
	for _, record := range records {
		if record.Plan.Access == nil {
			continue
		}
		denied := func(change v1alpha1.CallChange) bool {
			return change.Outbound && change.Effect == v1alpha1.CallNewlyDenied
		}
		for kind, alike := range kindsOf(record.Plan.Access.Changes, denied) {
			kind.mode = ""
			known[kind] = max(known[kind], alike)
		}
	}
	for i, change := range changes {
		if !change.Outbound || change.Announced || change.Effect != v1alpha1.CallNewlyAllowed {
			continue
		}
		changes[i].Announced = true
		for kind, alike := range kindsOf(changes[i:i+1], func(v1alpha1.CallChange) bool { return true }) {
			kind.mode = ""
			if alike > known[kind] {
				changes[i].Announced = false
			}
		}
	}
}

// moving are the first of some stages and those at which anybody calls in other modes
// than at the one before, with their servers as those who call.
func moving(stages []compare.Stage) []compare.Stage {
	var made []compare.Stage
	var former map[string]bool
	for _, stage := range stages {
		modes := map[string]bool{}
		for _, server := range stage.State.Servers {
			modes[server.Workload.String()+" "+string(server.Mode)] = true
		}
		if former == nil || !maps.Equal(modes, former) {
			made = append(made, compare.Stage{Step: stage.Step, Callers: stage.State})
		}
		former = modes
	}
	return made
}

// behindWaypoints are the namespaces, but for some, in which calls to anything may go
// through a waypoint, and be decided by policies. One that is being deleted is none of
// them: its policies and pods go one after another, in no order that says anything of
// those who call them.
func behindWaypoints(snapshot *mesh.Snapshot, except []string) []string {
	deciding := map[string]bool{}
	for _, policy := range snapshot.AuthorizationPolicies() {
		deciding[policy.Namespace] = true
	}
	for _, extension := range snapshot.Extensions() {
		if extension.Reference.Kind == mesh.KindRequestAuthentication {
			deciding[extension.Reference.Namespace] = true
		}
	}
	everywhere := slices.ContainsFunc(snapshot.RootNamespaces(), func(root string) bool { return deciding[root] })
	var names []string
	for _, namespace := range snapshot.Namespaces() {
		if slices.Contains(except, namespace.Name) || namespace.Terminating {
			continue
		}
		for _, waypoint := range waypointsInFront(snapshot, namespace) {
			if everywhere || deciding[namespace.Name] || deciding[waypoint] {
				names = append(names, namespace.Name)
				break
			}
		}
	}
	return names
}

// waypointsInFront are the namespaces of the waypoints in front of anything in one.
func waypointsInFront(snapshot *mesh.Snapshot, namespace mesh.Namespace) []string {
	var waypoints []string
	for _, service := range snapshot.Services(namespace.Name) {
		if gateway, found := snapshot.WaypointOf(service.Labels, namespace); found {
			waypoints = append(waypoints, gateway.Namespace)
		}
	}
	for _, entry := range snapshot.ServiceEntries() {
		if gateway, found := snapshot.WaypointOf(entry.Labels, namespace); found && entry.Namespace == namespace.Name && entry.Spec.GetWorkloadSelector() != nil {
			waypoints = append(waypoints, gateway.Namespace)
		}
	}
	for _, pod := range snapshot.Pods(namespace.Name) {
		if gateway, found := snapshot.WorkloadWaypointOf(pod.Labels, namespace); found && pod.Live() && !mesh.IsWaypointPod(pod.Labels) {
			waypoints = append(waypoints, gateway.Namespace)
		}
	}
	return waypoints
}
