package plan

import (
	"fmt"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// Projection is the mesh as a plan's steps leave it, step by step: an object
// that several steps change is seen by each as the one before left it.
type Projection struct {
	snapshot *mesh.Snapshot
	objects  map[v1alpha1.ObjectReference]map[string]any
}

// NewProjection starts from a snapshot.
func NewProjection(snapshot *mesh.Snapshot) *Projection {
	return &Projection{snapshot: snapshot, objects: map[v1alpha1.ObjectReference]map[string]any{}}
}

// Object returns an object as the changes so far leave it, without what the API
// server manages.
func (p *Projection) Object(reference v1alpha1.ObjectReference) (map[string]any, error) {
	if object, changed := p.objects[reference]; changed {
		return object, nil
	}
	read, found := p.snapshot.Object(reference)
	if !found {
		return nil, fmt.Errorf("%s is not known in whole: it has just been created or deleted; try again", reference)
	}
	return Bare(read), nil
}

// Apply makes a change, and returns the object before and after it, without
// what the API server manages.
func (p *Projection) Apply(change v1alpha1.Change) (before, after map[string]any, err error) {
	object, err := p.Object(change.Object)
	if err != nil {
		return nil, nil, err
	}
	after, err = Apply(object, change.Fields)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", change.Object, err)
	}
	p.objects[change.Object] = after
	return object, after, nil
}
