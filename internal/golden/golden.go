// Package golden compares what a test produced with a file under testdata.
// `go test ./pkg/NAME -update` writes the files anew.
package golden

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Assert compares text with testdata/name.
func Assert(t *testing.T, name, text string) {
	t.Helper()
	AssertFile(t, filepath.Join("testdata", name), text)
}

// AssertFile compares text with a file.
func AssertFile(t *testing.T, path, text string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: run the test with -update to write it", err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("the output differs from %s (-want +got):\n%s", path, diff)
	}
}
