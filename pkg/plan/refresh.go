package plan

import (
	"cmp"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// restartedAnnotation is what kubectl rollout restart writes into a template (kubectl
// pkg/polymorphichelpers/objectrestarter.go).
const restartedAnnotation = "kubectl.kubernetes.io/restartedAt"

// never is the time of a plan that is only looked at.
const never = "0001-01-01T00:00:00Z"

// onlyRefreshes says whether the plan ends with newer sidecars.
func (e enrolment) onlyRefreshes() bool {
	return e.options.Until == v1alpha1.PhaseRefreshSidecars
}

// refreshSidecars restarts what has sidecars that predate HBONE, with sidecars: pods in
// ambient mode, and waypoints, call them in plaintext otherwise. It comes before
// anything that lets them be called so.
func (e enrolment) refreshSidecars() ([]v1alpha1.Step, error) {
	var steps []v1alpha1.Step
	for _, workload := range e.snapshot.Workloads(e.namespace.Name) {
		pods := slices.DeleteFunc(slices.Clone(e.snapshot.PodsOf(workload)), func(pod mesh.Pod) bool { return !checks.PredatesHBONE(pod) })
		if len(pods) == 0 || !e.refreshable(workload) {
			continue
		}
		// Templates that are not to be written are not written for this, either.
		evicts := e.options.byNamespace()
		step := v1alpha1.Step{
			ID: stepID(v1alpha1.PhaseRefreshSidecars, workload.Reference), Phase: v1alpha1.PhaseRefreshSidecars,
			Summary: "restart " + shortName(workload.Reference) + " for sidecars that accept HBONE",
			Notes:   byHand(workload),
			Gate: v1alpha1.Gate{
				Kind: v1alpha1.GateSidecarsHBONE, Workloads: []v1alpha1.ObjectReference{workload.Reference},
				Replaces: workload.ByHand() || evicts, Evicts: evicts, Cordon: e.options.Cordon && cordons(workload),
			},
		}
		if evicts {
			step.Summary = "evict the pods of " + shortName(workload.Reference) + " for sidecars that accept HBONE"
			step.Notes = []string{noteEvicts}
		}
		annotations := Pointer(workload.TemplatePath, "metadata", "annotations")
		switch {
		case step.Gate.Replaces:
			// What is evicted comes back injected anew, whatever the template says.
		case Lookup(workload.Object, Pointer(annotations, restartedAnnotation)) != nil && !mesh.RolloutOf(workload).Complete:
			step.Summary = "wait for the sidecars of " + shortName(workload.Reference) + " to accept HBONE"
			step.Notes = append(step.Notes, "its template was written before")
		default:
			edits := []edit{{Pointer(annotations, restartedAnnotation), cmp.Or(e.options.RestartedAt, never)}}
			if err := e.state.changes(&step, workload.Reference, edits); err != nil {
				return nil, err
			}
		}
		steps = append(steps, step)
	}
	return steps, nil
}

// refreshable says whether a restart gives a workload's pods sidecars that accept HBONE.
func (e enrolment) refreshable(workload mesh.Workload) bool {
	template := workload.Template
	injector, injected := e.snapshot.Injectors().Injecting(e.namespace.Labels, template.Labels, template.Annotations, template.Spec.HostNetwork)
	return injected && e.snapshot.RoleOf(workload, e.namespace) == mesh.RoleMove && workload.Renews() && !workload.Paused &&
		template.Labels[mesh.TunnelLabel] == "" && access.AcceptHBONE(e.snapshot, injector.Revision, template.Annotations)
}

// refreshed are the workloads whose sidecars steps replace by newer ones.
func refreshed(steps []v1alpha1.Step) []v1alpha1.ObjectReference {
	var workloads []v1alpha1.ObjectReference
	for _, step := range steps {
		if step.Phase == v1alpha1.PhaseRefreshSidecars {
			workloads = append(workloads, step.Gate.Workloads...)
		}
	}
	return workloads
}

// keepRefreshed names what was restarted for newer sidecars only. Taking that out of a
// template again would be one more restart for nothing: the sidecars would be the same.
// A template that is put back for another reason is put back whole.
func (r *rollback) keepRefreshed() error {
	for _, reference := range r.objects(v1alpha1.PhaseRefreshSidecars) {
		object, err := r.state.Object(reference)
		if err != nil {
			// It is gone.
			continue
		}
		for _, one := range r.edits(v1alpha1.PhaseRefreshSidecars, reference, object, false) {
			r.plan.Kept = append(r.plan.Kept, v1alpha1.KeptField{
				Object: reference, Path: one.path, Reason: "taking it out would restart the pods for sidecars like those that they have",
				Expected: Lookup(object, one.path), Found: Lookup(object, one.path), Wanted: one.after,
			})
		}
	}
	return nil
}

// onlyRefreshed says whether the runs have done nothing but restart pods with sidecars:
// none can have come up without.
func (r *rollback) onlyRefreshed() bool {
	return len(r.written) > 0 && len(r.created)+len(r.deleted) == 0 && !slices.ContainsFunc(r.written, func(field writtenField) bool {
		return field.phase != v1alpha1.PhaseRefreshSidecars
	})
}
