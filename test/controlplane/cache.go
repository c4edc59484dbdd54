package controlplane

import (
	"fmt"
	"os"
	"path/filepath"
)

// cacheDirectory is where this package keeps what outlives a control plane: the
// programs, the reservations of ports and the state of the command.
func cacheDirectory(elements ...string) (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache directory: %w", err)
	}
	directory := filepath.Join(append([]string{base, "kubectl-ambient", "controlplane"}, elements...)...)
	if err := os.MkdirAll(directory, 0o750); err != nil {
		return "", fmt.Errorf("creating the cache directory: %w", err)
	}
	return directory, nil
}
