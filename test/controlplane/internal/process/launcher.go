// Package process starts the programs of the control plane and sees to it that
// none of them outlives the process that started it.
package process

import (
	"errors"
	"io"
	"os/exec"
	"runtime"
	"sync"
)

// Launcher starts children that end with this process, even when this process
// is killed and can no longer clean up.
//
// On Linux the kernel keeps that promise, but it watches the operating system
// thread that forked, not the process: a child started from an ordinary
// goroutine dies as soon as the Go runtime retires that goroutine's thread. All
// children are therefore started from a single goroutine that is locked to its
// thread for as long as the launcher is open. Elsewhere a shell guards each
// child.
type Launcher struct {
	requests chan func()
	closed   chan struct{}
	once     sync.Once
}

// NewLauncher returns an open launcher.
func NewLauncher() *Launcher {
	launcher := &Launcher{requests: make(chan func()), closed: make(chan struct{})}
	go launcher.serve()
	return launcher
}

func (l *Launcher) serve() {
	// The goroutine ends without unlocking, which ends the thread, which on
	// Linux ends whatever child is still there.
	runtime.LockOSThread()
	for {
		select {
		case request := <-l.requests:
			request()
		case <-l.closed:
			return
		}
	}
}

// Close ends the launcher. Children should have been stopped before.
func (l *Launcher) Close() {
	l.once.Do(func() { close(l.closed) })
}

// start starts the command as a child that ends with this process. The lifeline
// has to be closed when the child has ended.
func (l *Launcher) start(command *exec.Cmd) (lifeline io.Closer, err error) {
	lifeline, err = adopt(command)
	if err != nil {
		return nil, err
	}
	started := make(chan error, 1)
	select {
	case l.requests <- func() { started <- command.Start() }:
		err = <-started
	case <-l.closed:
		err = errors.New("the launcher is closed")
	}
	if err != nil {
		return nil, errors.Join(err, lifeline.Close())
	}
	return lifeline, nil
}
