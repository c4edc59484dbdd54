package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
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
	kubeconfig := c.recordedBy(t, recorder)
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

// recordedBy starts the proxy and returns a kubeconfig for it.
func (c *cluster) recordedBy(t *testing.T, recorder *recorder) string {
	t.Helper()
	config := c.RESTConfig()
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	tlsConfig, err := rest.TLSConfigFor(config)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = &http.Transport{TLSClientConfig: tlsConfig}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if recorder.allows(r) {
			proxy.ServeHTTP(w, r)
			return
		}
		http.Error(w, "this proxy lets nothing pass that writes", http.StatusMethodNotAllowed)
	}))
	t.Cleanup(server.Close)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: recorded, cluster: {server: %q}}]
contexts: [{name: recorded, context: {cluster: recorded, user: nobody}}]
users: [{name: nobody, user: {}}]
current-context: recorded
`, server.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
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
