package mesh_test

import (
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

func argo(spec, status string) string {
	return "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: argo, namespace: shop, generation: 2}\nspec: " + spec + "\nstatus: " + status
}

func TestRolloutOfArgo(t *testing.T) {
	const healthy = `{phase: Healthy, observedGeneration: "2", updatedReplicas: 2, availableReplicas: 2}`
	for name, test := range map[string]struct {
		status, message string
		failed          bool
	}{
		"done":                          {healthy, "", false},
		"not seen":                      {strings.ReplaceAll(healthy, `"2"`, `"1"`), "has not seen yet", false},
		"told by a hash, as long ago":   {strings.ReplaceAll(healthy, `"2"`, `"5d8f7"`), "has not seen yet", false},
		"without status":                {"{}", "has not seen yet", false},
		"under way":                     {`{phase: Progressing, observedGeneration: "2", message: more replicas need to be updated}`, "its phase is Progressing: more replicas", false},
		"waiting":                       {`{phase: Paused, observedGeneration: "2", message: CanaryPauseStep}`, "its phase is Paused: CanaryPauseStep", false},
		"given up":                      {`{phase: Degraded, observedGeneration: "2", message: ProgressDeadlineExceeded}`, "its phase is Degraded", true},
		"scaled up, and not told of it": {strings.ReplaceAll(healthy, "availableReplicas: 2", "availableReplicas: 1"), "Available: 1/2", false},
	} {
		t.Run(name, func(t *testing.T) {
			workloads := fixture.Snapshot(argo("{replicas: 2, template: {metadata: {labels: {app: argo}}}}", test.status)).Workloads("shop")
			if len(workloads) != 1 || workloads[0].Replicas != 2 || workloads[0].Template.Labels["app"] != "argo" {
				t.Fatalf("the workloads are %+v", workloads)
			}
			got := mesh.RolloutOf(workloads[0])
			if got.Complete != (test.message == "") || got.Failed != test.failed || !strings.Contains(got.Message, test.message) {
				t.Errorf("it is %+v", got)
			}
			if unseen := test.message == "has not seen yet"; workloads[0].Observed() == unseen {
				t.Errorf("that it was seen is %t", !unseen)
			}
		})
	}
}

// A Rollout without a template of its own, or with one that makes no sense, runs pods
// from none that a plan could change.
func TestRolloutsThatAreNoWorkloads(t *testing.T) {
	for name, spec := range map[string]string{
		"lent": "{workloadRef: {name: lent}}", "both": "{workloadRef: {name: lent}, template: {}}", "none": "{replicas: 1}", "nonsense": "{template: {spec: {containers: main}}}",
	} {
		t.Run(name, func(t *testing.T) {
			snapshot := fixture.Snapshot(argo(spec, "{}"))
			if workloads := snapshot.Workloads("shop"); len(workloads) > 0 {
				t.Errorf("the workloads are %+v", workloads)
			}
			if len(snapshot.ArgoRollouts("shop")) != 1 {
				t.Error("the Rollout is lost")
			}
		})
	}
}
