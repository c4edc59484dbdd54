// Command kubectl-ambient-probe runs in the pods of verify --probe: it tries calls and
// reports what became of them, or answers them. It has no shell beside it, and nothing
// but the standard library in it.
//
//	kubectl-ambient-probe try [-calls JSON] [-report FILE]
//	kubectl-ambient-probe serve ADDRESS...
//
// try takes its calls from the environment variable PROBE_CALLS unless -calls is there.
// Its exit status is 0 where everything became as expected, 1 where something did not,
// 2 where something could not be tried.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/probe/trial"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/probe/wire"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stderr)
	stop()
	os.Exit(status)
}

func run(ctx context.Context, arguments []string, errOut io.Writer) int {
	var err error
	status := wire.StatusUntold
	switch {
	case len(arguments) > 0 && arguments[0] == "try":
		status, err = try(ctx, arguments[1:], errOut)
	case len(arguments) > 1 && arguments[0] == "serve":
		if err = trial.Serve(ctx, arguments[1:]); err == nil {
			status = wire.StatusExpected
		}
	default:
		err = errors.New("usage: kubectl-ambient-probe try [-calls JSON] [-report FILE] | serve ADDRESS")
	}
	if err != nil {
		fmt.Fprintln(errOut, err)
	}
	return status
}

// try tries the calls that it is given, and writes its report.
func try(ctx context.Context, arguments []string, errOut io.Writer) (int, error) {
	flags := flag.NewFlagSet("try", flag.ContinueOnError)
	flags.SetOutput(errOut)
	text := flags.String("calls", os.Getenv(wire.Variable), "the calls, as JSON")
	path := flags.String("report", "/dev/termination-log", "the file that the report is written to")
	if err := flags.Parse(arguments); err != nil {
		return wire.StatusUntold, nil //nolint:nilerr // The flags have said so themselves.
	}
	calls, err := wire.DecodeCalls([]byte(*text))
	if err != nil {
		return wire.StatusUntold, errors.Join(err, write(*path, wire.Report{Error: err.Error()}))
	}
	report := trial.All(ctx, calls)
	if err := write(*path, report); err != nil {
		return wire.StatusUntold, err
	}
	return report.Status(calls), nil
}

// write writes into the file that the kubelet has made; where there is none, a new one.
func write(path string, report wire.Report) error {
	data, err := report.Encode()
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600) //nolint:gosec // The path is that of the container's own termination log.
}
