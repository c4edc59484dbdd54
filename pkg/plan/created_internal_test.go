package plan

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

const servicesYAML = `
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop, labels: {app: cart}}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: other}
spec: {ports: [{port: 80}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: old, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {ports: ["80"]}}]}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: other}
`

func policyFor(name, kind, target string) map[string]any {
	return map[string]any{
		"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": map[string]any{"name": name, "namespace": "shop"},
		"spec": map[string]any{"targetRefs": []any{map[string]any{"group": "", "kind": kind, "name": target}}},
	}
}

func inShop(kind, name string) v1alpha1.ObjectReference {
	versions := map[string]string{"Gateway": "gateway.networking.k8s.io/v1", "AuthorizationPolicy": "security.istio.io/v1", "Service": "v1"}
	return v1alpha1.ObjectReference{APIVersion: versions[kind], Kind: kind, Namespace: "shop", Name: name}
}

const usePath = "/metadata/labels/istio.io~1use-waypoint"

// waypointed plans what an enrolment does about waypoints and policies.
func waypointed(t *testing.T, objects []unstructured.Unstructured) v1alpha1.MigrationPlan {
	t.Helper()
	state := NewProjection(fixture.Snapshot(objects))
	steps := []v1alpha1.Step{
		{ID: "deploy-waypoints", Phase: v1alpha1.PhaseDeployWaypoints}, {ID: "migrate-policies", Phase: v1alpha1.PhaseMigratePolicies},
		{ID: "activate-waypoints", Phase: v1alpha1.PhaseActivateWaypoints}, {ID: "settle-policies", Phase: v1alpha1.PhaseSettlePolicies},
	}
	scoped := map[string]any{"matchLabels": map[string]any{"security.istio.io/tlsMode": "istio"}}
	for _, err := range []error{
		state.creates(&steps[0], waypoint()),
		state.creates(&steps[1], policyFor("for-cart", "Service", "cart")), state.creates(&steps[1], policyFor("for-waypoint", "Gateway", "waypoint")),
		state.changes(&steps[1], inShop("AuthorizationPolicy", "old"), []edit{{"/spec/rules", []any{map[string]any{}}}}),
		state.changes(&steps[2], inShop("Service", "cart"), []edit{{usePath, "waypoint"}}), state.changes(&steps[2], inShop("Service", "db"), []edit{{usePath, "waypoint"}}),
		state.changes(&steps[3], inShop("AuthorizationPolicy", "old"), []edit{{"/spec/selector", scoped}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return v1alpha1.MigrationPlan{Operation: v1alpha1.OperationEnroll, Namespace: "shop", Steps: steps}
}

// carriedOut are the objects after steps, as an API server leaves them.
func carriedOut(t *testing.T, objects []unstructured.Unstructured, steps []v1alpha1.Step) []unstructured.Unstructured {
	t.Helper()
	var after []unstructured.Unstructured
	for _, object := range objects {
		after = append(after, *object.DeepCopy())
	}
	for _, step := range steps {
		for _, change := range step.Changes {
			at := slices.IndexFunc(after, func(object unstructured.Unstructured) bool { return referenceTo(object.Object) == change.Object })
			switch {
			case change.Create != nil:
				if at >= 0 {
					t.Fatalf("%s is there already", change.Object)
				}
				created := unstructured.Unstructured{Object: runtime.DeepCopyJSON(change.Create)}
				created.SetUID(types.UID("of " + change.Object.String()))
				created.SetGeneration(1)
				after = append(after, created)
			case at < 0:
				t.Fatalf("%s is not there", change.Object)
			case change.Delete:
				if change.UID != string(after[at].GetUID()) {
					t.Errorf("%s: UID %s", change.Object, change.UID)
				}
				after = slices.Delete(after, at, at+1)
			default:
				object, err := Apply(after[at].Object, change.Fields)
				if err != nil {
					t.Fatal(err)
				}
				after[at].Object = object
			}
		}
	}
	return after
}

// recorded is the record of a run as the cluster gives it back.
func recorded(t *testing.T, planned v1alpha1.MigrationPlan, states ...v1alpha1.StepState) v1alpha1.MigrationRecord {
	t.Helper()
	record := v1alpha1.MigrationRecord{ID: "one", Operation: v1alpha1.OperationEnroll, Namespace: "shop", Started: fixture.Created, Plan: planned}
	for i, step := range planned.Steps {
		state := v1alpha1.StepDone
		if len(states) > 0 {
			state = states[min(i, len(states)-1)]
		}
		record.Steps = append(record.Steps, v1alpha1.StepRecord{ID: step.ID, State: state})
	}
	data, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	var read v1alpha1.MigrationRecord
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	return read
}

func undone(t *testing.T, objects []unstructured.Unstructured, records ...v1alpha1.MigrationRecord) v1alpha1.MigrationPlan {
	t.Helper()
	snapshot := fixture.Snapshot(objects)
	planned, err := Rollback(snapshot, fixture.Find(snapshot, "shop"), records)
	if err != nil {
		t.Fatal(err)
	}
	return planned
}

func shopWithServices() []unstructured.Unstructured {
	return fixture.Objects(fixture.Installation(), fixture.Namespace("shop", nil), fixture.YAML(servicesYAML[1:]))
}

// outline is what the steps of a plan do, in a line each.
func outline(planned v1alpha1.MigrationPlan) []string {
	var lines []string
	for _, step := range planned.Steps {
		line := step.ID + " (" + string(step.Gate.Kind)
		for _, object := range step.Gate.Objects {
			line += " " + object.Name
		}
		line += "):"
		for _, change := range step.Changes {
			if change.Delete {
				line += " -" + change.Object.Name
				continue
			}
			line += " " + change.Object.Name
		}
		lines = append(lines, line)
	}
	return lines
}

func TestRollbackOfWhatWasCreated(t *testing.T) {
	before := shopWithServices()
	enrolment := waypointed(t, before)
	after := carriedOut(t, before, enrolment.Steps)
	planned := undone(t, after, recorded(t, enrolment))
	want := []string{
		"unsettle-policies (policies-accepted old): old",
		"deactivate-waypoints (waypoints-unbound db cart): db cart",
		"remove-waypoints (gone waypoint): -waypoint",
		"restore-policies (policies-accepted old): old",
		"restore-policies/attached (gone for-waypoint for-cart): -for-waypoint -for-cart",
	}
	if diff := cmp.Diff(want, outline(planned)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(planned.Kept) > 0 || len(planned.Gone) > 0 || planned.Blocked {
		t.Errorf("kept %v, gone %v, blocked %t", planned.Kept, planned.Gone, planned.Blocked)
	}
	if diff := cmp.Diff(before, carriedOut(t, after, planned.Steps)); diff != "" {
		t.Errorf("it is not what it was (-was +is):\n%s", diff)
	}
}

// A run can be killed at any instant, before a step wrote or after.
func TestRollbackOfCreationsThatStoppedAnywhere(t *testing.T) {
	before := shopWithServices()
	enrolment := waypointed(t, before)
	for n := range len(enrolment.Steps) {
		for _, wrote := range []int{n, n + 1} {
			states := append(slices.Repeat([]v1alpha1.StepState{v1alpha1.StepDone}, n), v1alpha1.StepRunning, v1alpha1.StepPending)
			after := carriedOut(t, before, enrolment.Steps[:wrote])
			planned := undone(t, after, recorded(t, enrolment, states...))
			if diff := cmp.Diff(before, carriedOut(t, after, planned.Steps)); diff != "" || len(planned.Kept) > 0 {
				t.Errorf("stopped at %s, %d steps written: kept %v, it is not what it was (-was +is):\n%s", enrolment.Steps[n].ID, wrote, planned.Kept, diff)
			}
		}
	}
}

func TestRollbackKeepsWhatOthersNeed(t *testing.T) {
	const used = "it is used by Service other/web, which the rollback does not change"
	labelled := func(objects []unstructured.Unstructured, namespace, name string, labels map[string]string) {
		for i := range objects {
			if objects[i].GetKind() == "Service" && objects[i].GetNamespace() == namespace && objects[i].GetName() == name {
				objects[i].SetLabels(labels)
			}
		}
	}
	spec := func(objects []unstructured.Unstructured, name string, edits ...func(map[string]any)) {
		for i := range objects {
			if objects[i].GetName() == name {
				for _, edit := range edits {
					edit(objects[i].Object)
				}
			}
		}
	}
	tests := []struct {
		name    string
		disturb func([]unstructured.Unstructured)
		// kept are the objects and fields that stay, each with the reason.
		kept []string
		gone []string
	}{
		{"a waypoint that another namespace uses, and the policies on it", func(objects []unstructured.Unstructured) {
			labelled(objects, "other", "web", map[string]string{"istio.io/use-waypoint": "waypoint", "istio.io/use-waypoint-namespace": "shop"})
		}, []string{
			"Gateway shop/waypoint: " + used, "AuthorizationPolicy shop/for-waypoint: it is for Gateway shop/waypoint, which is kept",
		}, nil},
		{"a waypoint of the same name elsewhere", func(objects []unstructured.Unstructured) {
			labelled(objects, "other", "web", map[string]string{"istio.io/use-waypoint": "waypoint"})
		}, nil, nil},
		{"the policy of a Service that somebody sends elsewhere", func(objects []unstructured.Unstructured) {
			labelled(objects, "shop", "cart", map[string]string{"app": "cart", "istio.io/use-waypoint": "theirs"})
		}, []string{
			"Service shop/cart" + usePath + ": ", "AuthorizationPolicy shop/for-cart: it is for Service shop/cart, which somebody else sends through a waypoint now",
		}, nil},
		{"what somebody has changed", func(objects []unstructured.Unstructured) {
			spec(objects, "for-cart", with("DENY", "spec", "action"), with(int64(2), "metadata", "generation"))
		}, []string{"AuthorizationPolicy shop/for-cart: it is not what the run created: somebody has changed it, or made it anew"}, nil},
		{"what somebody has made anew", func(objects []unstructured.Unstructured) {
			spec(objects, "waypoint", without("metadata", "labels"))
		}, []string{
			"Gateway shop/waypoint: it is not what the run created: somebody has changed it, or made it anew",
			"AuthorizationPolicy shop/for-waypoint: it is for Gateway shop/waypoint, which is kept",
		}, nil},
		{"not what is gone", func(objects []unstructured.Unstructured) {
			spec(objects, "for-cart", with("another", "metadata", "name"), without("metadata", "labels"))
			spec(objects, "db", with("another", "metadata", "name"), without("metadata", "labels"))
		}, nil, []string{"Service shop/db"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := shopWithServices()
			enrolment := waypointed(t, before)
			after := carriedOut(t, before, enrolment.Steps)
			test.disturb(after)
			planned := undone(t, after, recorded(t, enrolment))
			var kept, gone []string
			for _, one := range planned.Kept {
				kept = append(kept, one.Object.String()+one.Path+": "+one.Reason)
			}
			for _, one := range planned.Gone {
				gone = append(gone, one.String())
			}
			if diff := cmp.Diff(test.kept, kept); diff != "" {
				t.Errorf("it keeps (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.gone, gone); diff != "" {
				t.Errorf("gone are (-want +got):\n%s", diff)
			}
		})
	}
}

// What one run created and the next one changed is deleted as a whole.
func TestRollbackOfWhatTwoRunsWrote(t *testing.T) {
	before := shopWithServices()
	first := waypointed(t, before)
	between := carriedOut(t, before, first.Steps)
	state := NewProjection(fixture.Snapshot(between))
	step := v1alpha1.Step{ID: "migrate-policies", Phase: v1alpha1.PhaseMigratePolicies}
	if err := state.creates(&step, policyFor("for-cart", "Service", "db")); err != nil {
		t.Fatal(err)
	}
	second := v1alpha1.MigrationPlan{Namespace: "shop", Steps: []v1alpha1.Step{step}}
	if len(step.Changes) != 1 || step.Changes[0].Create != nil {
		t.Fatalf("the second run does %+v", step.Changes)
	}
	for name, after := range map[string][]unstructured.Unstructured{"written": carriedOut(t, between, second.Steps), "not written": between} {
		planned := undone(t, after, recorded(t, second, v1alpha1.StepRunning), recorded(t, first))
		if diff := cmp.Diff(before, carriedOut(t, after, planned.Steps)); diff != "" || len(planned.Kept) > 0 {
			t.Errorf("%s: kept %v, it is not what it was (-was +is):\n%s", name, planned.Kept, diff)
		}
	}
}

// A rollback that was stopped behind any step goes on from there. Before it
// deletes anything it waits for what the one before may not have waited for.
func TestRollbackGoesOn(t *testing.T) {
	before := shopWithServices()
	enrolment := waypointed(t, before)
	after := carriedOut(t, before, enrolment.Steps)
	whole := undone(t, after, recorded(t, enrolment))
	want := []string{
		"", "", "deactivate-waypoints (waypoints-unbound db cart):", "deactivate-waypoints (waypoints-unbound db cart):", "deactivate-waypoints (waypoints-unbound db cart):", "",
	}
	for n := range len(whole.Steps) + 1 {
		partly := carriedOut(t, after, whole.Steps[:n])
		rest := undone(t, partly, recorded(t, enrolment))
		if diff := cmp.Diff(before, carriedOut(t, partly, rest.Steps)); diff != "" {
			t.Errorf("behind %d steps: it is not what it was (-was +is):\n%s", n, diff)
		}
		waits := ""
		for _, line := range outline(rest) {
			if strings.HasPrefix(line, "deactivate") && strings.HasSuffix(line, ":") {
				waits = line
			}
		}
		if waits != want[n] {
			t.Errorf("behind %d steps: it waits in %q, not in %q", n, waits, want[n])
		}
	}
}

// What may not be read is not gone.
func TestRollbackWantsToSeeWhatItUndoes(t *testing.T) {
	before := shopWithServices()
	enrolment := waypointed(t, before)
	content := fixture.Content(before)
	content.Coverage[mesh.KindGateway] = mesh.Coverage{State: mesh.CoverageForbidden, Reason: "you may not list gateways"}
	snapshot, err := mesh.NewSnapshot(content)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Rollback(snapshot, fixture.Find(snapshot, "shop"), []v1alpha1.MigrationRecord{recorded(t, enrolment)})
	if err == nil || !strings.Contains(err.Error(), "Gateway shop/waypoint cannot be read, and has to be put back: you may not list gateways") {
		t.Errorf("the error is %v", err)
	}
}
