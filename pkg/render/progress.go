package render

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/pkg/api/v1alpha1"
)

// Progress tells how a run comes along. On a terminal the line that says what
// is waited for is drawn again in place; elsewhere each change is a line.
type Progress struct {
	out      io.Writer
	terminal bool

	mu sync.Mutex
	// drawn is how wide the line in place is; 0 where there is none.
	drawn int
	last  string
}

// NewProgress returns a progress for a stream.
func NewProgress(out io.Writer, terminal bool) *Progress {
	return &Progress{out: out, terminal: terminal}
}

// StepStarted announces a step.
func (p *Progress) StepStarted(number, of int, step v1alpha1.Step) {
	p.line(fmt.Sprintf("[%d/%d] %s", number, of, step.Summary))
}

// Waiting says what a step's gate waits for.
func (p *Progress) Waiting(_ v1alpha1.Step, missing []string) {
	// What is missing can quote what a container or a controller has said.
	text := "      waiting: " + strings.Join(strings.Fields(missing[0]), " ")
	if more := len(missing) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if text == p.last {
		return
	}
	p.last = text
	if !p.terminal {
		fmt.Fprintln(p.out, text)
		return
	}
	characters := []rune(text)
	if len(characters) >= Width {
		// A line that wraps could not be drawn over.
		characters = append(characters[:Width-4], '.', '.', '.')
	}
	fmt.Fprintf(p.out, "\r%-*s", p.drawn, string(characters))
	p.drawn = len(characters)
}

// StepDone announces that a step's gate holds. Of a step that others were taken
// beside it says which one.
func (p *Progress) StepDone(number, of int, step v1alpha1.Step, took time.Duration) {
	which := ""
	if step.Wave > 0 {
		which = " (" + step.Summary + ")"
	}
	p.line(fmt.Sprintf("[%d/%d] done in %s%s", number, of, took.Round(100*time.Millisecond), which))
}

// Note writes a line that nobody asked for.
func (p *Progress) Note(text string) { p.line("      " + text) }

// Clear takes the line in place away, before something else is written.
func (p *Progress) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

func (p *Progress) clear() {
	if p.drawn > 0 {
		fmt.Fprintf(p.out, "\r%*s\r", p.drawn, "")
		p.drawn = 0
	}
	p.last = ""
}

func (p *Progress) line(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintln(p.out, text)
}
