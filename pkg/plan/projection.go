package plan

import (
	"fmt"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Projection is the mesh as a plan's steps leave it, step by step: an object
// that several steps change is seen by each as the one before left it, one that
// a step creates is there for those after it, one that a step deletes is not.
type Projection struct {
	snapshot *mesh.Snapshot
	// objects are those that steps wrote; nil where a step deleted it.
	objects map[v1alpha1.ObjectReference]map[string]any
	// left are objects of ours that are left alone, since somebody has changed them.
	left []*EditedError
}

// NewProjection starts from a snapshot.
func NewProjection(snapshot *mesh.Snapshot) *Projection {
	return &Projection{snapshot: snapshot, objects: map[v1alpha1.ObjectReference]map[string]any{}}
}

// Object returns an object as the changes so far leave it, without what the API
// server manages.
func (p *Projection) Object(reference v1alpha1.ObjectReference) (map[string]any, error) {
	object, found := p.find(reference)
	if !found {
		return nil, fmt.Errorf("%s is not known in whole: it has just been created or deleted; try again", reference)
	}
	return object, nil
}

func (p *Projection) find(reference v1alpha1.ObjectReference) (map[string]any, bool) {
	if object, written := p.objects[reference]; written {
		return object, object != nil
	}
	read, found := p.snapshot.Object(reference)
	if !found {
		return nil, false
	}
	return Bare(read), true
}

// Apply makes a change, and returns the object before and after it, without
// what the API server manages. An object that is created has no before, one
// that is deleted no after.
func (p *Projection) Apply(change v1alpha1.Change) (before, after map[string]any, err error) {
	if change.Create != nil {
		created := runtime.DeepCopyJSON(change.Create)
		p.objects[change.Object] = created
		return nil, created, nil
	}
	object, err := p.Object(change.Object)
	if err != nil {
		return nil, nil, err
	}
	if change.Delete {
		p.objects[change.Object] = nil
		return object, nil, nil
	}
	after, err = Apply(object, change.Fields)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", change.Object, err)
	}
	p.objects[change.Object] = after
	return object, after, nil
}

// edit is a field to be set, or removed where after is nil.
type edit struct {
	path  string
	after any
}

// changes makes edits of an object, as the steps before leave it, part of a
// step. It adds nothing where the object is already as they want it.
func (p *Projection) changes(step *v1alpha1.Step, reference v1alpha1.ObjectReference, edits []edit) error {
	object, err := p.Object(reference)
	if err != nil {
		return err
	}
	change := v1alpha1.Change{Object: reference, UID: uidOf(object)}
	for _, edit := range edits {
		before := Lookup(object, edit.path)
		if !Equal(before, edit.after) {
			change.Fields = append(change.Fields, v1alpha1.FieldChange{Path: edit.path, Before: before, After: edit.after})
		}
	}
	if len(change.Fields) == 0 {
		return nil
	}
	_, after, err := p.Apply(change)
	if err != nil {
		return err
	}
	if change.BeforeHash, err = Hash(object); err != nil {
		return fmt.Errorf("%s: %w", reference, err)
	}
	if change.AfterHash, err = Hash(after); err != nil {
		return fmt.Errorf("%s: %w", reference, err)
	}
	step.Changes = append(step.Changes, change)
	return nil
}

func uidOf(object map[string]any) string {
	// An object whose UID is not a text cannot have been read.
	uid, _, _ := unstructured.NestedString(object, "metadata", "uid")
	return uid
}
