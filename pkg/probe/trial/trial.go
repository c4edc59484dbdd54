// Package trial tries calls and says what became of them. It is what the probe program
// consists of: nothing but the standard library, nothing that is ever repeated, no
// request that changes anything.
package trial

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/probe/wire"
)

// All tries calls, all at the same time, and returns when each has its result: at the
// latest when the longest timeout is over.
func All(ctx context.Context, calls []wire.Call) wire.Report {
	results := make([]wire.Result, len(calls))
	var group sync.WaitGroup
	for i, call := range calls {
		group.Go(func() { results[i] = Try(ctx, call) })
	}
	group.Wait()
	return wire.Report{Results: results}
}

// Try tries one call.
func Try(ctx context.Context, call wire.Call) wire.Result {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(call.Timeout))
	defer cancel()
	result := wire.Result{ID: call.ID}
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", call.Target)
	if err != nil {
		result.Outcome, result.Detail = notConnected(err), err.Error()
		return result
	}
	defer func() { _ = connection.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = connection.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if call.Protocol == wire.TCP {
		result.Outcome, result.Detail = listen(connection)
		return result
	}
	return ask(ctx, connection, call, result)
}

// notConnected is what it means that there is no connection.
func notConnected(err error) wire.Outcome {
	var name *net.DNSError
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		return wire.Unnamed
	case errors.As(err, &name):
		// The resolver did not answer, or said that it cannot.
		return wire.Unreachable
	case timedOut(err):
		return wire.Timeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return wire.Unlistened
	case errors.Is(err, syscall.ECONNRESET):
		return wire.Reset
	default:
		return wire.Unreachable
	}
}

func timedOut(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// listen waits whether a connection is closed by the other side. It sends nothing: what
// an unknown protocol makes of it, nobody knows.
func listen(connection net.Conn) (wire.Outcome, string) {
	var first [1]byte
	_, err := connection.Read(first[:])
	switch {
	case err == nil:
		return wire.Open, "bytes came"
	case timedOut(err):
		return wire.Open, "it stayed open"
	default:
		return wire.Reset, err.Error()
	}
}

// ask sends a request over a connection and reads the answer.
func ask(ctx context.Context, connection net.Conn, call wire.Call, result wire.Result) wire.Result {
	request, err := requestOf(ctx, call)
	if err != nil {
		result.Outcome, result.Detail = wire.Unreachable, err.Error()
		return result
	}
	// Whoever refuses may have closed already: what it said then is still to be read.
	written := request.Write(connection)
	reader := bufio.NewReader(connection)
	first, err := reader.Peek(len(tlsRecord))
	switch {
	case isTLS(first):
		result.Outcome, result.Detail = wire.TLS, "the answer is a record of TLS"
		return result
	case len(first) == 0:
		result.Outcome, result.Detail = unanswered(err, written)
		return result
	}
	response, err := http.ReadResponse(reader, request)
	switch {
	case err != nil && timedOut(err):
		result.Outcome, result.Detail = wire.Timeout, "the answer did not end in time"
		return result
	case err != nil:
		result.Outcome, result.Detail = wire.Garbled, err.Error()
		return result
	}
	defer response.Body.Close()
	result.Status = response.StatusCode
	result.Outcome, result.Detail = answered(response)
	return result
}

// unanswered is what it means that no byte came back.
func unanswered(read, written error) (wire.Outcome, string) {
	if timedOut(read) {
		return wire.Timeout, "connected, and no answer in time"
	}
	if written != nil {
		return wire.Reset, written.Error()
	}
	return wire.Reset, read.Error()
}

func requestOf(ctx context.Context, call wire.Call) (*http.Request, error) {
	method := call.Method
	if method == "" {
		method = http.MethodGet
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+call.Target, nil)
	if err != nil {
		return nil, err
	}
	if call.Path != "" {
		// As it is written: policies compare what is sent.
		request.URL.Opaque = call.Path
	}
	for name, value := range call.Headers {
		request.Header.Set(name, value)
	}
	if call.Host != "" {
		request.Host = call.Host
	}
	request.Header.Set("User-Agent", "kubectl-ambient-probe")
	request.Close = true
	return request, nil
}

// tlsRecord is how an alert or a handshake of TLS begins: its type, and the major
// version (RFC 8446, section 5.1).
var tlsRecord = [...]byte{21, 3}

const tlsHandshake = 22

func isTLS(first []byte) bool {
	return len(first) == len(tlsRecord) && (first[0] == tlsRecord[0] || first[0] == tlsHandshake) && first[1] == tlsRecord[1]
}

// What Envoy says where it refuses, or has nobody to ask (Envoy
// source/extensions/filters/http/rbac/rbac_filter.cc, source/common/router/router.cc and
// source/common/http/utility.cc).
const (
	rbacBody   = "RBAC: access denied"
	brokenBody = "upstream connect error or disconnect/reset before headers"
	nobodyBody = "no healthy upstream"
	terminated = "connection termination"
)

// mostBody is how much of an answer is looked at.
const mostBody = 512

// answered tells apart who has answered.
func answered(response *http.Response) (wire.Outcome, string) {
	data, _ := io.ReadAll(io.LimitReader(response.Body, mostBody))
	body := strings.TrimSpace(string(data))
	switch {
	case response.StatusCode == http.StatusForbidden && body == rbacBody:
		return wire.RBAC, body
	case response.StatusCode == http.StatusForbidden && response.Request.Method == http.MethodHead:
		return wire.Forbidden, "an answer to HEAD does not say who refuses"
	case response.StatusCode == http.StatusForbidden:
		return wire.Forbidden, body
	case response.StatusCode == http.StatusServiceUnavailable && response.Request.Method == http.MethodHead:
		return wire.Unavailable, "an answer to HEAD does not say whether a proxy reached nobody"
	case response.StatusCode == http.StatusServiceUnavailable && strings.HasPrefix(body, brokenBody):
		if strings.Contains(body, terminated) {
			return wire.Reset, body
		}
		return wire.Unavailable, body
	case response.StatusCode == http.StatusServiceUnavailable && body == nobodyBody:
		return wire.Unavailable, body
	default:
		return wire.Answered, ""
	}
}
