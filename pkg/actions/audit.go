package actions

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// auditor leaves Events on the namespace that a run changes, for whoever looks at
// it while, or after, somebody else migrates it. Not being able to is said once
// and is no reason to stop.
type auditor struct {
	runner *Runner
	run    *v1alpha1.MigrationRecord
	failed bool
	count  int
}

// mostEventText is how long the text of an Event may be (Kubernetes
// pkg/apis/core/validation/events.go).
const mostEventText = 1024

// auditTimeout bounds the request, which nothing waits for.
const auditTimeout = 5 * time.Second

func (a *auditor) say(ctx context.Context, kind, reason, format string, arguments ...any) {
	if a.failed {
		return
	}
	text := fmt.Sprintf(format, arguments...)
	if len(text) > mostEventText {
		text = strings.ToValidUTF8(text[:mostEventText-3], "") + "..."
	}
	a.count++
	now := metav1.NewTime(a.runner.Now())
	namespace := a.runner.Namespace
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			// The names of Events only have to differ.
			Namespace: namespace, Name: fmt.Sprintf("%s.%d", record.Name(a.run.ID), a.count),
			Annotations: map[string]string{v1alpha1.RunAnnotation: a.run.ID},
		},
		// The namespace of an Event has to be that of its object, which is why the
		// namespace is named as if it were in itself.
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: mesh.KindNamespace, Name: namespace, Namespace: namespace},
		Reason:         reason, Message: text, Type: kind, FirstTimestamp: now, LastTimestamp: now, Count: 1,
		Source:              corev1.EventSource{Component: record.FieldManager},
		ReportingController: record.FieldManager, ReportingInstance: a.run.ID,
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditTimeout)
	defer cancel()
	if _, err := a.runner.Kube.CoreV1().Events(namespace).Create(ctx, event, metav1.CreateOptions{FieldManager: record.FieldManager}); err != nil {
		a.failed = true
		a.runner.Events.note("no Events are left in namespace %s about this run: %v", namespace, err)
	}
}

// started says that a run begins, and why.
func (a *auditor) started(ctx context.Context) {
	why := ""
	if a.run.Why != "" {
		why = ": " + a.run.Why
	}
	a.say(ctx, corev1.EventTypeNormal, reasonOf(a.run.Operation, "Started"), "%s %s of %d steps, by %s%s",
		a.run.Operation, a.run.ID, len(a.run.Plan.Steps), orUnknown(a.run.User), why)
}

// phaseDone says that a phase is over, where the next step is of another one.
func (a *auditor) phaseDone(ctx context.Context, i int) {
	steps := a.run.Plan.Steps
	if i+1 < len(steps) && steps[i+1].Phase == steps[i].Phase {
		return
	}
	a.say(ctx, corev1.EventTypeNormal, reasonOf(a.run.Operation, "PhaseDone"), "%s %s: phase %s is done", a.run.Operation, a.run.ID, steps[i].Phase)
}

// ended says how a run has ended.
func (a *auditor) ended(ctx context.Context, failure error) {
	if failure == nil {
		a.say(ctx, corev1.EventTypeNormal, reasonOf(a.run.Operation, "Completed"), "%s %s is complete", a.run.Operation, a.run.ID)
		return
	}
	a.say(ctx, corev1.EventTypeWarning, reasonOf(a.run.Operation, "Stopped"), "%s %s has stopped: %v", a.run.Operation, a.run.ID, failure)
}

// reasonOf is a reason in the form that Events have: EnrollStarted.
func reasonOf(operation v1alpha1.Operation, what string) string {
	switch operation {
	case v1alpha1.OperationRollback:
		return "Rollback" + what
	case v1alpha1.OperationSimplify:
		return "Simplify" + what
	default:
		return "Enroll" + what
	}
}

func orUnknown(user string) string {
	if user == "" {
		return "an unknown user"
	}
	return user
}
