package process

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// tailSize is how much of a log an error shows, in bytes.
const tailSize = 3000

// Tail returns the last lines of a log file.
func Tail(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	offset := max(0, info.Size()-tailSize)
	content, err := io.ReadAll(io.NewSectionReader(file, offset, tailSize))
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	text := string(content)
	if _, whole, found := strings.Cut(text, "\n"); offset > 0 && found {
		text = whole
	}
	return strings.TrimSpace(text)
}
