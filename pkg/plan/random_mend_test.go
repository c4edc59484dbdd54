package plan_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/internal/randommesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access/compare"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// mendedMeshes is how many meshes TestRandomMeshesThatGrow draws, mendedFrom the first
// one: among them is one of which too much was once taken for repaired.
const (
	mendedFrom   = 3170
	mendedMeshes = 20
)

// TestRandomMeshesThatGrow enrols meshes to which policies come afterwards, and enrols
// them again: what is let in then that neither is let in today nor would have been with
// sidecars and all policies, blocks.
func TestRandomMeshesThatGrow(t *testing.T) {
	for seed := uint64(mendedFrom); seed < mendedFrom+mendedMeshes; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			drawn := randommesh.New(seed)
			original := realized(t, drawn)
			i := -1
			comesLater := func(object unstructured.Unstructured) bool {
				if object.GetKind() != mesh.KindAuthorizationPolicy {
					return false
				}
				i++
				return i%2 == 1
			}
			var few, later []unstructured.Unstructured
			for _, object := range original {
				if comesLater(object) {
					later = append(later, object)
				} else {
					few = append(few, object)
				}
			}
			first := enrolDrawn(t, drawn, few)
			done := carriedOut(t, few, first)
			for i := range done {
				if done[i].GetKind() == mesh.KindGateway && done[i].GetNamespace() == drawn.Namespace {
					set(t, &done[i], []any{map[string]any{"type": "IPAddress", "value": "10.99.0.1"}}, "status", "addresses")
				}
			}
			now := withEndpoints(t, drawn, append(done, later...))
			wantUnannounced(t, original, now, first, enrolDrawn(t, drawn, now))
		})
	}
}

func enrolDrawn(t *testing.T, drawn randommesh.Mesh, objects []unstructured.Unstructured) v1alpha1.MigrationPlan {
	t.Helper()
	snapshot := fixture.Snapshot(objects)
	planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, drawn.Namespace), plan.Options{Translation: drawn.Options})
	if err != nil {
		t.Fatal(err)
	}
	return planned
}

// wantUnannounced wants none of the calls that a plan lets in unless it blocks, or the
// first one has blocked for the server already.
func wantUnannounced(t *testing.T, original, now []unstructured.Unstructured, first, again v1alpha1.MigrationPlan) {
	t.Helper()
	for _, id := range []string{checks.IDCallsNewlyAllowed, checks.IDCarriedOver, checks.IDCallsCompared, checks.IDWaypointLosses} {
		if slices.Contains(again.Overview.Blockers, id) {
			return
		}
	}
	sidecars, err := plan.Stages(fixture.Snapshot(original), v1alpha1.MigrationPlan{Namespace: again.Namespace})
	if err != nil {
		t.Fatal(err)
	}
	stages, err := plan.Stages(fixture.Snapshot(now), again)
	if err != nil {
		t.Fatal(err)
	}
	open := letIn(compare.New([]compare.Stage{sidecars[0], stages[0]}, compare.Options{}))
	for key, change := range letIn(compare.New([]compare.Stage{sidecars[0], stages[len(stages)-1]}, compare.Options{})) {
		blocked := first.Access != nil && slices.ContainsFunc(first.Access.Changes, func(other v1alpha1.CallChange) bool {
			return other.Effect == v1alpha1.CallNewlyAllowed && other.Server == change.Server
		})
		if _, already := open[key]; !already && !blocked {
			t.Errorf("let in without blocking: %s: %s", change.Server, checks.DescribeChange(change))
		}
	}
}

// letIn are the calls that a comparison finds let in, by what tells them apart.
func letIn(comparison *compare.Comparison) map[string]v1alpha1.CallChange {
	found := map[string]v1alpha1.CallChange{}
	for _, change := range comparison.Changes() {
		request, err := json.Marshal(change.Request)
		if err == nil && change.Effect == v1alpha1.CallNewlyAllowed {
			found[fmt.Sprintf("%s %v %d %s %s %s", change.Server, change.Service, change.Port, change.Caller.Mode, change.Caller.Name, request)] = change
		}
	}
	return found
}
