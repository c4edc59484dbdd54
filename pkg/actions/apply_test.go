package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	fakedynamic "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
)

type labels = map[string]string

func shopNamespace(of labels) *unstructured.Unstructured {
	object := fixture.Object(fixture.Namespace("shop", of))
	return &object
}

var namespaceReference = v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: "shop"}

const (
	modePath      = "/metadata/labels/istio.io~1dataplane-mode"
	injectionPath = "/metadata/labels/istio-injection"
)

func change(fields ...v1alpha1.FieldChange) v1alpha1.Change {
	return v1alpha1.Change{Object: namespaceReference, Fields: fields}
}

func field(path string, before, after any) v1alpha1.FieldChange {
	return v1alpha1.FieldChange{Path: path, Before: before, After: after}
}

func TestPatchFor(t *testing.T) {
	const version = `{"op":"test","path":"/metadata/resourceVersion","value":"1"}`
	const annotation = "/metadata/annotations/a"
	enabled := labels{"istio-injection": "enabled"}
	annotated := shopNamespace(nil)
	annotated.SetAnnotations(labels{"a": ""})
	bare := shopNamespace(nil)
	unstructured.RemoveNestedField(bare.Object, "metadata", "labels")
	tests := []struct {
		name   string
		live   *unstructured.Unstructured
		change v1alpha1.Change
		want   string
	}{
		{"nothing to change", shopNamespace(enabled), change(), "null"},
		{"it is so already", shopNamespace(labels{"istio.io/dataplane-mode": "ambient"}), change(field(modePath, nil, "ambient")), "null"},
		{"it is gone already", shopNamespace(nil), change(field(injectionPath, "enabled", nil)), "null"},
		{"add", shopNamespace(nil), change(field(modePath, nil, "ambient")), `[` + version + `,{"op":"add","path":"` + modePath + `","value":"ambient"}]`},
		{"replace", shopNamespace(enabled), change(field(injectionPath, "enabled", "disabled")), `[` + version + `,{"op":"test","path":"` + injectionPath + `","value":"enabled"},{"op":"replace","path":"` + injectionPath + `","value":"disabled"}]`},
		{"remove", shopNamespace(enabled), change(field(injectionPath, "enabled", nil)), `[` + version + `,{"op":"test","path":"` + injectionPath + `","value":"enabled"},{"op":"remove","path":"` + injectionPath + `"}]`},
		{"add where the map is missing", shopNamespace(nil), change(field(annotation, nil, "b")), `[` + version + `,{"op":"add","path":"/metadata/annotations","value":{"a":"b"}}]`},
		{"add two where the map is missing", bare, change(field(modePath, nil, "ambient"), field(injectionPath, nil, "disabled")), `[` + version + `,{"op":"add","path":"/metadata/labels","value":{"istio.io/dataplane-mode":"ambient"}},{"op":"add","path":"` + injectionPath + `","value":"disabled"}]`},
		{"an empty value is a value", annotated, change(field(annotation, "", "b")), `[` + version + `,{"op":"test","path":"` + annotation + `","value":""},{"op":"replace","path":"` + annotation + `","value":"b"}]`},
		{"set to empty", shopNamespace(enabled), change(field(injectionPath, "enabled", "")), `[` + version + `,{"op":"test","path":"` + injectionPath + `","value":"enabled"},{"op":"replace","path":"` + injectionPath + `","value":""}]`},
		{"only what is left to do", shopNamespace(labels{"istio-injection": "enabled", "istio.io/dataplane-mode": "ambient"}), change(field(modePath, nil, "ambient"), field(injectionPath, "enabled", nil)), `[` + version + `,{"op":"test","path":"` + injectionPath + `","value":"enabled"},{"op":"remove","path":"` + injectionPath + `"}]`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			operations, err := patchFor(test.live, test.change)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(operations)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPatchForRefusesWhatOthersHaveChanged(t *testing.T) {
	for name, live := range map[string]*unstructured.Unstructured{
		"to something else": shopNamespace(labels{"istio-injection": "disabled"}), "to nothing": shopNamespace(nil),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := patchFor(live, change(field(modePath, nil, "ambient"), field(injectionPath, "enabled", "x")))
			var changed *ChangedError
			if !errors.As(err, &changed) || changed.Field.Path != injectionPath {
				t.Fatalf("the error is %v", err)
			}
			for _, want := range []string{"Namespace shop", injectionPath, `"enabled"`, describe(changed.Found), "plan again"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %s: %v", want, err)
				}
			}
		})
	}
}

// The template of a CronJob need not have any labels: the API server then
// returns empty metadata.
func TestWriterChangesATemplateWithoutLabels(t *testing.T) {
	cron := fixture.YAML("apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: report, namespace: shop}\nspec: {schedule: '@daily', jobTemplate: {spec: {template: {metadata: {}, spec: {restartPolicy: Never}}}}}")[0]
	writer, _ := writerOf(cron)
	const path = "/spec/jobTemplate/spec/template/metadata/labels/sidecar.istio.io~1inject"
	after, written, err := writer.Change(t.Context(), v1alpha1.Change{
		Object: v1alpha1.ObjectReference{APIVersion: "batch/v1", Kind: "CronJob", Namespace: "shop", Name: "report"}, Fields: []v1alpha1.FieldChange{field(path, nil, "false")},
	}, false)
	if err != nil || !written || plan.Lookup(after.Object, path) != "false" {
		t.Errorf("written is %t, %v", written, err)
	}
}

func writerOf(objects ...any) (Writer, *fakedynamic.FakeDynamicClient) {
	client := fixture.NewDynamic(objects...)
	return Writer{Dynamic: client, Mapper: fixture.Mapper()}, client
}

func patches(client *fakedynamic.FakeDynamicClient) []clienttesting.PatchActionImpl {
	var patches []clienttesting.PatchActionImpl
	for _, action := range client.Actions() {
		if patch, ok := action.(clienttesting.PatchActionImpl); ok {
			patches = append(patches, patch)
		}
	}
	return patches
}

func TestWriterChange(t *testing.T) {
	writer, client := writerOf(*shopNamespace(labels{"istio-injection": "enabled"}))
	enroll := change(field(modePath, nil, "ambient"), field(injectionPath, "enabled", nil))
	after, written, err := writer.Change(t.Context(), enroll, false)
	if err != nil || !written {
		t.Fatalf("written is %t, %v", written, err)
	}
	want := labels{"kubernetes.io/metadata.name": "shop", "istio.io/dataplane-mode": "ambient"}
	if diff := cmp.Diff(want, after.GetLabels()); diff != "" {
		t.Errorf("the labels are (-want +got):\n%s", diff)
	}
	if options := patches(client)[0].PatchOptions; options.FieldManager != "kubectl-ambient" || len(options.DryRun) != 0 {
		t.Errorf("the options are %+v", options)
	}
	after, written, err = writer.Change(t.Context(), enroll, false)
	if err != nil || written || len(patches(client)) != 1 || after.GetLabels()["istio.io/dataplane-mode"] != "ambient" {
		t.Errorf("the second time written is %t, %v", written, err)
	}
}

func TestWriterChangeDryRun(t *testing.T) {
	writer, client := writerOf(*shopNamespace(nil))
	if _, _, err := writer.Change(t.Context(), change(field(modePath, nil, "ambient")), true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{metav1.DryRunAll}, patches(client)[0].PatchOptions.DryRun); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// touched returns a reactor that lets a status writer come between reading and
// patching, n times, and answers as the API server then does.
func touched(t *testing.T, client *fakedynamic.FakeDynamicClient, n int, answer error) clienttesting.ReactionFunc {
	resource := schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	return func(clienttesting.Action) (bool, runtime.Object, error) {
		if n == 0 {
			return false, nil, nil
		}
		n--
		object, err := client.Tracker().Get(resource, "", "shop")
		if err != nil {
			t.Fatal(err)
		}
		now := object.(*unstructured.Unstructured).DeepCopy()
		now.SetResourceVersion(now.GetResourceVersion() + "0")
		if err := client.Tracker().Update(resource, now, ""); err != nil {
			t.Fatal(err)
		}
		return true, nil, answer
	}
}

func TestWriterChangeTriesAgainWhereSomebodyElseWroteInBetween(t *testing.T) {
	for name, answer := range map[string]error{
		"a failed test": apierrors.NewGenericServerResponse(422, "patch", schema.GroupResource{Resource: "namespaces"}, "shop", "testing value failed", 0, false),
		"a conflict":    apierrors.NewConflict(schema.GroupResource{Resource: "namespaces"}, "shop", errors.New("modified")),
	} {
		t.Run(name, func(t *testing.T) {
			writer, client := writerOf(*shopNamespace(nil))
			client.PrependReactor("patch", "namespaces", touched(t, client, 3, answer))
			after, written, err := writer.Change(t.Context(), change(field(modePath, nil, "ambient")), false)
			if err != nil || !written || after.GetLabels()["istio.io/dataplane-mode"] != "ambient" {
				t.Errorf("written is %t, %v", written, err)
			}
			if n := len(patches(client)); n != 4 {
				t.Errorf("there are %d patches", n)
			}
		})
	}
}

func TestWriterChangeGivesUpTryingAgain(t *testing.T) {
	writer, client := writerOf(*shopNamespace(nil))
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "namespaces"}, "shop", errors.New("modified"))
	client.PrependReactor("patch", "namespaces", touched(t, client, 100, conflict))
	_, written, err := writer.Change(t.Context(), change(field(modePath, nil, "ambient")), false)
	if !apierrors.IsConflict(err) || written || len(patches(client)) != patchAttempts {
		t.Errorf("after %d patches: %v", len(patches(client)), err)
	}
}

func TestWriterChangeReturnsWhatTheAPIServerReallyRefuses(t *testing.T) {
	kind := schema.GroupKind{Kind: "Namespace"}
	for name, refusal := range map[string]error{
		"invalid": apierrors.NewInvalid(kind, "shop", nil), "forbidden": apierrors.NewForbidden(schema.GroupResource{Resource: "namespaces"}, "shop", errors.New("not you")),
		"denied by a webhook": apierrors.NewBadRequest("admission webhook denied the request"),
	} {
		t.Run(name, func(t *testing.T) {
			writer, client := writerOf(*shopNamespace(nil))
			client.PrependReactor("patch", "namespaces", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, refusal })
			_, written, err := writer.Change(t.Context(), change(field(modePath, nil, "ambient")), false)
			if !errors.Is(err, refusal) || written || !strings.HasPrefix(err.Error(), "patch Namespace shop: ") {
				t.Errorf("written is %t, the error %v", written, err)
			}
			if n := len(patches(client)); n != 1 {
				t.Errorf("it was tried %d times", n)
			}
		})
	}
}

func TestWriterNamesTheObjectInItsErrors(t *testing.T) {
	writer, _ := writerOf()
	_, _, err := writer.Change(t.Context(), change(field(modePath, nil, "ambient")), false)
	if !apierrors.IsNotFound(err) || !strings.HasPrefix(err.Error(), "get Namespace shop: ") {
		t.Errorf("for what is gone the error is %v", err)
	}
	unknown := v1alpha1.Change{Object: v1alpha1.ObjectReference{APIVersion: "example.com/v1", Kind: "Novelty", Namespace: "shop", Name: "n"}}
	if _, _, err = writer.Change(t.Context(), unknown, false); err == nil || !strings.HasPrefix(err.Error(), "Novelty shop/n: ") {
		t.Errorf("for an unknown kind the error is %v", err)
	}
	if _, err = writer.Get(context.Background(), unknown.Object); err == nil {
		t.Error("an unknown kind was read")
	}
}

func TestDescribe(t *testing.T) {
	for want, value := range map[string]any{"absent": nil, `""`: "", `"a"`: "a", `{"a":"b"}`: map[string]any{"a": "b"}} {
		if got := describe(value); got != want {
			t.Errorf("%v is described as %s", value, got)
		}
	}
}

func TestRefused(t *testing.T) {
	namespaces := schema.GroupResource{Resource: "namespaces"}
	for _, test := range []struct {
		name string
		err  error
		want bool
	}{
		{"forbidden", apierrors.NewForbidden(namespaces, "shop", nil), true},
		{"invalid", apierrors.NewInvalid(schema.GroupKind{Kind: "Namespace"}, "shop", nil), true},
		{"conflict", apierrors.NewConflict(namespaces, "shop", nil), true},
		{"too many requests", apierrors.NewTooManyRequests("slow down", 1), true},
		{"gone", fmt.Errorf("patch: %w", apierrors.NewNotFound(namespaces, "shop")), true},
		{"timed out at the API server", apierrors.NewServerTimeout(namespaces, "patch", 1), false},
		{"timed out on the way", apierrors.NewTimeoutError("too slow", 1), false},
		{"an internal error", apierrors.NewInternalError(errors.New("etcd")), false},
		{"a broken connection", errors.New("EOF"), false},
		{"interrupted", context.Canceled, false},
	} {
		if got := refused(test.err); got != test.want {
			t.Errorf("%s: refused is %t", test.name, got)
		}
	}
}
