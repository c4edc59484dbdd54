package e2e

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

var timestamps = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)

// clock is a proxy that shows a cluster whose clock is apart: every time that the API
// server tells is later by so much, and every one that it is told is earlier.
type clock time.Duration

func (c clock) decide(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/portforward") {
			next.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = shifted(body, -time.Duration(c))
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		r.Header.Set("Accept", strings.ReplaceAll(r.Header.Get("Accept"), "application/vnd.kubernetes.protobuf", "application/json"))
		// The proxy's own transport asks for it, and takes it off.
		r.Header.Del("Accept-Encoding")
		answer := &shifting{ResponseWriter: w, by: time.Duration(c)}
		next.ServeHTTP(answer, r)
		answer.rest()
	})
}

// shifted is a text in which every time is later.
func shifted(text []byte, by time.Duration) []byte {
	return timestamps.ReplaceAllFunc(text, func(found []byte) []byte {
		// The layout has as many digits as were found.
		layout := "2006-01-02T15:04:05"
		if fraction := len(found) - len(layout) - len("Z"); fraction > 0 {
			layout += "." + strings.Repeat("0", fraction-1)
		}
		moment, err := time.Parse(layout+"Z", string(found))
		if err != nil {
			return found
		}
		return []byte(moment.Add(by).Format(layout + "Z"))
	})
}

// shifting shifts the times of an answer, line by line: an event of a watch is one.
type shifting struct {
	http.ResponseWriter
	by   time.Duration
	held []byte
}

func (s *shifting) WriteHeader(code int) {
	if date, err := http.ParseTime(s.Header().Get("Date")); err == nil {
		s.Header().Set("Date", date.Add(s.by).Format(http.TimeFormat))
	}
	s.ResponseWriter.WriteHeader(code)
}

func (s *shifting) Write(data []byte) (int, error) {
	s.held = append(s.held, data...)
	end := bytes.LastIndexByte(s.held, '\n') + 1
	if _, err := s.ResponseWriter.Write(shifted(s.held[:end], s.by)); err != nil {
		return 0, err
	}
	s.held = append([]byte(nil), s.held[end:]...)
	return len(data), nil
}

func (s *shifting) rest() { _, _ = s.ResponseWriter.Write(shifted(s.held, s.by)) }

func (s *shifting) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// TestClocksApart: the clock of the cluster is an hour apart from that of whoever runs
// the plugin. What came up meanwhile is told from what was there before, and who holds
// the lock is told from who has died.
func TestClocksApart(t *testing.T) {
	t.Parallel()
	for namespace, by := range map[string]time.Duration{"clock-ahead": time.Hour, "clock-behind": -time.Hour} {
		t.Run(namespace, func(t *testing.T) {
			t.Parallel()
			c := shared
			before := c.shop(t, namespace)
			modes := c.watchModes(t, namespace)
			apart := []string{"KUBECONFIG=" + c.behind(t, clock(by).decide)}
			other := []string{"KUBECONFIG=" + c.behind(t, clock(-by).decide)}

			release := c.HoldReadiness(withoutSidecar(namespace, "db"))
			run := c.startAmbient(t.Context(), t, apart, "enroll", "-n", namespace, "--yes")
			c.eventually(t, "the run waits for db", func(context.Context) error { return run.stderr.contains("waiting: ") })
			for _, environment := range [][]string{nil, other} {
				says(t, c.ambientIn(t, environment, "rollback", "-n", namespace, "--yes").want(t, 3).stderr, "is being changed by run")
			}
			if err := run.command.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			run.wait(t).want(t, -1)
			if err := release(context.WithoutCancel(t.Context())); err != nil {
				t.Fatal(err)
			}
			says(t, c.ambientIn(t, other, "enroll", "-n", namespace, "--yes", "--resume").want(t, 0).stderr, "is still alive")
			c.wantNoSidecars(t, namespace)
			c.ambientIn(t, apart, "verify", "-n", namespace).want(t, 0)
			modes.want(t)

			c.applyText(t, namespace, newcomer)
			c.settled(t, namespace)
			c.ambientIn(t, apart, "rollback", "-n", namespace, "--yes").want(t, 0)
			c.settled(t, namespace)
			c.wantSidecars(t, namespace)
			if _, err := c.Kubectl(t.Context(), "delete", "-n", namespace, "deployment", "newcomer"); err != nil {
				t.Fatal(err)
			}
			c.settled(t, namespace)
			c.wantState(t, namespace, before)
		})
	}
}
