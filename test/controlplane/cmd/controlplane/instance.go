package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/internal/filelock"
)

// instance is a control plane by its name. Its supervisor holds a lock for as
// long as it lives, so that nobody mistakes another process for it that was
// given the same id later.
type instance struct {
	name      string
	directory string
}

// state is what a supervisor tells others.
type state struct {
	Process    int       `json:"process"`
	Started    time.Time `json:"started"`
	Istio      string    `json:"istio"`
	Nodes      int       `json:"nodes"`
	Kubeconfig string    `json:"kubeconfig"`
	Programs   string    `json:"programs"`
	Logs       string    `json:"logs"`
}

func instancesDirectory() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache directory: %w", err)
	}
	return filepath.Join(base, "kubectl-ambient", "controlplane", "instances"), nil
}

func newInstance(name string) (instance, error) {
	base, err := instancesDirectory()
	return instance{name: name, directory: filepath.Join(base, name)}, err
}

func (i instance) stateFile() string { return filepath.Join(i.directory, "state.json") }

// lockFile is what a supervisor locks.
func (i instance) lockFile() string { return i.directory + ".lock" }

// lock takes the lock of a supervisor, or returns nil if one lives.
func (i instance) lock() (*filelock.Lock, error) {
	if err := os.MkdirAll(filepath.Dir(i.directory), 0o750); err != nil {
		return nil, err
	}
	return filelock.Try(i.lockFile())
}

// waitUntilFree returns when no supervisor lives.
func (i instance) waitUntilFree(ctx context.Context) error {
	lock, err := filelock.Wait(ctx, i.lockFile())
	if err == nil {
		lock.Release()
	}
	return err
}

// read returns the state of a supervisor that has one.
func (i instance) read() (state, bool, error) {
	content, err := os.ReadFile(i.stateFile()) //nolint:gosec // checkName keeps the name in its directory.
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, false, nil
	}
	if err != nil {
		return state{}, false, err
	}
	var result state
	if err := json.Unmarshal(content, &result); err != nil {
		return state{}, false, fmt.Errorf("reading %s: %w", i.stateFile(), err)
	}
	return result, true, nil
}

// write replaces the state in one step.
func (i instance) write(s state) error {
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	scratch := i.stateFile() + ".new"
	if err := os.WriteFile(scratch, append(content, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(scratch, i.stateFile())
}
