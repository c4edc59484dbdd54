package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

func TestReadsAreRepeated(t *testing.T) {
	for name, test := range map[string]struct {
		method, url string
		header      http.Header
		// first is the first answer, or why there is none.
		first      int
		retryAfter string
		failure    error
		// broken is how the first answer ends.
		broken error
		tries  int
	}{
		"what is well":             {first: 200, tries: 1},
		"what is not there":        {first: 404, tries: 1},
		"a busy server":            {first: 429, tries: 2},
		"one that says when":       {first: 429, retryAfter: "1", tries: 1},
		"a broken server":          {first: 500, tries: 2},
		"a gateway in the way":     {first: 504, tries: 2},
		"a dropped connection":     {failure: io.EOF, tries: 2},
		"an answer cut off":        {first: 200, broken: io.ErrUnexpectedEOF, tries: 2},
		"logs that are cut off":    {url: "https://192.0.2.1/api/v1/namespaces/shop/pods/cart/log", first: 200, broken: io.ErrUnexpectedEOF, tries: 1},
		"a watch that is cut off":  {url: "https://192.0.2.1/api/v1/pods?watch=true", first: 200, broken: io.ErrUnexpectedEOF, tries: 1},
		"a reset connection":       {failure: &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, tries: 2},
		"a cluster that is away":   {failure: &net.OpError{Op: "dial", Err: errors.New("connection refused")}, tries: 1},
		"a certificate":            {failure: errors.New("certificate signed by unknown authority"), tries: 1},
		"a write":                  {method: http.MethodPost, first: 500, tries: 1},
		"a question":               {method: http.MethodPost, url: "https://192.0.2.1/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", first: 500, tries: 2},
		"a watch":                  {url: "https://192.0.2.1/api/v1/pods?watch=true", first: 500, tries: 1},
		"an upgraded port-forward": {header: http.Header{"Upgrade": {"websocket"}}, first: 500, tries: 1},
	} {
		t.Run(name, func(t *testing.T) {
			tries := 0
			reader := patientReader{roundTripper(func(request *http.Request) (*http.Response, error) {
				if body, err := io.ReadAll(request.Body); err != nil || string(body) != "what is asked" {
					t.Errorf("it is asked %q, %v", body, err)
				}
				response := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("text"))}
				if tries++; tries > 1 {
					return response, nil
				}
				if test.failure != nil {
					return nil, test.failure
				}
				response.StatusCode = test.first
				if test.broken != nil {
					response.Body = io.NopCloser(io.MultiReader(strings.NewReader("te"), iotest.ErrReader(test.broken)))
				}
				if test.retryAfter != "" {
					response.Header.Set("Retry-After", test.retryAfter)
				}
				return response, nil
			})}
			url := "https://192.0.2.1/api/v1/pods"
			if test.url != "" {
				url = test.url
			}
			request, err := http.NewRequestWithContext(t.Context(), cmp.Or(test.method, http.MethodGet), url, strings.NewReader("what is asked"))
			if err != nil {
				t.Fatal(err)
			}
			if test.header != nil {
				request.Header = test.header
			}
			response, err := reader.RoundTrip(request)
			if response != nil {
				content, _ := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if want := map[bool]string{true: "te", false: "text"}[test.broken != nil && tries == 1]; string(content) != want {
					t.Errorf("the answer is %q", content)
				}
			}
			if tries != test.tries {
				t.Errorf("it is tried %d times, and ends with %v", tries, err)
			}
		})
	}
}

func TestReadsAreNotRepeatedForEver(t *testing.T) {
	tries := 0
	reader := patientReader{roundTripper(func(*http.Request) (*http.Response, error) {
		tries++
		return nil, fmt.Errorf("broken: %w", io.ErrUnexpectedEOF)
	})}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://192.0.2.1", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := reader.RoundTrip(request)
	if response != nil {
		_ = response.Body.Close()
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) || tries != 5 {
		t.Errorf("after %d tries the error is %v", tries, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	response, err = reader.RoundTrip(request.WithContext(ctx))
	if response != nil {
		_ = response.Body.Close()
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
}
