package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

var (
	restarted = v1alpha1.Step{
		ID: "restart-workloads/deployment/cart", Phase: v1alpha1.PhaseRestartWorkloads,
		Gate: v1alpha1.Gate{Workloads: []v1alpha1.ObjectReference{{Kind: "Deployment", Namespace: "shop", Name: "cart"}}},
	}
	gated   = v1alpha1.AwaitedGate{Step: restarted.ID, Workloads: restarted.Gate.Workloads}
	settled = v1alpha1.Step{ID: "settle-policies", Phase: v1alpha1.PhaseSettlePolicies}
)

func gates(t *testing.T, in io.Reader, errOut io.Writer) *between {
	t.Helper()
	o := options(t, in, io.Discard, errOut)
	o.InTerminal = true
	return &between{session: o.session}
}

func TestGateExec(t *testing.T) {
	var printed bytes.Buffer
	b := gates(t, nil, &printed)
	b.command = `echo "$KUBECTL_AMBIENT_NAMESPACE $KUBECTL_AMBIENT_WORKLOAD $KUBECTL_AMBIENT_STEP"`
	if err := b.gate(t.Context(), gated); err != nil {
		t.Error(err)
	}
	if got := printed.String(); got != "shop deployment/cart restart-workloads/deployment/cart\n" {
		t.Errorf("the command is told %q", got)
	}
	b.command = "exit 7"
	if err := b.gate(t.Context(), gated); err == nil || !strings.Contains(err.Error(), `after step restart-workloads/deployment/cart: --gate-exec: "exit 7": exit status 7`) {
		t.Errorf("the error is %v", err)
	}
}

func TestGateExecEndsWithItsContext(t *testing.T) {
	b := gates(t, nil, io.Discard)
	b.command = "exec sleep 600"
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := b.gate(ctx, gated); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
}

func TestGatePrometheus(t *testing.T) {
	for name, test := range map[string]struct {
		answer, want string
		status       int
	}{
		"it holds":                 {answer: `{"resultType":"vector","result":[{"metric":{"job":"a"},"value":[1,"0.001"]}]}`},
		"a scalar holds":           {answer: `{"resultType":"scalar","result":[1,"1"]}`},
		"it leaves nothing":        {answer: `{"resultType":"vector","result":[]}`, want: "does not hold: the result is empty"},
		"it says 0 of one":         {answer: `{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]},{"metric":{"job":"a"},"value":[1,"0"]}]}`, want: `{job="a"} => 0`},
		"a scalar of 0":            {answer: `{"resultType":"scalar","result":[1,"0"]}`, want: "does not hold"},
		"it is not a number":       {answer: `{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]},{"metric":{"job":"a"},"value":[1,"NaN"]}]}`, want: `a result is not a number, such as a ratio of nothing has: the result is {} => 1 @[1] {job="a"} => NaN`},
		"a scalar that is none":    {answer: `{"resultType":"scalar","result":[1,"NaN"]}`, want: "is not a number"},
		"it is no instant":         {answer: `{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"]]}]}`, want: "does not hold"},
		"the server does not know": {answer: `{}`, status: http.StatusInternalServerError, want: "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			var asked string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = r.FormValue("query")
				if test.status != 0 {
					w.WriteHeader(test.status)
				}
				fmt.Fprintf(w, `{"status":"success","data":%s}`, test.answer)
			}))
			defer server.Close()
			b := gates(t, nil, io.Discard)
			b.query, b.address = "errors < 0.01", server.URL
			if err := b.complete(b.session); err != nil {
				t.Fatal(err)
			}
			err := b.gate(t.Context(), gated)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("the error is %v", err)
			}
			if asked != "errors < 0.01" {
				t.Errorf("it asked for %q", asked)
			}
		})
	}
}

// A phase that a plan has no step of is over when the next one begins.
func TestPauseAfterAPhaseWithoutSteps(t *testing.T) {
	deployed, routed := v1alpha1.Step{Phase: v1alpha1.PhaseDeployWaypoints}, v1alpha1.Step{Phase: v1alpha1.PhaseActivateWaypoints}
	const question = "\nPhase migrate-policies is done. Go on? [y/N] "
	const nobody = "Phase migrate-policies has nothing left to be done: --pause-after asks nobody.\n"
	for name, test := range map[string]struct {
		steps []v1alpha1.Step
		asks  string
	}{
		"it is left out":              {[]v1alpha1.Step{deployed, deployed, routed, restarted}, question},
		"the plan begins after it":    {[]v1alpha1.Step{routed, restarted}, nobody},
		"the plan ends before it":     {[]v1alpha1.Step{deployed, deployed}, ""},
		"there is nothing to be done": {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var asked bytes.Buffer
			b := gates(t, strings.NewReader("y\n"), &asked)
			b.pauseAfter = string(v1alpha1.PhaseMigratePolicies)
			for range 2 {
				b.tellUnasked(test.steps)
			}
			for i := range len(test.steps) - 1 {
				if err := b.pass(t.Context(), test.steps[i], test.steps[i+1]); err != nil {
					t.Error(err)
				}
			}
			if asked.String() != test.asks {
				t.Errorf("it asks %q", asked.String())
			}
		})
	}
}

func TestPauseAfter(t *testing.T) {
	var asked bytes.Buffer
	b := gates(t, strings.NewReader("y\nn\n"), &asked)
	b.pauseAfter = string(v1alpha1.PhaseRestartWorkloads)
	if err := b.pass(t.Context(), restarted, restarted); err != nil || asked.Len() > 0 {
		t.Errorf("it asks in the middle of the phase: %q, %v", asked.String(), err)
	}
	if err := b.pass(t.Context(), restarted, settled); err != nil {
		t.Error(err)
	}
	if err := b.pass(t.Context(), restarted, settled); !errors.Is(err, errNotContinued) {
		t.Errorf("the error is %v", err)
	}
	if want := "\nPhase restart-workloads is done. Go on? [y/N] "; asked.String() != want+want {
		t.Errorf("it asks %q", asked.String())
	}
}

func TestBetweenComplete(t *testing.T) {
	for want, spoil := range map[string]func(*between){
		"--pause-after: unknown phase":                       func(b *between) { b.pauseAfter = "lunch" },
		"stdin is not a terminal: use --until":               func(b *between) { b.pauseAfter, b.session.InTerminal = "pin", false },
		"--gate-prometheus and --prometheus-url go together": func(b *between) { b.query = "up" },
		"--prometheus-url: parse":                            func(b *between) { b.query, b.address = "up", "http://%zz" },
	} {
		b := gates(t, nil, io.Discard)
		spoil(b)
		if err := b.complete(b.session); ExitStatus(err) != StatusUsage || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, the error is %v", want, err)
		}
	}
}
