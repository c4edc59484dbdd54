package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/actions"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/render"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
)

// options are those of a run of the namespace shop in the context test.
func options(t *testing.T, in io.Reader, out, errOut io.Writer) *runOptions {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config")
	const text = "apiVersion: v1\nkind: Config\ncontexts: [{name: test, context: {cluster: test}}]\nclusters: [{name: test, cluster: {server: 'https://192.0.2.1'}}]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := genericclioptions.NewConfigFlags(true)
	*flags.Context, *flags.Namespace, *flags.KubeConfig = "test", "shop", path
	return &runOptions{namespaced: namespaced{name: "shop", session: &session{
		Environment: Environment{Streams: genericiooptions.IOStreams{In: in, Out: out, ErrOut: errOut}}, flags: flags, config: &rest.Config{Host: "https://192.0.2.1"},
	}}}
}

func TestConfirm(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "Y\n": true, "yes\n": true, "YES\n": true, "y": true, "n\n": false, "\n": false, "": false, "yesterday\n": false} {
		t.Run(fmt.Sprintf("%q", answer), func(t *testing.T) {
			var asked bytes.Buffer
			o := options(t, strings.NewReader(answer), io.Discard, &asked)
			err := o.confirm(t.Context(), v1alpha1.MigrationPlan{Operation: v1alpha1.OperationRollback})
			if (err == nil) != want {
				t.Errorf("the error is %v", err)
			}
			if err != nil && ExitStatus(err) != StatusError {
				t.Errorf("the status is %d", ExitStatus(err))
			}
			for _, text := range []string{"Roll back namespace shop", "context test", "[y/N]"} {
				if !strings.Contains(asked.String(), text) {
					t.Errorf("the question does not say %s: %q", text, asked.String())
				}
			}
		})
	}
	o := options(t, strings.NewReader(""), io.Discard, io.Discard)
	o.yes = true
	if err := o.confirm(t.Context(), v1alpha1.MigrationPlan{}); err != nil {
		t.Errorf("with --yes the error is %v", err)
	}
	var asked bytes.Buffer
	o = options(t, strings.NewReader("y\n"), io.Discard, &asked)
	o.output.format = render.FormatJSON
	if err := o.confirm(t.Context(), v1alpha1.MigrationPlan{}); ExitStatus(err) != StatusUsage || asked.Len() > 0 {
		t.Errorf("with -o json it asks %q although nothing was shown: %v", asked.String(), err)
	}
}

func TestConfirmEndsWithItsContext(t *testing.T) {
	silent, write := io.Pipe()
	defer func() { _ = write.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := options(t, silent, io.Discard, io.Discard).confirm(ctx, v1alpha1.MigrationPlan{Operation: v1alpha1.OperationEnroll})
	if ExitStatus(err) != StatusInterrupted || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("the error is %v", err)
	}
}

func TestIncomplete(t *testing.T) {
	gate := &actions.GateError{Step: v1alpha1.Step{ID: "b"}, Missing: []string{"first", "second"}, Events: []string{"Pod shop/a: Failed: because"}, Cause: context.DeadlineExceeded}
	record := func(operation v1alpha1.Operation) *v1alpha1.MigrationRecord {
		return &v1alpha1.MigrationRecord{ID: "one", Operation: operation, Steps: []v1alpha1.StepRecord{{State: v1alpha1.StepDone}, {State: v1alpha1.StepFailed}, {State: v1alpha1.StepPending}}}
	}
	o := options(t, nil, io.Discard, io.Discard)
	after := func(stopped v1alpha1.MigrationRecord) *runOptions {
		goesOn := *o
		goesOn.hooks.stopped = &stopped
		return &goesOn
	}
	stopped := v1alpha1.MigrationRecord{ID: "zero", State: v1alpha1.RunIncomplete, Steps: []v1alpha1.StepRecord{{State: v1alpha1.StepFailed}}}
	untouched := v1alpha1.MigrationRecord{ID: "zero", State: v1alpha1.RunIncomplete, Steps: []v1alpha1.StepRecord{{State: v1alpha1.StepPending}}}
	awaiting := v1alpha1.MigrationRecord{ID: "zero", State: v1alpha1.RunIncomplete, Awaits: []v1alpha1.AwaitedGate{{Step: "a"}}}
	ended := v1alpha1.MigrationRecord{ID: "zero", State: v1alpha1.RunSucceeded, Steps: []v1alpha1.StepRecord{{State: v1alpha1.StepDone}}}
	tests := []struct {
		name    string
		err     error
		status  int
		want    []string
		wantNot []string
	}{
		{"an enrolment that changed something", o.incomplete(record(v1alpha1.OperationEnroll), true, gate), StatusIncomplete, []string{
			"step b: timed out waiting: first", "\n  also: second", "\n  event: Pod shop/a: Failed: because", "1 of 3 steps are done", "ConfigMap shop/kubectl-ambient-one",
			"to go on:     kubectl ambient enroll -n shop --kubeconfig " + *o.flags.KubeConfig + " --context test --resume\n", "to roll back: kubectl ambient rollback -n shop",
		}, []string{"also: first", "Nothing was changed"}},
		{"a rollback that changed something", o.incomplete(record(v1alpha1.OperationRollback), true, errors.New("broken")), StatusIncomplete, []string{"broken", "to go on:     kubectl ambient rollback -n shop"}, []string{"to roll back"}},
		{"one that timed out and changed nothing", o.incomplete(record(v1alpha1.OperationEnroll), false, gate), StatusTimeout, []string{"Nothing was changed."}, []string{"to go on"}},
		{"one that was interrupted and changed nothing", o.incomplete(record(v1alpha1.OperationEnroll), false, fmt.Errorf("before step a: %w", context.Canceled)), StatusInterrupted, []string{"Nothing was changed."}, nil},
		{"one that changed nothing, after one that had", after(stopped).incomplete(record(v1alpha1.OperationEnroll), false, gate), StatusIncomplete, []string{"Nothing was changed but by run zero", "to go on:", "to roll back:"}, nil},
		{"one that changed nothing, after one whose gate was not asked", after(awaiting).incomplete(record(v1alpha1.OperationEnroll), false, gate), StatusIncomplete, []string{"Nothing was changed but by run zero"}, nil},
		{"one that changed nothing, after one that had not", after(untouched).incomplete(record(v1alpha1.OperationEnroll), false, gate), StatusTimeout, []string{"Nothing was changed."}, []string{"to go on"}},
		{"one that changed nothing, after one that has ended", after(ended).incomplete(record(v1alpha1.OperationEnroll), false, gate), StatusTimeout, []string{"Nothing was changed."}, []string{"to go on"}},
		{"one that failed and changed nothing", o.incomplete(record(v1alpha1.OperationEnroll), false, errors.New("broken")), StatusError, []string{"Nothing was changed."}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := ExitStatus(test.err); got != test.status {
				t.Errorf("the status is %d", got)
			}
			for _, want := range test.want {
				if !strings.Contains(test.err.Error(), want) {
					t.Errorf("it does not say %q:\n%v", want, test.err)
				}
			}
			for _, wantNot := range test.wantNot {
				if strings.Contains(test.err.Error(), wantNot) {
					t.Errorf("it says %q:\n%v", wantNot, test.err)
				}
			}
		})
	}
}

// What a run that had stopped before has done is not undone with the one that failed.
func TestUndone(t *testing.T) {
	failure := errors.New("broken\nmore")
	o := options(t, nil, io.Discard, io.Discard)
	stopped := v1alpha1.MigrationRecord{
		ID: "zero", State: v1alpha1.RunIncomplete, Steps: []v1alpha1.StepRecord{{State: v1alpha1.StepFailed}},
		Plan: v1alpha1.MigrationPlan{Options: &v1alpha1.PlanOptions{}},
	}
	alone, single := stopped, stopped
	alone.Plan.Options = &v1alpha1.PlanOptions{Workload: "deployment/cart"}
	single.Plan.Options = &v1alpha1.PlanOptions{Service: "service/cart"}
	ended, untouched := stopped, stopped
	ended.State = v1alpha1.RunSucceeded
	untouched.Steps = []v1alpha1.StepRecord{{State: v1alpha1.StepPending}}
	const whole = "broken\nNamespace shop was rolled back and is what it was before"
	left := []string{"broken\nWhat this run had done in namespace shop was rolled back. Run zero, which stopped before it, is not complete", "ConfigMap shop/kubectl-ambient-zero"}
	for name, test := range map[string]struct {
		hooks  hooks
		kept   int
		status int
		want   []string
	}{
		"the only run":                          {status: StatusError, want: []string{whole}},
		"something is kept":                     {kept: 1, status: StatusError, want: []string{whole + ", but for what somebody else has changed"}},
		"after one that has ended":              {hooks: hooks{stopped: &ended}, status: StatusError, want: []string{whole}},
		"after one that had done nothing":       {hooks: hooks{stopped: &untouched}, status: StatusError, want: []string{whole}},
		"with the one that it went on with":     {hooks: hooks{stopped: &stopped, resumes: &stopped}, status: StatusError, want: []string{whole}},
		"after one that stopped":                {hooks: hooks{stopped: &stopped}, status: StatusIncomplete, want: append(left, "kubectl ambient enroll -n shop", "--context test --resume\n", "kubectl ambient rollback -n shop")},
		"after one of a workload, that stopped": {hooks: hooks{stopped: &alone}, status: StatusIncomplete, want: append(left, "--context test --resume\n")},
		"after one of a Service, that stopped":  {hooks: hooks{stopped: &single}, status: StatusIncomplete, want: append(left, "test service/cart, with the options of that run", "test service/cart")},
	} {
		t.Run(name, func(t *testing.T) {
			o.hooks = test.hooks
			err := o.undone(v1alpha1.MigrationPlan{Kept: make([]v1alpha1.KeptField, test.kept)}, failure)
			if got := ExitStatus(err); got != test.status {
				t.Errorf("the status is %d", got)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("it does not say %q:\n%v", want, err)
				}
			}
		})
	}
}

// A run that was gone on with has written a namespace that the rest of its plan does not:
// what undoes both writes it under its lock, as it is then.
func TestUndoLocksWhatItWrites(t *testing.T) {
	o := options(t, nil, io.Discard, io.Discard)
	client := fake.NewClientset()
	o.kube, o.Now = client, time.Now
	held := func(namespace string) string {
		lease, err := client.CoordinationV1().Leases(namespace).Get(t.Context(), record.LeaseName, metav1.GetOptions{})
		if err != nil {
			return ""
		}
		return *lease.Spec.HolderIdentity
	}
	locked := map[string]string{}
	planned := 0
	o.hooks.undo = func(context.Context, v1alpha1.MigrationRecord) (*prepared, error) {
		undoing := v1alpha1.MigrationPlan{Operation: v1alpha1.OperationRollback, Namespace: "shop"}
		if planned++; planned == 1 {
			undoing.Steps = []v1alpha1.Step{{ID: "a", Changes: []v1alpha1.Change{{Object: v1alpha1.ObjectReference{Kind: "Gateway", Namespace: "edge", Name: "waypoint"}}}}}
			return &prepared{plan: undoing}, nil
		}
		for _, namespace := range []string{"shop", "edge"} {
			locked[namespace] = held(namespace)
		}
		// Meanwhile somebody else has undone it.
		return &prepared{plan: undoing}, nil
	}
	failed := &v1alpha1.MigrationRecord{ID: "two", Resumes: "one"}
	failure := &ExitError{Status: StatusIncomplete, Err: errors.New("broken")}
	err := o.undo(t.Context(), failed, failure, []string{"shop"}, render.NewProgress(io.Discard, false))
	if ExitStatus(err) != StatusError || failed.State != v1alpha1.RunRolledBack || planned != 2 {
		t.Errorf("planned %d times, it is %s: %v", planned, failed.State, err)
	}
	// That of the namespace itself is held by whoever calls.
	if locked["edge"] != "two" || locked["shop"] != "" {
		t.Errorf("locks are held by %v", locked)
	}
	if holder := held("edge"); holder != "" {
		t.Errorf("the lock is left behind, held by %s", holder)
	}
}

// What is printed to be typed again has to mean the same to a shell.
func TestCommandIsQuotedForAShell(t *testing.T) {
	o := options(t, nil, nil, nil)
	*o.flags.Context = "my cluster"
	if line := o.command("rollback"); !strings.Contains(line, "'my cluster'") && !strings.Contains(line, `"my cluster"`) && !strings.Contains(line, `my\ cluster`) {
		t.Errorf("it is %s", line)
	}
}

// Rights may be bound to a group, and a cluster be trusted by a flag only.
func TestCommandActsAsTheSameUser(t *testing.T) {
	o := options(t, nil, nil, nil)
	insecure := true
	*o.flags.Impersonate, *o.flags.ImpersonateUID, *o.flags.TLSServerName = "ann", "7", "api.example.com"
	o.flags.ImpersonateGroup, o.flags.Insecure = &[]string{"mesh operators", "on-call"}, &insecure
	*o.flags.CAFile = "/etc/ca.crt"
	want := "--tls-server-name api.example.com --certificate-authority /etc/ca.crt --as ann --as-uid 7 --as-group 'mesh operators' --as-group on-call --insecure-skip-tls-verify"
	if line := o.command("rollback"); !strings.HasSuffix(line, want) {
		t.Errorf("it is %s", line)
	}
}

func TestExplain(t *testing.T) {
	o := options(t, nil, nil, nil)
	refused := &url.Error{Op: "Get", URL: "https://192.0.2.1/version", Err: &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}}
	untrusted := &url.Error{Op: "Get", URL: "https://192.0.2.1/version", Err: errors.New("x509: certificate signed by unknown authority")}
	other := errors.New("broken")
	tests := []struct {
		name   string
		err    error
		want   string
		status int
	}{
		{"refused", fmt.Errorf("read the version: %w", refused), "the cluster of context test cannot be reached at https://192.0.2.1: dial tcp: connection refused", StatusError},
		{"not trusted", untrusted, "cannot be reached at https://192.0.2.1: x509: certificate signed by unknown authority", StatusError},
		{"not logged in", apierrors.NewUnauthorized("no"), "context test does not accept your credentials", StatusError},
		{"another error", other, "broken", StatusError},
		{"timed out", &url.Error{Op: "Get", Err: context.DeadlineExceeded}, "deadline", StatusTimeout},
		{"interrupted", &url.Error{Op: "Get", Err: context.Canceled}, "canceled", StatusInterrupted},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := o.explain(test.err)
			if !strings.Contains(got.Error(), test.want) || ExitStatus(got) != test.status {
				t.Errorf("status %d: %v", ExitStatus(got), got)
			}
		})
	}
	if !errors.Is(o.explain(other), other) {
		t.Error("the error is lost")
	}
}

func TestFirstBlocking(t *testing.T) {
	object := &v1alpha1.ObjectReference{Kind: "Deployment", Namespace: "shop", Name: "cart"}
	pass, fail := v1alpha1.CheckResult{ID: "a", Status: v1alpha1.StatusPass}, v1alpha1.CheckResult{ID: "restartable", Status: v1alpha1.StatusFail, Object: object, Message: "it is paused", Remedy: "resume it"}
	unseen := v1alpha1.CheckResult{ID: "b", Status: v1alpha1.StatusUnknown, Message: "not read"}
	for want, results := range map[string][]v1alpha1.CheckResult{
		"nothing blocks": {pass}, "Deployment shop/cart: it is paused (restartable): resume it": {pass, fail}, "not read (b)": {unseen},
		"Deployment shop/cart: it is paused (restartable): resume it (and 2 more findings)": {fail, unseen, pass, unseen},
	} {
		if got := firstBlocking(results); got != want {
			t.Errorf("it is %q, not %q", got, want)
		}
	}
	results := []v1alpha1.CheckResult{pass, fail}
	if firstBlocking(results); results[0].ID != "a" {
		t.Error("the results were changed")
	}
	if got := firstBlocking([]v1alpha1.CheckResult{fail, unseen}); !strings.HasSuffix(got, "(and 1 more finding)") {
		t.Errorf("it ends in bad grammar: %q", got)
	}
}

func TestNewIDSortsByTimeAndDiffers(t *testing.T) {
	at := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	first, same, later := newID(at), newID(at), newID(at.Add(time.Second))
	if first == same {
		t.Errorf("two runs of one second are both called %s", first)
	}
	if !slices.IsSorted([]string{first, later}) || !regexp.MustCompile(`^20260801-120000-[0-9a-f]{6}$`).MatchString(first) {
		t.Errorf("they are called %s and %s", first, later)
	}
}

func TestDescribeNeed(t *testing.T) {
	for want, need := range map[string]authorizationv1.ResourceAttributes{
		"patch namespaces": {Verb: "patch", Resource: "namespaces"}, "create pods/eviction in namespace shop": {Verb: "create", Resource: "pods", Subresource: "eviction", Namespace: "shop"},
	} {
		if got := describeNeed(need); got != want {
			t.Errorf("it is described as %q", got)
		}
	}
}
