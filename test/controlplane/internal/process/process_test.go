//go:build unix

package process

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = 20 * time.Second

func newTestLauncher(t *testing.T) *Launcher {
	t.Helper()
	launcher := NewLauncher()
	t.Cleanup(launcher.Close)
	return launcher
}

func shell(t *testing.T, script string) Spec {
	t.Helper()
	return Spec{Name: "script", Path: "/bin/sh", Arguments: []string{"-c", script}, Log: filepath.Join(t.TempDir(), "log")}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestRunReturnsOutput(t *testing.T) {
	output, err := newTestLauncher(t).Run(within(t), shell(t, "echo out; echo err >&2"))
	if err != nil || output != "out\n" {
		t.Errorf("the output is %q, the error %v", output, err)
	}
}

func TestRunShowsWhatWentWrong(t *testing.T) {
	_, err := newTestLauncher(t).Run(within(t), shell(t, "echo broken >&2; exit 3"))
	if err == nil || !strings.Contains(err.Error(), "broken") || !strings.Contains(err.Error(), "script") {
		t.Errorf("the error is %v", err)
	}
}

// newFIFO returns a named pipe. A script that opens it for writing lets open
// return, and its end, with that of all its children, ends what can be read.
func newFIFO(t *testing.T) (path string, open func() io.Reader) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, func() io.Reader {
		file, err := os.Open(path)
		if err != nil {
			t.Error(err)
		}
		t.Cleanup(func() { _ = file.Close() })
		return file
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(within(t))
	path, open := newFIFO(t)
	go func() {
		open()
		cancel()
	}()
	// The grandchild would keep the output open if only the child were killed.
	_, err := newTestLauncher(t).Run(ctx, shell(t, "exec 3>"+path+"; sleep 1000; true"))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

func TestWaitUntilReportsTheEndOfTheProgram(t *testing.T) {
	process, err := newTestLauncher(t).Start(shell(t, "echo cannot go on; exit 1"))
	if err != nil {
		t.Fatal(err)
	}
	err = process.WaitUntil(within(t), func(context.Context) error { return errors.New("not yet") })
	var ended *EndedError
	if !errors.As(err, &ended) || ended.Tail != "cannot go on" || ended.Name != "script" {
		t.Errorf("the error is %v", err)
	}
}

func TestWaitUntilShowsTheLogWhenTimeIsUp(t *testing.T) {
	process, err := newTestLauncher(t).Start(shell(t, "echo thinking; exec sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	defer process.Kill()
	ctx, cancel := context.WithCancel(within(t))
	err = process.WaitUntil(ctx, func(context.Context) error {
		if Tail(process.log) != "" {
			cancel()
		}
		return errors.New("not yet")
	})
	if err == nil || !strings.Contains(err.Error(), "thinking") || !strings.Contains(err.Error(), "not yet") {
		t.Errorf("the error is %v", err)
	}
}

func TestKillEndsGrandchildren(t *testing.T) {
	path, open := newFIFO(t)
	process, err := newTestLauncher(t).Start(shell(t, "exec 3>"+path+"; sleep 1000 & wait"))
	if err != nil {
		t.Fatal(err)
	}
	reader := open()
	process.Kill()
	if _, err := io.ReadAll(reader); err != nil {
		t.Fatal(err)
	}
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if got := Tail(path); !strings.HasPrefix(got, "(no log") {
		t.Errorf("the tail of a missing file is %q", got)
	}
	long := "start" + strings.Repeat("x", tailSize) + "\nlast line\n"
	if err := os.WriteFile(path, []byte(long), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := Tail(path); got != "last line" {
		t.Errorf("the tail is %q", got)
	}
}

// TestGuard tests what ends children on systems other than Linux.
func TestGuard(t *testing.T) {
	command := exec.Command("/bin/sh", "-c", "echo $$; exec sleep 1000")
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	lifeline, err := guard(command)
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(output)
	if _, err := reader.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	// The end of this process would close the pipe in the same way.
	if err := lifeline.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(reader); err != nil {
		t.Fatal(err)
	}
	if err := command.Wait(); err == nil {
		t.Error("the program ended by itself")
	}
}

func TestGuardPassesTheStatusOn(t *testing.T) {
	command := exec.Command("/bin/sh", "-c", "exit 7")
	lifeline, err := guard(command)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lifeline.Close() }()
	var exit *exec.ExitError
	if err := command.Run(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("the error is %v", err)
	}
}
