package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// What becomes of a look at the cluster.
var (
	errAway  = error(&url.Error{Op: "Get", URL: "https://192.0.2.1/version", Err: &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}})
	errBusy  = error(apierrors.NewServiceUnavailable("it restarts"))
	errTaken = error(apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New("not any more")))
)

// always signals changes, so that nothing is waited for.
func always() <-chan struct{} {
	changed := make(chan struct{})
	close(changed)
	return changed
}

// reporting is a look that fails a check, or none.
func reporting(verified bool) []v1alpha1.VerifyReport {
	report := v1alpha1.VerifyReport{Namespace: "shop", Verified: verified}
	if !verified {
		report.Results = []v1alpha1.CheckResult{{ID: "a", Status: v1alpha1.StatusFail, Message: "a pod is not ready"}}
	}
	return []v1alpha1.VerifyReport{report}
}

func TestVerifyWaitsForAnAPIServerThatIsAway(t *testing.T) {
	const notReady, away, busy = "waiting: namespace shop: a pod is not ready (a)\n", "connection refused: check --context and --kubeconfig\n", "waiting: it restarts\n"
	tests := map[string]struct {
		// looks are their errors; where there is none, nil for a check that fails. After
		// them, every check passes.
		looks []error
		// told is what stderr ends with; err what the command does, nil where it verifies.
		told []string
		err  error
	}{
		"it comes back":                        {looks: []error{nil, errAway, errBusy, nil}, told: []string{notReady, away, notReady}},
		"it goes twice":                        {looks: []error{nil, errBusy, nil, errBusy}, told: []string{notReady, busy, notReady, busy}},
		"it was never there":                   {looks: []error{errAway}, err: errAway},
		"a permission that was taken meantime": {looks: []error{nil, errTaken}, told: []string{notReady}, err: errTaken},
		"an error of another kind":             {looks: []error{nil, io.ErrShortWrite}, told: []string{notReady}, err: io.ErrShortWrite},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var told bytes.Buffer
			o := &verifyOptions{namespaced: options(t, nil, io.Discard, &told).namespaced}
			looks := 0
			reports, err := o.settled(t.Context(), t.Context(), always(), func(context.Context) ([]v1alpha1.VerifyReport, error) {
				if looks++; looks > len(test.looks) {
					return reporting(true), nil
				}
				if err := test.looks[looks-1]; err != nil {
					return nil, o.explain(err)
				}
				return reporting(false), nil
			})
			if !errors.Is(err, test.err) || test.err == nil && (len(reports) != 1 || !reports[0].Verified) {
				t.Errorf("after %d looks: %+v, %v", looks, reports, err)
			}
			lines := strings.SplitAfter(told.String(), "\n")
			lines = lines[:len(lines)-1]
			if len(lines) != len(test.told) {
				t.Fatalf("it says %q", lines)
			}
			for i, want := range test.told {
				if !strings.HasSuffix(lines[i], want) {
					t.Errorf("line %d is %q, want %q", i, lines[i], want)
				}
			}
		})
	}
}

// Where the API server does not come back in time, the look before it went counts.
func TestVerifyWaitsNoLongerThanItsTimeout(t *testing.T) {
	o := &verifyOptions{namespaced: options(t, nil, io.Discard, io.Discard).namespaced}
	waiting, cancel := context.WithCancel(t.Context())
	looks := 0
	reports, err := o.settled(t.Context(), waiting, always(), func(context.Context) ([]v1alpha1.VerifyReport, error) {
		if looks++; looks == 1 {
			return reporting(false), nil
		}
		cancel()
		return nil, errAway
	})
	if err != nil || looks != 2 || verdictOn(reports) == nil {
		t.Errorf("after %d looks: %+v, %v", looks, reports, err)
	}
}

// The limiter refuses a request that --timeout leaves no time for, before the time is up.
func TestVerifyTellsOfALookThatTheTimeoutLeavesNoTimeFor(t *testing.T) {
	limiter := rate.NewLimiter(rate.Every(time.Hour), 1)
	limiter.Allow()
	for name, test := range map[string]struct {
		finished int
		says     string
	}{
		"the first look": {says: "no look was finished within --timeout=1m0s"},
		"a later one":    {finished: 1},
	} {
		t.Run(name, func(t *testing.T) {
			o := &verifyOptions{namespaced: options(t, nil, io.Discard, io.Discard).namespaced}
			o.timeout = time.Minute
			waiting, cancel := context.WithTimeout(t.Context(), o.timeout)
			defer cancel()
			looks := 0
			reports, err := o.settled(t.Context(), waiting, always(), func(ctx context.Context) ([]v1alpha1.VerifyReport, error) {
				if looks++; looks <= test.finished {
					return reporting(false), nil
				}
				err := limiter.Wait(ctx)
				if err == nil || waiting.Err() != nil {
					t.Fatalf("the limiter let the request wait: %v", err)
				}
				return nil, err
			})
			switch {
			case test.says == "" && (err != nil || verdictOn(reports) == nil):
				t.Errorf("the look before does not count: %+v, %v", reports, err)
			case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)):
				t.Errorf("want %q: %v", test.says, err)
			}
		})
	}
}

func TestFollowGoesOnWhileTheAPIServerIsAway(t *testing.T) {
	for name, test := range map[string]struct {
		draws []error
		err   error
		out   string
		told  int
	}{
		"it comes back":                   {draws: []error{nil, errAway, errBusy, nil, errBusy, nil}, out: "picture\n\npicture\n\npicture\n", told: 2},
		"nothing changes":                 {draws: []error{nil, nil}, out: "picture\n"},
		"it was never there":              {draws: []error{errAway}, err: errAway},
		"a permission that was taken":     {draws: []error{nil, errTaken}, err: errTaken, out: "picture\n"},
		"one that was taken, after a gap": {draws: []error{nil, errAway, errTaken}, err: errTaken, out: "picture\n", told: 1},
	} {
		t.Run(name, func(t *testing.T) {
			var out, told bytes.Buffer
			s := options(t, nil, &out, &told).session
			s.Now = time.Now
			draws := 0
			err := s.drawn(t.Context(), always(), func(_ context.Context, out io.Writer) error {
				if draws++; draws > len(test.draws) {
					return context.Canceled
				}
				if err := test.draws[draws-1]; err != nil {
					return err
				}
				fmt.Fprintln(out, "picture")
				return nil
			})
			if !errors.Is(err, test.err) || out.String() != test.out || strings.Count(told.String(), "\n") != test.told {
				t.Errorf("after %d draws the error is %v; it shows %q and says %q", draws, err, out.String(), told.String())
			}
		})
	}
}
