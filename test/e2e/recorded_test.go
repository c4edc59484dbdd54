package e2e

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
)

// nameWritten is the name of the object that a run has written. It is empty where that is
// not what the record has to account for: the record itself, pods, of which plans name
// the workloads, and what was refused.
func nameWritten(request *http.Request, answer *httptest.ResponseRecorder) string {
	if answer.Code >= http.StatusMultipleChoices || strings.Contains(request.URL.Path, "/configmaps") || strings.Contains(request.URL.Path, "/pods/") {
		return ""
	}
	// The answer to a deletion may be a Status, with the name among its details.
	var body struct {
		Metadata struct{ Name string }
		Details  struct{ Name string }
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &body); err != nil {
		return path.Base(request.URL.Path)
	}
	return cmp.Or(body.Metadata.Name, body.Details.Name, path.Base(request.URL.Path))
}

// records are those of a namespace, newest first.
func (c *cluster) records(t *testing.T, namespace string) []v1alpha1.MigrationRecord {
	t.Helper()
	records, err := record.NewStore(c.kube.CoreV1(), namespace).List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// wantRecorded wants the record of a run that was killed, where there were so many before
// it, to be true of what the run had written until then: each of the objects belongs to a
// step that it says was begun, and is kept there as it was, unless the step has made it.
func (c *cluster) wantRecorded(t *testing.T, namespace string, earlier int, written []string) {
	t.Helper()
	records := c.records(t, namespace)
	if len(records) == earlier {
		if len(written) > 0 {
			t.Errorf("%v were written, and there is no record", written)
		}
		return
	}
	run := records[0]
	if done := !slices.ContainsFunc(run.Steps, func(step v1alpha1.StepRecord) bool { return step.State != v1alpha1.StepDone }); run.State != v1alpha1.RunRunning && !done {
		t.Errorf("the record of a run that was killed says %s (%s)", run.State, run.Reason)
	}
	for _, name := range written {
		if !accountsFor(run, name) {
			t.Errorf("%s was written, and the record does not say so: %+v", name, run.Steps)
		}
	}
}

// accountsFor says whether a record has a step, begun, that changes an object of the name,
// and the object as it was, where the step does not make it.
func accountsFor(run v1alpha1.MigrationRecord, name string) bool {
	for i, step := range run.Steps {
		if step.State == v1alpha1.StepPending {
			continue
		}
		for _, change := range run.Plan.Steps[i].Changes {
			kept := func(before v1alpha1.BeforeImage) bool {
				return before.Object == change.Object && len(before.Content) > 0
			}
			if change.Object.Name == name && (change.Create != nil || slices.ContainsFunc(step.Before, kept)) {
				return true
			}
		}
	}
	return false
}
