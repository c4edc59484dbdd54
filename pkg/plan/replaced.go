package plan

import (
	"fmt"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// deletedObject is an object that was there before the runs and that one of them has
// deleted.
type deletedObject struct {
	object v1alpha1.ObjectReference
	// content is what it was when it was deleted.
	content map[string]any
}

// deletedBy collects what runs, given newest first, have deleted or may have in the
// phases after one, and was not undone since. Of what
// was deleted twice, since somebody had made it again, what it was last counts. What
// was gone when a step came to it, no run has deleted.
func deletedBy(to v1alpha1.Phase, records []v1alpha1.MigrationRecord) []deletedObject {
	var deleted []deletedObject
	seen := map[v1alpha1.ObjectReference]bool{}
	for _, record := range records {
		for i, step := range record.Plan.Steps {
			if !isAfter(step.Phase, to) {
				continue
			}
			for _, change := range left(record, i) {
				former, known := content(record.Steps[i].Before, change.Object)
				if !change.Delete || !known || Ours(former) || seen[change.Object] {
					continue
				}
				seen[change.Object] = true
				deleted = append(deleted, deletedObject{object: change.Object, content: former})
			}
		}
	}
	return deleted
}

// restoreReplaced comes first: what the runs have deleted is there again, and accepted,
// before anything is taken away that stands in for it. What follows sees the mesh with
// it.
func (r *rollback) restoreReplaced() error {
	step := v1alpha1.Step{
		ID: string(v1alpha1.PhaseRestoreReplaced), Phase: v1alpha1.PhaseRestoreReplaced,
		Summary: "make again what was deleted since it was replaced",
		Gate:    v1alpha1.Gate{Kind: v1alpha1.GatePoliciesAccepted},
	}
	var made []unstructured.Unstructured
	for _, deleted := range r.deleted {
		live, found := r.snapshot.Object(deleted.object)
		if found && !r.isAgain(deleted, live) {
			r.plan.Kept = append(r.plan.Kept, v1alpha1.KeptField{
				Object: deleted.object, Reason: "a run had deleted it, and somebody has made another one of that name since: it is left as it is",
			})
		}
		if found {
			continue
		}
		object, err := r.state.makesAgain(&step, deleted)
		if err != nil {
			return err
		}
		made = append(made, unstructured.Unstructured{Object: object})
	}
	if err := r.restoring(v1alpha1.PhaseSimplify, &step); err != nil {
		return err
	}
	step.Gate.Objects = changedBy(step)
	r.plan.Steps = appendStep(r.plan.Steps, step)
	if len(made) == 0 {
		return nil
	}
	next, err := r.snapshot.With(made, nil)
	if err != nil {
		return err
	}
	r.snapshot = next
	return nil
}

// isAgain says whether an object that is there is the one that a run had deleted: as
// it was then, or as it was before the runs, which is what a rollback that was stopped
// may have made of it.
func (r *rollback) isAgain(deleted deletedObject, live map[string]any) bool {
	if SaysTheSame(live, deleted.content) {
		return true
	}
	var fields []v1alpha1.FieldChange
	for _, field := range r.written {
		if field.object == deleted.object {
			fields = append(fields, v1alpha1.FieldChange{Path: field.path, After: field.before})
		}
	}
	former, err := Apply(deleted.content, fields)
	return err == nil && SaysTheSame(live, former)
}

// SaysTheSame says whether two objects say the same, in what somebody has written: in
// their content, labels and annotations.
func SaysTheSame(a, b map[string]any) bool {
	a, b = Bare(a), Bare(b)
	for _, path := range []string{"/metadata/labels", "/metadata/annotations", Pointer("", contentField(b))} {
		if !Equal(Lookup(a, path), Lookup(b, path)) {
			return false
		}
	}
	return true
}

// makesAgain makes an object that was deleted part of a step, as it was but for what
// the API server gives to each object anew.
func (p *Projection) makesAgain(step *v1alpha1.Step, deleted deletedObject) (map[string]any, error) {
	object := Bare(deleted.content)
	for _, field := range []string{"uid", "creationTimestamp", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"} {
		unstructured.RemoveNestedField(object, "metadata", field)
	}
	hash, err := Hash(object)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", deleted.object, err)
	}
	change := v1alpha1.Change{Object: deleted.object, Create: object, AfterHash: hash}
	if _, _, err := p.Apply(change); err != nil {
		return nil, err
	}
	step.Changes = append(step.Changes, change)
	return object, nil
}
