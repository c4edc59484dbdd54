package mesh

import (
	"encoding/json"
	"reflect"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

func (r *fileReading) add(document document) error {
	kind, err := kindOf(document.content)
	if err != nil {
		return document.at.errorf("%w", err)
	}
	switch {
	case document.list && kind.Group == v1alpha1.Group && kind.Kind == v1alpha1.KindMeshSnapshot:
		return r.addHeader(document)
	case document.list:
		return nil
	case !Understood(kind.GroupKind()):
		r.content.Objects = append(r.content.Objects, unrecognized(kind, document.content))
		return nil
	}
	if err := checkMetadata(document.content); err != nil {
		return document.at.errorf("%s: %w", nameOf(kind.Kind, document.content), err)
	}
	object := unstructured.Unstructured{Object: document.content}
	r.complete(&object)
	return r.addObject(object, document.at)
}

// complete fills in what the API server would.
func (r *fileReading) complete(object *unstructured.Unstructured) {
	scoped := namespaced()[object.GroupVersionKind().GroupKind()]
	switch {
	case scoped && object.GetNamespace() == "":
		object.SetNamespace(r.defaultNamespace())
	case !scoped && object.GetNamespace() != "":
		object.SetNamespace("")
	}
	if object.GetName() == "" {
		object.SetName(object.GetGenerateName())
	}
}

func (r *fileReading) defaultNamespace() string {
	if r.files.Namespace != "" {
		return r.files.Namespace
	}
	return metav1.NamespaceDefault
}

func (r *fileReading) addObject(object unstructured.Unstructured, at position) error {
	kind := object.GroupVersionKind()
	key := objectKey{kind.Group, kind.Kind, object.GetNamespace(), object.GetName()}
	if isMetadataOnly(&object) {
		return r.addPodMetadata(object, key, at)
	}
	if first, again := r.places[key]; again {
		return r.addAgain(object, key, at, first)
	}
	r.places[key] = place{at: at, index: len(r.content.Objects)}
	r.content.Add(object)
	r.locate(&object, at)
	return nil
}

// isMetadataOnly tells a pod that was read by metadata only: every other one has
// a spec.
func isMetadataOnly(object *unstructured.Unstructured) bool {
	return object.GetKind() == KindPod && object.Object["spec"] == nil
}

// addPodMetadata takes a pod by its metadata, unless the whole pod is there or
// still comes: then NewSnapshot prefers that one.
func (r *fileReading) addPodMetadata(object unstructured.Unstructured, key objectKey, at position) error {
	if object.GetUID() == "" {
		return at.errorf("%s: spec: it is missing", referenceOf(&object))
	}
	key.kind += ", metadata"
	if _, again := r.places[key]; again {
		return nil
	}
	redacted, _ := redact(object)
	var metadata metav1.ObjectMeta
	content, _ := redacted.Object["metadata"].(map[string]any)
	if err := decode(&unstructured.Unstructured{Object: content}, &metadata); err != nil {
		return at.errorf("%s: metadata: %w", referenceOf(&object), err)
	}
	r.places[key] = place{at: at}
	r.content.Pods = append(r.content.Pods, metadata)
	return nil
}

// addAgain takes an object that is there already. Two readings of one object at
// different times are common in dumps: the newer one counts. Different manifests
// of one name, as the base and an overlay of a repository hold them, are not
// understood.
func (r *fileReading) addAgain(object unstructured.Unstructured, key objectKey, at position, first place) error {
	redacted, lost := redact(object)
	before := r.content.Objects[first.index]
	if reflect.DeepEqual(before.Object, redacted.Object) {
		return nil
	}
	if before.GetUID() == "" || before.GetUID() != object.GetUID() {
		return at.errorf("%s is in %s, too, and says something else there: pass one of the two, or what kustomize build prints",
			referenceOf(&object), first.at)
	}
	order, err := resourceversion.CompareResourceVersion(before.GetResourceVersion(), object.GetResourceVersion())
	switch {
	case err != nil:
		return at.errorf("%s is in %s, too, and which of the two is newer cannot be told: %w", referenceOf(&object), first.at, err)
	case order >= 0:
		return nil
	}
	delete(r.content.Originals, referenceOf(&before))
	delete(r.content.positions, referenceOf(&before))
	r.places[key] = place{at: at, index: first.index}
	r.content.Objects[first.index] = redacted
	if lost {
		r.content.keepOriginal(object)
	}
	r.locate(&object, at)
	return nil
}

// locate remembers where an object stands.
func (r *fileReading) locate(object *unstructured.Unstructured, at position) {
	if r.content.positions == nil {
		r.content.positions = map[v1alpha1.ObjectReference]position{}
	}
	r.content.positions[referenceOf(object)] = at
}

func (r *fileReading) addHeader(document document) error {
	if r.header != nil {
		return document.at.errorf("a second snapshot: the first is in %s", r.from)
	}
	data, err := json.Marshal(document.content)
	if err != nil {
		return document.at.errorf("%w", err)
	}
	header := v1alpha1.MeshSnapshot{}
	if err := json.Unmarshal(data, &header); err != nil {
		return document.at.errorf("%s: %w", v1alpha1.KindMeshSnapshot, err)
	}
	if header.APIVersion != v1alpha1.GroupVersion {
		return document.at.errorf("the snapshot is of version %s: this version reads %s", header.APIVersion, v1alpha1.GroupVersion)
	}
	for i, coverage := range header.Coverage {
		if !slices.Contains(coverageStates, CoverageState(coverage.State)) {
			return document.at.errorf("%s: coverage[%d].state: %q is not among %v", v1alpha1.KindMeshSnapshot, i, coverage.State, coverageStates)
		}
	}
	r.header, r.from = &header, document.at
	return nil
}

var coverageStates = []CoverageState{CoverageRead, CoverageAbsent, CoverageForbidden, CoverageFailed, CoverageUnasked}
