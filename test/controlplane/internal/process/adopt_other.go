//go:build unix && !linux

package process

import (
	"io"
	"os/exec"
)

// adopt lets a shell guard the child, since only Linux can tie a child's life
// to its parent's.
func adopt(command *exec.Cmd) (io.Closer, error) { return guard(command) }
