package mesh

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// kindOf reads the kind of what should be an object. What says no kind, such as
// the values of a chart, is of none.
func kindOf(content map[string]any) (schema.GroupVersionKind, error) {
	for _, field := range []string{"apiVersion", "kind"} {
		if value, set := content[field]; set {
			if _, isText := value.(string); !isText {
				return schema.GroupVersionKind{}, fmt.Errorf("%s is not a text", field)
			}
		}
	}
	kind := kindIn(content)
	apiVersion, _ := content["apiVersion"].(string)
	if apiVersion == "" && needsVersion(kind) {
		return schema.GroupVersionKind{}, fmt.Errorf("%s: apiVersion is missing", nameOf(kind, content))
	}
	version, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return schema.GroupVersionKind{}, fmt.Errorf("%s: apiVersion: %w", nameOf(kind, content), err)
	}
	return version.WithKind(kind), nil
}

// needsVersion says whether a kind means something here in any group.
func needsVersion(kind string) bool {
	for _, c := range collections() {
		if c.kind == kind {
			return true
		}
	}
	return false
}

// nameOf is an object as messages name it, as far as it says who it is.
func nameOf(kind string, content map[string]any) string {
	metadata, _ := content["metadata"].(map[string]any)
	namespace, _ := metadata["namespace"].(string)
	name, _ := metadata["name"].(string)
	return strings.TrimSpace(v1alpha1.ObjectReference{Kind: kind, Namespace: namespace, Name: name}.String())
}

// checkMetadata wants metadata that the accessors of unstructured objects can
// read: they take a field of the wrong type for an absent one.
func checkMetadata(content map[string]any) error {
	metadata, isMap := content["metadata"].(map[string]any)
	if !isMap {
		return errors.New("metadata: it is missing, or not a map")
	}
	for _, field := range []string{"name", "generateName", "namespace", "uid", "resourceVersion"} {
		if metadata[field] == nil {
			continue
		}
		text, isText := metadata[field].(string)
		if !isText {
			return fmt.Errorf("metadata.%s: it is not a text", field)
		}
		if strings.ContainsFunc(text, unnameable) {
			return fmt.Errorf("metadata.%s: %q cannot be one", field, text)
		}
	}
	if !named(content) && (metadata["generateName"] == nil || metadata["generateName"] == "") {
		return errors.New("metadata.name: the object has no name")
	}
	for _, field := range []string{"labels", "annotations"} {
		if err := checkTexts(metadata, field); err != nil {
			return err
		}
	}
	return checkOwners(metadata)
}

// checkOwners wants references that name an object. In a manifest they may lack
// the UID.
func checkOwners(metadata map[string]any) error {
	if metadata["ownerReferences"] == nil {
		return nil
	}
	owners, isList := metadata["ownerReferences"].([]any)
	if !isList {
		return errors.New("metadata.ownerReferences: it is not a list")
	}
	for i := range owners {
		owner, _ := owners[i].(map[string]any)
		for _, field := range []string{"apiVersion", "kind", "name"} {
			if text, _ := owner[field].(string); text == "" {
				return fmt.Errorf("metadata.ownerReferences[%d].%s: it is missing, or not a text", i, field)
			}
		}
	}
	return nil
}

// unnameable says which characters no object can have in its name or namespace.
func unnameable(r rune) bool { return r == '/' || unicode.IsSpace(r) || unicode.IsControl(r) }

// checkTexts wants a map of texts. A key without a value has the empty one, as
// the API server reads it.
func checkTexts(metadata map[string]any, field string) error {
	if metadata[field] == nil {
		return nil
	}
	texts, isMap := metadata[field].(map[string]any)
	if !isMap {
		return fmt.Errorf("metadata.%s: it is not a map", field)
	}
	for key, value := range texts {
		switch value.(type) {
		case string:
		case nil:
			texts[key] = ""
		default:
			return fmt.Errorf("metadata.%s[%s]: it is not a text: put it in quotes", field, key)
		}
	}
	return nil
}

// unrecognized keeps what counts an object.
func unrecognized(kind schema.GroupVersionKind, content map[string]any) unstructured.Unstructured {
	object := unstructured.Unstructured{Object: map[string]any{}}
	object.SetGroupVersionKind(kind)
	if metadata, isMap := content["metadata"].(map[string]any); isMap {
		for _, field := range []string{"name", "namespace"} {
			if text, isText := metadata[field].(string); isText {
				_ = unstructured.SetNestedField(object.Object, text, "metadata", field)
			}
		}
	}
	return object
}
