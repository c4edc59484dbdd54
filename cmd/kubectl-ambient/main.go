// Command kubectl-ambient is the kubectl plugin: this file is the process, its
// signals, streams and exit status.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/kubectl-ambient/kubectl-ambient/pkg/plugin"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // Cloud providers' logins.
	"k8s.io/klog/v2"
)

// version is set by the build.
var version = "v0.0.0-unreleased"

func main() {
	os.Exit(run())
}

// It takes memory for time: what it reads of a mesh is there until it ends. Beyond
// memoryInPlenty it is careful.
const (
	garbagePercent = 300
	memoryInPlenty = 1 << 30
)

func run() int {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(garbagePercent)
		debug.SetMemoryLimit(memoryInPlenty)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var changing atomic.Bool
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		// The first signal lets the run stop in order; the second ends it.
		<-signals
		cancel()
		<-signals
		if changing.Load() {
			fmt.Fprintln(os.Stderr, "error: interrupted twice: the run did not stop in order; enroll again to go on, or roll back")
			os.Exit(plugin.StatusIncomplete)
		}
		os.Exit(plugin.StatusInterrupted)
	}()
	// Libraries log what they then return as errors; users read those.
	klog.SetLogger(logr.Discard())
	command := plugin.NewCommand(plugin.Environment{
		Streams:     genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
		Version:     version,
		Now:         time.Now,
		Changing:    func() { changing.Store(true) },
		InTerminal:  term.IsTerminal(int(os.Stdin.Fd())),
		ErrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
		OutTerminal: term.IsTerminal(int(os.Stdout.Fd())),
	})
	err := command.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
	}
	return plugin.ExitStatus(err)
}
