// The command controlplane keeps control planes running for work by hand:
//
//	eval "$(go run ./cmd/controlplane up)"
//
// starts one with Istio in ambient mode and points kubectl at it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage: controlplane COMMAND [flags]

commands:
  up      start a control plane and keep it running in the background
  down    stop it and remove its state
  status  say what runs
  build   only build the programs
  run     as up, in the foreground

flags of up and run:
  --istio ambient|sidecar|none  what to install (default ambient)
  --nodes N                     how many nodes (default 3)

flags of build:
  --all                         metrics-server, too, which only some tests run

flags of up, down and run:
  --name NAME                   which control plane (default "default")
`

func main() { os.Exit(execute(os.Args[1:])) }

// execute runs the command and returns the status of the process. Commands end
// in order when they are interrupted.
func execute(arguments []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, arguments)
	if err == nil {
		return 0
	}
	if !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
	}
	return 1
}

func run(ctx context.Context, arguments []string) error {
	commands := map[string]func(context.Context, []string) error{
		"up": up, "down": down, "status": status, "build": build, "run": runForeground,
	}
	if len(arguments) > 0 {
		if command, found := commands[arguments[0]]; found {
			return command(ctx, arguments[1:])
		}
	}
	fmt.Fprint(os.Stderr, usage)
	return flag.ErrHelp
}

// say tells people something. Standard output is for answers.
func say(message string) { fmt.Fprintln(os.Stderr, message) }

// answer writes what was asked for, which may be for a shell to evaluate.
func answer(format string, arguments ...any) { fmt.Fprintf(os.Stdout, format, arguments...) }
