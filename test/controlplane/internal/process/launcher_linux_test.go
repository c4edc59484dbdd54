package process

import (
	"os"
	"runtime"
	"testing"
)

// TestChildrenOutliveOtherThreads proves that a child does not depend on the
// thread of the goroutine that asked for it.
func TestChildrenOutliveOtherThreads(t *testing.T) {
	launcher := newTestLauncher(t)
	started := make(chan *Process, 1)
	go func() {
		// The thread ends with this goroutine, since it stays locked.
		runtime.LockOSThread()
		process, err := launcher.Start(shell(t, "exec sleep 1000"))
		if err != nil {
			t.Error(err)
		}
		started <- process
	}()
	process := <-started
	if _, err := launcher.Run(within(t), shell(t, "true")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-process.Done():
		t.Error("the child has ended")
	default:
	}
	process.Kill()
}

func TestChildrenEndWithTheLauncher(t *testing.T) {
	launcher := NewLauncher()
	process, err := launcher.Start(shell(t, "exec sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	launcher.Close()
	<-process.Done()
	if _, err := launcher.Start(shell(t, "true")); err == nil {
		t.Error("a closed launcher starts programs")
	}
	if _, err := os.Stat(process.log); err != nil {
		t.Error(err)
	}
}
