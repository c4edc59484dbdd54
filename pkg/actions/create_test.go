package actions

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"
)

var (
	gatewayReference = v1alpha1.ObjectReference{APIVersion: "gateway.networking.k8s.io/v1", Kind: "Gateway", Namespace: "shop", Name: "waypoint"}
	gateways         = schema.GroupResource{Group: "gateway.networking.k8s.io", Resource: "gateways"}
)

func gatewayObject(edits ...func(*unstructured.Unstructured)) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
		"metadata": map[string]any{"namespace": "shop", "name": "waypoint", "labels": map[string]any{v1alpha1.OriginLabel: "test"}},
		"spec":     map[string]any{"gatewayClassName": "istio-waypoint", "listeners": []any{map[string]any{"port": int64(15008)}}},
	}}
	for _, edit := range edits {
		edit(object)
	}
	return object
}

func ofClass(class string) func(*unstructured.Unstructured) {
	return func(object *unstructured.Unstructured) {
		object.Object["spec"].(map[string]any)["gatewayClassName"] = class
	}
}

func creation() v1alpha1.Change {
	return v1alpha1.Change{Object: gatewayReference, Create: gatewayObject().Object}
}

// deletion deletes an object as it is.
func deletion(t *testing.T, object *unstructured.Unstructured) v1alpha1.Change {
	t.Helper()
	hash, err := plan.Hash(object.Object)
	if err != nil {
		t.Fatal(err)
	}
	return v1alpha1.Change{Object: gatewayReference, UID: string(object.GetUID()), Delete: true, BeforeHash: hash}
}

// live is an object as the cluster holds it.
func live(edits ...func(*unstructured.Unstructured)) *unstructured.Unstructured {
	object := fixture.Object(gatewayObject(edits...))
	return &object
}

func TestCreate(t *testing.T) {
	notOurs := func(o *unstructured.Unstructured) { o.SetLabels(nil) }
	tests := []struct {
		name    string
		create  *unstructured.Unstructured
		there   []any
		fail    error
		written bool
		want    string
	}{
		{name: "nothing is there", written: true},
		{name: "an earlier attempt has made it", there: []any{live()}},
		{name: "somebody else's is there", there: []any{live(notOurs)}, want: "was not made by an enrolment"},
		{name: "ours, and not the same", there: []any{live(ofClass("istio"))}, want: "is not what the plan creates"},
		{name: "ours, and being deleted", there: []any{live(func(o *unstructured.Unstructured) {
			now := metav1.Now()
			o.SetDeletionTimestamp(&now)
			o.SetFinalizers([]string{"example.com/wait"})
		})}, want: "is not what the plan creates"},
		{name: "refused", fail: apierrors.NewForbidden(gateways, "waypoint", errors.New("no")), want: "create Gateway shop/waypoint"},
		{name: "gone again", fail: apierrors.NewConflict(gateways, "waypoint", errors.New("modified")), want: "create Gateway shop/waypoint"},
		{name: "no answer", fail: errors.New("broken connection"), written: true, want: "broken connection"},
		{name: "made again", create: gatewayObject(notOurs), written: true},
		{name: "made again by an earlier attempt", create: gatewayObject(notOurs), there: []any{live(notOurs)}},
		{name: "made again where something else is there", create: gatewayObject(notOurs), there: []any{live(notOurs, ofClass("istio"))}, want: "is not what the plan creates"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			change := creation()
			if test.create != nil {
				change.Create = test.create.Object
			}
			client := fixture.NewDynamic(test.there...)
			var made []string
			client.PrependReactor("*", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
				switch action := action.(type) {
				case clienttesting.CreateActionImpl:
					made = append(made, "create by "+action.CreateOptions.FieldManager)
				case clienttesting.PatchActionImpl:
					if force := action.PatchOptions.Force; force != nil && *force || action.GetPatchType() != types.ApplyPatchType ||
						!strings.Contains(string(action.GetPatch()), `"resourceVersion":"1"`) {
						t.Errorf("it is patched by %s: %s", action.GetPatchType(), action.GetPatch())
					}
					made = append(made, "apply by "+action.PatchOptions.FieldManager)
				default:
					return false, nil, nil
				}
				return test.fail != nil, nil, test.fail
			})
			after, written, err := Writer{Dynamic: client, Mapper: fixture.Mapper()}.Create(t.Context(), change, false)
			if written != test.written || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("written is %t, the error %v", written, err)
			}
			if test.fail != nil && !errors.Is(err, test.fail) {
				t.Errorf("the cause is lost: %v", err)
			}
			if err == nil && after.GetName() != "waypoint" {
				t.Errorf("it returns %v", after)
			}
			want := "apply by kubectl-ambient"
			if test.create != nil {
				want = "create by kubectl-ambient"
			}
			if !slices.Equal(made, []string{want}) {
				t.Errorf("it was made by %q", made)
			}
			if _, kept := change.Create["metadata"].(map[string]any)["resourceVersion"]; kept {
				t.Error("the change was written to")
			}
		})
	}
}

func TestDelete(t *testing.T) {
	anew := func(o *unstructured.Unstructured) { o.SetUID("another") }
	tests := []struct {
		name string
		// there is what the cluster holds; nil where it holds nothing.
		there   *unstructured.Unstructured
		fail    []error
		written bool
		want    string
	}{
		{name: "as planned", there: live(), written: true},
		{name: "gone", there: nil},
		{name: "made anew", there: live(anew), want: "deleted and created again"},
		{name: "changed", there: live(ofClass("istio")), want: "is not deleted: plan again"},
		{name: "its status was written meanwhile", there: live(), fail: []error{apierrors.NewConflict(gateways, "waypoint", errors.New("older"))}, written: true},
		{name: "gone meanwhile", there: live(), fail: []error{apierrors.NewNotFound(gateways, "waypoint")}},
		{name: "refused", there: live(), fail: []error{apierrors.NewForbidden(gateways, "waypoint", errors.New("no"))}, want: "delete Gateway shop/waypoint"},
		{name: "no answer", there: live(), fail: []error{errors.New("broken connection")}, written: true, want: "broken connection"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var there []any
			if test.there != nil {
				test.there.SetAnnotations(map[string]string{"gateway.istio.io/controller-version": "5"})
				there = append(there, test.there)
			}
			client := fixture.NewDynamic(there...)
			client.PrependReactor("delete", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
				conditions := action.(clienttesting.DeleteActionImpl).DeleteOptions.Preconditions
				if conditions == nil || *conditions.UID != test.there.GetUID() || *conditions.ResourceVersion != test.there.GetResourceVersion() {
					t.Errorf("the preconditions are %+v", conditions)
				}
				if len(test.fail) == 0 {
					return false, nil, nil
				}
				err := test.fail[0]
				test.fail = test.fail[1:]
				return true, nil, err
			})
			writer := Writer{Dynamic: client, Mapper: fixture.Mapper()}
			written, err := writer.Delete(t.Context(), deletion(t, live()), false)
			if written != test.written || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("written is %t, the error %v", written, err)
			}
		})
	}
}

func TestDryRunsWriteNothing(t *testing.T) {
	client := fixture.NewDynamic(live())
	dry := map[string][]string{}
	client.PrependReactor("*", "gateways", func(action clienttesting.Action) (bool, runtime.Object, error) {
		switch action := action.(type) {
		case clienttesting.PatchActionImpl:
			dry["create"] = action.PatchOptions.DryRun
			return true, live(), nil
		case clienttesting.DeleteActionImpl:
			dry["delete"] = action.DeleteOptions.DryRun
			return true, nil, nil
		default:
			return false, nil, nil
		}
	})
	writer := Writer{Dynamic: client, Mapper: fixture.Mapper()}
	_, created, createErr := writer.Create(t.Context(), creation(), true)
	deleted, deleteErr := writer.Delete(t.Context(), deletion(t, live()), true)
	if created || deleted || createErr != nil || deleteErr != nil {
		t.Errorf("created %t, deleted %t, %v, %v", created, deleted, createErr, deleteErr)
	}
	if diff := cmp.Diff(map[string][]string{"create": {"All"}, "delete": {"All"}}, dry); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A run creates, watches what it created, and deletes: each recorded before.
func TestRunCreatesAndDeletes(t *testing.T) {
	old := live()
	old.SetName("old")
	old.SetUID("old")
	remove := deletion(t, old)
	remove.Object.Name = "old"
	gone := remove
	gone.Object.Name, gone.UID = "never-was", ""
	steps := []v1alpha1.Step{
		{ID: "deploy", Changes: []v1alpha1.Change{creation()}, Gate: v1alpha1.Gate{Kind: v1alpha1.GateNone}},
		{ID: "remove", Changes: []v1alpha1.Change{remove, gone}, Gate: v1alpha1.Gate{
			Kind: v1alpha1.GateGone, Objects: []v1alpha1.ObjectReference{remove.Object, gone.Object},
		}},
	}
	r := newTrial(t, steps, enabledShop(), old)
	changed, err := r.Run(t.Context(), r.record)
	if err != nil || !changed {
		t.Fatalf("changed is %t, %v", changed, err)
	}
	if _, err := r.Writer.Get(context.Background(), gatewayReference); err != nil {
		t.Error(err)
	}
	if _, err := r.Writer.Get(context.Background(), remove.Object); !apierrors.IsNotFound(err) {
		t.Errorf("it is not deleted: %v", err)
	}
	var images []string
	for _, step := range r.stored(t).Steps {
		for _, image := range step.Before {
			class, _ := plan.Lookup(image.Content, "/spec/gatewayClassName").(string)
			images = append(images, step.ID+": "+image.Object.Name+" "+class)
		}
	}
	if diff := cmp.Diff([]string{"remove: old istio-waypoint"}, images); diff != "" {
		t.Errorf("the objects as they were (-want +got):\n%s", diff)
	}
}

func TestRunNeverOverwrites(t *testing.T) {
	taken := live(func(o *unstructured.Unstructured) { o.SetLabels(nil) })
	r := newTrial(t, []v1alpha1.Step{{ID: "deploy", Changes: []v1alpha1.Change{creation()}, Gate: v1alpha1.Gate{Kind: v1alpha1.GateNone}}}, enabledShop(), taken)
	r.Backoff = DefaultBackoff()
	changed, err := r.Run(t.Context(), r.record)
	var failure *plan.TakenError
	if changed || !errors.As(err, &failure) {
		t.Errorf("changed is %t, the error %v", changed, err)
	}
	r.expect(t, "record running: running", "delete the record")
}

// An attempt whose answer was lost has changed the cluster, and is not taken for
// somebody else's.
func TestRunCreatesOnceWhereAnAnswerIsLost(t *testing.T) {
	r := newTrial(t, []v1alpha1.Step{{ID: "deploy", Changes: []v1alpha1.Change{creation()}, Gate: v1alpha1.Gate{Kind: v1alpha1.GateNone}}}, enabledShop())
	r.Backoff = DefaultBackoff()
	r.Backoff.Duration = 1
	attempts := 0
	r.dynamic.PrependReactor("patch", "gateways", func(action clienttesting.Action) (bool, runtime.Object, error) {
		attempts++
		if _, _, err := fixture.Applied(r.dynamic.Tracker(), action); err != nil {
			return true, nil, err
		}
		return true, nil, apierrors.NewGenericServerResponse(http.StatusGatewayTimeout, "create", gateways, "waypoint", "lost", 0, true)
	})
	changed, err := r.Run(t.Context(), r.record)
	if err != nil || !changed || attempts != 2 {
		t.Errorf("changed is %t after %d attempts, %v", changed, attempts, err)
	}
}

func TestPatchForMakesMissingParents(t *testing.T) {
	policy := live()
	operations, err := patchFor(policy, v1alpha1.Change{Object: gatewayReference, Fields: []v1alpha1.FieldChange{field("/spec/selector/matchLabels/app", nil, "cart")}})
	if err != nil || len(operations) != 2 {
		t.Fatalf("%v, %v", operations, err)
	}
	want := operation{Op: "add", Path: "/spec/selector", Value: map[string]any{"matchLabels": map[string]any{"app": "cart"}}}
	if diff := cmp.Diff(want, operations[1]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Values that were read back from a record hold floats where the API server has
// integers.
func TestPatchForComparesNumbersByValue(t *testing.T) {
	listeners := []any{map[string]any{"port": float64(15008)}}
	more := []any{map[string]any{"port": float64(15008)}, map[string]any{"port": float64(80)}}
	for _, test := range []struct {
		change v1alpha1.FieldChange
		want   int
	}{{field("/spec/listeners", nil, listeners), 0}, {field("/spec/listeners", listeners, more), 3}} {
		operations, err := patchFor(live(), v1alpha1.Change{Object: gatewayReference, Fields: []v1alpha1.FieldChange{test.change}})
		if err != nil || len(operations) != test.want {
			t.Errorf("%v, %v", operations, err)
		}
	}
}

// TestMakeAgain makes what a run had deleted: it bears no label of ours, and what is
// there already is taken for it only where it says the same.
func TestMakeAgain(t *testing.T) {
	plainly := func(edits ...func(*unstructured.Unstructured)) *unstructured.Unstructured {
		return gatewayObject(append(edits, func(o *unstructured.Unstructured) { o.SetLabels(map[string]string{"team": "a"}) })...)
	}
	for _, test := range []struct {
		name    string
		there   []any
		written bool
		want    string
	}{
		{name: "nothing is there", written: true},
		{name: "an earlier attempt has made it", there: []any{plainly()}},
		{name: "another one is there", there: []any{plainly(ofClass("istio"))}, want: "is not what the plan creates"},
		{name: "one of ours is there", there: []any{live()}, want: "is not what the plan creates"},
	} {
		t.Run(test.name, func(t *testing.T) {
			writer := Writer{Dynamic: fixture.NewDynamic(test.there...), Mapper: fixture.Mapper()}
			_, written, err := writer.Create(t.Context(), v1alpha1.Change{Object: gatewayReference, Create: plainly().Object}, false)
			if written != test.written || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("written is %t: %v", written, err)
			}
		})
	}
}

// TestHoldingWhatIsDeleted looks no more for what a step has deleted, and for what one
// has made from then on.
func TestHoldingWhatIsDeleted(t *testing.T) {
	policy := func(name string) v1alpha1.ObjectReference {
		return v1alpha1.ObjectReference{APIVersion: "security.istio.io/v1", Kind: "AuthorizationPolicy", Namespace: "shop", Name: name}
	}
	content := fixture.Content(fixture.YAML("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: old, namespace: shop}\nspec: {}"))
	held, err := hold(v1alpha1.MigrationPlan{Handover: &v1alpha1.Handover{
		Objects: []v1alpha1.ObjectReference{policy("old")}, Policies: []v1alpha1.KnownPolicy{{Object: policy("old")}},
	}}, content)
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]any{"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": map[string]any{"name": "new", "namespace": "shop"}}
	if err := held.note([]v1alpha1.Change{{Object: policy("old"), Delete: true}, {Object: policy("new"), Create: made}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]v1alpha1.ObjectReference{policy("new")}, held.Objects); diff != "" || len(held.Policies) > 0 {
		t.Errorf("it holds policies %v, and (-want +got):\n%s", held.Policies, diff)
	}
}
