package plan

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Backup is an object as it was before a run of a plan, as a manifest that kubectl
// apply puts it back by. What the plan adds to the object is there with the value
// null: apply leaves alone what a manifest does not mention.
func Backup(snapshot *mesh.Snapshot, planned v1alpha1.MigrationPlan, image v1alpha1.BeforeImage) map[string]any {
	object := declared(snapshot, image.Object, Bare(image.Content))
	if replicas := Lookup(image.Content, "/spec/replicas"); replicas != nil && appliedReplicas(image.Content) {
		// Apply takes back to the default what it has applied before and does not
		// find in a manifest any more.
		setAt(object, replicas, "spec", "replicas")
	}
	if owners := Lookup(image.Content, "/metadata/ownerReferences"); owners != nil && image.Object.Kind == mesh.KindPod {
		setAt(object, owners, "metadata", "ownerReferences")
	}
	for _, step := range planned.Steps {
		for _, change := range step.Changes {
			if change.Object != image.Object {
				continue
			}
			for _, field := range change.Fields {
				nullAdded(object, Segments(field.Path), field.After)
			}
		}
	}
	return object
}

// appliedReplicas says whether kubectl apply has set how many pods a workload has.
func appliedReplicas(object map[string]any) bool {
	text, _ := Lookup(object, Pointer("/metadata/annotations", corev1.LastAppliedConfigAnnotation)).(string)
	var applied map[string]any
	return json.Unmarshal([]byte(text), &applied) == nil && Lookup(applied, "/spec/replicas") != nil
}

// nullAdded notes what a change adds below a path of an object: lists are replaced
// as they are, maps key by key.
func nullAdded(object map[string]any, path []string, after any) {
	if after == nil {
		return
	}
	was, found, err := unstructured.NestedFieldNoCopy(object, path...)
	if err == nil && !found {
		setAt(object, nil, path...)
		return
	}
	added, isMap := after.(map[string]any)
	if _, wasMap := was.(map[string]any); !isMap || !wasMap {
		return
	}
	for key, value := range added {
		nullAdded(object, append(path[:len(path):len(path)], key), value)
	}
}

// setAt sets a field, unless a part of its path is no map: that part is then
// replaced as a whole.
func setAt(object map[string]any, value any, path ...string) {
	_ = unstructured.SetNestedField(object, runtime.DeepCopyJSONValue(value), path...)
}

// BackupName is the name of the file that an object is kept in. Files are applied in
// the order of their names: namespaces first, so that pods that are replaced find
// who injects them; then what is not a workload, workloads, and last what says
// which waypoint calls go through.
func BackupName(object v1alpha1.ObjectReference) string {
	rank := 2
	switch object.Kind {
	case mesh.KindNamespace:
		rank = 1
	case mesh.KindDeployment, mesh.KindStatefulSet, mesh.KindDaemonSet, mesh.KindReplicaSet, mesh.KindCronJob, mesh.KindJob, mesh.KindPod:
		rank = 3
	case mesh.KindService, mesh.KindServiceEntry:
		rank = 4
	}
	kind := strings.ToLower(object.Kind)
	if group, _, grouped := strings.Cut(object.APIVersion, "/"); grouped {
		kind += "." + group
	}
	// No name of an object holds an underscore, so that no two share a file.
	return fmt.Sprintf("%d_%s_%s_%s.yaml", rank, kind, namespaceOf(object), object.Name)
}
