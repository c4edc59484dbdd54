package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// killer is a proxy that kills a run at one of its writes: when the API server has
// carried it out, and before the run hears of it. To the cluster that is the same
// as being killed before the next write is sent.
type killer struct {
	// at is the write, counted from 1, 0 for none.
	at     int
	mu     sync.Mutex
	count  int
	killed string
	victim *os.Process
	ready  chan struct{}
}

func newKiller(at int) *killer { return &killer{at: at, ready: make(chan struct{})} }

func (k *killer) decide(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !writes(r) || !k.next() {
			next.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		<-k.ready
		k.mu.Lock()
		k.killed = fmt.Sprintf("%s %s: %d", r.Method, r.URL.Path, answer.Code)
		k.mu.Unlock()
		// It may have ended by itself, which the test finds out.
		_ = k.victim.Kill()
		panic(http.ErrAbortHandler)
	})
}

// next counts a write, and says whether it is the one.
func (k *killer) next() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.count++
	return k.count == k.at
}

func (k *killer) counted() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.count
}

// run runs the plugin behind the proxy.
func (k *killer) run(ctx context.Context, t *testing.T, c *cluster, arguments ...string) result {
	t.Helper()
	run := c.startAmbient(ctx, t, []string{"KUBECONFIG=" + c.behind(t, k.decide)}, arguments...)
	k.victim = run.command.Process
	close(k.ready)
	return run.wait(t)
}

// smallShop is a namespace of two workloads.
const smallShop = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart}
spec:
  replicas: 1
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart}}
    spec: {containers: [{name: cart, image: cart}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 1
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: db}]}
`

// TestKilled kills an enrolment, and a rollback, at each of their writes: what was
// begun can be resumed and ends as if nothing had happened, and it can be rolled
// back to exactly what was.
func TestKilled(t *testing.T) {
	t.Parallel()
	c := shared
	trial := func(t *testing.T, name string) (before map[string]any) {
		t.Helper()
		c.namespace(t, name, map[string]string{"istio-injection": "enabled"})
		c.applyText(t, name, smallShop)
		c.settled(t, name)
		return c.state(t, name)
	}
	// How many writes there are is found out by making them.
	const calm = "killed-never"
	before := trial(t, calm)
	enrolling, rolling := newKiller(0), newKiller(0)
	enrolling.run(t.Context(), t, c, "enroll", "-n", calm, "--yes").want(t, 0)
	ambient := relative(c.state(t, calm), calm)
	rolling.run(t.Context(), t, c, "rollback", "-n", calm, "--yes").want(t, 0)
	c.settled(t, calm)
	c.wantState(t, calm, before)

	var runs, lost atomic.Int32
	for at := 1; at <= enrolling.counted(); at++ {
		for _, then := range []string{"resume", "rollback"} {
			t.Run(fmt.Sprintf("enroll-%d-%s", at, then), func(t *testing.T) {
				t.Parallel()
				namespace := fmt.Sprintf("killed-%d-%s", at, then)
				before := trial(t, namespace)
				runs.Add(1)
				defer countLost(t, &lost)
				k := newKiller(at)
				stopped := k.run(t.Context(), t, c, "enroll", "-n", namespace, "--yes")
				if stopped.status != -1 {
					t.Fatalf("it was not killed at write %d: %s", at, stopped)
				}
				t.Log("killed at ", k.killed)
				if then == "resume" {
					c.resume(t, namespace)
					c.ambient(t, "verify", "-n", namespace).want(t, 0)
					if diff := cmp.Diff(ambient, relative(c.state(t, namespace), namespace)); diff != "" {
						t.Errorf("killed at %s and resumed, the namespace is not as it is otherwise (-want +got):\n%s", k.killed, diff)
					}
				}
				c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
				c.settled(t, namespace)
				c.wantState(t, namespace, before)
				c.wantSidecars(t, namespace)
			})
		}
	}
	for at := 1; at <= rolling.counted(); at++ {
		t.Run(fmt.Sprintf("rollback-%d", at), func(t *testing.T) {
			t.Parallel()
			namespace := fmt.Sprintf("killed-%d-back", at)
			before := trial(t, namespace)
			runs.Add(1)
			defer countLost(t, &lost)
			c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 0)
			k := newKiller(at)
			if stopped := k.run(t.Context(), t, c, "rollback", "-n", namespace, "--yes"); stopped.status != -1 {
				t.Fatalf("it was not killed at write %d: %s", at, stopped)
			}
			t.Log("killed at ", k.killed)
			c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
			c.settled(t, namespace)
			c.wantState(t, namespace, before)
			c.wantSidecars(t, namespace)
		})
	}
	t.Cleanup(func() {
		fmt.Printf("killed: %d runs, at %d writes of an enrolment and %d of a rollback; lost: %d\n", runs.Load(), enrolling.counted(), rolling.counted(), lost.Load())
	})
}

func countLost(t *testing.T, lost *atomic.Int32) {
	t.Helper()
	if t.Failed() {
		lost.Add(1)
	}
}

// resume goes on with a run that was killed. One that was killed before it had a
// record leaves nothing to go on with.
func (c *cluster) resume(t *testing.T, namespace string) {
	t.Helper()
	resumed := c.ambient(t, "enroll", "-n", namespace, "--resume", "--yes")
	if resumed.status == 1 && strings.Contains(resumed.stderr, "there is no run to resume") {
		resumed = c.ambient(t, "enroll", "-n", namespace, "--yes")
	}
	resumed.want(t, 0)
}

// relative is the state of a namespace without its name, and without what differs
// between any two.
func relative(state map[string]any, namespace string) map[string]any {
	data, err := json.Marshal(state)
	if err != nil {
		return map[string]any{"cannot be read": err.Error()}
	}
	data = bytes.ReplaceAll(data, []byte(namespace), []byte("NAMESPACE"))
	var same map[string]any
	if err := json.Unmarshal(data, &same); err != nil {
		return map[string]any{"cannot be read": err.Error()}
	}
	for _, object := range same {
		fields, _ := object.(map[string]any)
		metadata, _ := fields["metadata"].(map[string]any)
		for _, field := range []string{"uid", "creationTimestamp"} {
			delete(metadata, field)
		}
		annotations, _ := metadata["annotations"].(map[string]any)
		for _, annotation := range []string{"kubectl.kubernetes.io/last-applied-configuration", "ambient.kubectl-ambient.dev/run"} {
			delete(annotations, annotation)
		}
	}
	return same
}
