package e2e

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
)

// watchedText collects what a running command prints, to be looked at while it
// runs.
type watchedText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *watchedText) Write(data []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(data)
}

func (w *watchedText) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func (w *watchedText) contains(part string) error {
	if text := w.String(); !strings.Contains(text, part) {
		return fmt.Errorf("%q is not in:\n%s", part, text)
	}
	return nil
}

// containsAfter wants a part behind another one.
func (w *watchedText) containsAfter(first, part string) error {
	text := w.String()
	if _, rest, found := strings.Cut(text, first); !found || !strings.Contains(rest, part) {
		return fmt.Errorf("%q is not behind %q in:\n%s", part, first, text)
	}
	return nil
}
