package plan_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// enrolled is a mesh of testdata/access with its plan carried out.
type enrolled struct {
	before, after []unstructured.Unstructured
	plan          v1alpha1.MigrationPlan
}

func enrolledMesh(t *testing.T, path string) enrolled {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return enrolledFrom(t, string(content))
}

// enrolledFrom enrolls the mesh that a text describes.
func enrolledFrom(t *testing.T, content string) enrolled {
	t.Helper()
	read, parts := readScenario(t, content)
	objects := fixture.Objects(parts...)
	snapshot := fixture.Snapshot(objects)
	planned, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), read.Options)
	if err != nil {
		t.Fatal(err)
	}
	after := carriedOut(t, objects, planned)
	for i := range after {
		if after[i].GetKind() == mesh.KindGateway {
			// istiod takes a waypoint into account that has an address.
			set(t, &after[i], []any{map[string]any{"type": "IPAddress", "value": "10.96.200.1"}}, "status", "addresses")
		}
	}
	return enrolled{before: objects, after: after, plan: planned}
}

// TestRollbackOfAccess undoes the enrolment of each mesh of testdata/access: no call
// is let in on the way that is let in at neither end, and a guard that somebody has
// deleted does not keep it.
func TestRollbackOfAccess(t *testing.T) {
	meshes, err := filepath.Glob("testdata/access/*.yaml")
	if err != nil || len(meshes) == 0 {
		t.Fatalf("no meshes: %v", err)
	}
	for _, path := range meshes {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			made := enrolledMesh(t, path)
			if made.plan.Access != nil && len(made.plan.Access.Incomplete) > 0 {
				t.Skip("not all calls can be compared, which blocks both ways")
			}
			if slices.ContainsFunc(made.plan.Gates, sharesAccount) {
				t.Skip("what lets its waypoint through lets others through, which blocks the enrolment")
			}
			record := recordOf("one", made.plan, done(len(made.plan.Steps))...)
			wantFree(t, rollback(t, made.after, record), nil)
			for _, guard := range guardsOf(made.plan) {
				gone := slices.DeleteFunc(slices.Clone(made.after), func(object unstructured.Unstructured) bool { return names(guard, object) })
				wantFree(t, rollback(t, gone, record), []v1alpha1.ObjectReference{guard})
			}
		})
	}
}

// sharesAccount says whether a plan is blocked because others run as its waypoint's account.
func sharesAccount(gate v1alpha1.CheckResult) bool {
	return gate.ID == checks.IDCarriedOver && gate.Status == v1alpha1.StatusFail && gate.Object.Kind == mesh.KindGateway && strings.Contains(gate.Message, "it runs as service account")
}

// guardsOf are the policies that a plan creates for direct calls.
func guardsOf(planned v1alpha1.MigrationPlan) []v1alpha1.ObjectReference {
	var guards []v1alpha1.ObjectReference
	for _, step := range planned.Steps {
		for _, change := range step.Changes {
			if step.ID == "activate-waypoints/guards" && change.Create != nil {
				guards = append(guards, change.Object)
			}
		}
	}
	return guards
}

// wantFree wants a rollback to be free to go, with what somebody has deleted named
// where workloads are put back.
func wantFree(t *testing.T, planned v1alpha1.MigrationPlan, gone []v1alpha1.ObjectReference) {
	t.Helper()
	if len(planned.Kept) > 0 {
		t.Errorf("kept: %v", planned.Kept)
	}
	restores := slices.ContainsFunc(ids(planned), func(id string) bool { return strings.HasPrefix(id, "restore-workloads/") })
	if restores && !slices.Equal(planned.Gone, gone) {
		t.Errorf("without %v: gone are %v", gone, planned.Gone)
	}
	for _, gate := range planned.Gates {
		if gate.Blocks() {
			t.Errorf("without %v: %s: %s", gone, gate.ID, gate.Message)
		}
	}
}
