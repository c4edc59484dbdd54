package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

var (
	pointerEscaper   = strings.NewReplacer("~", "~0", "/", "~1")
	pointerUnescaper = strings.NewReplacer("~1", "/", "~0", "~")
)

// Pointer joins path segments to a JSON pointer (RFC 6901).
func Pointer(base string, segments ...string) string {
	for _, segment := range segments {
		base += "/" + pointerEscaper.Replace(segment)
	}
	return base
}

// Segments splits a JSON pointer.
func Segments(pointer string) []string {
	segments := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for i := range segments {
		segments[i] = pointerUnescaper.Replace(segments[i])
	}
	return segments
}

// Lookup returns the value that a pointer names in an object, nil where it or
// one of its parents is absent. Only maps are walked: nothing that is planned
// is addressed by its place in a list.
func Lookup(object map[string]any, pointer string) any {
	value, _, err := unstructured.NestedFieldNoCopy(object, Segments(pointer)...)
	if err != nil {
		return nil
	}
	return value
}

// Equal compares two field values; absent equals absent only.
func Equal(a, b any) bool { return reflect.DeepEqual(a, b) }

// Apply returns a copy of an object with fields set to what they are after
// their change. Maps that become empty are dropped, as the API server does.
func Apply(object map[string]any, fields []v1alpha1.FieldChange) (map[string]any, error) {
	if object == nil {
		return nil, errors.New("there is no object to change")
	}
	changed := runtime.DeepCopyJSON(object)
	for _, field := range fields {
		segments := Segments(field.Path)
		if field.After != nil {
			if err := unstructured.SetNestedField(changed, field.After, segments...); err != nil {
				return nil, fmt.Errorf("set %s: %w", field.Path, err)
			}
			continue
		}
		unstructured.RemoveNestedField(changed, segments...)
		parent := segments[:len(segments)-1]
		if rest, found, err := unstructured.NestedMap(changed, parent...); err == nil && found && len(rest) == 0 {
			unstructured.RemoveNestedField(changed, parent...)
		}
	}
	return changed, nil
}

// serverManaged are the parts of an object that change without anybody
// changing the object.
var serverManaged = [][]string{
	{"status"},
	{"metadata", "managedFields"},
	{"metadata", "resourceVersion"},
	{"metadata", "generation"},
	{"metadata", "annotations", "deployment.kubernetes.io/revision"},
	{"metadata", "annotations", "deprecated.daemonset.template.generation"},
}

// Bare returns a copy of an object without what the API server and controllers
// write by themselves.
func Bare(object map[string]any) map[string]any {
	bare := runtime.DeepCopyJSON(object)
	for _, path := range serverManaged {
		unstructured.RemoveNestedField(bare, path...)
	}
	if annotations, found, err := unstructured.NestedMap(bare, "metadata", "annotations"); err == nil && found && len(annotations) == 0 {
		unstructured.RemoveNestedField(bare, "metadata", "annotations")
	}
	return bare
}

// Hash is the content hash of an object: SHA-256 over its bare JSON, whose
// keys encoding/json sorts.
func Hash(object map[string]any) (string, error) {
	data, err := json.Marshal(Bare(object))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// edit is a field to be set, or removed where after is nil.
type edit struct {
	path  string
	after any
}

// changes makes edits of an object, as the steps before leave it, part of a
// step. It adds nothing where the object is already as they want it.
func (p *Projection) changes(step *v1alpha1.Step, reference v1alpha1.ObjectReference, edits []edit) error {
	object, err := p.Object(reference)
	if err != nil {
		return err
	}
	change := v1alpha1.Change{Object: reference}
	for _, edit := range edits {
		before := Lookup(object, edit.path)
		if !Equal(before, edit.after) {
			change.Fields = append(change.Fields, v1alpha1.FieldChange{Path: edit.path, Before: before, After: edit.after})
		}
	}
	if len(change.Fields) == 0 {
		return nil
	}
	change.UID, _, _ = unstructured.NestedString(object, "metadata", "uid")
	_, after, err := p.Apply(change)
	if err != nil {
		return err
	}
	if change.BeforeHash, err = Hash(object); err != nil {
		return fmt.Errorf("%s: %w", reference, err)
	}
	if change.AfterHash, err = Hash(after); err != nil {
		return fmt.Errorf("%s: %w", reference, err)
	}
	step.Changes = append(step.Changes, change)
	return nil
}
