package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	"istio.io/api/label"
)

// workloadTypes are the kinds of workloads that can be moved alone, by the names that
// kubectl has for them.
var workloadTypes = map[string]string{
	"deployment": mesh.KindDeployment, "deployments": mesh.KindDeployment, "deploy": mesh.KindDeployment,
	"statefulset": mesh.KindStatefulSet, "statefulsets": mesh.KindStatefulSet, "sts": mesh.KindStatefulSet,
	"daemonset": mesh.KindDaemonSet, "daemonsets": mesh.KindDaemonSet, "ds": mesh.KindDaemonSet,
}

// WorkloadNamed reads the name of a single workload as kubectl takes it, TYPE/NAME,
// and writes it as plans do: deployment/cart.
func WorkloadNamed(text string) (string, error) {
	kind, name, named := strings.Cut(text, "/")
	full, known := workloadTypes[strings.TrimSuffix(strings.ToLower(kind), ".apps")]
	if !named || !known || name == "" || strings.Contains(name, "/") {
		return "", fmt.Errorf("%q is no workload that can be moved alone: name a deployment/NAME, statefulset/NAME or daemonset/NAME, or a service/NAME that is to have a waypoint", text)
	}
	return shortName(v1alpha1.ObjectReference{Kind: full, Name: name}), nil
}

// canary finds the workload that is to be moved alone.
func canary(snapshot *mesh.Snapshot, namespace mesh.Namespace, named string) (mesh.Workload, error) {
	workloads := snapshot.Workloads(namespace.Name)
	i := slices.IndexFunc(workloads, func(workload mesh.Workload) bool { return shortName(workload.Reference) == named })
	if i < 0 {
		return mesh.Workload{}, &translate.OptionError{Text: fmt.Sprintf("there is no %s in namespace %s", named, namespace.Name)}
	}
	workload := workloads[i]
	if role := snapshot.RoleOf(workload, namespace); role != mesh.RoleMove && !hasMoved(workload, namespace) {
		return workload, &translate.OptionError{Text: fmt.Sprintf("%s in namespace %s has no sidecars that could be moved", named, namespace.Name)}
	}
	return workload, nil
}

// hasMoved says whether the template of a workload is that of one in ambient mode.
func hasMoved(workload mesh.Workload, namespace mesh.Namespace) bool {
	labels := workload.Template.Labels
	mode := cmp.Or(labels[label.IoIstioDataplaneMode.Name], namespace.Labels[label.IoIstioDataplaneMode.Name])
	return mode == mesh.DataplaneAmbient && mesh.OptedOut(labels, workload.Template.Annotations)
}

// moveFirst restarts one workload without sidecars, before the others. Where the
// namespace is not in ambient mode, its template says that its pods are: it keeps
// that label when the namespace is enrolled, so that it is not restarted once more.
func (e enrolment) moveFirst() ([]v1alpha1.Step, error) {
	workload := *e.canary
	if hasMoved(workload, e.namespace) {
		if e.unfinished(workload) {
			return []v1alpha1.Step{e.waitFor(workload)}, nil
		}
		return nil, nil
	}
	// The steps of the others are planned on a state of their own.
	alone := e
	alone.state = NewProjection(e.snapshot)
	restarts, err := alone.restartWorkloads()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(restarts, func(step v1alpha1.Step) bool { return restarted(step) == workload.Reference })
	if i < 0 {
		return nil, nil
	}
	step := restarts[i]
	var edits []edit
	for _, change := range step.Changes {
		for _, field := range change.Fields {
			edits = append(edits, edit{field.Path, field.After})
		}
	}
	if e.namespace.Labels[label.IoIstioDataplaneMode.Name] != mesh.DataplaneAmbient {
		edits = append(edits, edit{Pointer(workload.TemplatePath, "metadata", "labels", label.IoIstioDataplaneMode.Name), mesh.DataplaneAmbient})
		step.Notes = append(step.Notes, "its pods are in ambient mode by their own label: those of other workloads keep their sidecars")
	}
	step.Changes = nil
	if err := e.state.changes(&step, workload.Reference, edits); err != nil {
		return nil, err
	}
	return []v1alpha1.Step{step}, nil
}

func (e enrolment) waitFor(workload mesh.Workload) v1alpha1.Step {
	return v1alpha1.Step{
		ID: stepID(v1alpha1.PhaseRestartWorkloads, workload.Reference), Phase: v1alpha1.PhaseRestartWorkloads,
		Summary: "wait for " + shortName(workload.Reference) + " to be in ambient mode",
		Notes:   append([]string{"its template was written before"}, e.replacing(workload)...),
		Gate:    e.captured(workload),
	}
}

// verification is the last step: of a workload that was moved alone, since the
// namespace is not in ambient mode.
func (e enrolment) verification() v1alpha1.Step {
	step := v1alpha1.Step{
		ID: string(v1alpha1.PhaseVerify), Phase: v1alpha1.PhaseVerify,
		Summary: "verify that the data plane agrees",
		Gate:    v1alpha1.Gate{Kind: v1alpha1.GateVerified},
	}
	if e.options.Service != "" {
		step.Summary, step.Gate = e.standing()
	}
	if e.canary != nil {
		step.Summary += " about " + shortName(e.canary.Reference)
		step.Gate = e.captured(*e.canary)
	}
	return step
}

// gates are the checks that have to hold. A workload that is moved alone captures
// nothing else.
func (e enrolment) gates(planned []checks.Check) []checks.Check {
	if e.options.Service != "" {
		return slices.Concat(checks.ServiceGates(), planned)
	}
	if e.onlyRefreshes() {
		return checks.RefreshGates()
	}
	all := slices.Concat(checks.EnrollGates(), planned)
	if e.canary == nil {
		return all
	}
	return slices.DeleteFunc(all, func(check checks.Check) bool { return check.ID == checks.LiveCaptureID })
}
