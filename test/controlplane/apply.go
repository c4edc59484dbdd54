package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
)

const fieldManager = "controlplane"

// applyManifests applies the files that were copied from a module, and waits
// until the API server serves the types that they define.
func (c *ControlPlane) applyManifests(ctx context.Context, programs Programs, name string) error {
	files, err := programs.manifestFiles(name)
	if err != nil {
		return fmt.Errorf("applying the manifests of %s: %w", name, err)
	}
	applied := make([][]*unstructured.Unstructured, len(files))
	functions := make([]func(context.Context) error, len(files))
	for i, file := range files {
		functions[i] = func(ctx context.Context) (err error) {
			applied[i], err = c.applyFile(ctx, file)
			return err
		}
	}
	if err := parallel(ctx, functions...); err != nil {
		return fmt.Errorf("applying the manifests of %s: %w", name, err)
	}
	for _, objects := range applied {
		for _, object := range objects {
			if err := c.waitUntilServed(ctx, object); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *ControlPlane) applyFile(ctx context.Context, path string) ([]*unstructured.Unstructured, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		if len(object.Object) == 0 {
			continue
		}
		if err := c.apply(ctx, object); err != nil {
			return nil, fmt.Errorf("applying %s: %w", path, err)
		}
		objects = append(objects, object)
	}
}

// apply applies an object of a type without a namespace.
func (c *ControlPlane) apply(ctx context.Context, object *unstructured.Unstructured) error {
	options := metav1.ApplyOptions{FieldManager: fieldManager, Force: true}
	_, err := c.dynamic.Resource(resourceOf(object)).Apply(ctx, object.GetName(), object, options)
	return err
}

// resourceOf guesses the resource of a kind by the usual rule for plurals.
func resourceOf(object *unstructured.Unstructured) schema.GroupVersionResource {
	plural, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
	return plural
}

func (c *ControlPlane) waitUntilServed(ctx context.Context, object *unstructured.Unstructured) error {
	if object.GetKind() != "CustomResourceDefinition" {
		return nil
	}
	return until(ctx, object.GetName()+" is served", func(ctx context.Context) error {
		current, err := c.dynamic.Resource(resourceOf(object)).Get(ctx, object.GetName(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		conditions, _, _ := unstructured.NestedSlice(current.Object, "status", "conditions")
		for _, condition := range conditions {
			if condition, ok := condition.(map[string]any); ok && condition["type"] == "Established" && condition["status"] == "True" {
				return nil
			}
		}
		return errors.New("it is not established")
	})
}
