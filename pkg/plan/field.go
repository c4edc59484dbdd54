package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
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

// Equal compares two field values; absent equals absent only. A number is the
// same whatever type holds it: one that was read back from a record is a float,
// one from the API server an integer.
func Equal(a, b any) bool {
	if number, is := asFloat(a); is {
		other, is := asFloat(b)
		return is && number == other
	}
	switch a := a.(type) {
	case map[string]any:
		b, is := b.(map[string]any)
		return is && maps.EqualFunc(a, b, Equal)
	case []any:
		b, is := b.([]any)
		return is && slices.EqualFunc(a, b, Equal)
	default:
		return reflect.DeepEqual(a, b)
	}
}

func asFloat(value any) (float64, bool) {
	switch value := value.(type) {
	case int64:
		return float64(value), true
	case float64:
		return value, true
	default:
		return 0, false
	}
}

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
	// Argo Rollouts counts as Deployments do.
	{"metadata", "annotations", "rollout.argoproj.io/revision"},
	// Which version of istiod's controller has taken up a Gateway (istio
	// pilot/pkg/config/kube/gatewaycommon, deploymentcontroller.go).
	{"metadata", "annotations", "gateway.istio.io/controller-version"},
}

// Bare returns a copy of an object without what the API server and controllers
// write by themselves.
func Bare(object map[string]any) map[string]any {
	bare := runtime.DeepCopyJSON(object)
	for _, path := range serverManaged {
		unstructured.RemoveNestedField(bare, path...)
	}
	dropEmptyAnnotations(bare)
	return bare
}

func dropEmptyAnnotations(object map[string]any) {
	if annotations, found, err := unstructured.NestedMap(object, "metadata", "annotations"); err == nil && found && len(annotations) == 0 {
		unstructured.RemoveNestedField(object, "metadata", "annotations")
	}
}

// Hash is the content hash of an object: SHA-256 over its bare JSON, whose
// keys encoding/json sorts. What kubectl apply notes down for itself does not
// count: it repeats the object.
func Hash(object map[string]any) (string, error) {
	bare := Bare(object)
	unstructured.RemoveNestedField(bare, "metadata", "annotations", corev1.LastAppliedConfigAnnotation)
	dropEmptyAnnotations(bare)
	data, err := json.Marshal(bare)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
