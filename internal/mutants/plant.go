package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// mutant is a mistake: the one place of a file that has the old text gets the new
// one.
type mutant struct {
	what, file, old, new string
}

// suite is tests of a package.
type suite struct {
	pkg       string
	arguments []string
}

// istiodFinds is what names a mutant as found by the first suite: what a running istiod
// has decided in random meshes.
const istiodFinds = "access TestIstiod"

// suites are in the order in which they are asked: first those that nobody wrote
// for a single mistake.
var suites = []suite{
	{"./pkg/access", []string{"-test.run=^TestIstiod$"}},
	{"./pkg/plan", []string{"-test.run=^TestRandomMeshes$", "-seeds=60"}},
	{"./pkg/plan", []string{"-test.run=^TestAccess$"}},
	{"./pkg/translate", nil},
	{"./pkg/access/compare", nil},
	{"./pkg/access", nil},
	{"./pkg/plan", []string{"-test.run=^TestRandomMeshes$", "-seed=60"}},
}

// mutated is the content of the mutant's file.
func (m mutant) mutated(root string) ([]byte, error) {
	content, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		return nil, err
	}
	if count := bytes.Count(content, []byte(m.old)); count != 1 {
		return nil, fmt.Errorf("%s has the text %q %d times, not once: write the mutant anew", m.file, m.old, count)
	}
	return bytes.Replace(content, []byte(m.old), []byte(m.new), 1), nil
}

// plant compiles the tests with the mistake in them, runs them until one fails, and
// names that.
func (m mutant) plant(ctx context.Context, work string, number int) (string, error) {
	root, err := os.Getwd()
	if err != nil {
		return "", err
	}
	content, err := m.mutated(root)
	if err != nil {
		return "", err
	}
	place := filepath.Join(work, fmt.Sprint(number))
	overlay := filepath.Join(place, "overlay.json")
	file := filepath.Join(place, "mutant.go")
	replaced, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, m.file): file}})
	if err == nil {
		err = errors.Join(os.Mkdir(place, 0o755), os.WriteFile(file, content, 0o600), os.WriteFile(overlay, replaced, 0o600))
	}
	if err != nil {
		return "", err
	}
	compiled := map[string]string{}
	for _, suite := range suites {
		if suite.blind(m.file) {
			continue
		}
		binary, done := compiled[suite.pkg]
		if !done {
			binary = filepath.Join(place, filepath.Base(suite.pkg)+".test")
			compiled[suite.pkg] = binary
			if output, err := exec.CommandContext(ctx, "go", "test", "-c", "-overlay="+overlay, "-ldflags=-s -w", "-o", binary, suite.pkg).CombinedOutput(); err != nil {
				return "", fmt.Errorf("%w\n%s", err, output)
			}
		}
		test, err := suite.fails(ctx, binary)
		if test != "" || err != nil {
			return test, err
		}
	}
	return "", nil
}

// blind says whether a package cannot see a mistake in a file: the model knows nothing of
// what is made of it.
func (s suite) blind(file string) bool {
	return strings.HasPrefix(s.pkg, "./pkg/access") && !strings.HasPrefix(file, "pkg/access/")
}

var failed = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)

// fails runs a suite, and names the first of its tests that fails.
func (s suite) fails(ctx context.Context, binary string) (string, error) {
	run := exec.CommandContext(ctx, binary, append([]string{"-test.failfast", "-test.timeout=2m"}, s.arguments...)...)
	run.Dir = filepath.Join(".", s.pkg)
	output, err := run.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "", nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case !errors.As(err, &exit):
		return "", err
	}
	name := strings.TrimPrefix(s.pkg, "./pkg/") + " "
	if found := failed.FindSubmatch(output); found != nil {
		return name + string(found[1]), nil
	}
	return name + "panics", nil
}
