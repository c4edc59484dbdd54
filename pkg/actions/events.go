package actions

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Events are the callbacks by which a run says what it does. Each may be nil.
type Events struct {
	// StepStarted is called before a step's first write; number counts from 1.
	StepStarted func(number, of int, step v1alpha1.Step)
	// Waiting is called whenever what a gate waits for has changed.
	Waiting func(step v1alpha1.Step, missing []string)
	// StepDone is called when a step's gate holds.
	StepDone func(number, of int, step v1alpha1.Step, took time.Duration)
	// Note is called for what an operator should know and nobody asked for.
	Note func(text string)
}

func (e Events) stepStarted(number, of int, step v1alpha1.Step) {
	if e.StepStarted != nil {
		e.StepStarted(number, of, step)
	}
}

func (e Events) waiting(step v1alpha1.Step, missing []string) {
	if e.Waiting != nil {
		e.Waiting(step, missing)
	}
}

func (e Events) stepDone(number, of int, step v1alpha1.Step, took time.Duration) {
	if e.StepDone != nil {
		e.StepDone(number, of, step, took)
	}
}

func (e Events) note(format string, arguments ...any) {
	if e.Note != nil {
		e.Note(fmt.Sprintf(format, arguments...))
	}
}

// mostWarnings is how many of the cluster's own warnings an error carries.
const mostWarnings = 3

// warnings returns the newest Warning events about objects that a text names.
// Not being allowed to read events is no reason to fail: it returns none.
func (r *Runner) warnings(ctx context.Context, text string) []string {
	events, err := r.Kube.CoreV1().Events(r.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "type=" + corev1.EventTypeWarning})
	if err != nil {
		return nil
	}
	slices.SortFunc(events.Items, func(a, b corev1.Event) int { return eventTime(b).Compare(eventTime(a)) })
	var warnings []string
	for _, event := range events.Items {
		object := event.InvolvedObject
		if !names(text, object) {
			continue
		}
		warnings = append(warnings, fmt.Sprintf("%s %s/%s: %s: %s", object.Kind, object.Namespace, object.Name, event.Reason, event.Message))
		if len(warnings) == mostWarnings {
			break
		}
	}
	return warnings
}

// names says whether a text names the object, or the workload that a
// ReplicaSet belongs to: its name is the Deployment's and a hash.
func names(text string, object corev1.ObjectReference) bool {
	if object.Kind == mesh.KindReplicaSet {
		if end := strings.LastIndex(object.Name, "-"); end > 0 {
			return containsName(text, mesh.KindDeployment+" "+object.Namespace+"/"+object.Name[:end])
		}
	}
	return containsName(text, object.Kind+" "+object.Namespace+"/"+object.Name)
}

// containsName wants the name to end where it ends: db-1 is not db-10.
func containsName(text, name string) bool {
	for {
		_, rest, found := strings.Cut(text, name)
		if !found {
			return false
		}
		if rest == "" || !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-.", rune(rest[0])) {
			return true
		}
		text = rest
	}
}

func eventTime(event corev1.Event) time.Time {
	if !event.EventTime.IsZero() {
		return event.EventTime.Time
	}
	return event.LastTimestamp.Time
}
