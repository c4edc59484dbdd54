package actions

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

var quiet = []v1alpha1.Step{
	{ID: "a", Phase: v1alpha1.PhasePin, Gate: v1alpha1.Gate{Kind: v1alpha1.GateNone}},
	{ID: "b", Phase: v1alpha1.PhasePin, Gate: v1alpha1.Gate{Kind: v1alpha1.GateNone}},
	{ID: "c", Phase: v1alpha1.PhaseEnableAmbient, Gate: v1alpha1.Gate{Kind: v1alpha1.GateNone}},
}

// said are the Events of the namespace: type, reason and text.
func said(t *testing.T, r *trial) []string {
	t.Helper()
	events, err := r.Kube.CoreV1().Events("shop").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, event := range events.Items {
		if object := event.InvolvedObject; object.Kind != "Namespace" || object.Name != "shop" || object.Namespace != event.Namespace || event.Annotations[v1alpha1.RunAnnotation] != "one" {
			t.Errorf("an Event is about %+v, by run %s", object, event.Annotations[v1alpha1.RunAnnotation])
		}
		lines = append(lines, event.Type+" "+event.Reason+" "+event.Message)
	}
	slices.Sort(lines)
	return lines
}

func TestARunLeavesEvents(t *testing.T) {
	r := newTrial(t, quiet)
	r.record.User, r.record.Why = "jane", "ticket 7"
	if _, err := r.Run(t.Context(), r.record); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"Normal EnrollCompleted enroll one is complete",
		"Normal EnrollPhaseDone enroll one: phase enable-ambient is done",
		"Normal EnrollPhaseDone enroll one: phase pin is done",
		"Normal EnrollStarted enroll one of 3 steps, by jane: ticket 7",
	}
	if diff := cmp.Diff(want, said(t, r)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestARunThatStopsSaysSo(t *testing.T) {
	r := newTrial(t, quiet)
	r.record.Operation = v1alpha1.OperationRollback
	r.Between = func(_ context.Context, done, _ v1alpha1.Step) error {
		if done.ID == "b" {
			return errors.New(strings.Repeat("ä", 2000))
		}
		return nil
	}
	if _, err := r.Run(t.Context(), r.record); err == nil {
		t.Fatal("it did not stop")
	}
	lines := said(t, r)
	want := []string{
		"Normal RollbackPhaseDone rollback one: phase pin is done", "Normal RollbackStarted rollback one of 3 steps, by an unknown user",
		"Warning RollbackStopped rollback one has stopped: ää",
	}
	for i, line := range lines {
		if len(lines) != len(want) || !strings.HasPrefix(line, want[i]) || len(line) > 1100 || strings.ContainsRune(line, '\uFFFD') {
			t.Fatalf("the Events are %.200q", lines)
		}
	}
}

// Who may not write Events may migrate all the same, and is told once.
func TestEventsThatAreRefused(t *testing.T) {
	r := newTrial(t, quiet)
	r.Kube.(*fake.Clientset).PrependReactor("create", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "events"}, "", errors.New("not you"))
	})
	var notes []string
	r.Events.Note = func(text string) { notes = append(notes, text) }
	if _, err := r.Run(t.Context(), r.record); err != nil {
		t.Fatal(err)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "no Events are left in namespace shop about this run") {
		t.Errorf("it says %q", notes)
	}
	if r.stored(t).State != v1alpha1.RunSucceeded {
		t.Errorf("the run is %s", r.stored(t).State)
	}
}
