package e2e

import (
	"cmp"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/internal/transcript"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/access"
	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/oracle"
)

// keeper keeps what the oracle decides, where ACCESS_TRANSCRIPT names a file for it:
// pkg/access/testdata/istiod.json.gz is made so.
type keeper struct {
	file      string
	mutex     sync.Mutex
	sightings []transcript.Sighting
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	kept := &keeper{file: os.Getenv("ACCESS_TRANSCRIPT")}
	if kept.file != "" {
		t.Cleanup(func() { kept.write(t) })
	}
	return kept
}

// likeness is what calls have in common that are decided alike at a stage: one of them is
// kept, the others say little that is new.
type likeness struct {
	caller, server access.Mode
	verdict        oracle.Verdict
	direct, http   bool
}

// keep keeps a call to a server's pods of which the oracle has said what becomes of it.
func (s *sighting) keep(asked call, server *access.Server, pod int, verdict oracle.Verdict) {
	alike := likeness{asked.mode, server.Mode, verdict, asked.service == "", asked.request.HTTP}
	if s.alike[alike] {
		return
	}
	s.alike[alike] = true
	s.calls = append(s.calls, transcript.Call{
		Caller:   access.Caller{Mode: asked.mode, Identity: asked.identity, Address: asked.address},
		Workload: server.Workload, Pod: server.Addresses[pod], Service: asked.service, Port: asked.port, Request: asked.request,
		Outcome: outcomes[verdict.Outcome], By: verdict.By,
	})
}

// add takes what was kept of a sighting.
func (k *keeper) add(seed uint64, name string, seen *sighting) {
	if k.file == "" {
		return
	}
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.sightings = append(k.sightings, transcript.Sighting{Seed: seed, Stage: name, Content: seen.content, Calls: seen.calls})
}

// write writes them in the order of the seeds, unless something was not as it should be.
func (k *keeper) write(t *testing.T) {
	if t.Failed() {
		return
	}
	slices.SortStableFunc(k.sightings, func(a, b transcript.Sighting) int { return cmp.Compare(a.Seed, b.Seed) })
	file, err := os.Create(k.file)
	if err == nil {
		err = transcript.Write(file, k.sightings)
		err = cmp.Or(err, file.Close())
	}
	if err != nil {
		t.Error(err)
	}
}
