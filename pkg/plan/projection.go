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

// Apply makes a change, and returns the object before and after it, without
// what the API server manages.
func (p *Projection) Apply(change v1alpha1.Change) (before, after map[string]any, err error) {
	object, changed := p.objects[change.Object]
	if !changed {
		read, found := p.snapshot.Object(change.Object)
		if !found {
			return nil, nil, fmt.Errorf("%s is not in the snapshot", change.Object)
		}
		object = Bare(read)
	}
	after, err = Apply(object, change.Fields)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", change.Object, err)
	}
	p.objects[change.Object] = after
	return object, after, nil
}
