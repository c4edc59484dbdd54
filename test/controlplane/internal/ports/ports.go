// Package ports hands out loopback ports to programs that cannot choose one
// themselves.
package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
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
	locks []*os.File
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
		held, err := lock(filepath.Join(directory, strconv.Itoa(port)))
		if err != nil {
			reservation.Release()
			return nil, fmt.Errorf("reserving port %d: %w", port, err)
		}
		if held == nil {
			continue
		}
		if !free(port) {
			_ = held.Close()
			continue
		}
		reservation.Ports = append(reservation.Ports, port)
		reservation.locks = append(reservation.locks, held)
	}
	reservation.Release()
	return nil, fmt.Errorf("reserving %d ports: none free between %d and %d", count, first, last)
}

// lock returns nil when somebody else holds the lock. The file stays behind:
// removing it would let two holders lock two files of the same name.
func lock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return file, nil
	}
	_ = file.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, err
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
		_ = lock.Close()
	}
	r.locks = nil
}
