package checks

import (
	"fmt"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
)

// modeLabels decide what becomes of a pod that runs, whatever its template says.
var modeLabels = []string{label.IoIstioDataplaneMode.Name, label.IoIstioUseWaypoint.Name, label.IoIstioUseWaypointNamespace.Name}

// labelsConsistent is about pods that are not what their template would make of them.
func labelsConsistent() Check {
	return Check{
		ID: "labels-consistent", Category: CategoryDataPlane, Severity: v1alpha1.SeverityError,
		About: "Whether the pods of every workload have the labels for ambient mode and waypoints that their template has.",
		Why: "istio-cni and istiod go by the labels that a pod has now (istio cni/pkg/util/enablement_selector.go, " +
			"pilot/pkg/serviceregistry/ambient/waypoints.go). A pod that was labelled by hand is in another mode, or behind another waypoint, than the pod that " +
			"comes in its place.",
		Needs: append(workloadKinds(), "Pod"), Passed: "every pod has the labels of its template",
		Run: func(subject Subject) []Finding {
			var findings []Finding
			for _, workload := range subject.Snapshot.Workloads(subject.Namespace.Name) {
				if workload.IsGateway() || !mesh.RolloutOf(workload).Complete {
					// Injection labels gateways; restartsComplete names what is not rolled out.
					continue
				}
				for _, pod := range subject.Snapshot.PodsOf(workload) {
					if finding := relabelled(pod, workload); finding != nil {
						findings = append(findings, *finding)
					}
				}
			}
			return findings
		},
	}
}

func relabelled(pod mesh.Pod, workload mesh.Workload) *Finding {
	for _, name := range modeLabels {
		is, was := pod.Labels[name], workload.Template.Labels[name]
		if is == was || pod.HasSidecar() {
			continue
		}
		return &Finding{
			Status: v1alpha1.StatusFail, Object: reference(pod.Reference()), Field: "metadata.labels[" + name + "]",
			Message: fmt.Sprintf("the label is %q, and %q in the template of %s: the pod that comes in its place is another", is, was, workload.Reference),
			Remedy:  "label the pod as its template, or delete it",
		}
	}
	return nil
}
