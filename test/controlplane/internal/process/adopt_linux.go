package process

import (
	"io"
	"os/exec"
	"syscall"
)

// adopt makes the kernel kill the child when the launcher's thread ends, and
// gives the child a process group of its own, so that an interrupt typed at the
// terminal reaches only this process, which then ends its children in order.
func adopt(command *exec.Cmd) (io.Closer, error) {
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return io.NopCloser(nil), nil
}
