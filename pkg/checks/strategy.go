package checks

import (
	"fmt"
	"maps"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/annotation"
	"istio.io/api/label"
)

// fixedTemplate says what the owner of a workload's template has to change where the
// run writes none, and the namespace's labels do not suffice.
func fixedTemplate(subject Subject, workload mesh.Workload) *Finding {
	finding := Finding{Status: v1alpha1.StatusFail, Object: reference(workload.Reference)}
	labelled := func(key string) string { return templateField(workload, "metadata.labels["+key+"]") }
	switch role := subject.Snapshot.RoleOf(workload, subject.Namespace); {
	case workload.Reference.Kind == mesh.KindJob:
		// Its pods are there already, and are left to end.
		return nil
	case role == mesh.RolePin:
		pins := subject.Snapshot.PinLabels(workload, subject.Namespace)
		key := slices.Sorted(maps.Keys(pins))[0]
		finding.Field = labelled(key)
		finding.Message = "its pods have to stay out of ambient mode, and the namespace's label would capture them"
		finding.Remedy = fmt.Sprintf("have %s set the label %s: %q there", templateOwner(workload), key, pins[key])
	case role == mesh.RoleMove && workload.Injected(subject.Snapshot.Injectors(), subject.Snapshot.EnrolledLabels(subject.Namespace)):
		finding.Field = asksBy(workload)
		finding.Message = "its template asks for a sidecar itself, so that its pods keep theirs whatever the namespace's labels say"
		finding.Remedy = "have " + templateOwner(workload) + " take it out, while the namespace still asks for sidecars"
		if workload.Operator == nil {
			finding.Remedy += ", or enroll with --strategy=template"
		}
	case lists(subject.Migration.Unnamed, workload.Reference):
		finding.Field = labelled(label.IoIstioUseWaypoint.Name)
		finding.Message = "calls to its pods' own addresses need a waypoint, which only its template can name"
		finding.Remedy = "enroll with --strategy=template, or give its headless Services no waypoint: --waypoint-skip"
		if workload.Operator != nil {
			finding.Remedy = "give its headless Services no waypoint: --waypoint-skip"
		}
	default:
		return nil
	}
	return &finding
}

// templateOwner is whom to ask for a change of a workload's template.
func templateOwner(workload mesh.Workload) string {
	if workload.Operator != nil {
		return workload.Operator.Kind + " " + workload.Operator.Name + ", whose operator writes the template,"
	}
	return "the owner of the template"
}

// asksBy is the field by which a template asks for a sidecar.
func asksBy(workload mesh.Workload) string {
	template := workload.Template
	switch {
	case template.Labels[label.SidecarInject.Name] == "true":
		return templateField(workload, "metadata.labels["+label.SidecarInject.Name+"]")
	case template.Labels[label.IoIstioRev.Name] != "":
		return templateField(workload, "metadata.labels["+label.IoIstioRev.Name+"]")
	case template.Annotations[annotation.SidecarInject.Name] != "":
		return templateField(workload, "metadata.annotations["+annotation.SidecarInject.Name+"]")
	default:
		return templateField(workload, "metadata")
	}
}
