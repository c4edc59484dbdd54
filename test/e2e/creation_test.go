package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/actions"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// TestCreationsAreAppliedToNothing asks the API server for what a run rests on: that an
// apply which expects a version that no object has creates what is not there, and never
// touches what somebody has made in the meantime.
func TestCreationsAreAppliedToNothing(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "applied"
	c.namespace(t, namespace, nil)
	policies := c.dynamic.Resource(schema.GroupVersionResource{Group: "security.istio.io", Version: "v1", Resource: "authorizationpolicies"}).Namespace(namespace)
	for _, test := range []struct {
		name            string
		expects         map[string]any
		creates, merges bool
	}{
		{name: "nothing", creates: true, merges: true},
		{name: "version", expects: map[string]any{"resourceVersion": "1"}, creates: true},
		{name: "uid", expects: map[string]any{"uid": "6c1c9e1e-0000-4000-8000-000000000000"}},
	} {
		if created := applied(t, policies, "fresh-"+test.name, test.expects); created != test.creates {
			t.Errorf("an apply that expects %s creates: %t", test.name, created)
		}
		if merged := applied(t, policies, somebodys(t, policies, "theirs-"+test.name), test.expects); merged != test.merges {
			t.Errorf("an apply that expects %s changes what is there: %t", test.name, merged)
		}
	}

	// Of somebody and a run that create at the same time, one does.
	won := map[bool]int{}
	for i := range 50 {
		name := fmt.Sprintf("raced-%d", i)
		racing := make(chan error, 1)
		go func() {
			_, err := policies.Create(t.Context(), somebodysPolicy(name), metav1.CreateOptions{FieldManager: "somebody"})
			racing <- err
		}()
		_, failure := apply(t, policies, ownPolicy(name, map[string]any{"resourceVersion": "1"}))
		if err := <-racing; err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.IsConflict(err) {
			t.Fatal(err)
		}
		now, err := policies.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, theirs, _ := unstructured.NestedString(now.Object, "spec", "action")
		ours := now.GetLabels()[v1alpha1.OriginLabel] != ""
		if ours == theirs || ours != (failure == nil) || merged(now) {
			t.Errorf("%s is ours: %t, theirs: %t, and the answer was %v", name, ours, theirs, failure)
		}
		won[ours]++
	}
	t.Logf("the run was first %d times, somebody else %d times", won[true], won[false])

	// A run has created its own so, and owns it.
	writer := actions.Writer{Dynamic: c.dynamic, Mapper: fixture.Mapper()}
	own, written, err := writer.Create(t.Context(), v1alpha1.Change{
		Object: v1alpha1.ObjectReference{APIVersion: "security.istio.io/v1", Kind: "AuthorizationPolicy", Namespace: namespace, Name: "own"},
		Create: ownPolicy("own", map[string]any{"namespace": namespace}).Object,
	}, false)
	if err != nil || !written {
		t.Fatalf("written is %t, %v", written, err)
	}
	managers := own.GetManagedFields()
	if len(managers) != 1 || managers[0].Manager != record.FieldManager || managers[0].Operation != metav1.ManagedFieldsOperationApply {
		t.Errorf("it is managed by %v", managers)
	}
}

// merged says whether an object is what two have written. Istiod writes the status of
// both.
func merged(object *unstructured.Unstructured) bool {
	writers := slices.DeleteFunc(object.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool { return entry.Subresource == "status" })
	return len(writers) != 1
}

// ownPolicy is a policy as a run creates it.
func ownPolicy(name string, metadata map[string]any) *unstructured.Unstructured {
	of := map[string]any{"name": name, "labels": map[string]any{v1alpha1.OriginLabel: "test"}}
	maps.Copy(of, metadata)
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": of,
		"spec": map[string]any{"selector": map[string]any{"matchLabels": map[string]any{"app": "cart"}}},
	}}
}

// somebodysPolicy has no field in common with one of a run.
func somebodysPolicy(name string) *unstructured.Unstructured {
	object := ownPolicy(name, nil)
	object.SetLabels(nil)
	object.Object["spec"] = map[string]any{"action": "DENY", "rules": []any{map[string]any{}}}
	return object
}

// somebodys makes such a policy.
func somebodys(t *testing.T, policies dynamic.ResourceInterface, name string) string {
	t.Helper()
	if _, err := policies.Create(t.Context(), somebodysPolicy(name), metav1.CreateOptions{FieldManager: "somebody"}); err != nil {
		t.Fatal(err)
	}
	return name
}

// applied says whether a policy of a run is there, or what was there has become part of
// it, once it was applied with some expectations.
func applied(t *testing.T, policies dynamic.ResourceInterface, name string, expects map[string]any) bool {
	t.Helper()
	_, failure := apply(t, policies, ownPolicy(name, expects))
	now, err := policies.Get(t.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	has := now.GetLabels()[v1alpha1.OriginLabel] != ""
	if has != (failure == nil) {
		t.Errorf("%s is there: %t, but the answer was %v", name, has, failure)
	}
	return has
}

func apply(t *testing.T, policies dynamic.ResourceInterface, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	t.Helper()
	body, err := json.Marshal(object.Object)
	if err != nil {
		t.Fatal(err)
	}
	return policies.Patch(t.Context(), object.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: record.FieldManager})
}
