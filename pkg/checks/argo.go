package checks

import (
	"fmt"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

func argoRollouts() Check {
	return Check{
		ID: "argo-rollouts", Category: CategoryWorkloads, Severity: v1alpha1.SeverityError,
		About: "Rollouts of Argo Rollouts in the namespace whose pods have sidecars or would get them.",
		Why: "A Rollout replaces its pods by a controller of its own, step by step, and with pauses and analyses that only its owner can judge; this version " +
			"restarts Deployments, StatefulSets and DaemonSets only. Its traffic routing by Istio rewrites weights in a VirtualService or subsets in a " +
			"DestinationRule (Argo Rollouts documentation, Istio), which callers in ambient mode follow only where the service has a waypoint.",
		Needs:  moveNeeds(mesh.KindRollout),
		Passed: "no Rollout of Argo Rollouts runs pods in the mesh here",
		Run: func(subject Subject) []Finding {
			running := map[string]int{}
			for _, pod := range subject.Snapshot.Pods(subject.Namespace.Name) {
				if rollout, found := subject.Snapshot.ArgoRolloutOf(pod); found && pod.HasSidecar() {
					running[rollout.Reference.Name]++
				}
			}
			var findings []Finding
			for _, rollout := range subject.Snapshot.ArgoRollouts(subject.Namespace.Name) {
				if running[rollout.Reference.Name] > 0 || subject.Snapshot.ArgoInjected(rollout, subject.Namespace) {
					findings = append(findings, argoFinding(rollout, running[rollout.Reference.Name]))
				}
			}
			return findings
		},
	}
}

func argoFinding(rollout mesh.ArgoRollout, running int) Finding {
	message := "its next pods would get sidecars"
	if running > 0 {
		message = runBy(running)
	}
	finding := Finding{
		Status: v1alpha1.StatusFail, Object: reference(rollout.Reference), Field: "spec.template",
		Message: message + ", and this version cannot restart what Argo Rollouts controls",
		Remedy:  "run it by a Deployment for the migration, or leave the namespace on sidecars",
	}
	if rollout.Workload != nil {
		finding.Field = "spec.workloadRef"
	}
	if len(rollout.Routing) > 0 {
		finding.Message += fmt.Sprintf("; its canary steps rewrite %s, which ambient callers do not follow without a waypoint", strings.Join(rollout.Routing, " and "))
	}
	return finding
}

// runByArgo says whether argo-rollouts speaks of a pod.
func runByArgo(subject Subject, pod mesh.Pod) bool {
	_, found := subject.Snapshot.ArgoRolloutOf(pod)
	return found
}
