package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

// behind starts a proxy in front of the API server, which decides what becomes of
// each request, and returns a kubeconfig for it.
func (c *cluster) behind(t testing.TB, decide func(next http.Handler) http.Handler) string {
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
	// What is cut off is meant to be.
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, err error) {
		http.Error(w, err.Error(), http.StatusBadGateway)
	}
	server := httptest.NewServer(decide(proxy))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: proxied, cluster: {server: %q}}]
contexts: [{name: proxied, context: {cluster: proxied, user: nobody}}]
users: [{name: nobody, user: {}}]
current-context: proxied
`, server.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// writes says whether a request changes what a run is about: not whether it is
// alive, what it may do, or what others are told of it.
func writes(request *http.Request) bool {
	if request.Method == http.MethodGet {
		return false
	}
	for _, other := range []string{"/leases", "/events", "/selfsubject", "/portforward"} {
		if strings.Contains(request.URL.Path, other) {
			return false
		}
	}
	return true
}

// replay gives an answer that was held back.
func replay(answer *httptest.ResponseRecorder, w http.ResponseWriter) {
	for key, values := range answer.Header() {
		w.Header()[key] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}
