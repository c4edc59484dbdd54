// Package ports hands out loopback ports to programs that cannot choose one
// themselves.
package ports

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/internal/filelock"
)

// The range lies below those from which Linux and macOS take the local ports of
// outgoing connections, so that nobody is given a reserved port by accident.
const (
	first = 20000
	last  = 32000
)

const attempts = 1000

// Reservation holds ports that no other user of this package is given, in this
// process or another, until it is released.
type Reservation struct {
	Ports []int
	locks []*filelock.Lock
}

// Reserve reserves the given number of ports. The directory is shared by all
// that must not get in each other's way.
func Reserve(directory string, count int) (*Reservation, error) {
	if err := os.MkdirAll(directory, 0o750); err != nil {
		return nil, fmt.Errorf("reserving ports: %w", err)
	}
	reservation := &Reservation{}
	for range attempts {
		if len(reservation.Ports) == count {
			return reservation, nil
		}
		port := first + rand.IntN(last-first) //nolint:gosec // A port is no secret.
		held, err := filelock.Try(filepath.Join(directory, strconv.Itoa(port)))
		if err != nil {
			reservation.Release()
			return nil, fmt.Errorf("reserving port %d: %w", port, err)
		}
		if held == nil {
			continue
		}
		if !free(port) {
			held.Release()
			continue
		}
		reservation.Ports = append(reservation.Ports, port)
		reservation.locks = append(reservation.locks, held)
	}
	reservation.Release()
	return nil, fmt.Errorf("reserving %d ports: none free between %d and %d", count, first, last)
}

func free(port int) bool {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}

// Release gives the ports back.
func (r *Reservation) Release() {
	for _, lock := range r.locks {
		lock.Release()
	}
	r.locks = nil
}
