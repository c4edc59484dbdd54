package e2e

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane"
)

// TestReadme runs the examples of the README, in order, on the application of
// the demo, and wants the output that stands there: line by line in that order,
// but for times and line numbers, for how columns are padded, and for what "..." leaves out.
//
// It runs on a cluster of its own, like that of the demo: status would show the
// namespaces of other tests, too.
func TestReadme(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	c, err := start(ctx, controlplane.Options{Nodes: controlplane.Nodes(3)})
	if err != nil {
		t.Fatal(err)
	}
	c.stopAfter(t)
	if _, err := c.InstallIstio(ctx, controlplane.IstioOptions{}); err != nil {
		t.Fatal(err)
	}
	const namespace = "bookinfo"
	c.namespace(t, namespace, map[string]string{"istio-injection": "enabled"})
	c.apply(t, namespace, "bookinfo")
	c.apply(t, namespace, "bookinfo-get")
	examples := readmeExamples(t)
	if len(examples) != 5 {
		t.Fatalf("the README has %d examples, not five", len(examples))
	}
	for _, example := range examples {
		run := c.kubectlAmbient(t, strings.Fields(example.arguments)...).want(t, 0)
		streams := []stream{normalized(run.stdout), normalized(run.stderr)}
		for _, line := range normalized(example.output) {
			if line != "..." && !streams[0].skipTo(line) && !streams[1].skipTo(line) {
				t.Fatalf("kubectl ambient %s does not print %q any more, or not there:\n%s", example.arguments, line, run)
			}
		}
	}
}

// stream is what is left of an output stream, line by line.
type stream []string

// skipTo drops everything up to the line, if it is there.
func (s *stream) skipTo(line string) bool {
	at := slices.Index(*s, line)
	if at >= 0 {
		*s = (*s)[at+1:]
	}
	return at >= 0
}

type example struct{ arguments, output string }

var consoleBlock = regexp.MustCompile("(?s)```console\n\\$ kubectl ambient ([^\n]*)\n(.*?)```")

// readmeExamples are the console blocks that show a command of the plugin with
// its output.
func readmeExamples(t *testing.T) []example {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var examples []example
	for _, match := range consoleBlock.FindAllStringSubmatch(string(text), -1) {
		examples = append(examples, example{match[1], match[2]})
	}
	return examples
}

var (
	times  = regexp.MustCompile(`in \d+(\.\d+)?m?s`)
	hunks  = regexp.MustCompile(`@@ .* @@`)
	spaces = regexp.MustCompile(` +`)
)

func normalized(text string) stream {
	var lines stream
	for line := range strings.Lines(text) {
		line = times.ReplaceAllString(strings.TrimSpace(line), "in TIME")
		line = spaces.ReplaceAllString(hunks.ReplaceAllString(line, "@@"), " ")
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
