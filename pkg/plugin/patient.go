package plugin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// patientReader repeats requests that only read and that fail for reasons that
// pass: an API server that is busy or restarting, a connection that breaks. A plan
// is made from some fifty of them, and one that fails would spoil it. What writes is
// repeated where it is known to be harmless to do twice.
type patientReader struct{ next http.RoundTripper }

// readBackoff is how a read is repeated: for about three seconds.
func readBackoff() wait.Backoff {
	return wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.1, Steps: 5}
}

func (p patientReader) RoundTrip(request *http.Request) (*http.Response, error) {
	if !onlyReads(request) {
		return p.next.RoundTrip(request)
	}
	backoff := readBackoff()
	for {
		attempt := request
		if request.GetBody != nil {
			body, err := request.GetBody()
			if err != nil {
				return nil, err
			}
			attempt = request.Clone(request.Context())
			attempt.Body = body
		}
		response, err := p.next.RoundTrip(attempt)
		if err == nil {
			response, err = whole(response)
		}
		if backoff.Steps <= 1 || !worthRepeating(response, err) {
			return response, err
		}
		select {
		case <-time.After(backoff.Step()):
		case <-request.Context().Done():
			return nil, request.Context().Err()
		}
	}
}

// whole reads an answer to its end and closes it, which client-go would do next: one that breaks off
// there is an error to client-go that ends what it was read for (rest/request.go,
// transformResponse).
func whole(response *http.Response) (*http.Response, error) {
	content, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	response.Body = io.NopCloser(bytes.NewReader(content))
	return response, nil
}

// WrappedRoundTripper is how client-go looks through what wraps a transport.
func (p patientReader) WrappedRoundTripper() http.RoundTripper { return p.next }

// onlyReads says whether a request changes nothing and has one answer. A watch is
// taken up again by whoever watches, an upgrade is not a read, and logs are read as they
// come. What somebody may do is asked by creating a review, which is kept nowhere.
func onlyReads(request *http.Request) bool {
	if request.Method == http.MethodPost {
		return request.GetBody != nil && (strings.HasSuffix(request.URL.Path, "/selfsubjectaccessreviews") || strings.HasSuffix(request.URL.Path, "/selfsubjectreviews"))
	}
	return request.Method == http.MethodGet && !request.URL.Query().Has("watch") && request.Header.Get("Upgrade") == "" &&
		!strings.HasSuffix(request.URL.Path, "/log")
}

func worthRepeating(response *http.Response, err error) bool {
	if err != nil {
		// A cluster that cannot be reached at all is said at once.
		var network *net.OpError
		if errors.As(err, &network) && network.Op == "dial" {
			return false
		}
		return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || network != nil && !network.Timeout()
	}
	switch response.StatusCode {
	case http.StatusTooManyRequests:
		// Where the API server says when to come again, client-go heeds it.
		return response.Header.Get("Retry-After") == ""
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	default:
		return false
	}
}
