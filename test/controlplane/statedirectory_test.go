package controlplane

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestTemporaryDirectoriesOfTheDeadAreSwept(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	alive, err := newStateDirectory("")
	if err != nil {
		t.Fatal(err)
	}
	dead, err := newStateDirectory("")
	if err != nil {
		t.Fatal(err)
	}
	// What the end of a process does to its locks.
	if err := dead.owner.Close(); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(os.TempDir(), "controlplane-notes")
	if err := os.Mkdir(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	another, err := newStateDirectory("")
	if err != nil {
		t.Fatal(err)
	}
	for path, exists := range map[string]bool{alive.path: true, another.path: true, foreign: true, dead.path: false} {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) == exists {
			t.Errorf("%s exists: %v, want %v", path, !exists, exists)
		}
	}
	for _, directory := range []stateDirectory{alive, another} {
		if err := directory.remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(directory.path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was not removed: %v", directory.path, err)
		}
	}
}

func TestGivenDirectories(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	directory, err := newStateDirectory(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := directory.remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the caller's directory was removed: %v", err)
	}
	if err := os.WriteFile(filepath.Join(path, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newStateDirectory(path); err == nil {
		t.Error("a directory in use is accepted")
	}
}
