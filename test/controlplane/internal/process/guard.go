//go:build unix

package process

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// guardScript runs "$@" beside a watcher that reads the lifeline, file
// descriptor 3, and kills the program when the lifeline is cut. It ends with
// the program's status.
const guardScript = `"$@" 3<&- &
program=$!
{ cat <&3 >/dev/null; kill -KILL $program 2>/dev/null; } &
watcher=$!
exec 3<&-
wait $program
status=$?
kill $watcher 2>/dev/null
exit $status`

// guard rewrites the command so that a shell runs it and kills it when this
// process is gone. The shell learns of that from a pipe whose writing end only
// this process holds: whatever ends this process closes it.
func guard(command *exec.Cmd) (io.Closer, error) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		return nil, fmt.Errorf("guarding %s: %w", command.Path, err)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("guarding %s: %w", command.Path, err)
	}
	command.Args = append([]string{shell, "-c", guardScript, "guard", command.Path}, command.Args[1:]...)
	command.Path = shell
	command.ExtraFiles = []*os.File{reader}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return lifeline{reader, writer}, nil
}

// lifeline is the pipe between this process and the guard of a child.
type lifeline struct{ reader, writer *os.File }

func (l lifeline) Close() error {
	_ = l.reader.Close()
	return l.writer.Close()
}
