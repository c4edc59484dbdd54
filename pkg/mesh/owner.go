package mesh

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// OwnerOf returns what runs a pod in the end: the controller at the top of its
// chain of controllers, as far as that was read. What is read from files may go
// round in circles.
func (s *Snapshot) OwnerOf(pod Pod) (metav1.OwnerReference, bool) {
	if pod.Controller == nil {
		return metav1.OwnerReference{}, false
	}
	const longest = 8
	owner := *pod.Controller
	for range longest {
		next, known := s.controllers[owner.UID]
		if !known {
			break
		}
		owner = next
	}
	return owner, true
}

// IsCustom says whether the owner of an object is a custom resource, whose operator makes
// the object. What istiod makes for a Gateway of its own is none: it applies its fields
// and leaves others (istio pilot/pkg/config/kube/gateway/deploymentcontroller.go).
func IsCustom(owner metav1.OwnerReference) bool {
	group, _, versioned := strings.Cut(owner.APIVersion, "/")
	return versioned && group != "apps" && group != "batch" && (group != groupGateway || owner.Kind != KindGateway)
}

// operated are the kinds that operators make and whose own controllers replace pods. What
// controls a ReplicaSet, a custom resource of Argo Rollouts included, replaces its pods
// by those of another one; and a CronJob has none.
var operated = []string{KindDeployment, KindStatefulSet, KindDaemonSet}

// operatorOf returns the custom resource that controls an object of a kind with pods that
// are replaced whoever made it; nil where there is none.
func operatorOf(object *unstructured.Unstructured) *metav1.OwnerReference {
	controller := metav1.GetControllerOf(object)
	if controller == nil || !IsCustom(*controller) || !slices.Contains(operated, object.GetKind()) {
		return nil
	}
	return controller
}

// isPartOf says whether an object is the part of another one that has the template: it is
// no workload by itself.
func isPartOf(object *unstructured.Unstructured) bool {
	return metav1.GetControllerOf(object) != nil && operatorOf(object) == nil
}

// Manager is an entry of an object's metadata.managedFields: somebody who wrote
// some of its fields.
type Manager struct {
	Name string
	// Applies is true for one that uses server-side apply: it means to keep its
	// fields as they are.
	Applies bool
	// Written is when it last wrote any of its fields; nil where that is not said.
	Written *time.Time

	fields *fieldpath.Set
}

// Managers returns who wrote which fields of an object, besides its status. An
// object that was read without its managedFields has none.
func Managers(object Object) ([]Manager, error) {
	u := unstructured.Unstructured{Object: object}
	var managers []Manager
	for i, entry := range u.GetManagedFields() {
		if entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		fields := &fieldpath.Set{}
		if err := fields.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())); err != nil {
			return nil, fmt.Errorf("metadata.managedFields[%d]: %w", i, err)
		}
		manager := Manager{Name: entry.Manager, Applies: entry.Operation == metav1.ManagedFieldsOperationApply, fields: fields}
		if entry.Time != nil {
			manager.Written = &entry.Time.Time
		}
		managers = append(managers, manager)
	}
	return managers, nil
}

// Owns says whether the manager wrote a field, given by the names on its path.
func (m Manager) Owns(path ...string) bool {
	elements := make(fieldpath.Path, len(path))
	for i := range path {
		elements[i] = fieldpath.PathElement{FieldName: &path[i]}
	}
	return m.fields.Has(elements)
}

// OwnsWithin says whether the manager wrote anything beneath a field.
func (m Manager) OwnsWithin(path ...string) bool {
	fields := m.fields
	for i := range path {
		fields = fields.WithPrefix(fieldpath.PathElement{FieldName: &path[i]})
	}
	return !fields.Empty()
}
