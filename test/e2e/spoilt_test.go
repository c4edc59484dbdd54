package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// spoiler is a proxy that spoils one write of a run in one way.
type spoiler struct {
	// at is the write, counted from 1.
	at    int
	fault string

	mu     sync.Mutex
	count  int
	spoilt string
}

func (s *spoiler) decide(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !writes(r) || !s.next(r) {
			next.ServeHTTP(w, r)
			return
		}
		spoil(s.fault, next, w, r)
	})
}

// next counts a write, and says whether it is the one.
func (s *spoiler) next(request *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	if s.count == s.at {
		s.spoilt = fmt.Sprintf("%s %s", request.Method, request.URL.Path)
	}
	return s.count == s.at
}

// what is the write that was spoilt, empty where none was.
func (s *spoiler) what() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spoilt
}

// spoiltWays are the ways in which each write is spoilt in turn.
var spoiltWays = []string{"429", "500", "409", "504", "dropped before", "dropped after", "delayed"}

// spoilt are runs of which one write each is spoilt.
type spoilt struct {
	*cluster
	killing killing
	// enrolled is the namespace as an undisturbed run leaves it.
	enrolled            map[string]any
	runs, through, lost atomic.Int32
}

// TestSpoilt spoils each write of an enrolment of the smallest namespace, in one way after
// another. The run comes through, or stops, says how to go on, and does when asked to; the
// end is what it is otherwise, and is rolled back to what was.
func TestSpoilt(t *testing.T) {
	t.Parallel()
	s := &spoilt{cluster: shared, killing: killing{name: "plain", manifest: smallShop, settled: (*cluster).settled}}
	before := s.killing.trial(t, s.cluster, "spoilt")
	s.ambient(t, s.killing.enroll("spoilt")...).want(t, 0)
	s.enrolled = relative(s.state(t, "spoilt"), "spoilt")
	s.ambient(t, "rollback", "-n", "spoilt", "--yes").want(t, 0)
	s.killing.wantBack(t, s.cluster, "spoilt", before)
	for lane := range lanes {
		t.Run(fmt.Sprintf("lane-%d", lane), func(t *testing.T) {
			t.Parallel()
			namespace := fmt.Sprintf("spoilt-%d", lane)
			before := s.killing.trial(t, s.cluster, namespace)
			for at := lane + 1; at <= smallShopEnrolled; at += lanes {
				if !t.Run(fmt.Sprintf("write-%d", at), func(t *testing.T) {
					defer countLost(t, &s.lost)
					s.try(t, namespace, at, spoiltWays[(at-1)%len(spoiltWays)], before)
				}) {
					// What is left in it says nothing of the next one.
					return
				}
			}
		})
	}
	t.Cleanup(func() {
		fmt.Printf("spoilt: %d runs, one write each, in %d ways; %d have come through, the others were gone on with; lost: %d\n",
			s.runs.Load(), len(spoiltWays), s.through.Load(), s.lost.Load())
	})
}

// try spoils a write of an enrolment, and rolls back what it has come to.
func (s *spoilt) try(t *testing.T, namespace string, at int, way string, before map[string]any) {
	t.Helper()
	s.runs.Add(1)
	spoiler := &spoiler{at: at, fault: way}
	run := s.ambientIn(t, []string{"KUBECONFIG=" + s.behind(t, spoiler.decide)}, s.killing.enroll(namespace)...)
	if spoiler.what() == "" {
		t.Fatalf("write %d was not made: %s", at, run)
	}
	t.Logf("%s: %s, with status %d", way, spoiler.what(), run.status)
	switch run.status {
	case 0:
		s.through.Add(1)
	case 1:
		// Nothing was changed, and it says why.
		says(t, run.stderr, "the storm")
		s.resume(t, namespace, nil)
	case 4:
		says(t, run.stderr, "to go on:", "to roll back:")
		s.wantIncomplete(t, namespace, "")
		s.resume(t, namespace, nil)
	default:
		t.Fatal(run)
	}
	s.ambient(t, "verify", "-n", namespace).want(t, 0)
	if diff := cmp.Diff(s.enrolled, relative(s.state(t, namespace), namespace)); diff != "" {
		t.Errorf("%s at %s, the namespace is not as it is otherwise (-want +got):\n%s", way, spoiler.what(), diff)
	}
	s.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	s.wantUnlocked(t, namespace)
	s.killing.wantBack(t, s.cluster, namespace, before)
}
