package plan

import (
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
)

// writesOf are what steps change or delete of objects, object by object in the order in
// which they come to them: what belongs to somebody is told by these. What they create
// belongs to nobody yet.
func writesOf(steps []v1alpha1.Step) []checks.Write {
	var writes []checks.Write
	for _, step := range steps {
		for _, change := range step.Changes {
			if !change.Delete && len(change.Fields) == 0 {
				continue
			}
			at := slices.IndexFunc(writes, func(write checks.Write) bool { return write.Object == change.Object })
			if at < 0 {
				at, writes = len(writes), append(writes, checks.Write{Object: change.Object})
			}
			writes[at].Deleted = writes[at].Deleted || change.Delete
			for _, field := range change.Fields {
				path := Segments(field.Path)
				if !slices.ContainsFunc(writes[at].Fields, func(other []string) bool { return slices.Equal(other, path) }) {
					writes[at].Fields = append(writes[at].Fields, path)
				}
			}
		}
	}
	return writes
}
