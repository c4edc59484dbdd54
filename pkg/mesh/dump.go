package mesh

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// Dump writes content as a document that ReadFiles understands: it leads to the
// same snapshot. The caller fills in when it was taken and by which version.
func Dump(content Content) (v1alpha1.MeshSnapshot, error) {
	dump := v1alpha1.MeshSnapshot{
		TypeMeta: v1alpha1.Document(v1alpha1.KindMeshSnapshot), KubernetesVersion: content.KubernetesVersion,
		Namespace: content.Scope.Namespace, Items: []map[string]any{},
	}
	for _, key := range Keys() {
		if coverage, set := content.Coverage[key]; set {
			dump.Coverage = append(dump.Coverage, v1alpha1.KindCoverage{Key: key, State: string(coverage.State), Reason: coverage.Reason})
		}
	}
	for uid, on := range content.HostNetwork {
		if on {
			dump.HostNetwork = append(dump.HostNetwork, string(uid))
		}
	}
	slices.Sort(dump.HostNetwork)
	objects := slices.Clone(content.Objects)
	whole := map[types.UID]bool{}
	for i := range objects {
		if objects[i].GetKind() == KindPod {
			whole[objects[i].GetUID()] = true
		}
	}
	for i := range content.Pods {
		if whole[content.Pods[i].UID] {
			continue
		}
		pod, err := podOfMetadata(&content.Pods[i])
		if err != nil {
			return dump, err
		}
		objects = append(objects, pod)
	}
	sortObjects(objects)
	for _, object := range objects {
		// What says no kind is not an object, and nobody asks for it again.
		if object.GetKind() != "" {
			dump.Items = append(dump.Items, object.Object)
		}
	}
	return dump, nil
}

func podOfMetadata(metadata *metav1.ObjectMeta) (unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(metadata)
	if err != nil {
		return unstructured.Unstructured{}, fmt.Errorf("Pod %s/%s: %w", metadata.Namespace, metadata.Name, err)
	}
	return unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": KindPod, "metadata": content}}, nil
}

// fromDump takes over what a dump says of itself.
func (c *Content) fromDump(header v1alpha1.MeshSnapshot) {
	c.KubernetesVersion = header.KubernetesVersion
	c.Scope = Scope{Namespace: header.Namespace, All: header.Namespace == ""}
	for _, coverage := range header.Coverage {
		c.Coverage[coverage.Key] = Coverage{State: CoverageState(coverage.State), Reason: coverage.Reason}
	}
	for _, uid := range header.HostNetwork {
		c.HostNetwork[types.UID(uid)] = true
	}
}

// sortObjects orders objects by kind, namespace and name.
func sortObjects(objects []unstructured.Unstructured) {
	slices.SortStableFunc(objects, func(a, b unstructured.Unstructured) int {
		return cmp.Or(
			cmp.Compare(a.GetKind(), b.GetKind()), cmp.Compare(a.GetAPIVersion(), b.GetAPIVersion()),
			cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()),
		)
	})
}
