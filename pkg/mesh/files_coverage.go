package mesh

import "k8s.io/apimachinery/pkg/runtime/schema"

// cover decides which kinds plain files tell of. That they hold an object of a
// namespaced kind says nothing of what they hold none of: another namespace, or
// another object of the same one. Of kinds that are in no namespace people dump
// all or none.
func (r *fileReading) cover() {
	held := map[schema.GroupKind]bool{}
	for i := range r.content.Objects {
		held[r.content.Objects[i].GroupVersionKind().GroupKind()] = true
	}
	for _, c := range collections() {
		r.coverKey(c.key, c.clusterScoped && held[schema.GroupKind{Group: c.resource.Group, Kind: c.kind}])
	}
	r.coverKey(PodsMeshWide, false)
}

func (r *fileReading) coverKey(key string, known bool) {
	if known || r.files.Complete {
		r.content.Coverage[key] = Coverage{State: CoverageRead}
		return
	}
	r.content.Coverage[key] = Coverage{State: CoverageUnasked, Reason: "plain files do not say what they leave out"}
}
