package access_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/transcript"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/mesh"
)

// leastKept is how many decisions of istiod there are at least: a file that holds none
// contradicts nobody.
const leastKept = 8_000

// TestIstiod holds the model against what a running istiod had proxies and ztunnel
// decide in random meshes, at the stages of their migrations. `make transcript` asks
// it anew.
func TestIstiod(t *testing.T) {
	file, err := os.ReadFile("testdata/istiod.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	sightings, err := transcript.Read(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[access.Outcome]int{}
	var snapshot *mesh.Snapshot
	for _, sighting := range sightings {
		if snapshot, err = mesh.NewSnapshotAfter(sighting.Content, snapshot); err != nil {
			t.Fatalf("seed %d, %s: %v", sighting.Seed, sighting.Stage, err)
		}
		state := access.Of(snapshot, []string{sighting.Content.Scope.Namespace}, access.Overlay{})
		for _, call := range sighting.Calls {
			outcomes[call.Outcome]++
			question, err := call.Question(state)
			if err != nil {
				t.Fatalf("seed %d, %s: %v", sighting.Seed, sighting.Stage, err)
			}
			if decision := state.Decide(question); decision.Outcome != call.Outcome {
				t.Fatalf("seed %d, %s: %+v:\nmodel:  %v at %q, %s %v\nistiod: %v, %s", sighting.Seed, sighting.Stage, call,
					decision.Outcome, decision.Point, decision.Reason, decision.Policies, call.Outcome, call.By)
			}
		}
	}
	kept := 0
	for _, outcome := range []access.Outcome{access.Denied, access.Delegated, access.Allowed} {
		if outcomes[outcome] == 0 {
			t.Errorf("no call has the outcome %v", outcome)
		}
		kept += outcomes[outcome]
	}
	if kept < leastKept {
		t.Errorf("%d decisions of istiod, which are to be %d at least", kept, leastKept)
	}
}
