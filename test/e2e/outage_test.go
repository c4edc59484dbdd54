package e2e

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// outage is a proxy behind which the API server is not to be reached for some time, from
// the first write to a workload on.
type outage struct {
	lasts time.Duration

	mu    sync.Mutex
	began time.Time
	// late are the writes that were tried when the Lease had not been renewed for longer
	// than a run may write.
	late []string
}

func (o *outage) decide(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if o.away(r) {
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	})
}

func (o *outage) away(r *http.Request) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.began.IsZero() && r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/deployments/") && writes(r) {
		o.began = time.Now()
	}
	passed := time.Since(o.began)
	if o.began.IsZero() || passed > o.lasts {
		return false
	}
	// The Lease may have been renewed, or the request sent, just before it began.
	if writes(r) && passed > 12*time.Second {
		o.late = append(o.late, r.Method+" "+r.URL.Path)
	}
	return true
}

// begun waits until the API server is away.
func (o *outage) begun(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		o.mu.Lock()
		began := !o.began.IsZero()
		o.mu.Unlock()
		if began {
			return
		}
	}
	t.Fatal("no workload was written")
}

func (o *outage) want(t *testing.T) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.began.IsZero() || len(o.late) > 0 {
		t.Errorf("the outage began at %s; while the Lease could not be renewed it has tried %q", o.began, o.late)
	}
}

// TestOutage: the API server is away for twenty seconds in the middle of an enrolment,
// longer than a Lease lasts. Nothing is written meanwhile, and the run goes on.
func TestOutage(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "outage"
	before := c.shop(t, namespace)
	modes := c.watchModes(t, namespace)
	away := &outage{lasts: 20 * time.Second}
	c.ambientIn(t, []string{"KUBECONFIG=" + c.behind(t, away.decide)}, "enroll", "-n", namespace, "--yes").want(t, 0)
	away.want(t)
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
	modes.want(t)
}

// TestOutageOfOneSide: the API server is away for one run only, and another takes its
// lock meanwhile. The first one has written nothing since, and does not go on.
func TestOutageOfOneSide(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "outage-one"
	before := c.shop(t, namespace)
	away := &outage{lasts: 40 * time.Second}
	environment := []string{"KUBECONFIG=" + c.behind(t, away.decide)}
	first := c.startAmbient(t.Context(), t, environment, "enroll", "-n", namespace, "--yes")
	away.begun(t)
	c.ambient(t, "enroll", "-n", namespace, "--resume", "--yes").want(t, 0)
	says(t, first.wait(t).want(t, 4).stderr, "the lock of the namespace was lost: somebody else has taken it")
	away.want(t)
	c.ambient(t, "verify", "-n", namespace).want(t, 0)
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	c.settled(t, namespace)
	c.wantState(t, namespace, before)
}
