package plan_test

import (
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

// writtenBy is an entry of managedFields of somebody who wrote fields of a spec.
func writtenBy(manager, operation string, fields ...string) map[string]any {
	owned := map[string]any{}
	for _, field := range fields {
		owned["f:"+field] = map[string]any{}
	}
	return map[string]any{
		"manager": manager, "operation": operation, "apiVersion": "security.istio.io/v1", "fieldsType": "FieldsV1",
		"fieldsV1": map[string]any{"f:spec": owned},
	}
}

// TestEnrollLeavesEdited: what a run has made and somebody has changed since is not
// written again; what is as a run has left it is, whatever it was made from says now.
func TestEnrollLeavesEdited(t *testing.T) {
	t.Parallel()
	const run = "kubectl-ambient"
	ours := writtenBy(run, "Apply", "action", "rules", "targetRefs")
	for name, test := range map[string]struct {
		// narrow has the copy let nobody in any more.
		narrow     bool
		gone       bool
		generation int64
		managers   []any
		original   bool
		accept     []string
		blocked    bool
		who        string
		// written says whether a step writes the copy.
		written bool
	}{
		"as it was":              {generation: 1, managers: []any{ours}},
		"by kubectl edit":        {narrow: true, generation: 2, managers: []any{writtenBy(run, "Apply", "action", "targetRefs"), writtenBy("kubectl-edit", "Update", "rules")}, blocked: true, who: "kubectl-edit"},
		"taken away":             {narrow: true, generation: 2, managers: []any{writtenBy(run, "Apply", "action", "targetRefs")}, blocked: true, who: "somebody"},
		"accepted":               {narrow: true, generation: 2, managers: []any{writtenBy(run, "Apply", "action", "targetRefs"), writtenBy("kubectl-edit", "Update", "rules")}, accept: []string{checks.IDCarriedOver}, who: "kubectl-edit"},
		"deleted":                {gone: true, written: true},
		"by a run that was cut":  {narrow: true, generation: 1, managers: []any{ours}, written: true},
		"amended by a run":       {narrow: true, generation: 2, managers: []any{writtenBy(run, "Apply", "targetRefs"), writtenBy(run, "Update", "rules")}, written: true},
		"original edited":        {original: true, generation: 1, managers: []any{ours}, written: true},
		"both edited":            {original: true, narrow: true, generation: 2, managers: []any{writtenBy("kubectl-edit", "Update", "rules")}, blocked: true, who: "kubectl-edit"},
		"who wrote is not known": {narrow: true, generation: 2, written: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made := enrolledMesh(t, "testdata/access/allow-l4-and-l7.yaml")
			var copied v1alpha1.ObjectReference
			var objects []unstructured.Unstructured
			for _, object := range takingTraffic(t, made.after) {
				isCopy := object.GetKind() == mesh.KindAuthorizationPolicy && plan.Ours(object.Object) && len(mesh.TargetsIn(object.Object)) > 0
				if object.GetKind() == mesh.KindAuthorizationPolicy && !plan.Ours(object.Object) && test.original {
					set(t, &object, []any{map[string]any{"to": []any{map[string]any{"operation": map[string]any{"methods": []any{"HEAD"}}}}}}, "spec", "rules")
				}
				if isCopy {
					copied = v1alpha1.ObjectReference{APIVersion: object.GetAPIVersion(), Kind: object.GetKind(), Namespace: object.GetNamespace(), Name: object.GetName()}
					if test.narrow {
						unstructured.RemoveNestedField(object.Object, "spec", "rules")
					}
					if test.generation > 0 {
						object.SetGeneration(test.generation)
					}
					if test.managers != nil {
						set(t, &object, test.managers, "metadata", "managedFields")
					}
				}
				if !isCopy || !test.gone {
					objects = append(objects, object)
				}
			}
			snapshot := fixture.Snapshot(objects)
			options := plan.OptionsOf(made.plan)
			options.Accept = append(options.Accept, test.accept...)
			again, err := plan.Enroll(snapshot, fixture.Find(snapshot, "shop"), options)
			if err != nil {
				t.Fatal(err)
			}
			written := slices.ContainsFunc(again.Steps, func(step v1alpha1.Step) bool {
				return slices.ContainsFunc(step.Changes, func(change v1alpha1.Change) bool { return change.Object == copied })
			})
			if written != test.written || again.Blocked != test.blocked {
				t.Errorf("written %v, blocked %v, want %v and %v:\n%s", written, again.Blocked, test.written, test.blocked, outcome(again))
			}
			at := slices.IndexFunc(again.Gates, func(gate v1alpha1.CheckResult) bool {
				return gate.ID == checks.IDCarriedOver && gate.Object != nil && *gate.Object == copied
			})
			switch {
			case test.who == "" && at >= 0:
				t.Errorf("%s: %s", again.Gates[at].Object, again.Gates[at].Message)
			case test.who == "":
			case at < 0:
				t.Error("no gate names the copy")
			case again.Gates[at].Field != "spec.rules" || !strings.Contains(again.Gates[at].Message, test.who+" has changed it") || !strings.Contains(again.Gates[at].Remedy, "delete it"):
				t.Errorf("%s: %s: %s", again.Gates[at].Field, again.Gates[at].Message, again.Gates[at].Remedy)
			}
		})
	}
}
