package plan

import (
	"reflect"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// SameSteps says whether two plans would do the same: change the same fields of
// the same objects, in the same order and behind the same gates. What an object
// holds besides those fields does not count, nor do notes.
func SameSteps(a, b v1alpha1.MigrationPlan) bool {
	if len(a.Steps) != len(b.Steps) {
		return false
	}
	for i := range a.Steps {
		if !reflect.DeepEqual(bones(a.Steps[i]), bones(b.Steps[i])) {
			return false
		}
	}
	return true
}

// bones are what a step does and waits for.
func bones(step v1alpha1.Step) v1alpha1.Step {
	bare := v1alpha1.Step{ID: step.ID, Phase: step.Phase, Gate: step.Gate}
	for _, change := range step.Changes {
		bare.Changes = append(bare.Changes, v1alpha1.Change{Object: change.Object, UID: change.UID, Fields: change.Fields})
	}
	return bare
}
