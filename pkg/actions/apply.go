package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// Writer changes objects of a cluster, field by field.
type Writer struct {
	Dynamic dynamic.Interface
	Mapper  meta.RESTMapper
}

// patchAttempts is how often a change is tried again when somebody else wrote
// the object between reading and patching it. Controllers do so all the time,
// by writing status.
const patchAttempts = 10

// ChangedError says that a field is neither what it was when the plan was made
// nor what the plan wants it to be: somebody else has changed it.
type ChangedError struct {
	Object v1alpha1.ObjectReference
	Field  v1alpha1.FieldChange
	Found  any
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s: %s is %s, the plan was made when it was %s: somebody has changed it since; plan again",
		e.Object, e.Field.Path, describe(e.Found), describe(e.Field.Before))
}

func describe(value any) string {
	if value == nil {
		return "absent"
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}

// Get reads the object that a change is about.
func (w Writer) Get(ctx context.Context, reference v1alpha1.ObjectReference) (*unstructured.Unstructured, error) {
	client, err := w.client(reference)
	if err != nil {
		return nil, err
	}
	object, err := client.Get(ctx, reference.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", reference, err)
	}
	return object, nil
}

// Change writes the fields of a change that are not yet as it wants them. The
// patch tests the resourceVersion and every old value, so it can never touch
// what somebody else has changed; such a field is a ChangedError. It returns
// the object as it is afterwards, and whether it was written, or may have been.
// With dryRun the API server decides, and nothing is kept.
func (w Writer) Change(ctx context.Context, change v1alpha1.Change, dryRun bool) (after *unstructured.Unstructured, written bool, err error) {
	client, err := w.client(change.Object)
	if err != nil {
		return nil, false, err
	}
	options := metav1.PatchOptions{FieldManager: record.FieldManager, DryRun: dry(dryRun)}
	for attempt := 1; ; attempt++ {
		live, err := w.Get(ctx, change.Object)
		if err != nil {
			return nil, false, err
		}
		if change.UID != "" && string(live.GetUID()) != change.UID {
			return nil, false, fmt.Errorf("%s was deleted and created again since the plan was made: plan again", change.Object)
		}
		operations, err := patchFor(live, change)
		if err != nil || len(operations) == 0 {
			return live, false, err
		}
		body, err := json.Marshal(operations)
		if err != nil {
			return nil, false, fmt.Errorf("%s: encode patch: %w", change.Object, err)
		}
		after, err := client.Patch(ctx, change.Object.Name, types.JSONPatchType, body, options)
		if err == nil {
			return after, true, nil
		}
		if !refused(err) {
			// It may have been written all the same.
			return nil, !dryRun, fmt.Errorf("patch %s: %w", change.Object, err)
		}
		if attempt >= patchAttempts || !w.movedOn(ctx, live, change.Object, err) {
			return nil, false, fmt.Errorf("patch %s: %w", change.Object, err)
		}
	}
}

// neverWritten is a resourceVersion that no object has: it is that of the store before
// the first write to it (etcd documentation, Data model: revisions start from 1).
const neverWritten = "1"

// Create creates the object of a change. It never overwrites: where an object of
// that name exists that is exactly what it would create, an earlier attempt has
// made it, and anything else is an error.
//
// What is ours is applied by the server, and is told to be of a version that no object
// has: nothing that is there is of it, which is a conflict, and where nothing is there the
// API server creates it and looks at no version (Kubernetes
// staging/src/k8s.io/apiserver/pkg/registry/generic/registry/store.go, Update). Both are
// decided in one transaction of the store. Without a version, an apply would be merged
// into what somebody has made since it was looked for, without a conflict where no field
// is another's.
//
// What is made again as it was is somebody else's, and is created by a POST: it may hold
// what an apply does not take, such as two entries of one key in a list.
func (w Writer) Create(ctx context.Context, change v1alpha1.Change, dryRun bool) (after *unstructured.Unstructured, written bool, err error) {
	client, err := w.client(change.Object)
	if err != nil {
		return nil, false, err
	}
	object := &unstructured.Unstructured{Object: runtime.DeepCopyJSON(change.Create)}
	if plan.Ours(change.Create) {
		object.SetResourceVersion(neverWritten)
		after, err = client.Apply(ctx, change.Object.Name, object, metav1.ApplyOptions{FieldManager: record.FieldManager, DryRun: dry(dryRun)})
	} else {
		after, err = client.Create(ctx, object, metav1.CreateOptions{FieldManager: record.FieldManager, DryRun: dry(dryRun)})
	}
	switch {
	case err == nil:
		return after, !dryRun, nil
	case apierrors.IsAlreadyExists(err), apierrors.IsConflict(err):
		after, madeErr := w.made(ctx, change)
		if apierrors.IsNotFound(madeErr) {
			// It is gone again.
			return nil, false, fmt.Errorf("create %s: %w", change.Object, err)
		}
		return after, false, madeErr
	default:
		// It may have been created all the same.
		return nil, !dryRun && !refused(err), fmt.Errorf("create %s: %w", change.Object, err)
	}
}

// made returns the object that is in the way of one to be created, where it is
// just that.
func (w Writer) made(ctx context.Context, change v1alpha1.Change) (*unstructured.Unstructured, error) {
	live, err := w.Get(ctx, change.Object)
	switch {
	case err != nil:
		return nil, err
	case !plan.Ours(change.Create) && plan.SaysTheSame(live.Object, change.Create) && live.GetDeletionTimestamp() == nil:
		return live, nil
	case plan.Ours(change.Create) && !plan.Ours(live.Object):
		return nil, &plan.TakenError{Object: change.Object}
	case !plan.AsWritten(live.Object, change.Create, 0) || live.GetDeletionTimestamp() != nil:
		return nil, fmt.Errorf("%s has been created since the plan was made, and is not what the plan creates: plan again", change.Object)
	default:
		return live, nil
	}
}

// Delete deletes the object of a change, provided that it still is what the plan
// was made for. One that is gone counts as deleted.
func (w Writer) Delete(ctx context.Context, change v1alpha1.Change, dryRun bool) (written bool, err error) {
	client, err := w.client(change.Object)
	if err != nil {
		return false, err
	}
	background := metav1.DeletePropagationBackground
	for attempt := 1; ; attempt++ {
		live, err := w.Get(ctx, change.Object)
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if err := deletable(live, change); err != nil {
			return false, err
		}
		if live.GetDeletionTimestamp() != nil {
			return false, nil
		}
		uid, version := live.GetUID(), live.GetResourceVersion()
		err = client.Delete(ctx, change.Object.Name, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}, PropagationPolicy: &background, DryRun: dry(dryRun),
		})
		switch {
		case err == nil:
			return !dryRun, nil
		case apierrors.IsNotFound(err):
			return false, nil
		case !refused(err):
			// It may have been deleted all the same.
			return !dryRun, fmt.Errorf("delete %s: %w", change.Object, err)
		case attempt >= patchAttempts || !apierrors.IsConflict(err):
			return false, fmt.Errorf("delete %s: %w", change.Object, err)
		}
	}
}

// deletable refuses an object that is not what the plan was made for.
func deletable(live *unstructured.Unstructured, change v1alpha1.Change) error {
	if change.UID != "" && string(live.GetUID()) != change.UID {
		return fmt.Errorf("%s was deleted and created again since the plan was made: plan again", change.Object)
	}
	if live.GetDeletionTimestamp() != nil {
		return nil
	}
	hash, err := plan.Hash(live.Object)
	if err != nil {
		return fmt.Errorf("%s: %w", change.Object, err)
	}
	if hash != change.BeforeHash {
		return fmt.Errorf("%s is not what it was when the plan was made: somebody has changed it since, and it is not deleted: plan again", change.Object)
	}
	return nil
}

func dry(run bool) []string {
	if run {
		return []string{metav1.DryRunAll}
	}
	return nil
}

// refused says whether the API server has said that it did not do what it was
// asked to. A broken connection or a time-out leaves that open.
func refused(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	code := status.Status().Code
	return code >= http.StatusBadRequest && code < http.StatusInternalServerError && code != http.StatusRequestTimeout
}

// movedOn says whether a refused patch is explained by the object having been
// written since it was read. The API server answers a failed `test` with 422,
// as it does an invalid object.
func (w Writer) movedOn(ctx context.Context, read *unstructured.Unstructured, reference v1alpha1.ObjectReference, err error) bool {
	if apierrors.IsConflict(err) {
		return true
	}
	if !apierrors.IsInvalid(err) {
		return false
	}
	now, getErr := w.Get(ctx, reference)
	return getErr == nil && now.GetResourceVersion() != read.GetResourceVersion()
}

// operation is one operation of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// patchFor returns the operations that take a live object to where a change
// wants it; none where it is there.
func patchFor(live *unstructured.Unstructured, change v1alpha1.Change) ([]operation, error) {
	operations := []operation{{Op: "test", Path: "/metadata/resourceVersion", Value: live.GetResourceVersion()}}
	working := live.Object
	for _, field := range change.Fields {
		found := plan.Lookup(working, field.Path)
		if plan.Equal(found, field.After) {
			continue
		}
		if !plan.Equal(found, field.Before) {
			return nil, &ChangedError{Object: change.Object, Field: field, Found: found}
		}
		operations = append(operations, fieldOperations(working, field)...)
		next, err := plan.Apply(working, []v1alpha1.FieldChange{field})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", change.Object, err)
		}
		working = next
	}
	if len(operations) == 1 {
		return nil, nil
	}
	return operations, nil
}

func fieldOperations(object map[string]any, field v1alpha1.FieldChange) []operation {
	if field.After == nil {
		return []operation{{Op: "test", Path: field.Path, Value: field.Before}, {Op: "remove", Path: field.Path}}
	}
	if field.Before != nil {
		return []operation{{Op: "test", Path: field.Path, Value: field.Before}, {Op: "replace", Path: field.Path, Value: field.After}}
	}
	segments, value := plan.Segments(field.Path), field.After
	// JSON patch does not make parents. One that is missing is added with what
	// is to be in it.
	for last := len(segments) - 1; last > 0 && plan.Lookup(object, plan.Pointer("", segments[:last]...)) == nil; last-- {
		segments, value = segments[:last], map[string]any{segments[last]: value}
	}
	return []operation{{Op: "add", Path: plan.Pointer("", segments...), Value: value}}
}

func (w Writer) client(reference v1alpha1.ObjectReference) (dynamic.ResourceInterface, error) {
	kind := schema.FromAPIVersionAndKind(reference.APIVersion, reference.Kind)
	mapping, err := w.Mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", reference, err)
	}
	return w.Dynamic.Resource(mapping.Resource).Namespace(reference.Namespace), nil
}
