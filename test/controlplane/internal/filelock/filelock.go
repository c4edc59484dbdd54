// Package filelock makes processes exclude each other, and users of this package
// within one process as well, by locks on files. A lock ends with the process
// that holds it, however that ends, so there are no stale ones.
//
// The files are created where they are missing and never removed: two holders
// could otherwise lock two files of the same name.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Lock is the lock of a file, held until it is released. Programs that the
// holder starts do not inherit it.
type Lock struct {
	file *os.File
}

// Release lets others have the lock. Releasing it again does nothing.
func (l *Lock) Release() {
	// Nothing was written to the file that could be lost.
	_ = l.file.Close()
}

// Try takes the lock of a file, or returns nil if somebody else holds it. The
// directory of the file must exist.
func Try(path string) (*Lock, error) {
	file, err := open(path)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return &Lock{file}, nil
	}
	_ = file.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, fmt.Errorf("locking %s: %w", path, err)
}

// Wait takes the lock of a file as soon as nobody else holds it. It fails when
// the context ends before that.
func Wait(ctx context.Context, path string) (*Lock, error) {
	file, err := open(path)
	if err != nil {
		return nil, err
	}
	locked := make(chan error)
	go func() {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
		select {
		case locked <- err:
		case <-ctx.Done():
			// Nothing could end the wait for the lock, so it is let go of now.
			_ = file.Close()
		}
	}()
	select {
	case err := <-locked:
		if err != nil {
			_ = file.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		return &Lock{file}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // Which file it is, is the caller's business.
}
