package filelock

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// holderVariable makes the test binary a process that takes the lock of the
// file named, says so and holds it until it is killed.
const holderVariable = "FILELOCK_TEST_HOLDER"

func TestMain(m *testing.M) {
	path := os.Getenv(holderVariable)
	if path == "" {
		os.Exit(m.Run())
	}
	lock, err := Try(path)
	if err != nil || lock == nil {
		fmt.Fprintln(os.Stderr, "the lock cannot be taken:", err)
		os.Exit(1)
	}
	fmt.Println("locked")
	// The pipe ends with the test, even if that is killed.
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// take fails the test unless the lock is free.
func take(t *testing.T, path string) *Lock {
	t.Helper()
	lock, err := Try(path)
	if err != nil || lock == nil {
		t.Fatalf("the lock is not free: %v", err)
	}
	t.Cleanup(lock.Release)
	return lock
}

// wantHeld fails the test if the lock is free.
func wantHeld(t *testing.T, path string) {
	t.Helper()
	lock, err := Try(path)
	if err != nil {
		t.Fatal(err)
	}
	if lock != nil {
		lock.Release()
		t.Fatal("the lock is free")
	}
}

func TestTryHasOneHolder(t *testing.T) {
	directory := t.TempDir()
	path := filepath.Join(directory, "lock")
	lock := take(t, path)
	wantHeld(t, path)
	// Another file is another lock.
	take(t, filepath.Join(directory, "other"))
	lock.Release()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the file does not stay: %v", err)
	}
	take(t, path)
	// That the former holder releases it again does not concern the new one.
	lock.Release()
	wantHeld(t, path)
}

// waitFor fails the test unless the lock becomes free.
func waitFor(t *testing.T, path string) *Lock {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	lock, err := Wait(ctx, path)
	if err != nil {
		t.Fatalf("the lock does not become free: %v", err)
	}
	t.Cleanup(lock.Release)
	return lock
}

type waited struct {
	lock *Lock
	err  error
}

// wait waits in the background for a lock that is held.
func wait(ctx context.Context, t *testing.T, path string) <-chan waited {
	t.Helper()
	result := make(chan waited, 1)
	go func() {
		lock, err := Wait(ctx, path)
		result <- waited{lock, err}
	}()
	select {
	case early := <-result:
		t.Fatalf("it does not wait: %+v", early)
	case <-time.After(100 * time.Millisecond):
	}
	return result
}

func TestWaitHasOneHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first := waitFor(t, path)
	wantHeld(t, path)
	waiting := wait(t.Context(), t, path)
	first.Release()
	second := <-waiting
	if second.err != nil {
		t.Fatal(second.err)
	}
	wantHeld(t, path)
	second.lock.Release()
	take(t, path)
}

// Who has given up waiting must not get the lock later, with nobody to release
// it.
func TestWaitEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	lock := take(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	waiting := wait(ctx, t, path)
	cancel()
	if given := <-waiting; !errors.Is(given.err, context.Canceled) || given.lock != nil {
		t.Fatalf("it ends with %+v", given)
	}
	lock.Release()
	waitFor(t, path)
}

func TestLocksOfTheDeadAreFree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), holderVariable+"="+path)
	holder.Stderr = os.Stderr
	stdin, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if said, err := bufio.NewReader(stdout).ReadString('\n'); said != "locked\n" {
		t.Fatalf("the holder says %q: %v, %v", said, err, holder.Wait())
	}
	wantHeld(t, path)
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, path)
	if err := holder.Wait(); err == nil {
		t.Error("the holder was not killed")
	}
}

func TestProgramsDoNotInheritLocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	lock := take(t, path)
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), holderVariable+"="+path+".child")
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lock.Release()
	take(t, path)
	if err := errors.Join(stdin.Close(), child.Wait()); err != nil {
		t.Error(err)
	}
}

func TestAFileThatCannotBeOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "lock")
	if lock, err := Try(path); !errors.Is(err, os.ErrNotExist) || lock != nil {
		t.Errorf("Try returns %v, %v", lock, err)
	}
	if lock, err := Wait(t.Context(), path); !errors.Is(err, os.ErrNotExist) || lock != nil {
		t.Errorf("Wait returns %v, %v", lock, err)
	}
}
