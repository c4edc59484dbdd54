package actions

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
)

// deployed is a Deployment whose only pod is, or is not, ready.
func deployed(name string) *appsv1.Deployment { return fixture.Deployment("shop", name) }

// marking is a step that annotates a workload and waits until its pods are ready.
func marking(name string, wave int) v1alpha1.Step {
	return v1alpha1.Step{
		ID: name, Summary: name, Wave: wave,
		Gate: v1alpha1.Gate{Kind: v1alpha1.GateInjected, Workloads: []v1alpha1.ObjectReference{reference("Deployment", name)}},
		Changes: []v1alpha1.Change{{
			Object: reference("Deployment", name), UID: string(deployed(name).UID), Fields: []v1alpha1.FieldChange{field("/metadata/annotations/moved", nil, "true")},
		}},
	}
}

// wavesTrial runs the steps a and b at the same time and then c. The pods of those
// named are not ready until readied.
func wavesTrial(t *testing.T, unready ...string) (r *trial, ready func(name string)) {
	t.Helper()
	objects := []any{enabledShop()}
	pod := func(name string, edits ...func(*corev1.Pod)) any {
		return fixture.PodsOf(deployed(name), append(edits, fixture.Sidecar)...)[1]
	}
	for _, name := range []string{"a", "b", "c"} {
		edits := []func(*corev1.Pod){fixture.Sidecar}
		for _, other := range unready {
			if other == name {
				edits = append(edits, fixture.NotReady)
			}
		}
		objects = append(objects, deployed(name), fixture.PodsOf(deployed(name), edits...))
	}
	r = newTrial(t, []v1alpha1.Step{marking("a", 1), marking("b", 1), marking("c", 2)}, objects...)
	return r, func(name string) { r.update(t, fixture.Object(pod(name))) }
}

// Both are begun, each after its own record, before either gate is waited for; who is
// through first is recorded first; the next wave begins after both.
func TestWaveTakesItsStepsAtOnce(t *testing.T) {
	r, ready := wavesTrial(t, "a", "b")
	var asked []string
	r.Between = func(_ context.Context, done, next v1alpha1.Step) error {
		r.note("between %s and %s", done.ID, next.ID)
		return nil
	}
	r.Events.Waiting = func(step v1alpha1.Step, missing []string) {
		asked = append(asked, step.ID+": "+strings.Join(missing, "; "))
		if step.ID == "b" {
			ready("b")
		}
	}
	r.Events.StepDone = func(number, of int, step v1alpha1.Step, _ time.Duration) {
		r.note("%d/%d %s", number, of, step.ID)
		if step.ID == "b" {
			ready("a")
		}
	}
	if changed, err := r.Run(t.Context(), r.record); !changed || err != nil {
		t.Fatalf("changed is %t, %v", changed, err)
	}
	r.expect(t,
		"record running: running pending pending", "patch a", "record running: running running pending", "patch b",
		"record running: running done pending", "2/3 b", "record running: done done pending", "1/3 a",
		"between a and b", "between b and c", "record running: done done running", "patch c", "record running: done done done", "3/3 c", "record succeeded: done done done")
	if diff := cmp.Diff([]string{"a: Pod shop/a-5d8f7-0 is not ready: ContainersNotReady: containers with unready status: [main]",
		"b: Pod shop/b-5d8f7-0 is not ready: ContainersNotReady: containers with unready status: [main]"}, asked); diff != "" {
		t.Errorf("it waited for (-want +got):\n%s", diff)
	}
}

// Where one cannot be begun, what was begun is waited for, and nothing else is begun.
func TestWaveThatFailsToBegin(t *testing.T) {
	r, ready := wavesTrial(t, "a")
	r.Events.Waiting = func(v1alpha1.Step, []string) { ready("a") }
	r.dynamic.PrependReactor("patch", "deployments", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return action.(clienttesting.PatchAction).GetName() == "b", nil, refuse("deployments")
	})
	changed, err := r.Run(t.Context(), r.record)
	if !changed || err == nil || !strings.HasPrefix(err.Error(), "step b: ") {
		t.Fatalf("changed is %t, %v", changed, err)
	}
	if stored := r.stored(t); stored.State != v1alpha1.RunIncomplete || states(stored) != "done failed pending" || !strings.Contains(stored.Steps[1].Message, "not you") {
		t.Errorf("the record is %s: %s", stored.State, states(stored))
	}
}

// Where the gate of one does not hold in time, the other is waited for all the same;
// in the meantime the record says what has become of the first.
func TestWaveWhoseGatesFail(t *testing.T) {
	for _, test := range []struct {
		name, want string
		unready    []string
		errors     int
	}{
		{name: "one", unready: []string{"b"}, want: "done failed pending", errors: 1},
		{name: "both", unready: []string{"a", "b"}, want: "failed failed pending", errors: 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, _ := wavesTrial(t, test.unready...)
			r.GateTimeout = 300 * time.Millisecond
			changed, err := r.Run(t.Context(), r.record)
			var gate *GateError
			if !changed || !errors.As(err, &gate) || !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("changed is %t, %v", changed, err)
			}
			if got := strings.Count(err.Error(), "timed out waiting"); got != test.errors {
				t.Errorf("it names %d gates: %v", got, err)
			}
			if stored := r.stored(t); stored.State != v1alpha1.RunIncomplete || states(stored) != test.want {
				t.Errorf("the record is %s: %s", stored.State, states(stored))
			}
		})
	}
}

func TestWaveThatIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, ready := wavesTrial(t, "a", "b")
	r.Events.Waiting = func(step v1alpha1.Step, _ []string) {
		if step.ID == "b" {
			ready("a")
		}
	}
	r.Events.StepDone = func(int, int, v1alpha1.Step, time.Duration) { cancel() }
	changed, err := r.Run(ctx, r.record)
	if !changed || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "step b: interrupted while waiting") {
		t.Fatalf("changed is %t, %v", changed, err)
	}
	if stored := r.stored(t); states(stored) != "done failed pending" {
		t.Errorf("the record is %s: %s", stored.State, states(stored))
	}
}

// What is asked after a workload is asked when its wave is through, and stops the run
// before the next one.
func TestWaveThatMayNotGoOn(t *testing.T) {
	r, _ := wavesTrial(t)
	r.Between = func(_ context.Context, done, _ v1alpha1.Step) error { return fmt.Errorf("not after %s", done.ID) }
	if _, err := r.Run(t.Context(), r.record); err == nil || err.Error() != "not after a" {
		t.Fatalf("the error is %v", err)
	}
	if stored := r.stored(t); states(stored) != "done done pending" {
		t.Errorf("the record is %s: %s", stored.State, states(stored))
	}
}

func states(run *v1alpha1.MigrationRecord) string {
	var all []string
	for _, step := range run.Steps {
		all = append(all, string(step.State))
	}
	return strings.Join(all, " ")
}
