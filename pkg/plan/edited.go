package plan

import (
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// EditedError says that an object that an earlier run has made is not as it is to be,
// and that somebody else has written it since. It is never overwritten.
type EditedError struct {
	Object v1alpha1.ObjectReference
	// Field is the first that is not as it is to be, By are those who wrote its spec;
	// none where it is only known that somebody did.
	Field string
	By    []string
}

func (e *EditedError) Error() string {
	return fmt.Sprintf("%s: %s: %s", e.Object, e.message(), e.remedy())
}

func (e *EditedError) message() string {
	who := "somebody"
	if len(e.By) > 0 {
		who = some(e.By)
	}
	return fmt.Sprintf("an enrolment has made it, and %s has changed it since (metadata.managedFields): it is not what it is to be, and is left alone", who)
}

func (e *EditedError) remedy() string {
	return "delete it, and it is made anew, or put it back; what is to hold for good belongs into what it was made from"
}

// edited wants an object of ours that is to be written anew to be as a run has left it,
// which others' writes of its spec tell. Forms are what it may be as well: what holds at
// another stage of a migration is as a run has left it, whoever wrote it.
func (p *Projection) edited(object map[string]any, forms []map[string]any) error {
	wanted, err := creatable(object)
	if err != nil {
		return err
	}
	reference := referenceTo(wanted)
	live, found := p.snapshot.Object(reference)
	if _, written := p.objects[reference]; written || !found || !Ours(live) {
		return nil
	}
	for _, form := range append([]map[string]any{wanted}, forms...) {
		plain, err := creatable(form)
		if err != nil {
			return err
		}
		if p.sameSpec(reference, live, plain) {
			return nil
		}
	}
	managers, err := mesh.Managers(live)
	if err != nil {
		return fmt.Errorf("%s: %w", reference, err)
	}
	content := contentField(wanted)
	failure := &EditedError{Object: reference, Field: content}
	if drift := Drift(reference, wanted, live); drift != nil && drift.Field != "" {
		failure.Field = drift.Field
	}
	amended := false
	for _, manager := range managers {
		switch {
		case !manager.OwnsWithin(content):
		case manager.Name == origin:
			amended = amended || !manager.Applies
		case !slices.Contains(failure.By, manager.Name):
			failure.By = append(failure.By, manager.Name)
		}
	}
	if len(failure.By) > 0 || len(managers) > 0 && !amended && narrowed(live) {
		return failure
	}
	return nil
}

// narrowed says whether somebody has written the spec of a copy at a waypoint since it
// was made. Who only takes fields away owns none (Kubernetes documentation, Server-Side
// Apply, Field management), but the generation counts the write. Guards are not looked
// at: runs take fields away from these themselves.
func narrowed(live map[string]any) bool {
	generation, _, err := unstructured.NestedInt64(live, "metadata", "generation")
	return err == nil && generation > 1 && len(mesh.TargetsIn(live)) > 0
}

// forms are the contents that the translation has for an object at any stage.
func (e enrolment) forms(of v1alpha1.ObjectReference) []map[string]any {
	var contents []map[string]any
	for _, one := range append([]handover{e.handover}, e.others...) {
		for _, object := range slices.Concat(one.translation.Before, one.translation.After) {
			if object.Reference == of {
				contents = append(contents, object.Content)
			}
		}
	}
	return contents
}

// noteEdited notes once that an object is left alone.
func (p *Projection) noteEdited(failure *EditedError) {
	if !slices.ContainsFunc(p.left, func(other *EditedError) bool { return other.Object == failure.Object }) {
		p.left = append(p.left, failure)
	}
}

// unsolvedEdits are what a gate says of objects that are left alone.
func (p *Projection) unsolvedEdits() []checks.Unsolved {
	var unsolved []checks.Unsolved
	for _, failure := range p.left {
		unsolved = append(unsolved, checks.Unsolved{Object: failure.Object, Field: failure.Field, Message: failure.message(), Remedy: failure.remedy()})
	}
	return unsolved
}

// leavesEdited says whether a gate names an object of ours that is left alone.
func (e enrolment) leavesEdited(gate v1alpha1.CheckResult) bool {
	return gate.ID == checks.IDCarriedOver && gate.Object != nil &&
		slices.ContainsFunc(e.state.left, func(failure *EditedError) bool { return failure.Object == *gate.Object })
}
