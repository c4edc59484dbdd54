package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/translate"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// guarded is a namespace whose enrolment has steps of every phase.
func guarded() []unstructured.Unstructured {
	cart := fixture.Deployment("shop", "cart")
	quiet := fixture.Deployment("shop", "quiet", fixture.TemplateLabel("sidecar.istio.io/inject", "false"))
	return fixture.Objects(fixture.Installation(), fixture.Namespace("shop", map[string]string{"istio-injection": "enabled"}),
		cart, fixture.PodsOf(cart, fixture.Sidecar), quiet, fixture.PodsOf(quiet), fixture.YAML(`
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop, uid: cart-service}
spec: {selector: {app: cart}, ports: [{name: http, port: 80}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: shop, uid: no-admin}
spec:
  selector: {matchLabels: {app: cart}}
  action: DENY
  rules: [{from: [{source: {notPrincipals: [cluster.local/ns/shop/sa/web]}}], to: [{operation: {paths: ["/admin*"]}}]}]
`))
}

// enrolledGuarded plans the enrolment up to a phase.
func enrolledGuarded(t *testing.T, objects []unstructured.Unstructured, until v1alpha1.Phase) v1alpha1.MigrationPlan {
	t.Helper()
	snapshot := fixture.Snapshot(objects)
	planned, err := Enroll(snapshot, fixture.Find(snapshot, "shop"), Options{Translation: translate.Options{MixedCallers: translate.MixedCallersDeny}, Until: until})
	if err != nil {
		t.Fatal(err)
	}
	return planned
}

func undoneTo(t *testing.T, objects []unstructured.Unstructured, to v1alpha1.Phase, records ...v1alpha1.MigrationRecord) v1alpha1.MigrationPlan {
	t.Helper()
	snapshot := fixture.Snapshot(objects)
	planned, err := RollbackAs(snapshot, fixture.Find(snapshot, "shop"), records, Undoing{To: to})
	if err != nil {
		t.Fatal(err)
	}
	if len(planned.Kept) > 0 || len(planned.Gone) > 0 || planned.To != to {
		t.Errorf("to %q: kept %v, gone %v, it says to %q", to, planned.Kept, planned.Gone, planned.To)
	}
	return planned
}

// wanted compares what there is, whatever was made anew in which order.
func wanted(t *testing.T, want, got []unstructured.Unstructured) {
	t.Helper()
	byName := func(objects []unstructured.Unstructured) map[string]any {
		named := map[string]any{}
		for _, object := range objects {
			named[referenceTo(object.Object).String()] = object.Object
		}
		return named
	}
	if diff := cmp.Diff(byName(want), byName(got)); diff != "" {
		t.Errorf("it is not as it should be (-want +is):\n%s", diff)
	}
}

// Whatever phase a namespace is rolled back to, it is as an enrolment until then
// leaves it; the next rollback undoes what is left, and no more.
func TestRollbackToAPhase(t *testing.T) {
	before := guarded()
	whole := enrolledGuarded(t, before, "")
	after := carriedOut(t, before, whole.Steps)
	// Nothing here has sidecars that are refreshed.
	phases := EnrollPhases()[1:]
	for _, phase := range phases {
		if phase != v1alpha1.PhaseVerify && phase != v1alpha1.PhaseSimplify && !slices.ContainsFunc(whole.Steps, func(step v1alpha1.Step) bool { return step.Phase == phase }) {
			t.Fatalf("the enrolment has no step of phase %s", phase)
		}
		t.Run(string(phase), func(t *testing.T) {
			record := recorded(t, whole)
			part := ToBeUndone([]v1alpha1.MigrationRecord{record}, phase)
			if last := slices.Index(phases, phase) >= slices.Index(phases, v1alpha1.PhaseDisableInjection); last != (len(part) == 0) {
				t.Fatalf("%d records have something to be undone", len(part))
			}
			if len(part) == 0 {
				return
			}
			partly := carriedOut(t, after, undoneTo(t, after, phase, part...).Steps)
			wanted(t, carriedOut(t, before, enrolledGuarded(t, before, phase).Steps), partly)
			if again := changing(undoneTo(t, partly, phase, part...)); len(again) > 0 {
				t.Errorf("once more, it would take the steps %v", again)
			}

			rest := Undone(record, phase)
			if rest.State == v1alpha1.RunRolledBack || slices.ContainsFunc(record.Steps, func(step v1alpha1.StepRecord) bool { return step.State != v1alpha1.StepDone }) {
				t.Errorf("the record is %s, the one before %+v", rest.State, record.Steps)
			}
			if left := ToBeUndone([]v1alpha1.MigrationRecord{rest}, phase); len(left) > 0 {
				t.Error("the record says that what was undone is to be undone")
			}
			for _, records := range [][]v1alpha1.MigrationRecord{{rest}, {record}} {
				wanted(t, before, carriedOut(t, partly, undoneTo(t, partly, "", records...).Steps))
			}
			for _, earlier := range phases[:slices.Index(phases, phase)] {
				undone := Undone(rest, earlier)
				wanted(t, carriedOut(t, before, enrolledGuarded(t, before, earlier).Steps), carriedOut(t, partly, undoneTo(t, partly, earlier, rest).Steps))
				if undone.State == v1alpha1.RunRolledBack {
					t.Errorf("to %s: the record says that nothing is left", earlier)
				}
			}
		})
	}
}

// changing are the steps of a plan that change something.
func changing(planned v1alpha1.MigrationPlan) []string {
	var ids []string
	for _, step := range planned.Steps {
		if len(step.Changes) > 0 {
			ids = append(ids, step.ID)
		}
	}
	return ids
}

// What somebody did again after a part was undone is theirs.
func TestRollbackOfTheRestLeavesAloneWhatIsNotItsOwn(t *testing.T) {
	before := guarded()
	whole := enrolledGuarded(t, before, "")
	after := carriedOut(t, before, whole.Steps)
	record := recorded(t, whole)
	partly := carriedOut(t, after, undoneTo(t, after, v1alpha1.PhaseActivateWaypoints, record).Steps)
	relabel := func(objects []unstructured.Unstructured) {
		for i, object := range objects {
			if object.GetKind() == "Namespace" && object.GetName() == "shop" {
				objects[i].Object = object.DeepCopy().Object
				objects[i].SetLabels(map[string]string{"istio-injection": "enabled", "istio.io/dataplane-mode": "ambient", "kubernetes.io/metadata.name": "shop"})
			}
		}
	}
	want := slices.Clone(before)
	relabel(want)
	relabel(partly)
	wanted(t, want, carriedOut(t, partly, undoneTo(t, partly, "", Undone(record, v1alpha1.PhaseActivateWaypoints)).Steps))
}

// A run that wrote nothing but what is undone is rolled back.
func TestUndone(t *testing.T) {
	change := []v1alpha1.Change{{Object: inShop("Service", "cart")}}
	steps := []v1alpha1.Step{
		{ID: "a", Phase: v1alpha1.PhaseActivateWaypoints}, {ID: "b", Phase: v1alpha1.PhaseEnableAmbient, Changes: change},
		{ID: "c", Phase: v1alpha1.PhaseRestartWorkloads, Changes: change}, {ID: "d", Phase: v1alpha1.PhaseVerify},
	}
	for _, test := range []struct {
		to     v1alpha1.Phase
		states []v1alpha1.StepState
		want   []v1alpha1.StepState
		state  v1alpha1.RunState
	}{
		{"", []v1alpha1.StepState{"done", "done", "running", "pending"}, []v1alpha1.StepState{"done", "done", "running", "pending"}, v1alpha1.RunRolledBack},
		{"enable-ambient", []v1alpha1.StepState{"done", "done", "failed", "pending"}, []v1alpha1.StepState{"done", "done", "undone", "pending"}, ""},
		{"activate-waypoints", []v1alpha1.StepState{"done", "done", "done", "done"}, []v1alpha1.StepState{"done", "undone", "undone", "undone"}, v1alpha1.RunRolledBack},
	} {
		record := v1alpha1.MigrationRecord{Plan: v1alpha1.MigrationPlan{Steps: steps}}
		for _, state := range test.states {
			record.Steps = append(record.Steps, v1alpha1.StepRecord{State: state})
		}
		undone := Undone(record, test.to)
		var got []v1alpha1.StepState
		for _, step := range undone.Steps {
			got = append(got, step.State)
		}
		if diff := cmp.Diff(test.want, got); diff != "" || undone.State != test.state {
			t.Errorf("to %q: the run is %q, its steps are (-want +got):\n%s", test.to, undone.State, diff)
		}
	}
}

// A field that a later run wrote before the phase, and an earlier one behind it,
// cannot become what it was in between.
func TestRollbackToAPhaseWantsFieldsThatCanBeToldApart(t *testing.T) {
	before := guarded()
	policy := inShop("AuthorizationPolicy", "no-admin")
	run := func(id string, age time.Duration, phase v1alpha1.Phase, was, is any) v1alpha1.MigrationRecord {
		record := recorded(t, v1alpha1.MigrationPlan{Operation: v1alpha1.OperationEnroll, Namespace: "shop", Steps: []v1alpha1.Step{{
			ID: id, Phase: phase, Changes: []v1alpha1.Change{{Object: policy, Fields: []v1alpha1.FieldChange{{Path: "/spec/action", Before: was, After: is}}}},
		}}})
		record.ID, record.Started = id, record.Started.Add(-age)
		return record
	}
	records := []v1alpha1.MigrationRecord{
		run("two", 0, v1alpha1.PhaseMigratePolicies, "ALLOW", "DENY"), run("one", time.Hour, v1alpha1.PhaseSettlePolicies, "AUDIT", "ALLOW"),
	}
	snapshot := fixture.Snapshot(before)
	_, err := RollbackAs(snapshot, fixture.Find(snapshot, "shop"), records, Undoing{To: v1alpha1.PhasePin})
	if err == nil || !strings.Contains(err.Error(), "/spec/action of AuthorizationPolicy shop/no-admin was written in phase settle-policies, and by run two again in phase migrate-policies") {
		t.Errorf("the error is %v", err)
	}
	undoneTo(t, before, "", records...)
}

// What settles when nothing is left to be moved is taken back first, also where the
// workloads were moved by a run of their own.
func TestWhatSettlesIsOfItsOwnPhase(t *testing.T) {
	before := guarded()
	first := enrolledGuarded(t, before, v1alpha1.PhaseRestartWorkloads)
	moved := madeAnew(t, carriedOut(t, before, first.Steps), fixture.Ambient)
	second := enrolledGuarded(t, moved, "")
	for _, step := range second.Steps {
		if early := slices.Index(EnrollPhases(), step.Phase) <= slices.Index(EnrollPhases(), v1alpha1.PhaseRestartWorkloads); early && len(step.Changes) > 0 {
			t.Errorf("step %s changes what the first run has done", step.ID)
		}
	}
	one, two := recorded(t, first), recorded(t, second)
	two.ID, two.Started = "two", two.Started.Add(time.Hour)
	after := carriedOut(t, moved, second.Steps)
	wanted(t, moved, carriedOut(t, after, undoneTo(t, after, v1alpha1.PhaseRestartWorkloads, two, one).Steps))
	if steps := changing(undoneTo(t, after, "", two, one)); len(steps) == 0 || steps[0] != string(v1alpha1.PhaseUnsettlePolicies) {
		t.Errorf("a rollback begins with %v", steps)
	}
}
