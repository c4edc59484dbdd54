package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func argoRollouts() Check {
	return Check{
		ID: "argo-rollouts", Category: CategoryWorkloads, Severity: v1alpha1.SeverityError,
		About: "Whether the Rollouts of Argo Rollouts in the namespace whose pods have sidecars or would get them can be restarted.",
		Why: "A changed template has a Rollout replace its pods by its own strategy, and its steps are waited for. That cannot be where the template is in " +
			"another object (spec.workloadRef), where it is paused or in the middle of another change, and where it waits to be promoted on the way: only " +
			"its owner can judge that. Its traffic routing by Istio rewrites weights in a VirtualService or subsets in a DestinationRule (Argo Rollouts " +
			"documentation, Istio), which callers in ambient mode follow only where the service has a waypoint.",
		Needs:  moveNeeds(mesh.KindRollout),
		Passed: "every Rollout of Argo Rollouts that has to be restarted can be",
		Run: func(subject Subject) []Finding {
			running := map[string]int{}
			for _, pod := range subject.Snapshot.Pods(subject.Namespace.Name) {
				if rollout, found := subject.Snapshot.ArgoRolloutOf(pod); found && pod.HasSidecar() {
					running[rollout.Reference.Name]++
				}
			}
			var findings []Finding
			for _, rollout := range subject.Snapshot.ArgoRollouts(subject.Namespace.Name) {
				pods := running[rollout.Reference.Name]
				if pods == 0 && !subject.Snapshot.ArgoInjected(rollout, subject.Namespace) {
					continue
				}
				if finding, found := argoObstacle(subject, rollout); found {
					finding.Status, finding.Object = v1alpha1.StatusFail, reference(rollout.Reference)
					finding.Message = argoPods(pods) + ", and " + finding.Message
					findings = append(findings, finding)
				}
			}
			return findings
		},
	}
}

func argoPods(running int) string {
	if running == 0 {
		return "its next pods would get sidecars"
	}
	return runBy(running)
}

// argoObstacle says why a change of its template would not have a Rollout replace its
// pods, or not as it should.
func argoObstacle(subject Subject, rollout mesh.ArgoRollout) (Finding, bool) {
	workload, known := subject.Snapshot.Workload(rollout.Reference)
	switch {
	case rollout.Workload != nil:
		return Finding{
			Field: "spec.workloadRef", Message: "its template is that of " + rollout.Workload.Kind + " " + rollout.Workload.Name + ", which this version cannot move with it",
			Remedy: "write the template into spec.template of the Rollout, or leave the namespace on sidecars",
		}, true
	case !known:
		return Finding{Field: "spec.template", Message: "its template could not be read", Remedy: "correct spec.template"}, true
	case len(rollout.Routing) > 0:
		return Finding{
			Field:   "spec.strategy.canary.trafficRouting.istio",
			Message: fmt.Sprintf("its canary steps rewrite %s, which ambient callers do not follow without a waypoint", strings.Join(rollout.Routing, " and ")),
			Remedy:  "take the traffic routing out for the migration, or leave the namespace on sidecars",
		}, true
	case rollout.Paused:
		return Finding{
			Field: "spec.paused", Message: "it is paused, so a changed template would not roll out", Remedy: patch(rollout.Reference, `{"spec":{"paused":false}}`),
		}, true
	case rollout.Waits != "":
		return Finding{
			Field: rollout.Waits, Message: "it waits there for somebody to promote it, with pods of both modes meanwhile",
			Remedy: "let it go on by itself for the migration: give the pause a duration, or set autoPromotionEnabled",
		}, true
	case !mesh.RolloutOf(workload).Complete && !begun(subject, workload) && !restarting(subject, workload):
		return Finding{
			Field: "status.phase", Message: "it is in the middle of another change: " + mesh.RolloutOf(workload).Message, Remedy: "wait until it is Healthy",
		}, true
	default:
		return Finding{}, false
	}
}

// restarting says whether a Rollout is only being restarted, as the plan's own step for
// newer sidecars has it, or a run before wrote: that step waits for its end. The status
// says when it was restarted last (argo-rollouts rollout/restart.go).
func restarting(subject Subject, workload mesh.Workload) bool {
	wanted, _, _ := unstructured.NestedString(workload.Object, "spec", "restartAt")
	done, _, _ := unstructured.NestedString(workload.Object, "status", "restartedAt")
	return wanted != "" && wanted != done && subject.Migration != nil && slices.Contains(subject.Migration.Refreshed, workload.Reference)
}

// runByArgo says whether argo-rollouts speaks of a pod.
func runByArgo(subject Subject, pod mesh.Pod) bool {
	_, found := subject.Snapshot.ArgoRolloutOf(pod)
	return found
}
