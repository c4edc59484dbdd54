package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/internal/process"
)

const modulePath = "github.com/kubectl-ambient/kubectl-ambient/test/controlplane"

// moduleOf finds the directory of a module that pins programs. It is a module of
// its own, and nested in this one, so it can neither be imported nor embedded: it
// is found next to this source file, or where the go command says that this module
// is.
func moduleOf(ctx context.Context, launcher *process.Launcher, name string) (string, error) {
	if _, file, _, ok := runtime.Caller(0); ok {
		if directory := filepath.Join(filepath.Dir(file), name); isModule(directory) {
			return directory, nil
		}
	}
	directory, err := launcher.Run(ctx, process.Spec{
		Name:      "go",
		Path:      goCommand(),
		Arguments: []string{"list", "-m", "-f", "{{.Dir}}", modulePath},
	})
	if err != nil {
		return "", fmt.Errorf("finding the module of the programs: %w", err)
	}
	directory = filepath.Join(strings.TrimSpace(directory), name)
	if !isModule(directory) {
		return "", errors.New("finding the module of the programs: there is no " + directory)
	}
	return directory, nil
}

func isModule(directory string) bool {
	_, err := os.Stat(filepath.Join(directory, "go.mod"))
	return err == nil
}

// goCommand prefers the go command that built this program, which tests run
// with, over whatever the PATH holds.
func goCommand() string {
	if root := os.Getenv("GOROOT"); root != "" {
		return filepath.Join(root, "bin", "go")
	}
	return "go"
}
