package checks_test

import (
	"slices"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/fixture"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/checks"
)

// Where the records were not read, one check blocks for it, and none says of what runs
// have made that it is as it should be.
func TestNothingIsSaidOfWhatRunsHaveMadeWithoutTheirRecords(t *testing.T) {
	snapshot := fixture.Snapshot(enrolled()...)
	results := checks.Run(checks.VerifyChecks(), checks.Subject{Snapshot: snapshot, Namespace: fixture.Find(snapshot, "shop"), Evidence: evidence()})
	for id, want := range map[string]v1alpha1.CheckStatus{
		"handed-over": unknown, "waypoint-diverted": skip, "waypoint-copies": skip, "taken-off": skip, "strict-kept": skip, "calls-kept": skip,
	} {
		i := slices.IndexFunc(results, func(result v1alpha1.CheckResult) bool { return result.ID == id })
		if i < 0 || results[i].Status != want {
			t.Errorf("%s is not %s: %s", id, want, describe(results))
		}
	}
}

// Why they cannot be understood is said where they would be needed most.
func TestWhyRecordsCannotBeUnderstoodIsSaid(t *testing.T) {
	snapshot := fixture.Snapshot(enrolled()...)
	results := checks.Run(checks.VerifyChecks(), checks.Subject{Snapshot: snapshot, Namespace: fixture.Find(snapshot, "shop"), Evidence: evidence(), NoRecords: "ConfigMap shop/one: unexpected EOF"})
	i := slices.IndexFunc(results, func(result v1alpha1.CheckResult) bool { return result.ID == "handed-over" })
	if i < 0 || results[i].Status != unknown || results[i].Message != "what runs have made is not known: ConfigMap shop/one: unexpected EOF" {
		t.Errorf("it says %s", describe(results))
	}
}
