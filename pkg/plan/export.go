package plan

import (
	"fmt"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Manifests are the objects that a phase changes, as they are to be afterwards.
type Manifests struct {
	Phase   v1alpha1.Phase
	Objects []map[string]any
	// Live are changes of running pods, which no manifest can hold.
	Live []v1alpha1.Change
	// Deleted are the objects that the phase deletes.
	Deleted []v1alpha1.ObjectReference
}

// Export writes each phase of a plan as manifests. Fields that are removed are
// there with the value null, by which kubectl apply removes them. An error names
// the object that is not known in whole, as is the case in a dump.
func Export(snapshot *mesh.Snapshot, planned v1alpha1.MigrationPlan) ([]Manifests, error) {
	var phases []Manifests
	objects := map[v1alpha1.ObjectReference]map[string]any{}
	for _, step := range planned.Steps {
		if len(step.Changes) == 0 {
			continue
		}
		if len(phases) == 0 || phases[len(phases)-1].Phase != step.Phase {
			phases = append(phases, Manifests{Phase: step.Phase})
		}
		phase := &phases[len(phases)-1]
		for _, change := range step.Changes {
			if change.Object.Kind == mesh.KindPod {
				phase.Live = append(phase.Live, change)
				continue
			}
			if change.Delete {
				phase.Deleted = append(phase.Deleted, change.Object)
				continue
			}
			object, err := manifest(snapshot, objects[change.Object], change)
			if err != nil {
				return nil, err
			}
			objects[change.Object] = object
			phase.Objects = append(phase.Objects, runtime.DeepCopyJSON(object))
		}
	}
	return phases, nil
}

// manifest is an object with a change made to it.
func manifest(snapshot *mesh.Snapshot, before map[string]any, change v1alpha1.Change) (map[string]any, error) {
	if change.Create != nil {
		return runtime.DeepCopyJSON(change.Create), nil
	}
	if before == nil {
		original, whole := snapshot.Original(change.Object)
		if !whole {
			return nil, fmt.Errorf("%s: its manifest cannot be written, because parts of it were taken out of the dump: plan from the cluster, or from the manifests themselves", change.Object)
		}
		before = declared(snapshot, change.Object, Bare(original))
	}
	after := runtime.DeepCopyJSON(before)
	for _, field := range change.Fields {
		if err := unstructured.SetNestedField(after, field.After, Segments(field.Path)...); err != nil {
			return nil, fmt.Errorf("%s: set %s: %w", change.Object, field.Path, err)
		}
	}
	return after, nil
}

// declared leaves of an object what somebody would declare: not what the API
// server and controllers have added, nor the replicas that an autoscaler decides.
func declared(snapshot *mesh.Snapshot, reference v1alpha1.ObjectReference, object map[string]any) map[string]any {
	for _, path := range [][]string{
		{"metadata", "uid"}, {"metadata", "creationTimestamp"}, {"metadata", "selfLink"}, {"metadata", "ownerReferences"},
		{"metadata", "annotations", corev1.LastAppliedConfigAnnotation},
	} {
		unstructured.RemoveNestedField(object, path...)
	}
	if annotations, found, err := unstructured.NestedMap(object, "metadata", "annotations"); err == nil && found && len(annotations) == 0 {
		unstructured.RemoveNestedField(object, "metadata", "annotations")
	}
	switch reference.Kind {
	case mesh.KindNamespace:
		unstructured.RemoveNestedField(object, "spec")
	case mesh.KindService:
		dropAddresses(object)
	}
	for _, autoscaler := range snapshot.Autoscalers(reference.Namespace) {
		if target := autoscaler.Spec.ScaleTargetRef; target.Kind == reference.Kind && target.Name == reference.Name {
			unstructured.RemoveNestedField(object, "spec", "replicas")
		}
	}
	return object
}

// dropAddresses takes out what the API server has chosen for a Service. That it
// is to have no address is declared.
func dropAddresses(service map[string]any) {
	if Lookup(service, "/spec/clusterIP") != corev1.ClusterIPNone {
		unstructured.RemoveNestedField(service, "spec", "clusterIP")
	}
	unstructured.RemoveNestedField(service, "spec", "clusterIPs")
	unstructured.RemoveNestedField(service, "spec", "healthCheckNodePort")
}
