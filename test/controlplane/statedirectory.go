package controlplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const (
	temporaryPattern = "controlplane-*"
	ownerFile        = "owner"
)

// stateDirectory is the directory of a control plane.
type stateDirectory struct {
	path string
	// owner is locked for as long as a temporary directory is in use.
	owner *os.File
}

// newStateDirectory creates the directory, or a temporary one if the path is
// empty. It also removes the temporary ones of control planes whose process was
// killed, each of which takes as much space as etcd reserves.
func newStateDirectory(path string) (stateDirectory, error) {
	if path != "" {
		return givenDirectory(path)
	}
	if err := sweepTemporaryDirectories(); err != nil {
		return stateDirectory{}, fmt.Errorf("removing the state of others: %w", err)
	}
	path, err := os.MkdirTemp("", temporaryPattern)
	if err != nil {
		return stateDirectory{}, fmt.Errorf("creating the state directory: %w", err)
	}
	owner, err := lockOwner(path)
	if err != nil {
		return stateDirectory{}, errors.Join(fmt.Errorf("creating the state directory: %w", err), os.RemoveAll(path))
	}
	return stateDirectory{path: path, owner: owner}, nil
}

func givenDirectory(path string) (stateDirectory, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return stateDirectory{}, fmt.Errorf("creating the state directory: %w", err)
	}
	if err := os.MkdirAll(path, 0o750); err != nil {
		return stateDirectory{}, fmt.Errorf("creating the state directory: %w", err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return stateDirectory{}, fmt.Errorf("creating the state directory: %w", err)
	}
	if len(entries) > 0 {
		return stateDirectory{}, fmt.Errorf("the state directory %s is not empty", path)
	}
	return stateDirectory{path: path}, nil
}

// lockOwner locks the file before it gets its name, so that nobody finds it
// unlocked while its owner lives.
func lockOwner(directory string) (*os.File, error) {
	file, err := os.CreateTemp(directory, ownerFile+"-*")
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		err = os.Rename(file.Name(), filepath.Join(directory, ownerFile))
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// remove removes a temporary directory. Others belong to the caller.
func (d stateDirectory) remove() error {
	if d.owner == nil {
		return nil
	}
	return errors.Join(os.RemoveAll(d.path), d.owner.Close())
}

func sweepTemporaryDirectories() error {
	owners, err := filepath.Glob(filepath.Join(os.TempDir(), temporaryPattern, ownerFile))
	if err != nil {
		return err
	}
	var failures []error
	for _, owner := range owners {
		failures = append(failures, sweep(owner))
	}
	return errors.Join(failures...)
}

// sweep removes a directory if nobody owns it any more. Those of other users
// are left alone.
func sweep(owner string) error {
	file, err := os.Open(owner)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(filepath.Dir(owner))
}
