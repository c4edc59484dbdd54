// Package wire is what the probe program and those who start it tell each other: the
// calls that it is to try, and what became of them. It has nothing but the standard
// library, as the program has.
package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"
)

// Variable is the environment variable that holds the calls.
const Variable = "PROBE_CALLS"

// The exit status of the program: everything became as expected; something did not;
// nothing was wrong, but something could not be tried or not be told.
const (
	StatusExpected  = 0
	StatusDifferent = 1
	StatusUntold    = 2
)

// MostReported is what Kubernetes keeps of a termination message (kubernetes
// pkg/kubelet/container, MaxContainerTerminationMessageLength).
const MostReported = 4096

// MostCalls is how many calls one pod tries: the report of as many fits, details
// included.
const MostCalls = 20

// mostDetail is how much one result says besides its outcome.
const mostDetail = 96

// Protocol is what a call speaks.
type Protocol string

// The protocols. Plaintext is an HTTP request in clear text where the point is that it
// is not encrypted, not what is asked for.
const (
	HTTP      Protocol = "http"
	TCP       Protocol = "tcp"
	Plaintext Protocol = "plaintext"
)

// Expectation is what should become of a call.
type Expectation string

// The expectations.
const (
	Allowed Expectation = "allowed"
	Refused Expectation = "refused"
)

// Call is one that is to be tried.
type Call struct {
	ID string `json:"id"`
	// Target is host:port.
	Target   string   `json:"target"`
	Protocol Protocol `json:"protocol"`
	// Method, Path, Host and Headers are for HTTP. Method is GET where it is empty, Path
	// is /, Host that of Target.
	Method  string            `json:"method,omitempty"`
	Path    string            `json:"path,omitempty"`
	Host    string            `json:"host,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	// Timeout bounds the call, name resolution included.
	Timeout Duration    `json:"timeout"`
	Expect  Expectation `json:"expect"`
}

// Duration is written as time.ParseDuration reads it.
type Duration time.Duration

// MarshalJSON writes a duration as text.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON reads it.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	parsed, err := time.ParseDuration(text)
	*d = Duration(parsed)
	return err
}

// Outcome is what became of a call.
type Outcome string

// The outcomes.
const (
	// Answered: something answered over HTTP; Status says what.
	Answered Outcome = "answered"
	// Open: a TCP connection was not closed while the call lasted, or bytes came.
	Open Outcome = "open"
	// RBAC: a proxy's authorization filter refused, and said so.
	RBAC Outcome = "rbac"
	// Forbidden: 403 in other words than the filter's. The application may have said it,
	// or somebody in front of it.
	Forbidden Outcome = "forbidden"
	// Reset: the connection was made and closed before any answer. ztunnel refuses like
	// this, but so does an application, and a proxy that reaches nobody.
	Reset Outcome = "reset"
	// Unavailable: a proxy on the way could not get an answer.
	Unavailable Outcome = "unavailable"
	// TLS: the answer to clear text was a message of TLS.
	TLS Outcome = "tls"
	// Garbled: bytes that are no HTTP.
	Garbled Outcome = "garbled"
	// Timeout: no connection, or no answer, in time.
	Timeout Outcome = "timeout"
	// Unlistened: nobody listens there.
	Unlistened Outcome = "unlistened"
	// Unnamed: the name was not found.
	Unnamed Outcome = "unnamed"
	// Unreachable: there is no way there.
	Unreachable Outcome = "unreachable"
)

// Result is what became of a call.
type Result struct {
	ID      string  `json:"id"`
	Outcome Outcome `json:"outcome"`
	// Status is that of HTTP, 0 for none.
	Status int    `json:"status,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Judgement compares an outcome with what was expected.
type Judgement int

// The judgements. Untold is what neither way can be told by this call alone.
const (
	AsExpected Judgement = iota
	Different
	Untold
)

// Judge says whether an outcome is as expected. A call that should be refused and was
// reset is as expected, although somebody else may have done it: whoever reads the
// report has to see that the same target answers others.
func Judge(expect Expectation, outcome Outcome) Judgement {
	through := []Outcome{Answered, Open, Garbled}
	stopped := []Outcome{RBAC, Reset}
	if expect == Allowed {
		// An application that refuses by itself was reached; what gets no answer in
		// time does not work, whoever is to blame.
		through, stopped = append(through, Forbidden), append(stopped, Timeout)
	}
	passed, failed := slices.Contains(through, outcome), slices.Contains(stopped, outcome)
	switch {
	case !passed && !failed:
		return Untold
	case passed == (expect == Allowed):
		return AsExpected
	default:
		return Different
	}
}

// Report is what a run of the program found.
type Report struct {
	Results []Result `json:"results"`
	// Error is why nothing was tried.
	Error string `json:"error,omitempty"`
}

// Status is the exit status that goes with a report.
func (r Report) Status(calls []Call) int {
	status := StatusExpected
	for _, call := range calls {
		result, found := r.Of(call.ID)
		switch {
		case found && Judge(call.Expect, result.Outcome) == Different:
			return StatusDifferent
		case !found || Judge(call.Expect, result.Outcome) == Untold:
			status = StatusUntold
		}
	}
	return status
}

// Of returns the result of a call.
func (r Report) Of(id string) (Result, bool) {
	at := slices.IndexFunc(r.Results, func(result Result) bool { return result.ID == id })
	if at < 0 {
		return Result{}, false
	}
	return r.Results[at], true
}

// Encode writes a report so that Kubernetes keeps it whole: without details where it
// would be too long.
func (r Report) Encode() ([]byte, error) {
	short := Report{Error: cut(r.Error, MostReported/2), Results: slices.Clone(r.Results)}
	for i := range short.Results {
		short.Results[i].Detail = cut(short.Results[i].Detail, mostDetail)
	}
	data, err := json.Marshal(short)
	if err != nil || len(data) <= MostReported {
		return data, err
	}
	for i := range short.Results {
		short.Results[i].Detail = ""
	}
	if data, err = json.Marshal(short); err == nil && len(data) > MostReported {
		return nil, fmt.Errorf("the report of %d calls has %d bytes, of which Kubernetes keeps %d: try fewer calls", len(r.Results), len(data), MostReported)
	}
	return data, err
}

func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return string(bytes.ToValidUTF8([]byte(text[:most-3]), nil)) + "..."
}

// DecodeReport reads a termination message, and wants it to be about some calls: one
// result each, and no other.
func DecodeReport(data []byte, calls []Call) (Report, error) {
	var report Report
	if err := decode(data, &report); err != nil {
		return Report{}, fmt.Errorf("the report cannot be read: %w", err)
	}
	if report.Error != "" {
		return report, nil
	}
	if len(report.Results) != len(calls) {
		return Report{}, fmt.Errorf("the report has %d results for %d calls", len(report.Results), len(calls))
	}
	for _, call := range calls {
		result, found := report.Of(call.ID)
		if !found {
			return Report{}, fmt.Errorf("the report says nothing of call %s", call.ID)
		}
		if !known(result.Outcome) {
			return Report{}, fmt.Errorf("the report has an outcome of call %s that is not known: %q", call.ID, cut(string(result.Outcome), mostDetail))
		}
	}
	return report, nil
}

func known(outcome Outcome) bool {
	return slices.Contains([]Outcome{Answered, Open, RBAC, Forbidden, Reset, Unavailable, TLS, Garbled, Timeout, Unlistened, Unnamed, Unreachable}, outcome)
}

// EncodeCalls writes calls for an environment variable of a pod: without dollars, by
// which Kubernetes refers to other variables.
func EncodeCalls(calls []Call) (string, error) {
	data, err := json.Marshal(calls)
	return string(bytes.ReplaceAll(data, []byte("$"), []byte(`\u0024`))), err
}

// DecodeCalls reads them, and wants each to be one that can be tried.
func DecodeCalls(data []byte) ([]Call, error) {
	var calls []Call
	if err := decode(data, &calls); err != nil {
		return nil, fmt.Errorf("the calls cannot be read: %w", err)
	}
	if len(calls) == 0 {
		return nil, errors.New("there are no calls")
	}
	seen := map[string]bool{}
	for i, call := range calls {
		if err := call.validate(); err != nil {
			return nil, fmt.Errorf("call %d: %w", i, err)
		}
		if seen[call.ID] {
			return nil, fmt.Errorf("call %d: id: there is another %q", i, call.ID)
		}
		seen[call.ID] = true
	}
	return calls, nil
}

// decode refuses what it does not know: a call that is tried otherwise than meant
// proves nothing.
func decode(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if decoder.More() {
		return errors.New("there is something after it")
	}
	return nil
}

func (c Call) validate() error {
	host, port, err := net.SplitHostPort(c.Target)
	switch {
	case c.ID == "":
		return errors.New("id: is empty")
	case err != nil || host == "":
		return fmt.Errorf("target: %q is not host:port", c.Target)
	case !isPort(port):
		return fmt.Errorf("target: %q is not a port", port)
	case !slices.Contains([]Protocol{HTTP, TCP, Plaintext}, c.Protocol):
		return fmt.Errorf("protocol: %q is none of http, tcp, plaintext", c.Protocol)
	case c.Protocol != HTTP && (c.Method != "" || c.Path != "" || c.Host != "" || len(c.Headers) > 0):
		return fmt.Errorf("method, path, host and headers are for http, not for %s", c.Protocol)
	case !slices.Contains([]string{"", "GET", "HEAD"}, c.Method):
		return fmt.Errorf("method: %q may change something: only GET and HEAD are tried", c.Method)
	case c.Timeout <= 0:
		return fmt.Errorf("timeout: %s is not more than nothing", time.Duration(c.Timeout))
	case c.Expect != Allowed && c.Expect != Refused:
		return fmt.Errorf("expect: %q is neither allowed nor refused", c.Expect)
	default:
		return nil
	}
}

func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}
