package plugin

import (
	"net/http"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/record"
)

// heldWriter holds back requests that change something while the lock that they are sent
// under cannot be renewed: somebody else may have taken it by then.
type heldWriter struct{ next http.RoundTripper }

func (h heldWriter) RoundTrip(request *http.Request) (*http.Response, error) {
	if changes(request) {
		if err := record.Writable(request.Context()); err != nil {
			if request.Body != nil {
				_ = request.Body.Close()
			}
			return nil, err
		}
	}
	return h.next.RoundTrip(request)
}

// WrappedRoundTripper is how client-go looks through what wraps a transport.
func (h heldWriter) WrappedRoundTripper() http.RoundTripper { return h.next }

// changes says whether a request may change something. A port-forward is asked for by
// creating it, and changes nothing.
func changes(request *http.Request) bool {
	return request.Method != http.MethodGet && request.Method != http.MethodHead && !onlyReads(request) && !strings.HasSuffix(request.URL.Path, "/portforward")
}
