package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	// written are the names of the objects that were written until then.
	written []string
	victim  *os.Process
	ready   chan struct{}
}

func newKiller(at int) *killer { return &killer{at: at, ready: make(chan struct{})} }

func (k *killer) decide(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !writes(r) {
			next.ServeHTTP(w, r)
			return
		}
		last := k.next()
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		k.note(r, answer)
		if !last {
			replay(answer, w)
			return
		}
		<-k.ready
		// It may have ended by itself, which the test finds out.
		_ = k.victim.Kill()
		panic(http.ErrAbortHandler)
	})
}

// note keeps what was written.
func (k *killer) note(request *http.Request, answer *httptest.ResponseRecorder) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.killed = fmt.Sprintf("%s %s: %d", request.Method, request.URL.Path, answer.Code)
	if name := nameWritten(request, answer); name != "" {
		k.written = append(k.written, name)
	}
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
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {selector: {app: cart}, ports: [{name: http, port: 80}]}
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
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {selector: {app: db}, ports: [{name: tcp, port: 5432}]}
`

// How many writes an enrolment and a rollback of smallShop are.
const (
	smallShopEnrolled   = 16
	smallShopRolledBack = 19
)

// killing is a kind of namespace whose runs are killed.
type killing struct {
	name, manifest string
	options        []string
	settled        func(*cluster, *testing.T, string)
	// sampled is true where a part of the writes is taken, unless all are asked for.
	sampled bool
}

// killedEvery is how many writes there are for one at which a run of a larger
// namespace is killed. A step has three, which is why it is no multiple of that.
const killedEvery = 7

// everyWrite asks for every write of every namespace, both ways, of whatever goes wrong
// at a write.
const everyWrite = "EVERY_WRITE"

// taken says whether a run is to be killed at a write, and, of those that are, whether
// it is to be resumed, rolled back, or both in two runs.
func (k killing) taken(at int) (resumed, rolledBack bool) {
	if !k.sampled || os.Getenv(everyWrite) != "" {
		return true, true
	}
	if at%killedEvery != 1 {
		return false, false
	}
	resumed = at/killedEvery%2 == 0
	return resumed, !resumed
}

// trial makes a namespace to be enrolled.
func (k killing) trial(t *testing.T, c *cluster, namespace string) (before map[string]any) {
	t.Helper()
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.applyText(t, namespace, strings.ReplaceAll(k.manifest, "NAMESPACE", namespace))
	k.settled(c, t, namespace)
	return c.state(t, namespace)
}

func (k killing) enroll(namespace string) []string {
	return append([]string{"enroll", "-n", namespace, "--yes"}, k.options...)
}

// wantBack wants a namespace to be what it was before.
func (k killing) wantBack(t *testing.T, c *cluster, namespace string, before map[string]any) {
	t.Helper()
	k.settled(c, t, namespace)
	c.wantStateSoon(t, namespace, before)
	c.wantSidecars(t, namespace)
	says(t, c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0).stdout, "nothing to do")
}

// wantUnlocked wants no lock to be left behind.
func (c *cluster) wantUnlocked(t *testing.T, namespace string) {
	t.Helper()
	leases, err := c.kube.CoordinationV1().Leases(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(leases.Items) != 0 {
		t.Errorf("locks are left behind: %v %v", leases, err)
	}
}

// TestKilled kills an enrolment, and a rollback, at each of their writes: what was
// begun can be resumed and ends as if nothing had happened, and it can be rolled
// back to exactly what was.
func TestKilled(t *testing.T) {
	t.Parallel()
	for _, k := range []killing{
		{name: "plain", manifest: smallShop, settled: (*cluster).settled},
		{name: "policies", manifest: protected, options: []string{"--mixed-callers=deny"}, settled: (*cluster).settled, sampled: true},
		{name: "replaced", manifest: byHand, settled: (*cluster).settledByHand, sampled: true},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			k.test(t, shared)
		})
	}
}

func (k killing) test(t *testing.T, c *cluster) {
	t.Helper()
	// How many writes there are is found out by making them.
	calm := "killed-" + k.name
	before := k.trial(t, c, calm)
	enrolling, rolling := newKiller(0), newKiller(0)
	enrolling.run(t.Context(), t, c, k.enroll(calm)...).want(t, 0)
	ambient := relative(c.state(t, calm), calm)
	rolling.run(t.Context(), t, c, "rollback", "-n", calm, "--yes").want(t, 0)
	k.wantBack(t, c, calm, before)

	if enrolled, rolledBack := enrolling.counted(), rolling.counted(); k.manifest == smallShop && (enrolled != smallShopEnrolled || rolledBack != smallShopRolledBack) {
		t.Errorf("an enrolment is %d writes and a rollback %d, other tests take %d and %d", enrolled, rolledBack, smallShopEnrolled, smallShopRolledBack)
	}

	kills := k.kills(enrolling.counted(), rolling.counted())
	var killed, lost atomic.Int32
	for lane := range min(lanes, len(kills)) {
		t.Run(fmt.Sprintf("lane-%d", lane), func(t *testing.T) {
			t.Parallel()
			namespaces, namespace, before := 0, "", map[string]any(nil)
			for i := lane; i < len(kills); i += lanes {
				if namespace == "" {
					namespaces++
					namespace = fmt.Sprintf("killed-%s-%d-%d", k.name, lane, namespaces)
					before = k.trial(t, c, namespace)
				}
				if !t.Run(kills[i].String(), func(t *testing.T) {
					killed.Add(kills[i].count())
					defer countLost(t, &lost)
					k.try(t, c, namespace, kills[i], before, ambient)
				}) {
					// What is left in it says nothing of the next one.
					namespace = ""
				}
			}
		})
	}
	t.Cleanup(func() {
		fmt.Printf("killed, %s: %d runs, at the %d writes of an enrolment and the %d of a rollback; lost: %d\n",
			k.name, killed.Load(), enrolling.counted(), rolling.counted(), lost.Load())
	})
}

// lanes is how many namespaces runs of a kind are killed in at a time. A namespace is
// what it was before once it was rolled back, which is what the next run begins with.
const lanes = 6

// kill is where an enrolment and the rollback after it are killed.
type kill struct {
	// enrolment and rollback are their writes, 0 where they are not killed.
	enrolment, rollback int
	// resumed is true where the enrolment is gone on with, and ends, before it is rolled
	// back.
	resumed bool
	// done is true where the rollback is killed at its last write: whoever looks after it
	// has nothing to do, and leaves the lock as it is, which runs out.
	done bool
}

func (k kill) String() string {
	name := fmt.Sprintf("enroll-%d", k.enrolment)
	if k.resumed {
		name += fmt.Sprintf("-resume-rollback-%d", k.rollback)
	}
	return name
}

// count is how many runs are killed.
func (k kill) count() int32 { return int32(min(k.enrolment, 1) + min(k.rollback, 1)) }

// kills are the kills at so many writes of an enrolment and of a rollback.
func (k killing) kills(enrolment, rollback int) []kill {
	var ended, undone []kill
	for at := 1; at <= enrolment; at++ {
		resumed, rolledBack := k.taken(at)
		if resumed {
			ended = append(ended, kill{enrolment: at, resumed: true})
		}
		if rolledBack {
			undone = append(undone, kill{enrolment: at})
		}
	}
	// A rollback that is killed comes after an enrolment that was, while there are some.
	next := 0
	for at := 1; at <= rollback; at++ {
		if resumed, rolledBack := k.taken(at); !resumed && !rolledBack {
			continue
		}
		if next == len(ended) {
			ended = append(ended, kill{resumed: true})
		}
		ended[next].rollback, ended[next].done = at, at == rollback
		next++
	}
	return append(ended, undone...)
}

// try kills an enrolment, a rollback, or both, in a namespace that is as it was before,
// and leaves it so.
func (k killing) try(t *testing.T, c *cluster, namespace string, at kill, before, ambient map[string]any) {
	t.Helper()
	switch {
	case at.enrolment == 0:
		c.ambient(t, k.enroll(namespace)...).want(t, 0)
	case at.resumed:
		killed := c.kill(t, at.enrolment, namespace, k.enroll(namespace)...)
		c.resume(t, namespace, k.options)
		c.ambient(t, "verify", "-n", namespace).want(t, 0)
		if diff := cmp.Diff(ambient, relative(c.state(t, namespace), namespace)); diff != "" {
			t.Errorf("killed at %s and resumed, the namespace is not as it is otherwise (-want +got):\n%s", killed, diff)
		}
	default:
		c.kill(t, at.enrolment, namespace, k.enroll(namespace)...)
	}
	if at.rollback != 0 {
		c.kill(t, at.rollback, namespace, "rollback", "-n", namespace, "--yes")
	}
	c.ambient(t, "rollback", "-n", namespace, "--yes").want(t, 0)
	if !at.done {
		c.wantUnlocked(t, namespace)
	}
	k.wantBack(t, c, namespace, before)
}

// kill runs a command and kills it at a write, of which it returns a description. The
// record has to be true of what was written until then.
func (c *cluster) kill(t *testing.T, at int, namespace string, command ...string) string {
	t.Helper()
	killer, earlier := newKiller(at), c.records(t, namespace)
	if stopped := killer.run(t.Context(), t, c, command...); stopped.status != -1 {
		t.Fatalf("it was not killed at write %d: %s", at, stopped)
	}
	t.Log("killed at ", killer.killed)
	c.wantRecorded(t, namespace, len(earlier), killer.written)
	return killer.killed
}

func countLost(t *testing.T, lost *atomic.Int32) {
	t.Helper()
	if t.Failed() {
		lost.Add(1)
	}
}

// resume goes on with a run that was killed. One that was killed before it had a
// record leaves nothing to go on with.
func (c *cluster) resume(t *testing.T, namespace string, options []string) {
	t.Helper()
	resumed := c.ambient(t, "enroll", "-n", namespace, "--resume", "--yes")
	if resumed.status == 1 && strings.Contains(resumed.stderr, "there is no run to resume") {
		resumed = c.ambient(t, append([]string{"enroll", "-n", namespace, "--yes"}, options...)...)
	}
	resumed.want(t, 0)
}

// ownNames are UIDs, the ends of names that are made of what they are about, and the IDs
// of runs.
var ownNames = regexp.MustCompile(`"uid":"[0-9a-f-]{36}"|-[0-9a-f]{8}"|"\d{8}-\d{6}-[0-9a-f]{6}"`)

// relative is the state of a namespace without its name, and without what differs
// between any two.
func relative(state map[string]any, namespace string) map[string]any {
	data, err := json.Marshal(state)
	if err != nil {
		return map[string]any{"cannot be read": err.Error()}
	}
	data = bytes.ReplaceAll(data, []byte(namespace), []byte("NAMESPACE"))
	data = ownNames.ReplaceAllFunc(data, func(found []byte) []byte {
		switch {
		case bytes.HasPrefix(found, []byte(`"uid"`)):
			return []byte(`"uid":""`)
		case found[0] == '"':
			return []byte(`"RUN"`)
		default:
			return []byte(`-HASH"`)
		}
	})
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
		spec, _ := fields["spec"].(map[string]any)
		for _, address := range []string{"clusterIP", "clusterIPs"} {
			delete(spec, address)
		}
		annotations, _ := metadata["annotations"].(map[string]any)
		for _, annotation := range []string{"kubectl.kubernetes.io/last-applied-configuration", "ambient.kubectl-ambient.dev/run"} {
			delete(annotations, annotation)
		}
	}
	return same
}
