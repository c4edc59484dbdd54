package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// storm is a proxy that fails requests at random, in every way in which an API
// server and the network before it do.
type storm struct {
	mu       sync.Mutex
	random   *rand.Rand
	rate     float64
	injected map[string]int
}

// faults are the ways, and whether the API server has done what it was asked to.
var faults = []string{"429", "500", "409", "504", "dropped before", "dropped after", "504 after", "delayed", "cut off"}

func newStorm(seed uint64, rate float64) *storm {
	return &storm{random: rand.New(rand.NewPCG(seed, 7)), rate: rate, injected: map[string]int{}}
}

func (s *storm) fault(request *http.Request) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.random.Float64() >= s.rate {
		return ""
	}
	fault := faults[s.random.IntN(len(faults))]
	if fault == "409" && !stores(request) {
		fault = "500"
	}
	s.injected[fault]++
	return fault
}

// stores says whether a request is to keep something, which others may have changed. A
// review of what somebody may do is answered, and kept nowhere.
func stores(request *http.Request) bool {
	return request.Method != http.MethodGet && !strings.Contains(request.URL.Path, "/selfsubject")
}

// total is how many requests were spoilt.
func (s *storm) total() int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := 0
	for _, count := range s.injected {
		total += count
	}
	return int32(total)
}

func (s *storm) decide(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fault := s.fault(r); fault != "" {
			spoil(fault, next, w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// spoil has a request fail in one of the ways.
func spoil(fault string, next http.Handler, w http.ResponseWriter, r *http.Request) {
	switch fault {
	case "429":
		status(w, http.StatusTooManyRequests, "TooManyRequests")
	case "500":
		status(w, http.StatusInternalServerError, "InternalError")
	case "409":
		status(w, http.StatusConflict, "Conflict")
	case "504":
		status(w, http.StatusGatewayTimeout, "Timeout")
	case "dropped before":
		panic(http.ErrAbortHandler)
	case "dropped after":
		next.ServeHTTP(httptest.NewRecorder(), short(r))
		panic(http.ErrAbortHandler)
	case "504 after":
		next.ServeHTTP(httptest.NewRecorder(), short(r))
		status(w, http.StatusGatewayTimeout, "Timeout")
	case "delayed":
		select {
		case <-time.After(2 * time.Second):
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	case "cut off":
		// A watch that ends early, or an answer of which a part is missing.
		cut := &cutOff{ResponseWriter: w, left: 300}
		next.ServeHTTP(cut, r)
	}
}

// short is a request that is not a watch: nobody would read what it shows.
func short(r *http.Request) *http.Request {
	if !r.URL.Query().Has("watch") {
		return r
	}
	unwatched := r.Clone(r.Context())
	query := unwatched.URL.Query()
	query.Del("watch")
	unwatched.URL.RawQuery = query.Encode()
	return unwatched
}

func status(w http.ResponseWriter, code int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"the storm","reason":%q,"code":%d}`, reason, code)
}

// cutOff writes so many bytes of an answer, and then breaks the connection.
type cutOff struct {
	http.ResponseWriter
	left int
}

func (c *cutOff) Write(data []byte) (int, error) {
	if len(data) < c.left {
		c.left -= len(data)
		return c.ResponseWriter.Write(data)
	}
	panic(http.ErrAbortHandler)
}

func (c *cutOff) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// TestStorm enrolls and rolls back while requests fail at random. Whether a run
// comes through, or stops and is gone on with, what it leaves is exact. Every other
// namespace has policies that are handed over to a waypoint.
func TestStorm(t *testing.T) {
	t.Parallel()
	c := shared
	var namespaces, runs, failures, lost atomic.Int32
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			namespaces.Add(1)
			defer countLost(t, &lost)
			namespace := fmt.Sprintf("storm-%d", seed)
			c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
			c.applyText(t, namespace, []string{smallShop, smallProtected}[seed%2])
			c.settled(t, namespace)
			before := c.state(t, namespace)
			modes := c.watchModes(t, namespace)
			// The first two are a bad day, which runs come through; in the others they may stop.
			storm := newStorm(seed, []float64{0.08, 0.3}[seed/2])
			environment := []string{"KUBECONFIG=" + c.behind(t, storm.decide)}
			insist := func(arguments ...string) {
				t.Helper()
				for range 10 {
					runs.Add(1)
					run := c.ambientIn(t, environment, arguments...)
					if run.status == 0 {
						return
					}
					// 1: nothing was changed; 3: a gate could not be seen; 4: stopped.
					if run.status != 1 && run.status != 3 && run.status != 4 {
						t.Fatal(run)
					}
					t.Logf("it goes on after %s", run)
				}
				t.Fatalf("%v does not come through", arguments)
			}
			insist("enroll", "-n", namespace, "--yes", "--mixed-callers=deny")
			c.ambient(t, "verify", "-n", namespace).want(t, 0)
			c.wantNoSidecars(t, namespace)
			insist("rollback", "-n", namespace, "--yes")
			c.settled(t, namespace)
			c.wantStateSoon(t, namespace, before)
			c.wantSidecars(t, namespace)
			modes.want(t)
			failures.Add(storm.total())
		})
	}
	t.Cleanup(func() {
		fmt.Printf("storm: %d namespaces, %d runs, %d requests spoilt; lost: %d\n", namespaces.Load(), runs.Load(), failures.Load(), lost.Load())
	})
}
