package e2e

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// recorder is an API server in front of the real one that notes every request
// and lets those pass which only read.
type recorder struct {
	mu       sync.Mutex
	requests []string
	writes   []string
}

// TestReadOnly: status, plan, verify and client-side dry runs send no request
// that writes. All of their requests go through a proxy, port-forwards
// included: over WebSocket those are GET requests too.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	c := shared
	const namespace = "read-only"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.apply(t, namespace, "bookinfo")
	recorder := &recorder{}
	kubeconfig := c.behind(t, recorder.decide)
	run := func(status int, arguments ...string) {
		t.Helper()
		c.ambientIn(t, []string{"KUBECONFIG=" + kubeconfig}, append(arguments, "-n", namespace)...).want(t, status)
	}
	run(0, "status")
	run(0, "plan")
	run(3, "verify")
	run(0, "enroll", "--dry-run=client")
	// The changes themselves do not go through the proxy.
	c.ambient(t, "enroll", "-n", namespace, "--yes").want(t, 0)
	run(0, "verify")
	run(0, "rollback", "--dry-run=client")

	recorder.mu.Lock()
	defer recorder.mu.Unlock()
	for _, write := range recorder.writes {
		t.Errorf("a command that should only read sent %s", write)
	}
	if !slices.ContainsFunc(recorder.requests, func(request string) bool { return strings.Contains(request, "/portforward") }) {
		t.Error("verify asked no ztunnel: nothing was proven about it")
	}
}

func (r *recorder) decide(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if r.allows(request) {
			next.ServeHTTP(w, request)
			return
		}
		http.Error(w, "this proxy lets nothing pass that writes", http.StatusMethodNotAllowed)
	})
}

func (r *recorder) allows(request *http.Request) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := request.Method + " " + request.URL.Path
	r.requests = append(r.requests, line)
	if request.Method == http.MethodGet {
		return true
	}
	r.writes = append(r.writes, line)
	return false
}
