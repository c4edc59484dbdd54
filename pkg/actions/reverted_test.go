package actions

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// Somebody takes the namespace's label away again while the run waits for a workload:
// its pods would come up without a sidecar and without ztunnel.
func TestRunStopsWhereWhatItHasWrittenIsUndone(t *testing.T) {
	steps, objects := shopWithCart()
	r := newTrial(t, steps, objects...)
	r.Events.Waiting = func(v1alpha1.Step, []string) {
		undone := fixture.Object(fixture.Namespace("shop", nil))
		undone.SetResourceVersion("200000")
		r.update(t, undone)
	}
	changed, err := r.Run(t.Context(), r.record)
	if gate := (*GateError)(nil); !changed || !errors.As(err, &gate) || !errors.Is(err, errReverted) || gate.Step.ID != "b" ||
		!strings.Contains(err.Error(), `Namespace shop: /metadata/labels/istio.io~1dataplane-mode is absent, and this run has made it "ambient"`) {
		t.Errorf("changed is %t, %v", changed, err)
	}
	if stored := r.stored(t); stored == nil || stored.State != v1alpha1.RunIncomplete || !strings.Contains(stored.Reason, errReverted.Error()) {
		t.Errorf("the record is %+v", stored)
	}
}

// The same between two steps: the second is not begun.
func TestRunBeginsNoStepWhereWhatItHasWrittenIsUndone(t *testing.T) {
	r := newTrial(t, twoSteps(), enabledShop())
	r.Between = func(context.Context, v1alpha1.Step, v1alpha1.Step) error {
		undone := fixture.Object(fixture.Namespace("shop", labels{"istio-injection": "enabled"}))
		undone.SetResourceVersion("200000")
		r.update(t, undone)
		for {
			snapshot, err := r.observer.snapshot()
			if err != nil || len(r.reverted(snapshot)) > 0 {
				return err
			}
			<-r.observer.changed
		}
	}
	if _, err := r.Run(t.Context(), r.record); !errors.Is(err, errReverted) {
		t.Errorf("it ends with %v", err)
	}
	if stored := r.stored(t); stored.Steps[1].State != v1alpha1.StepPending || stored.Steps[1].Message == "" {
		t.Errorf("the record has %+v", stored.Steps)
	}
	if got := r.reverted(fixture.Snapshot()); len(got) != 0 {
		t.Errorf("of an object that is gone %q is reverted", got)
	}
}

// What counts of a field is what was written last, also by the whole that it is in.
func TestNoteWritten(t *testing.T) {
	r := &Runner{}
	r.noteWritten([]v1alpha1.Change{
		change(field("/spec/paused", nil, false), field("/spec/template/metadata", nil, "a"), field("/spec/template/metadata-not", nil, "b")),
		{Object: reference("Pod", "cart"), Fields: []v1alpha1.FieldChange{field("/metadata/labels/a", nil, "b")}},
		{Object: reference("Service", "made"), Create: map[string]any{}},
	})
	r.noteWritten([]v1alpha1.Change{change(field("/spec/paused", false, true), field("/spec/template/metadata/labels/a", nil, "c"))})
	var got []string
	for _, field := range r.written {
		got = append(got, field.path+"="+describe(field.value))
	}
	want := []string{`/spec/template/metadata-not="b"`, `/spec/paused=true`, `/spec/template/metadata/labels/a="c"`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what counts (-want +got):\n%s", diff)
	}
}
