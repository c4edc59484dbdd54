package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// includedPay are namespace shop, which calls pay and has no policies, and pay, of whose
// Service a VirtualService is about.
func includedPay() []unstructured.Unstructured {
	web, api := fixture.Deployment("shop", "web", fixture.Probed), fixture.Deployment("pay", "api", fixture.Probed)
	asked := map[string]string{"istio-injection": "enabled"}
	return fixture.Objects(
		fixture.Installation(),
		fixture.Namespace("shop", asked), web, fixture.PodsOf(web, fixture.Sidecar),
		fixture.Namespace("pay", asked), api, fixture.PodsOf(api, fixture.Sidecar),
		fixture.YAML(`
apiVersion: v1
kind: Service
metadata: {name: api, namespace: pay}
spec: {clusterIP: 10.0.0.1, selector: {app: api}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: api, namespace: pay}
spec: {hosts: [api], http: [{timeout: 1s, route: [{destination: {host: api}}]}]}`))
}

// relabelled are objects with the data plane mode of a namespace set, or taken off.
func relabelled(objects []unstructured.Unstructured, namespace, mode string) []unstructured.Unstructured {
	after := slices.Clone(objects)
	for i, object := range after {
		if object.GetKind() != mesh.KindNamespace || object.GetName() != namespace {
			continue
		}
		after[i].Object = object.DeepCopy().Object
		labels := after[i].GetLabels()
		delete(labels, "istio.io/dataplane-mode")
		if mode != "" {
			labels["istio.io/dataplane-mode"] = mode
		}
		after[i].SetLabels(labels)
	}
	return after
}

// including is the record of an enrolment of shop that makes a waypoint in pay, and what
// it comes to.
func including(t *testing.T, before []unstructured.Unstructured) (v1alpha1.MigrationRecord, []unstructured.Unstructured) {
	t.Helper()
	snapshot := fixture.Snapshot(before)
	planned, err := Enroll(snapshot, fixture.Find(snapshot, "shop"), Options{Include: []string{"pay"}})
	if err != nil {
		t.Fatal(err)
	}
	record := recorded(t, planned)
	record.State = v1alpha1.RunSucceeded
	return record, carriedOut(t, before, planned.Steps)
}

func undoing(t *testing.T, objects []unstructured.Unstructured, records ...v1alpha1.MigrationRecord) v1alpha1.MigrationPlan {
	t.Helper()
	snapshot := fixture.Snapshot(objects)
	planned, err := Rollback(snapshot, fixture.Find(snapshot, "shop"), records)
	if err != nil {
		t.Fatal(err)
	}
	return planned
}

// keptFor are the objects that a rollback keeps for others, with the reason once.
func keptFor(planned v1alpha1.MigrationPlan) (objects []string, reason string) {
	for _, kept := range planned.Kept {
		if kept.Later {
			objects, reason = append(objects, kept.Object.String()), kept.Reason
		}
	}
	slices.Sort(objects)
	return objects, reason
}

// What a rollback keeps since another namespace relies on it, the next one takes away
// once that does not any more, and it does nothing else.
func TestWhatIsKeptForAnotherNamespaceIsPutBackLater(t *testing.T) {
	before := includedPay()
	record, after := including(t, before)
	moved := relabelled(after, "pay", mesh.DataplaneAmbient)
	planned := undoing(t, moved, record)
	objects, reason := keptFor(planned)
	if diff := cmp.Diff([]string{"Gateway pay/waypoint", "Service pay/api"}, objects); diff != "" {
		t.Fatalf("kept is (-want +got):\n%s", diff)
	}
	if !strings.Contains(reason, "namespace pay is in ambient mode by now") {
		t.Errorf("the reason is %q", reason)
	}
	first := carriedOut(t, moved, planned.Steps)
	rest := UndoneBy(planned, record)
	if rest.State != v1alpha1.RunRolledBack || len(rest.Remains) != len(objects) {
		t.Fatalf("the record is %s, and holds %v", rest.State, rest.Remains)
	}

	// The namespace was put back as a whole: that is looked at still.
	back := v1alpha1.MigrationRecord{ID: "back", Operation: v1alpha1.OperationRollback, State: v1alpha1.RunSucceeded, Plan: planned}
	returned, err := Returned("shop", []v1alpha1.MigrationRecord{back, rest})
	if err != nil || returned == nil || len(returned.Workloads) != 1 || !returned.Unlabelled {
		t.Errorf("what is put back is %+v, %v", returned, err)
	}

	// As long as the other relies on it, nothing comes of it.
	again := undoing(t, first, rest)
	still, _ := keptFor(again)
	if diff := cmp.Diff(objects, still); diff != "" || len(again.Steps) > 0 {
		t.Errorf("once more, it takes the steps %v, and keeps (-want +got):\n%s", idsOf(again), diff)
	}
	if held := UndoneBy(again, rest); !cmp.Equal(held.Remains, rest.Remains) {
		t.Errorf("the record holds %v", held.Remains)
	}

	freed := relabelled(first, "pay", "")
	last := undoing(t, freed, rest)
	if err := Concluding(&last, []v1alpha1.MigrationRecord{rest}); err != nil {
		t.Fatal(err)
	}
	for _, step := range last.Steps {
		if step.Phase == v1alpha1.PhaseReplacePods || step.Phase == v1alpha1.PhaseVerify {
			t.Errorf("it takes the step %s", step.ID)
		}
	}
	wanted(t, before, carriedOut(t, freed, last.Steps))
	if done := UndoneBy(last, rest); done.State != v1alpha1.RunRolledBack || len(done.Remains) > 0 {
		t.Errorf("in the end the record is %s, and holds %v", done.State, done.Remains)
	}
}

// A rollback to a phase keeps in the record what it keeps for others, too.
func TestARollbackToAPhaseHoldsWhatIsKept(t *testing.T) {
	record, after := including(t, includedPay())
	moved := relabelled(after, "pay", mesh.DataplaneAmbient)
	snapshot := fixture.Snapshot(moved)
	planned, err := RollbackAs(snapshot, fixture.Find(snapshot, "shop"), []v1alpha1.MigrationRecord{record}, Undoing{To: v1alpha1.PhaseDeployWaypoints})
	if err != nil {
		t.Fatal(err)
	}
	objects, _ := keptFor(planned)
	rest := UndoneBy(planned, record)
	var held []string
	for i := range rest.Plan.Steps {
		for _, change := range left(rest, i) {
			held = append(held, change.Object.String())
		}
	}
	slices.Sort(held)
	// The waypoint is of a phase that stays.
	if diff := cmp.Diff([]string{"Gateway pay/waypoint", "Service pay/api"}, held); diff != "" || !slices.Contains(objects, "Service pay/api") || rest.State != v1alpha1.RunSucceeded {
		t.Errorf("the record is %s, and holds (-want +got):\n%s", rest.State, diff)
	}
}

// What an enrolment of one namespace made in another stays while a later one relies on it
// for its routes: the callers of that have lost the sidecars which carried them out.
func TestRoutesOfLaterCallersKeepTheWaypoint(t *testing.T) {
	const rule = "VirtualService pay/api"
	labelledAt := func(at string) func(*unstructured.Unstructured) {
		return func(namespace *unstructured.Unstructured) {
			namespace.Object["metadata"].(map[string]any)["managedFields"] = []any{map[string]any{
				"manager": "kubectl-label", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "time": at,
				"fieldsV1": map[string]any{"f:metadata": map[string]any{"f:labels": map[string]any{"f:istio.io/dataplane-mode": map[string]any{}}}},
			}}
		}
	}
	asIs := func(*unstructured.Unstructured) {}
	for name, test := range map[string]struct {
		mode   string
		export []any
		edit   func(*unstructured.Unstructured)
		keeps  bool
	}{
		"in ambient mode":                    {mesh.DataplaneAmbient, nil, asIs, true},
		"in ambient mode since":              {mesh.DataplaneAmbient, nil, labelledAt("2026-06-01T11:00:00Z"), true},
		"in ambient mode before it was made": {mesh.DataplaneAmbient, nil, labelledAt("2026-06-01T09:00:00Z"), false},
		"that do not see the rule":           {mesh.DataplaneAmbient, []any{".", "shop"}, asIs, false},
		"that see it by name":                {mesh.DataplaneAmbient, []any{"later"}, asIs, true},
		"on sidecars":                        {"", nil, asIs, false},
	} {
		t.Run(name, func(t *testing.T) {
			later := fixture.Objects(fixture.Namespace("later", map[string]string{"istio-injection": "enabled"}))
			before := append(includedPay(), relabelled(later, "later", test.mode)...)
			for i, object := range before {
				switch {
				case object.GetKind() == mesh.KindNamespace && object.GetName() == "later":
					test.edit(&before[i])
				case object.GetKind() == "VirtualService" && test.export != nil:
					if err := unstructured.SetNestedSlice(before[i].Object, test.export, "spec", "exportTo"); err != nil {
						t.Fatal(err)
					}
				}
			}
			record, after := including(t, before)
			for i, object := range after {
				if object.GetKind() == mesh.KindGateway {
					unstructured.RemoveNestedField(after[i].Object, "metadata", "creationTimestamp")
					if err := unstructured.SetNestedField(after[i].Object, "2026-06-01T10:00:00Z", "metadata", "creationTimestamp"); err != nil {
						t.Fatal(err)
					}
				}
			}
			planned := undoing(t, after, record)
			objects, reason := keptFor(planned)
			if !test.keeps {
				if len(planned.Kept) > 0 {
					t.Errorf("kept is %v", planned.Kept)
				}
				wanted(t, before, carriedOut(t, after, planned.Steps))
				return
			}
			if diff := cmp.Diff([]string{"Gateway pay/waypoint", "Service pay/api"}, objects); diff != "" || !strings.Contains(reason, rule) || !strings.Contains(reason, "later") {
				t.Errorf("the reason is %q, kept is (-want +got):\n%s", reason, diff)
			}
			// Once the callers have their sidecars back, the next rollback takes it away.
			first := relabelled(carriedOut(t, after, planned.Steps), "later", "")
			rest := undoing(t, first, UndoneBy(planned, record))
			wanted(t, relabelled(before, "later", ""), carriedOut(t, first, rest.Steps))
		})
	}
}
