package mesh

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// fault explains why an object could not be understood: which field, and what is
// the matter with it. Decoders name a field by their own types at best, and none
// at all inside of quantities, times and Istio's messages.
func fault(object *unstructured.Unstructured, err error) error {
	tried := func(content any) error {
		fields, _ := content.(map[string]any)
		candidate := identified(object, fields)
		var webhooks []admissionv1.MutatingWebhookConfiguration
		return newSnapshot(Content{}).add(&candidate, map[types.UID]bool{}, &webhooks)
	}
	path, found := locate(object.Object, tried)
	if path == "" {
		return err
	}
	var mistyped *json.UnmarshalTypeError
	if errors.As(found, &mistyped) {
		found = fmt.Errorf("cannot read %s as %s", mistyped.Value, mistyped.Type)
	}
	return fmt.Errorf("%s: %w", path[1:], found)
}

// identified is an object of the same kind and name that has only these fields
// besides.
func identified(object *unstructured.Unstructured, fields map[string]any) unstructured.Unstructured {
	candidate := unstructured.Unstructured{Object: maps.Clone(fields)}
	if candidate.Object == nil {
		candidate.Object = map[string]any{}
	}
	candidate.SetGroupVersionKind(object.GroupVersionKind())
	metadata, isMap := fields["metadata"].(map[string]any)
	if isMap || fields["metadata"] == nil {
		named := map[string]any{"name": object.GetName(), "namespace": object.GetNamespace()}
		maps.Copy(named, metadata)
		candidate.Object["metadata"] = named
	}
	return candidate
}

// locate finds the innermost part of a value that fails by itself, and why. The
// path is empty where it is not about a part.
func locate(value any, fails func(any) error) (string, error) {
	switch value := value.(type) {
	case map[string]any:
		if err := fails(map[string]any{}); err != nil {
			return "", err
		}
		for _, key := range slices.Sorted(maps.Keys(value)) {
			alone := func(part any) error { return fails(map[string]any{key: part}) }
			if err := alone(value[key]); err != nil {
				return deeper("."+key, value[key], err, alone)
			}
		}
	case []any:
		if err := fails([]any{}); err != nil {
			return "", err
		}
		for i := range value {
			alone := func(part any) error { return fails([]any{part}) }
			if err := alone(value[i]); err != nil {
				return deeper(fmt.Sprintf("[%d]", i), value[i], err, alone)
			}
		}
	}
	return "", nil
}

func deeper(path string, part any, err error, fails func(any) error) (string, error) {
	rest, inner := locate(part, fails)
	if inner != nil {
		err = inner
	}
	return path + rest, err
}
