package plan

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

const gatewayYAML = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop, labels: {ambient.kubectl-ambient.dev/origin: kubectl-ambient}}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {namespaces: {from: Same}}}]
`

func waypoint(edits ...func(map[string]any)) map[string]any {
	object := fixture.Loose(gatewayYAML)[0].Object
	for _, edit := range edits {
		edit(object)
	}
	return object
}

func with(value any, path ...string) func(map[string]any) {
	return func(object map[string]any) {
		if err := unstructured.SetNestedField(object, value, path...); err != nil {
			panic(err)
		}
	}
}

func without(path ...string) func(map[string]any) {
	return func(object map[string]any) { unstructured.RemoveNestedField(object, path...) }
}

// read is an object as the API server would show it.
func read(object map[string]any) unstructured.Unstructured {
	object = runtime.DeepCopyJSON(object)
	for _, edit := range []func(map[string]any){
		with("uid-of-the-object", "metadata", "uid"), with("77", "metadata", "resourceVersion"), with("2026-01-01T00:00:00Z", "metadata", "creationTimestamp"),
	} {
		edit(object)
	}
	return unstructured.Unstructured{Object: object}
}

func projectionOf(objects ...any) *Projection {
	return NewProjection(fixture.Snapshot(append([]any{fixture.Namespace("shop", nil)}, objects...)...))
}

func TestCreatesWhatIsNotThere(t *testing.T) {
	state := projectionOf()
	var step v1alpha1.Step
	bare := waypoint(without("metadata", "labels"), without("spec", "listeners"))
	// As Go code builds objects: with types that JSON does not have.
	bare["spec"].(map[string]any)["listeners"] = []map[string]any{{"name": "mesh", "port": 15008, "protocol": "HBONE"}}
	bare["status"] = map[string]any{}
	if err := state.creates(&step, bare); err != nil {
		t.Fatal(err)
	}
	if len(step.Changes) != 1 {
		t.Fatalf("%d changes", len(step.Changes))
	}
	change := step.Changes[0]
	if diff := cmp.Diff(waypoint(), change.Create); diff != "" {
		t.Errorf("it creates (-want +got):\n%s", diff)
	}
	if change.BeforeHash != "" || change.AfterHash == "" || change.UID != "" || len(change.Fields) > 0 {
		t.Errorf("the change is %+v", change)
	}
	// The next step sees it, and does not create it again.
	if err := state.creates(&step, bare); err != nil || len(step.Changes) != 1 {
		t.Errorf("%d changes, %v", len(step.Changes), err)
	}
	if err := state.changes(&step, change.Object, []edit{{"/metadata/labels/a", "b"}}); err != nil || len(step.Changes) != 2 {
		t.Errorf("%d changes, %v", len(step.Changes), err)
	}
}

func TestCreatesWhereAnObjectIsThere(t *testing.T) {
	listener := func(edits ...func(map[string]any)) []any {
		fields := map[string]any{"name": "mesh", "port": int64(15008), "protocol": "HBONE", "allowedRoutes": map[string]any{"namespaces": map[string]any{"from": "Same"}}}
		for _, edit := range edits {
			edit(fields)
		}
		return []any{fields}
	}
	defaulted := with(listener(with("by default", "unknown")), "spec", "listeners")
	tests := []struct {
		name  string
		there map[string]any
		paths []string
		taken bool
	}{
		{"the same", waypoint(), nil, false},
		{"the same, and a label of somebody else's", waypoint(with("x", "metadata", "labels", "team")), nil, false},
		{"the same, and what the API server has set by default", waypoint(defaulted, with(int64(1), "metadata", "generation")), nil, false},
		{"what somebody has set", waypoint(defaulted, with(int64(2), "metadata", "generation")), []string{"/spec"}, false},
		{"other content", waypoint(with("istio", "spec", "gatewayClassName")), []string{"/spec"}, false},
		{"another origin", waypoint(with("x", "metadata", "labels", v1alpha1.OriginLabel)), []string{"/metadata/labels/ambient.kubectl-ambient.dev~1origin"}, false},
		{"somebody else's", waypoint(without("metadata", "labels")), nil, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			there := read(test.there)
			state := projectionOf(&there)
			var step v1alpha1.Step
			err := state.creates(&step, waypoint())
			var taken *TakenError
			if errors.As(err, &taken) != test.taken || err != nil && !test.taken {
				t.Fatalf("the error is %v", err)
			}
			if test.taken && !strings.Contains(err.Error(), "Gateway shop/waypoint exists already") {
				t.Errorf("the error says %q", err)
			}
			var paths []string
			for _, change := range step.Changes {
				if change.Create != nil || change.UID != "uid-of-the-object" {
					t.Errorf("it is no change of the object that is there: %+v", change)
				}
				for _, field := range change.Fields {
					paths = append(paths, field.Path)
				}
			}
			if diff := cmp.Diff(test.paths, paths); diff != "" {
				t.Errorf("it changes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCreatesWantsAName(t *testing.T) {
	err := projectionOf().creates(&v1alpha1.Step{}, waypoint(without("metadata", "name")))
	if err == nil || !strings.Contains(err.Error(), "metadata.name") {
		t.Errorf("the error is %v", err)
	}
}

func TestDeletes(t *testing.T) {
	there := read(waypoint())
	state := projectionOf(&there)
	var step v1alpha1.Step
	reference := referenceTo(there.Object)
	for range 2 {
		// The second time it is gone.
		if err := state.deletes(&step, reference); err != nil {
			t.Fatal(err)
		}
	}
	hash, err := Hash(there.Object)
	if err != nil {
		t.Fatal(err)
	}
	want := []v1alpha1.Change{{Object: reference, UID: "uid-of-the-object", Delete: true, BeforeHash: hash}}
	if diff := cmp.Diff(want, step.Changes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := state.changes(&step, reference, []edit{{"/spec/a", "b"}}); err == nil {
		t.Error("what is deleted can be changed")
	}
	if err := state.creates(&step, waypoint()); err != nil || step.Changes[1].Create == nil {
		t.Errorf("what is deleted cannot be created: %v", err)
	}
}

func TestAsWritten(t *testing.T) {
	policy := func(edits ...func(map[string]any)) map[string]any {
		object := map[string]any{
			"metadata": map[string]any{"labels": map[string]any{v1alpha1.OriginLabel: "x"}, "generation": int64(1)},
			"spec":     map[string]any{"rules": []any{map[string]any{"port": int64(80)}}},
		}
		for _, edit := range edits {
			edit(object)
		}
		return object
	}
	tests := []struct {
		name string
		live map[string]any
		want bool
	}{
		{"the same", policy(), true},
		{"not ours", policy(without("metadata", "labels")), false},
		{"another origin", policy(with("y", "metadata", "labels", v1alpha1.OriginLabel)), false},
		{"a label that nobody else reads", policy(with("y", "metadata", "labels", "team")), true},
		{"a label that Istio reads", policy(with("y", "metadata", "labels", "istio.io/rev")), false},
		{"an annotation", policy(with("y", "metadata", "annotations", "gateway.istio.io/controller-version")), true},
		{"a default", policy(with("ALLOW", "spec", "action")), true},
		{"an addition", policy(with("ALLOW", "spec", "action"), with(int64(2), "metadata", "generation")), false},
		{"a rule more", policy(with([]any{map[string]any{"port": int64(80)}, map[string]any{}}, "spec", "rules")), false},
		{"another value", policy(with([]any{map[string]any{"port": int64(81)}}, "spec", "rules")), false},
		{"another type", policy(with("80", "spec", "rules")), false},
		{"no spec", policy(without("spec")), false},
	}
	data, err := json.Marshal(policy())
	if err != nil {
		t.Fatal(err)
	}
	// As a record gives it back: numbers are floats.
	var written map[string]any
	if err := json.Unmarshal(data, &written); err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		if got := AsWritten(test.live, written, 0); got != test.want {
			t.Errorf("%s: as written is %t", test.name, got)
		}
	}
	if !AsWritten(policy(with("ALLOW", "spec", "action"), with(int64(2), "metadata", "generation")), written, 1) {
		t.Error("a spec that the run itself has written twice is not as written")
	}
}

func TestOverviewCountsWhatIsCreatedAndDeleted(t *testing.T) {
	there := read(waypoint(with("old", "metadata", "name")))
	state := projectionOf(&there)
	var step v1alpha1.Step
	object := waypoint()
	service := v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: "shop"}
	for _, err := range []error{
		state.creates(&step, object), state.changes(&step, referenceTo(object), []edit{{"/metadata/labels/a", "b"}}),
		state.changes(&step, referenceTo(there.Object), []edit{{"/metadata/labels/a", "b"}}), state.deletes(&step, referenceTo(there.Object)),
		state.changes(&step, service, []edit{{"/metadata/labels/a", "b"}}),
		state.creates(&step, waypoint(with("brief", "metadata", "name"))),
		state.deletes(&step, referenceTo(waypoint(with("brief", "metadata", "name")))),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := overview(state.snapshot, v1alpha1.MigrationPlan{Steps: []v1alpha1.Step{step}})
	want := v1alpha1.Overview{Creates: map[string]int{"Gateway": 1}, Changes: map[string]int{"Namespace": 1}, Deletes: map[string]int{"Gateway": 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestExportOfWhatIsCreatedAndDeleted(t *testing.T) {
	old := read(waypoint(with("old", "metadata", "name")))
	service := fixture.YAML(`
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.0.0.7, clusterIPs: [10.0.0.7], ports: [{port: 80}]}
`)
	state := projectionOf(&old, service)
	step := v1alpha1.Step{Phase: v1alpha1.PhaseDeployWaypoints}
	cart := v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: "shop", Name: "cart"}
	for _, err := range []error{
		state.creates(&step, waypoint()), state.deletes(&step, referenceTo(old.Object)),
		state.changes(&step, cart, []edit{{"/metadata/labels/istio.io~1use-waypoint", "waypoint"}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	phases, err := Export(state.snapshot, v1alpha1.MigrationPlan{Steps: []v1alpha1.Step{step}})
	if err != nil {
		t.Fatal(err)
	}
	want := []Manifests{{
		Phase: v1alpha1.PhaseDeployWaypoints, Deleted: []v1alpha1.ObjectReference{referenceTo(old.Object)},
		Objects: []map[string]any{waypoint(), {
			"apiVersion": "v1", "kind": "Service",
			"metadata": map[string]any{"name": "cart", "namespace": "shop", "labels": map[string]any{"istio.io/use-waypoint": "waypoint"}},
			"spec":     map[string]any{"ports": []any{map[string]any{"port": int64(80)}}},
		}},
	}}
	if diff := cmp.Diff(want, phases); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
