package plan_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/internal/randommesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// mostPast is how many drawn meshes are compared with what they were.
const mostPast = 80

// Once a plan is carried out, and nobody has touched anything since, no call is decided
// otherwise than before but for what the plan had announced: what a record keeps of the
// mesh is enough to tell.
func TestRandomMeshesAgainstWhatTheyWere(t *testing.T) {
	foretold := 0
	for seed := *firstSeed; seed < *firstSeed+mostPast; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			drawn := randommesh.New(seed)
			before := realized(t, drawn)
			content := fixture.Content(before)
			snapshot := fixture.Snapshot(before)
			planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, drawn.Namespace), plan.Options{Translation: drawn.Options})
			if err != nil {
				t.Fatal(err)
			}
			baseline, err := plan.Baseline(content, snapshot, fixture.Find(snapshot, drawn.Namespace), baselineTaken)
			if err != nil {
				t.Fatal(err)
			}
			now := fixture.Snapshot(withEndpoints(t, drawn, settled(t, planned, carriedOut(t, before, planned))))
			past := pastOf(t, now, drawn.Namespace, recorded(t, planned, baseline))
			for _, change := range append(past.Changes, past.Following...) {
				t.Errorf("nobody has announced it: %s: %s", change.Server, checks.DescribeChange(change))
			}
			if len(past.Edited) > 0 {
				t.Errorf("nobody has edited %v", past.Edited)
			}
			foretold += past.Foretold
		})
	}
	t.Logf("%d kinds of calls were foretold", foretold)
}

// settled has istiod give each waypoint an address, and replaces the pods of what was
// pinned.
func settled(t *testing.T, planned v1alpha1.MigrationPlan, objects []unstructured.Unstructured) []unstructured.Unstructured {
	t.Helper()
	pinned := map[string]bool{}
	for _, step := range planned.Steps {
		for _, change := range step.Changes {
			pinned[change.Object.Name] = pinned[change.Object.Name] || step.Phase == v1alpha1.PhasePin
		}
	}
	for i := range objects {
		object := &objects[i]
		switch {
		case object.GetKind() == mesh.KindGateway:
			set(t, object, []any{map[string]any{"type": "Hostname", "value": object.GetName() + "." + object.GetNamespace()}}, "status", "addresses")
		case object.GetKind() == mesh.KindPod && object.GetNamespace() == planned.Namespace && pinned[object.GetLabels()["app"]]:
			set(t, object, "none", "metadata", "labels", "istio.io/dataplane-mode")
		}
	}
	return objects
}

// recorded is the record of a plan that was carried out, after it was written and read.
func recorded(t *testing.T, planned v1alpha1.MigrationPlan, baseline *v1alpha1.Baseline) v1alpha1.MigrationRecord {
	t.Helper()
	run := v1alpha1.MigrationRecord{Operation: v1alpha1.OperationEnroll, State: v1alpha1.RunSucceeded, Plan: planned, Baseline: baseline}
	for _, step := range planned.Steps {
		run.Steps = append(run.Steps, v1alpha1.StepRecord{ID: step.ID, State: v1alpha1.StepDone})
	}
	data, err := json.Marshal(run)
	if err != nil {
		t.Fatal(err)
	}
	var read v1alpha1.MigrationRecord
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	return read
}

func pastOf(t *testing.T, now *mesh.Snapshot, namespace string, run v1alpha1.MigrationRecord) *checks.Past {
	t.Helper()
	past, missing, err := plan.Past(now, fixture.Find(now, namespace), []v1alpha1.MigrationRecord{run})
	if err != nil || missing != "" {
		t.Fatal(missing, err)
	}
	return past
}
