package plugin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plan"
	"github.com/prometheus/client_golang/api"
	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"
)

// between is what has to agree before a run goes on: a person after a phase, and
// an operator's own measures after each workload.
type between struct {
	session    *session
	pauseAfter string
	// told is true once it was said that nobody is asked.
	told       bool
	command    string
	query      string
	address    string
	prometheus prometheus.API
}

// The flags' names.
const (
	flagGateExec       = "gate-exec"
	flagPauseAfter     = "pause-after"
	flagGatePrometheus = "gate-prometheus"
)

func (b *between) addFlags(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&b.pauseAfter, flagPauseAfter, "", "Ask whether to go on when this `PHASE` is done")
	flags.StringVar(&b.command, flagGateExec, "",
		"After each workload, run this `COMMAND` in a shell, and go on only if it exits with 0. KUBECTL_AMBIENT_NAMESPACE, _WORKLOAD and _STEP tell it what was done")
	flags.StringVar(&b.query, flagGatePrometheus, "",
		"After each workload, evaluate this PromQL `QUERY`, such as rate(errors[1m]) < 0.01, and go on only if it holds: it has a result, and none that is 0 or not a number")
	flags.StringVar(&b.address, "prometheus-url", "", "Where --gate-prometheus asks: the `URL` of a Prometheus server")
}

func (b *between) complete(session *session) error {
	b.session = session
	if err := (plan.Span{Until: v1alpha1.Phase(b.pauseAfter)}).Validate(); err != nil {
		return usageError("--pause-after: %w", err)
	}
	if b.pauseAfter != "" && !session.InTerminal {
		return usageError("--pause-after asks whether to go on, and stdin is not a terminal: use --until, and enroll again")
	}
	if (b.query == "") != (b.address == "") {
		return usageError("--gate-prometheus and --prometheus-url go together")
	}
	if b.query == "" {
		return nil
	}
	client, err := api.NewClient(api.Config{Address: b.address})
	if err != nil {
		return usageError("--prometheus-url: %w", err)
	}
	b.prometheus = prometheus.NewAPI(client)
	return nil
}

// gated says whether anything is to be asked after each workload.
func (b *between) gated() bool { return b.command != "" || b.query != "" }

// gate says whether a run may go on after a step that has restarted workloads.
func (b *between) gate(ctx context.Context, done v1alpha1.AwaitedGate) error {
	if err := b.execute(ctx, done); err != nil {
		return fmt.Errorf("after step %s: --%s: %w", done.Step, flagGateExec, err)
	}
	if err := b.ask(ctx); err != nil {
		return fmt.Errorf("after step %s: --%s: %w", done.Step, flagGatePrometheus, err)
	}
	return nil
}

// pass says whether a run may go on from a step that is done to the next one.
func (b *between) pass(ctx context.Context, done, next v1alpha1.Step) error {
	if b.leaves(done, next) {
		return b.pause(ctx, v1alpha1.Phase(b.pauseAfter))
	}
	return nil
}

// leaves says whether the phase that somebody is to be asked after is over between two
// steps. A plan need not have a step in it.
func (b *between) leaves(done, next v1alpha1.Step) bool {
	upTo := plan.Span{Until: v1alpha1.Phase(b.pauseAfter)}
	return b.pauseAfter != "" && upTo.Holds(done.Phase) && !upTo.Holds(next.Phase)
}

// tellUnasked tells, once, of a plan whose steps all come after the phase that somebody is
// to be asked after: nobody is.
func (b *between) tellUnasked(steps []v1alpha1.Step) {
	if b.pauseAfter == "" || b.told || len(steps) == 0 || (plan.Span{Until: v1alpha1.Phase(b.pauseAfter)}).Holds(steps[0].Phase) {
		return
	}
	b.told = true
	fmt.Fprintf(b.session.Streams.ErrOut, "Phase %s has nothing left to be done: --%s asks nobody.\n", b.pauseAfter, flagPauseAfter)
}

// grace is how long a command may go on after it was told to end.
const grace = 5 * time.Second

func (b *between) execute(ctx context.Context, done v1alpha1.AwaitedGate) error {
	if b.command == "" {
		return nil
	}
	shell, flag := "sh", "-c"
	if runtime.GOOS == "windows" {
		shell, flag = "cmd", "/C"
	}
	command := exec.CommandContext(ctx, shell, flag, b.command) // #nosec G204 -- it is the operator's own command
	command.WaitDelay = grace
	// What the command prints is for people: stdout may be one document.
	command.Stdout, command.Stderr = b.session.Streams.ErrOut, b.session.Streams.ErrOut
	namespace, err := b.session.namespace()
	if err != nil {
		return err
	}
	var workloads []string
	for _, workload := range done.Workloads {
		workloads = append(workloads, strings.ToLower(workload.Kind)+"/"+workload.Name)
	}
	command.Env = append(os.Environ(),
		"KUBECTL_AMBIENT_NAMESPACE="+namespace, "KUBECTL_AMBIENT_WORKLOAD="+strings.Join(workloads, ","), "KUBECTL_AMBIENT_STEP="+done.Step)
	if err := command.Run(); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return fmt.Errorf("%q: %w", b.command, err)
	}
	return nil
}

// ask evaluates the query. PromQL leaves out what a comparison does not hold for,
// and with the modifier bool says 0.
func (b *between) ask(ctx context.Context) error {
	if b.query == "" {
		return nil
	}
	value, warnings, err := b.prometheus.Query(ctx, b.query, time.Time{})
	if err != nil {
		return fmt.Errorf("%s does not answer: %w", b.address, err)
	}
	for _, warning := range warnings {
		fmt.Fprintf(b.session.Streams.ErrOut, "      prometheus: %s\n", warning)
	}
	if unsaid(value) {
		return fmt.Errorf("%q does not hold: a result is not a number, such as a ratio of nothing has: the result is %s", b.query, result(value))
	}
	if !holds(value) {
		return fmt.Errorf("%q does not hold: the result is %s", b.query, result(value))
	}
	return nil
}

// unsaid says whether a result is not a number: PromQL has that of 0/0, and it is not 0.
func unsaid(value model.Value) bool {
	switch value := value.(type) {
	case model.Vector:
		return slices.ContainsFunc(value, func(sample *model.Sample) bool { return math.IsNaN(float64(sample.Value)) })
	case *model.Scalar:
		return math.IsNaN(float64(value.Value))
	default:
		return false
	}
}

func holds(value model.Value) bool {
	switch value := value.(type) {
	case model.Vector:
		return len(value) > 0 && !slices.ContainsFunc(value, func(sample *model.Sample) bool { return sample.Value == 0 })
	case *model.Scalar:
		return value.Value != 0
	default:
		return false
	}
}

func result(value model.Value) string {
	if text := strings.Join(strings.Fields(value.String()), " "); text != "" {
		return text
	}
	return "empty"
}

// errNotContinued is why a run ends that was not to go on, errNobodyAnswered why one does
// that nobody has told to: neither is a failure that is to be undone.
var (
	errNotContinued   = errors.New("stopped as you asked")
	errNobodyAnswered = errors.New("nobody has answered within --timeout")
)

func (b *between) pause(ctx context.Context, phase v1alpha1.Phase) error {
	fmt.Fprintf(b.session.Streams.ErrOut, "\nPhase %s is done. Go on? [y/N] ", phase)
	agreed, err := b.session.answer(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("after phase %s: %w: %w", phase, errNobodyAnswered, err)
	}
	if err != nil {
		return fmt.Errorf("after phase %s: %w", phase, err)
	}
	if !agreed {
		return fmt.Errorf("after phase %s: %w", phase, errNotContinued)
	}
	return nil
}

// answer reads whether somebody agrees.
func (s *session) answer(ctx context.Context) (bool, error) {
	if s.answers == nil {
		s.answers = bufio.NewReader(s.Streams.In)
	}
	answers := make(chan string, 1)
	go func() {
		// A read cannot be interrupted; the process ends before the goroutine
		// where nobody answers.
		answer, _ := s.answers.ReadString('\n')
		answers <- strings.ToLower(strings.TrimSpace(answer))
	}()
	select {
	case answer := <-answers:
		return answer == "y" || answer == "yes", nil
	case <-ctx.Done():
		fmt.Fprintln(s.Streams.ErrOut)
		return false, context.Cause(ctx)
	}
}
