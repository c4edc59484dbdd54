package plugin

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// What was rolled back since does not hide the run that is to be gone on with.
func TestFindStopped(t *testing.T) {
	const done, undone, stopped = v1alpha1.RunSucceeded, v1alpha1.RunRolledBack, v1alpha1.RunIncomplete
	run := func(operation v1alpha1.Operation, state v1alpha1.RunState, service string) v1alpha1.MigrationRecord {
		made := v1alpha1.MigrationRecord{TypeMeta: v1alpha1.Document(v1alpha1.KindMigrationRecord), Operation: operation, Namespace: "shop", State: state}
		if operation == v1alpha1.OperationRollback {
			made.Plan.Service = service
		} else {
			made.Plan.Options = &v1alpha1.PlanOptions{Service: service}
		}
		return made
	}
	enroll := func(state v1alpha1.RunState) v1alpha1.MigrationRecord {
		return run(v1alpha1.OperationEnroll, state, "")
	}
	single := func(state v1alpha1.RunState) v1alpha1.MigrationRecord {
		return run(v1alpha1.OperationEnroll, state, "service/cart")
	}
	simplify := func(state v1alpha1.RunState) v1alpha1.MigrationRecord {
		return run(v1alpha1.OperationSimplify, state, "")
	}
	back := func(state v1alpha1.RunState) v1alpha1.MigrationRecord {
		return run(v1alpha1.OperationRollback, state, "")
	}
	off := run(v1alpha1.OperationRollback, done, "service/cart")
	const note = "What was done last in namespace shop was rolled back: this goes on with run a.\n"
	for name, test := range map[string]struct {
		// runs are the records, oldest first, named a, b and so on.
		runs []v1alpha1.MigrationRecord
		// resumes is the one that is gone on with; where it is empty, fails says why none is.
		resumes, fails string
		says           string
	}{
		"none":                           {fails: "no migration record: there is no run to resume"},
		"stopped":                        {runs: []v1alpha1.MigrationRecord{enroll(stopped)}, resumes: "a"},
		"ended":                          {runs: []v1alpha1.MigrationRecord{enroll(done)}, resumes: "a"},
		"rolled back":                    {runs: []v1alpha1.MigrationRecord{enroll(undone), back(done)}, fails: "no enrolment before it holds: there is none to resume; to begin anew: kubectl ambient enroll -n shop"},
		"a later one was rolled back":    {runs: []v1alpha1.MigrationRecord{enroll(stopped), enroll(undone), back(done)}, resumes: "a", says: note},
		"and its rollback pruned":        {runs: []v1alpha1.MigrationRecord{enroll(stopped), enroll(undone)}, resumes: "a", says: note},
		"several were rolled back":       {runs: []v1alpha1.MigrationRecord{enroll(stopped), enroll(undone), enroll(undone), back(done)}, resumes: "a", says: note},
		"a Service's was rolled back":    {runs: []v1alpha1.MigrationRecord{enroll(stopped), single(undone), back(done)}, resumes: "a", says: note},
		"a phase was rolled back":        {runs: []v1alpha1.MigrationRecord{enroll(done), back(done)}, resumes: "a", says: note},
		"simplify was rolled back":       {runs: []v1alpha1.MigrationRecord{enroll(done), simplify(undone), back(done)}, resumes: "a", says: note},
		"simplify stopped":               {runs: []v1alpha1.MigrationRecord{enroll(done), simplify(stopped)}, fails: "run b, which was to simplify what is there, has not ended: go on with kubectl ambient simplify -n shop"},
		"simplify stopped, and one back": {runs: []v1alpha1.MigrationRecord{enroll(done), simplify(stopped), enroll(undone), back(done)}, fails: "run b, which was to simplify what is there, has not ended"},
		"its rollback stopped":           {runs: []v1alpha1.MigrationRecord{enroll(stopped), back(stopped)}, fails: "run b, a rollback, has not ended: go on with kubectl ambient rollback -n shop"},
		"a Service was taken off":        {runs: []v1alpha1.MigrationRecord{enroll(stopped), off}, resumes: "a"},
		"all was for a Service":          {runs: []v1alpha1.MigrationRecord{single(undone), off}, fails: "was for service/cart alone, and no enrolment holds"},
	} {
		t.Run(name, func(t *testing.T) {
			client, minute := fake.NewClientset(), time.Duration(0)
			client.PrependReactor("create", "configmaps", func(action clienttesting.Action) (bool, runtime.Object, error) {
				minute += time.Minute
				created := action.(clienttesting.CreateAction).GetObject().(*corev1.ConfigMap)
				created.CreationTimestamp = metav1.NewTime(time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC).Add(minute))
				return false, nil, nil
			})
			var errOut bytes.Buffer
			o := &enrollOptions{runOptions: *options(t, nil, io.Discard, &errOut)}
			o.store = record.NewStore(client.CoreV1(), "shop")
			for i, run := range test.runs {
				run.ID = string(rune('a' + i))
				if err := o.store.Create(t.Context(), &run); err != nil {
					t.Fatal(err)
				}
			}
			err := o.findStopped(t.Context())
			if test.resumes == "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) || o.hooks.resumes != nil {
					t.Errorf("it goes on with %v: %v", o.hooks.resumes, err)
				}
				return
			}
			if err != nil || o.hooks.resumes == nil || o.hooks.resumes.ID != test.resumes || o.hooks.stopped.ID != test.resumes {
				t.Fatalf("it goes on with %v: %v", o.hooks.resumes, err)
			}
			if errOut.String() != test.says {
				t.Errorf("it says %q", errOut.String())
			}
		})
	}
}
