package plan

import (
	"maps"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"istio.io/api/annotation"
	"istio.io/api/label"
)

// forSidecars says whether an annotation of a pod is only for the sidecar in it, or for
// whoever injects it.
func forSidecars(name string) bool {
	return strings.HasPrefix(name, "sidecar.istio.io/") || strings.HasPrefix(name, "traffic.sidecar.istio.io/") || name == annotation.ProxyConfig.Name
}

// annotationsForSidecars are those of a workload's template, sorted.
func annotationsForSidecars(workload mesh.Workload) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(workload.Template.Annotations)), func(name string) bool { return !forSidecars(name) })
}

// withoutAnnotations takes some annotations out of a workload's template.
func withoutAnnotations(workload mesh.Workload, names []string) []edit {
	edits := make([]edit, 0, len(names))
	for _, name := range names {
		edits = append(edits, edit{Pointer(workload.TemplatePath, "metadata", "annotations", name), nil})
	}
	return edits
}

// withoutSidecars are the workloads of the namespace whose templates say that their pods
// have no sidecar, once some of them are moved.
func (e enrolment) withoutSidecars(moved map[v1alpha1.ObjectReference]bool) []mesh.Workload {
	return slices.DeleteFunc(slices.Clone(e.snapshot.Workloads(e.namespace.Name)), func(workload mesh.Workload) bool {
		labels := workload.Template.Labels
		ambient := mesh.OptedOut(labels, workload.Template.Annotations) && labels[label.IoIstioDataplaneMode.Name] != mesh.DataplaneNone &&
			e.namespace.Labels[label.IoIstioDataplaneMode.Name] == mesh.DataplaneAmbient
		return workload.IsGateway() || mesh.IsWaypointPod(labels) || !moved[workload.Reference] && !ambient
	})
}

// annotationsLeft are the annotations for sidecars that a workload's template still has
// when the plan is carried out, and what can be done about them. Where the workload is
// moved in the same plan, the write that moves it takes them out as well.
func (e enrolment) annotationsLeft(workload mesh.Workload, moved bool) (names []string, remedy string) {
	names = annotationsForSidecars(workload)
	hindered := hindered(workload, e.snapshot.PodsOf(workload))
	switch {
	case len(names) == 0 || moved && e.options.Simplify && !e.options.byNamespace():
		return nil, ""
	case hindered != "":
		return names, "leave them out at the next deployment: taking them out would be a restart now, and " + hindered
	case e.options.CleanTemplates:
		return nil, ""
	default:
		return names, "leave them out at the next deployment, or have them taken out by a restart: kubectl ambient simplify --restart"
	}
}

// hindered says why no restart for nothing but other annotations is to be had of a
// workload; it is empty where one is.
func hindered(workload mesh.Workload, pods []mesh.Pod) string {
	switch {
	case workload.Reference.Kind == mesh.KindCronJob:
		// Its next pods come from the changed template; nothing is restarted.
		return ""
	case workload.Reference.Kind == mesh.KindRollout:
		return "Argo Rollouts takes all of its steps for that"
	case workload.Paused:
		return "it is paused"
	case workload.ByHand() || !workload.Renews() || workload.Partition > 0:
		return "nothing replaces all of its pods when its template changes"
	case !mesh.RolloutOf(workload).Complete || slices.ContainsFunc(pods, func(pod mesh.Pod) bool { return !pod.Ready }):
		return "its pods are not all there as it is"
	default:
		return ""
	}
}

// cleanTemplates takes annotations that only sidecars read out of the templates of
// workloads without any, which restarts them, one after another. The steps are of the
// phase in which templates are written, so that a rollback puts those back with one
// restart, whichever runs have written them.
func (e enrolment) cleanTemplates(state *Projection) ([]v1alpha1.Step, error) {
	if !e.options.CleanTemplates {
		return nil, nil
	}
	var steps []v1alpha1.Step
	for _, workload := range e.withoutSidecars(nil) {
		names := annotationsForSidecars(workload)
		if len(names) == 0 || hindered(workload, e.snapshot.PodsOf(workload)) != "" {
			continue
		}
		step := v1alpha1.Step{
			ID: stepID(v1alpha1.PhaseRestartWorkloads, workload.Reference), Phase: v1alpha1.PhaseRestartWorkloads,
			Summary: "restart " + shortName(workload.Reference) + " without annotations for sidecars",
			Gate:    e.captured(workload),
		}
		if outage := checks.Outage(workload); outage != "" {
			step.Notes = []string{outage}
		}
		if workload.Reference.Kind == mesh.KindCronJob {
			step.Summary = "let " + shortName(workload.Reference) + " start its next pods without annotations for sidecars"
			step.Gate = v1alpha1.Gate{Kind: v1alpha1.GateNone}
		}
		if err := state.changes(&step, workload.Reference, withoutAnnotations(workload, names)); err != nil {
			return nil, err
		}
		steps = appendStep(steps, step)
	}
	return steps, nil
}
