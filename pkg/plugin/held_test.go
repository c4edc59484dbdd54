package plugin

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// While the Lease cannot be renewed, what changes something waits, and nothing else.
func TestWritesAreHeldBack(t *testing.T) {
	for name, test := range map[string]struct {
		method, path string
		waits        bool
	}{
		"a read":         {method: http.MethodGet, path: "/api/v1/pods"},
		"a watch":        {method: http.MethodGet, path: "/api/v1/pods?watch=true"},
		"a question":     {method: http.MethodPost, path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"},
		"a port-forward": {method: http.MethodPost, path: "/api/v1/namespaces/a/pods/b/portforward"},
		"a patch":        {method: http.MethodPatch, path: "/api/v1/namespaces/shop", waits: true},
		"an eviction":    {method: http.MethodPost, path: "/api/v1/namespaces/a/pods/b/eviction", waits: true},
		"a record":       {method: http.MethodPut, path: "/api/v1/namespaces/a/configmaps/b", waits: true},
		"a deletion":     {method: http.MethodDelete, path: "/api/v1/namespaces/a/pods/b", waits: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, down := fake.NewClientset(), atomic.Bool{}
				client.PrependReactor("*", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
					return down.Load(), nil, errors.New("connection refused")
				})
				held, release, err := record.Lock(t.Context(), client.CoordinationV1(), "shop", "one", func(string) {})
				if err != nil {
					t.Fatal(err)
				}
				defer release()
				down.Store(true)
				time.AfterFunc(20*time.Second, func() { down.Store(false) })
				time.Sleep(12 * time.Second)
				sent, began := 0, time.Now()
				writer := heldWriter{roundTripper(func(*http.Request) (*http.Response, error) {
					sent++
					return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
				})}
				request, err := http.NewRequestWithContext(held, test.method, "https://192.0.2.1"+test.path, io.NopCloser(strings.NewReader("")))
				if err != nil {
					t.Fatal(err)
				}
				request.GetBody = func() (io.ReadCloser, error) { return http.NoBody, nil }
				response, err := writer.RoundTrip(request)
				if err != nil || sent != 1 {
					t.Fatalf("it was sent %d times, %v", sent, err)
				}
				_ = response.Body.Close()
				if waited := time.Since(began); waited > 0 != test.waits {
					t.Errorf("it has waited for %s", waited)
				}
			})
		})
	}
}
