package mesh

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// cover decides which kinds the files tell of: those that they hold any of.
func (r *fileReading) cover() {
	held := r.held()
	for _, c := range collections() {
		r.coverKey(c.key, held.tells(c))
	}
	r.coverKey(PodsMeshWide, held.allPods())
}

// held is what files hold.
type held struct {
	kinds map[schema.GroupKind]bool
	// system are the kinds that there are objects of in kube-system.
	system map[string]bool
	parts  map[string]bool
	// istiod is true where one of its pods is there.
	istiod bool
}

// tells says whether the absence of a collection's objects would mean something.
// What every mesh has is known where there is one; so are the other parts of a
// kind that the files hold of a whole cluster.
func (h held) tells(c collection) bool {
	switch {
	case c.key == SidecarsWithoutTunnel:
		// One of them says nothing of the others.
		return h.allPods()
	case c.selector != "" && c.kind == KindPod:
		return h.parts[c.key] || h.allPods()
	case c.kind == KindConfigMap:
		return h.parts[c.key] || h.allConfigMaps()
	case c.key == IstiodDeployments:
		return h.parts[c.key]
	default:
		return h.kinds[schema.GroupKind{Group: c.resource.Group, Kind: c.kind}]
	}
}

// Every cluster has pods and ConfigMaps in kube-system, and every mesh those of
// istiod: where they are missing, the files are about some namespaces only. A mesh
// whose istiod runs elsewhere cannot be told from those.
func (h held) allPods() bool       { return h.istiod && h.system[KindPod] }
func (h held) allConfigMaps() bool { return h.parts[IstioConfigMaps] && h.system[KindConfigMap] }

func (r *fileReading) held() held {
	held := held{kinds: map[schema.GroupKind]bool{}, system: map[string]bool{}, parts: map[string]bool{}}
	all := collections()
	for i := range r.content.Objects {
		object := &r.content.Objects[i]
		kind := object.GroupVersionKind().GroupKind()
		held.kinds[kind] = true
		if !Understood(kind) {
			continue
		}
		if object.GetNamespace() == metav1.NamespaceSystem {
			held.system[kind.Kind] = true
		}
		held.istiod = held.istiod || kind.Kind == KindPod && object.GetLabels()["app"] == "istiod"
		for _, c := range all {
			if !held.parts[c.key] && c.kind == kind.Kind && c.resource.Group == kind.Group && c.selects(object) {
				held.parts[c.key] = true
			}
		}
	}
	return held
}

func (r *fileReading) coverKey(key string, known bool) {
	if known || r.files.Complete {
		r.content.Coverage[key] = Coverage{State: CoverageRead}
		return
	}
	r.content.Coverage[key] = Coverage{State: CoverageUnasked, Reason: "the files hold none"}
}

// selects says whether an object of the collection's kind is a part of it.
func (c collection) selects(object *unstructured.Unstructured) bool {
	byLabels, err := labels.Parse(c.selector)
	if err != nil || !byLabels.Matches(labels.Set(object.GetLabels())) {
		return false
	}
	byFields, err := fields.ParseSelector(c.fields)
	return err == nil && byFields.Matches(fields.Set{"metadata.name": object.GetName()})
}
