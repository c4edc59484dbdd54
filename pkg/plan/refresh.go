package plan

import (
	"cmp"
	"slices"
	"time"

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
			Notes:   e.replacing(workload),
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
		case restartsAt(workload):
			if err := e.restartAt(&step, workload, pods); err != nil {
				return nil, err
			}
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

// restartAtPath is the field by which Argo Rollouts evicts the pods of a Rollout that are
// older, and leaves its template alone (argo-rollouts docs, Restarting Rollout Pods, and
// rollout/restart.go).
const restartAtPath = "/spec/restartAt"

// restartsAt says whether a workload's pods may be replaced so. The controller takes away
// one pod at the least before there is another in its place, whatever the strategy says
// (rollout/restart.go, Reconcile): where that allows none to be missing, a change of the
// template, which does go by it, is the restart.
func restartsAt(workload mesh.Workload) bool {
	return workload.Reference.Kind == mesh.KindRollout && workload.Restart().Unavailable > 0 && workload.Replicas > 1
}

// restartAt has Argo Rollouts replace some pods, and those that are older. The time is
// that of the newest of them and not one by this machine's clock: the controller would
// wait for one that is yet to come, and leave pods alone that are newer than one that is
// long past.
func (e enrolment) restartAt(step *v1alpha1.Step, workload mesh.Workload, pods []mesh.Pod) error {
	newest := slices.MaxFunc(pods, func(a, b mesh.Pod) int { return a.Created.Compare(b.Created) })
	at := newest.Created.UTC().Truncate(time.Second).Add(time.Second)
	step.Notes = []string{"Argo Rollouts evicts what is older than " + restartAtField + ", as many at a time as maxUnavailable lets it; no step of the Rollout is taken"}
	text, _ := Lookup(workload.Object, restartAtPath).(string)
	if there, err := time.Parse(time.RFC3339, text); err == nil && !there.Before(at) {
		step.Summary = "wait for the sidecars of " + shortName(workload.Reference) + " to accept HBONE"
		step.Notes = append(step.Notes, restartAtField+" was written before")
		return nil
	}
	return e.state.changes(step, workload.Reference, []edit{{restartAtPath, at.Format(time.RFC3339)}})
}

const restartAtField = "spec.restartAt"

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
// A template that is put back for another reason is put back whole. That a Rollout was to
// be restarted is taken back, which restarts nothing.
func (r *rollback) keepRefreshed() error {
	for _, reference := range r.objects(v1alpha1.PhaseRefreshSidecars) {
		object, err := r.state.Object(reference)
		if err != nil {
			// It is gone.
			continue
		}
		step := v1alpha1.Step{
			ID: stepID(v1alpha1.PhaseRestoreWorkloads, reference) + "/restart-at", Phase: v1alpha1.PhaseRestoreWorkloads,
			Summary: "put " + restartAtField + " of " + shortName(reference) + " back", Notes: []string{"restarts nothing: no pod is older than what it was"},
			Gate: v1alpha1.Gate{Kind: v1alpha1.GateNone},
		}
		for _, one := range r.edits(v1alpha1.PhaseRefreshSidecars, reference, object, reference.Kind == mesh.KindRollout) {
			if one.path == restartAtPath {
				if err := r.state.changes(&step, reference, []edit{one}); err != nil {
					return err
				}
				continue
			}
			r.plan.Kept = append(r.plan.Kept, v1alpha1.KeptField{
				Object: reference, Path: one.path, Reason: "taking it out would restart the pods for sidecars like those that they have",
				Expected: Lookup(object, one.path), Found: Lookup(object, one.path), Wanted: one.after,
			})
		}
		r.plan.Steps = appendStep(r.plan.Steps, step)
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
