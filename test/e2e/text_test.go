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
