package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/probe/wire"
)

// TestMain is the program itself where a test starts it.
func TestMain(m *testing.M) {
	if os.Getenv("BE_THE_PROBE") == "yes" {
		main()
	}
	os.Exit(m.Run())
}

// probe runs the program as a process, and returns its status and what it reported.
func probe(t *testing.T, environment string, arguments ...string) (status int, report wire.Report, said string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "termination-log")
	command := exec.CommandContext(t.Context(), os.Args[0], append(arguments, "-report", path)...)
	command.Env = append(os.Environ(), "BE_THE_PROBE=yes", wire.Variable+"="+environment)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	var exit *exec.ExitError
	if err := command.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err == nil {
		if len(data) > wire.MostReported {
			t.Errorf("the report has %d bytes", len(data))
		}
		err = json.Unmarshal(data, &report)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), report, stderr.String()
}

// listener hands every connection to a function.
func listener(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			connection, err := l.Accept()
			if err != nil {
				return
			}
			go handle(connection)
		}
	}()
	return l.Addr().String()
}

// nobody is an address at which nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func application(t *testing.T, handle http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func answering(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func reset(connection net.Conn) {
	_, _ = connection.Read(make([]byte, 1))
	_ = connection.(*net.TCPConn).SetLinger(0)
	_ = connection.Close()
}

// hold keeps a connection open and says nothing until the test is over.
func hold(t *testing.T) func(net.Conn) {
	return func(connection net.Conn) {
		<-t.Context().Done()
		_ = connection.Close()
	}
}

func TestOutcomes(t *testing.T) {
	secure := httptest.NewUnstartedServer(answering(http.StatusOK, ""))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	// As OpenSSL answers what is no TLS: the alert protocol_version.
	alert := listener(t, func(connection net.Conn) {
		_, _ = connection.Read(make([]byte, 1))
		_, _ = connection.Write([]byte{21, 3, 1, 0, 2, 2, 70})
		_ = connection.Close()
	})
	const envoy = "upstream connect error or disconnect/reset before headers. "
	for _, test := range []struct {
		name     string
		protocol wire.Protocol
		target   string
		outcome  wire.Outcome
		code     int
		// allowed and refused are the exit status where that was expected.
		allowed, refused int
	}{
		{"allowed", wire.HTTP, application(t, answering(200, "hello")), wire.Answered, 200, 0, 1},
		{"not found is an answer", wire.HTTP, application(t, answering(404, "")), wire.Answered, 404, 0, 1},
		{"a redirect is an answer", wire.HTTP, application(t, http.RedirectHandler("http://name.invalid/", http.StatusFound).ServeHTTP), wire.Answered, 302, 0, 1},
		{"refused by a proxy's filter", wire.HTTP, application(t, answering(403, "RBAC: access denied")), wire.RBAC, 403, 1, 0},
		{"refused by the application", wire.HTTP, application(t, answering(403, "who are you?")), wire.Forbidden, 403, 0, 2},
		{"reset", wire.HTTP, listener(t, reset), wire.Reset, 0, 1, 0},
		{"closed", wire.HTTP, listener(t, func(c net.Conn) { _ = c.Close() }), wire.Reset, 0, 1, 0},
		{"reset beyond a proxy", wire.HTTP, application(t, answering(503, envoy+"reset reason: connection termination")), wire.Reset, 503, 1, 0},
		{"nobody beyond a proxy", wire.HTTP, application(t, answering(503, "no healthy upstream")), wire.Unavailable, 503, 2, 2},
		{"no connection beyond a proxy", wire.HTTP, application(t, answering(503, envoy+"reset reason: remote connection failure")), wire.Unavailable, 503, 2, 2},
		{"the application is out of order", wire.HTTP, application(t, answering(503, "try again")), wire.Answered, 503, 0, 1},
		{"a black hole", wire.HTTP, listener(t, hold(t)), wire.Timeout, 0, 1, 2},
		{"nobody listens", wire.HTTP, nobody(t), wire.Unlistened, 0, 2, 2},
		{"no such name", wire.HTTP, "name.invalid:80", wire.Unnamed, 0, 2, 2},
		{"not HTTP", wire.HTTP, listener(t, func(c net.Conn) { _, _ = io.WriteString(c, "220 mail\r\n"); _ = c.Close() }), wire.Garbled, 0, 0, 1},
		{"clear text to a server of TLS", wire.Plaintext, alert, wire.TLS, 0, 2, 2},
		{"clear text to a server of HTTPS", wire.Plaintext, secure.Listener.Addr().String(), wire.Answered, 400, 0, 1},
		{"clear text", wire.Plaintext, application(t, answering(200, "")), wire.Answered, 200, 0, 1},
		{"clear text that is refused", wire.Plaintext, listener(t, reset), wire.Reset, 0, 1, 0},
		{"TCP that stays open", wire.TCP, listener(t, hold(t)), wire.Open, 0, 0, 1},
		{"TCP that speaks first", wire.TCP, listener(t, func(c net.Conn) { _, _ = io.WriteString(c, "220"); hold(t)(c) }), wire.Open, 0, 0, 1},
		{"TCP that is closed", wire.TCP, listener(t, func(c net.Conn) { _ = c.Close() }), wire.Reset, 0, 1, 0},
		{"TCP and nobody listens", wire.TCP, nobody(t), wire.Unlistened, 0, 2, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for expect, want := range map[wire.Expectation]int{wire.Allowed: test.allowed, wire.Refused: test.refused} {
				text, err := wire.EncodeCalls([]wire.Call{{ID: "1", Target: test.target, Protocol: test.protocol, Timeout: wire.Duration(time.Second), Expect: expect}})
				if err != nil {
					t.Fatal(err)
				}
				status, report, said := probe(t, text, "try")
				result, found := report.Of("1")
				if !found || result.Outcome != test.outcome || result.Status != test.code || status != want {
					t.Errorf("expected %s: status %d, %+v, %s; want status %d, %s %d", expect, status, report, said, want, test.outcome, test.code)
				}
			}
		})
	}
}

// An answer to HEAD has no body that would tell a proxy's from an application's.
func TestAnswersToHead(t *testing.T) {
	for code, outcome := range map[int]wire.Outcome{200: wire.Answered, 403: wire.Forbidden, 500: wire.Answered, 503: wire.Unavailable} {
		target := application(t, answering(code, "RBAC: access denied"))
		text, err := wire.EncodeCalls([]wire.Call{{ID: "1", Target: target, Protocol: wire.HTTP, Method: "HEAD", Timeout: wire.Duration(5 * time.Second), Expect: wire.Allowed}})
		if err != nil {
			t.Fatal(err)
		}
		_, report, said := probe(t, text, "try")
		if result, _ := report.Of("1"); result.Outcome != outcome || result.Status != code {
			t.Errorf("HEAD with status %d: %+v, %s; want %s", code, report, said, outcome)
		}
	}
}

func TestSlowAnswer(t *testing.T) {
	ask := make(chan struct{})
	target := application(t, func(w http.ResponseWriter, request *http.Request) {
		// The second call has come when the first one is still to be answered.
		select {
		case ask <- struct{}{}:
		case <-ask:
		case <-request.Context().Done():
		}
		w.WriteHeader(http.StatusNoContent)
	})
	call := wire.Call{ID: "1", Target: target, Protocol: wire.HTTP, Timeout: wire.Duration(20 * time.Second), Expect: wire.Allowed}
	other := call
	other.ID = "2"
	text, err := wire.EncodeCalls([]wire.Call{call, other})
	if err != nil {
		t.Fatal(err)
	}
	if status, report, said := probe(t, "", "try", "-calls", text); status != 0 {
		t.Errorf("status %d, %+v, %s", status, report, said)
	}
}

func TestWhatIsAsked(t *testing.T) {
	asked := make(chan string, 1)
	target := application(t, func(_ http.ResponseWriter, request *http.Request) {
		asked <- fmt.Sprintf("%s %s %s %s", request.Method, request.RequestURI, request.Host, request.Header.Get("X-Group"))
	})
	text, err := wire.EncodeCalls([]wire.Call{{
		ID: "1", Target: target, Protocol: wire.HTTP, Method: "HEAD", Path: "/a/../$(b)//%63", Host: "cart.shop", Headers: map[string]string{"x-group": "one"},
		Timeout: wire.Duration(5 * time.Second), Expect: wire.Allowed,
	}})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text, "$") {
		t.Errorf("Kubernetes would look for a variable in %s", text)
	}
	if status, report, said := probe(t, text, "try"); status != 0 {
		t.Fatalf("status %d, %+v, %s", status, report, said)
	}
	if got, want := <-asked, "HEAD /a/../$(b)//%63 cart.shop one"; got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
}

func TestWrongInput(t *testing.T) {
	const rest = `"protocol": "http", "timeout": "1s", "expect": "allowed"`
	for text, want := range map[string]string{
		"":             "cannot be read",
		"[]":           "no calls",
		"[{}] more":    "something after",
		`[{"iD": 1}]`:  "cannot be read",
		`[{"port":1}]`: "unknown field",
		`[{"id":"1","target":"a", ` + rest + `}]`:                                                            "host:port",
		`[{"id":"1","target":"a:0", ` + rest + `}]`:                                                          "not a port",
		`[{"id":"","target":"a:1", ` + rest + `}]`:                                                           "id: is empty",
		`[{"id":"1","target":"a:1","method":"POST", ` + rest + `}]`:                                          "only GET and HEAD",
		`[{"id":"1","target":"a:1",` + rest + `},{"id":"1","target":"a:1", ` + rest + `}]`:                   "another",
		`[{"id":"1","target":"a:1","protocol":"tcp","path":"/","timeout":"1s","expect":"allowed"}]`:          "are for http",
		`[{"id":"1","target":"a:1","protocol":"udp","timeout":"1s","expect":"allowed"}]`:                     "none of",
		`[{"id":"1","target":"a:1","protocol":"tcp","timeout":"0s","expect":"allowed"}]`:                     "timeout",
		`[{"id":"1","target":"a:1","protocol":"tcp","timeout":"1s","expect":"maybe"}]`:                       "neither",
		`[{"id":"1","target":"a:1","protocol":"tcp","timeout":1,"expect":"allowed"}]`:                        "cannot be read",
		`[{"id":"1","target":"a:1","protocol":"tcp","timeout":"1s","expect":"allowed","headers":{"x":"y"}}]`: "are for http",
		`[{"id":"1","target":":1","protocol":"tcp","timeout":"1s","expect":"allowed"}]`:                      "host:port",
		`[{"id":"1","target":"a:70000","protocol":"tcp","timeout":"1s","expect":"allowed"}]`:                 "not a port",
		`[{"id":"1","target":"a:1","protocol":"tcp","timeout":"soon","expect":"allowed"}]`:                   "cannot be read",
	} {
		t.Run(text, func(t *testing.T) {
			status, report, said := probe(t, text, "try")
			if status != wire.StatusUntold || !strings.Contains(report.Error, want) || !strings.Contains(said, want) {
				t.Errorf("status %d, report %+v, said %q; want %q", status, report, said, want)
			}
		})
	}
	if status, report, said := probe(t, "", "--help"); status != wire.StatusUntold || report.Error != "" || !strings.Contains(said, "usage") {
		t.Errorf("status %d, report %+v, said %q", status, report, said)
	}
}

func TestReportOfMostCallsFits(t *testing.T) {
	target := application(t, answering(403, strings.Repeat("ü<", 200)))
	var calls []wire.Call
	for i := range wire.MostCalls {
		calls = append(calls, wire.Call{ID: fmt.Sprint(100 + i), Target: target, Protocol: wire.HTTP, Timeout: wire.Duration(5 * time.Second), Expect: wire.Allowed})
	}
	text, err := wire.EncodeCalls(calls)
	if err != nil {
		t.Fatal(err)
	}
	status, report, said := probe(t, text, "try")
	if status != 0 || len(report.Results) != len(calls) {
		t.Errorf("status %d, %d results, %s", status, len(report.Results), said)
	}
}

func TestReportThatCannotBeWritten(t *testing.T) {
	text, err := wire.EncodeCalls([]wire.Call{{ID: "1", Target: nobody(t), Protocol: wire.TCP, Timeout: wire.Duration(time.Second), Expect: wire.Refused}})
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	if status := run(t.Context(), []string{"try", "-calls", text, "-report", t.TempDir()}, &said); status != wire.StatusUntold || said.Len() == 0 {
		t.Errorf("status %d, said %q", status, said.String())
	}
}

func TestServe(t *testing.T) {
	addresses := []string{nobody(t), nobody(t)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int)
	go func() { ended <- run(ctx, append([]string{"serve"}, addresses...), io.Discard) }()
	for _, address := range addresses {
		for outcome := wire.Unlistened; outcome != wire.Answered; {
			var calls = []wire.Call{{ID: "1", Target: address, Protocol: wire.HTTP, Timeout: wire.Duration(5 * time.Second), Expect: wire.Allowed}}
			text, err := wire.EncodeCalls(calls)
			if err != nil {
				t.Fatal(err)
			}
			_, report, _ := probe(t, text, "try")
			if result, found := report.Of("1"); found {
				outcome = result.Outcome
			}
		}
	}
	cancel()
	if status := <-ended; status != 0 {
		t.Errorf("status %d", status)
	}
	if status := run(t.Context(), []string{"serve", "127.0.0.1:nowhere"}, io.Discard); status != wire.StatusUntold {
		t.Errorf("status %d", status)
	}
}
