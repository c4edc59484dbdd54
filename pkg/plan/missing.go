package plan

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// missing are the objects that the runs have created and that somebody has deleted:
// a rollback that was stopped has put workloads back before it deleted anything.
func (r *rollback) missing() []createdObject {
	restoring := slices.ContainsFunc(r.plan.Steps, func(step v1alpha1.Step) bool {
		return step.Phase == v1alpha1.PhaseRestoreWorkloads && len(step.Changes) > 0 && step.Changes[0].Object.Kind != mesh.KindNode
	})
	var missing []createdObject
	for _, created := range r.created {
		if _, found := r.snapshot.Object(created.object); restoring && created.done && !found {
			missing = append(missing, created)
		}
	}
	return missing
}

// nameMissing comes when it is known whether workloads are still to be put back.
func (r *rollback) nameMissing() error {
	for _, created := range r.missing() {
		r.plan.Gone = append(r.plan.Gone, created.object)
	}
	return nil
}

// unguarded are the workloads whose direct calls a policy decided that somebody has
// deleted: such calls are let in already, and callers that get their sidecars back
// make them.
func (r *rollback) unguarded() []v1alpha1.ObjectReference {
	var workloads []v1alpha1.ObjectReference
	for _, created := range r.missing() {
		content := created.contents[len(created.contents)-1]
		if created.object.Kind != mesh.KindAuthorizationPolicy || len(mesh.TargetsIn(content)) > 0 || Lookup(content, "/spec/action") != "DENY" {
			continue
		}
		// Where there is no selector, or none of texts, it selects everything.
		selector, _, _ := unstructured.NestedStringMap(content, "spec", "selector", "matchLabels")
		for _, workload := range r.snapshot.Workloads(created.object.Namespace) {
			if mesh.SelectsLabels(selector, workload.Template.Labels) && !slices.Contains(workloads, workload.Reference) {
				workloads = append(workloads, workload.Reference)
			}
		}
	}
	return workloads
}

// mixedCallersOf is what was chosen for callers that pass by waypoints: the rollback
// lets in past them on its way what the enrolment did on its own.
func mixedCallersOf(records []v1alpha1.MigrationRecord) string {
	for _, record := range records {
		if record.Plan.Access != nil && record.Plan.Access.MixedCallers == string(translate.MixedCallersLayer4) {
			return record.Plan.Access.MixedCallers
		}
	}
	return ""
}
