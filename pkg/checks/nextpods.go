package checks

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/label"
)

// What becomes of the next pods of a workload its template says, and no pod shows it where
// there is none, or where the pods are from an earlier template: a CronJob between two of
// its Jobs, a Deployment of no replicas, a StatefulSet that leaves its pods to be deleted.

// injectedNext is about a workload whose next pods would get a sidecar. A pod that shows it
// is named in its place. Templates that hold a proxy themselves, or whose programs speak
// xDS, an enrolment leaves as they are; it starts only once that was accepted.
func (s Subject) injectedNext(workload mesh.Workload) *Finding {
	injectors := s.Snapshot.Injectors()
	named := func(pod mesh.Pod) bool { return pod.HasSidecar() || s.Snapshot.RestartDue(pod, s.Namespace) }
	switch {
	case !startsPods(workload), workload.IsAgent(), workload.CarriesProxy(), !workload.Injected(injectors, s.Namespace.Labels),
		slices.ContainsFunc(s.Snapshot.PodsOf(workload), named):
		return nil
	}
	finding := &Finding{
		Status: v1alpha1.StatusFail, Object: reference(workload.Reference), Field: asksBy(workload),
		Message: "its next pods would get a sidecar: its template asks for one",
		Remedy:  "set " + label.SidecarInject.Name + ": \"false\" in its template, and where that is kept",
	}
	if !workload.Injected(injectors, s.Snapshot.EnrolledLabels(s.Namespace)) {
		finding.Field = templateField(workload, "metadata.labels["+label.SidecarInject.Name+"]")
		finding.Message = "its next pods would get a sidecar: its template does not refuse the one that the namespace asks for"
	}
	return finding
}

// outsideNext is about a workload that was in the mesh before the enrolment and whose next
// pods would be outside it. A pod that shows it is named in its place, also by
// labelsConsistent.
func (s Subject) outsideNext(rule mesh.EnrolmentRule, workload mesh.Workload) *Finding {
	if s.Past == nil || !startsPods(workload) || workload.Injected(s.Snapshot.Injectors(), s.Namespace.Labels) {
		return nil
	}
	was := s.Past.stationOf(workload.Reference)
	complete := mesh.RolloutOf(workload).Complete
	named := func(pod mesh.Pod) bool {
		return s.outside(rule, pod, was) != nil || complete && relabelled(pod, workload) != nil
	}
	if !was.inMesh || was.excused || slices.ContainsFunc(s.Snapshot.PodsOf(workload), named) {
		return nil
	}
	const before = "its next pods would be outside the mesh, in which it was before the enrolment: "
	finding := &Finding{Status: v1alpha1.StatusFail, Object: reference(workload.Reference)}
	switch {
	case workload.Template.Spec.HostNetwork:
		finding.Field = templateField(workload, "spec.hostNetwork")
		finding.Message = before + "they use the node's network"
		finding.Remedy = "take hostNetwork out of its template"
	case workload.Template.Labels[label.IoIstioDataplaneMode.Name] == mesh.DataplaneNone:
		finding.Field = templateField(workload, "metadata.labels["+label.IoIstioDataplaneMode.Name+"]")
		finding.Message = before + "its template refuses ambient mode, by a label that no run has written"
		finding.Remedy = fmt.Sprintf("take %s out of its template, and out of where that is kept", label.IoIstioDataplaneMode.Name)
	default:
		return nil
	}
	return finding
}

// startsPods says whether a workload may start pods of its own that belong to the mesh. A
// Job has started its pods, and gateways are proxies themselves.
func startsPods(workload mesh.Workload) bool {
	return workload.Reference.Kind != mesh.KindJob && !workload.IsGateway()
}
