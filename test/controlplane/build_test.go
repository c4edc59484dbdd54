package controlplane

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// isolateCache gives the test a cache directory of its own.
func isolateCache(t *testing.T) {
	t.Helper()
	directory := t.TempDir()
	t.Setenv("HOME", directory)
	t.Setenv("XDG_CACHE_HOME", filepath.Join(directory, "cache"))
}

func writeModule(t *testing.T, version string) string {
	t.Helper()
	directory := t.TempDir()
	for _, name := range []string{"go.mod", "go.sum"} {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(name+" "+version), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

func TestProgramsBelongToTheirVersions(t *testing.T) {
	isolateCache(t)
	directories := map[string]string{}
	for name, module := range map[string]string{"one": writeModule(t, "1"), "again": writeModule(t, "1"), "two": writeModule(t, "2")} {
		programs, err := newPrograms(module, controlPlane)
		if err != nil {
			t.Fatal(err)
		}
		if programs.complete(controlPlane) {
			t.Errorf("the programs of %s are complete", name)
		}
		directories[name] = programs.Directory
	}
	if directories["one"] != directories["again"] || directories["one"] == directories["two"] {
		t.Errorf("the directories are %v", directories)
	}
	if _, err := newPrograms(t.TempDir(), controlPlane); err == nil {
		t.Error("a directory without a module is accepted")
	}
}

func TestBuildersWaitForEachOther(t *testing.T) {
	programs := Programs{Directory: filepath.Join(t.TempDir(), "bin")}
	first := builder{programs: programs, progress: func(string) {}}
	unlock, err := first.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	var mutex sync.Mutex
	var said []string
	waiting := make(chan struct{}, 2)
	second := builder{programs: programs, progress: func(message string) {
		mutex.Lock()
		said = append(said, message)
		mutex.Unlock()
		waiting <- struct{}{}
	}}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-waiting
		cancel()
	}()
	if _, err := second.lock(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("a canceled builder fails with %v", err)
	}

	go func() {
		<-waiting
		unlock()
	}()
	unlockSecond, err := second.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unlockSecond()
	if !slices.Equal(said, []string{"waiting for another process that builds the programs", "waiting for another process that builds the programs"}) {
		t.Errorf("the builder said %q", said)
	}
}

func TestCopyFile(t *testing.T) {
	directory := t.TempDir()
	from, to := filepath.Join(directory, "from"), filepath.Join(directory, "to")
	if err := copyFile(from, to); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("copying a missing file fails with %v", err)
	}
	if err := os.WriteFile(from, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := copyFile(from, to); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(to); err != nil || string(content) != "content" {
		t.Errorf("the copy is %q: %v", content, err)
	}
	if entries, err := os.ReadDir(directory); err != nil || len(entries) != 2 {
		t.Errorf("something is left behind: %v, %v", entries, err)
	}
}
