package ports

import (
	"net"
	"strconv"
	"testing"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/internal/filelock"
)

func TestReservationsDoNotOverlap(t *testing.T) {
	directory := t.TempDir()
	taken := map[int]bool{}
	for range 20 {
		reservation, err := Reserve(directory, 10)
		if err != nil {
			t.Fatal(err)
		}
		defer reservation.Release()
		for _, port := range reservation.Ports {
			if taken[port] {
				t.Errorf("port %d is reserved twice", port)
			}
			taken[port] = true
			if port < first || port >= last {
				t.Errorf("port %d is out of range", port)
			}
		}
	}
}

func TestReservedPortsAreFree(t *testing.T) {
	reservation, err := Reserve(t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer reservation.Release()
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(reservation.Ports[0])))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	if free(reservation.Ports[0]) {
		t.Error("a port that is listened on counts as free")
	}
}

func TestReleaseGivesPortsBack(t *testing.T) {
	directory := t.TempDir()
	reservation, err := Reserve(directory, 1)
	if err != nil {
		t.Fatal(err)
	}
	path := directory + "/" + strconv.Itoa(reservation.Ports[0])
	if held, err := filelock.Try(path); err != nil || held != nil {
		t.Errorf("a reserved port can be locked: %v", err)
	}
	reservation.Release()
	held, err := filelock.Try(path)
	if err != nil || held == nil {
		t.Fatalf("a released port cannot be locked: %v", err)
	}
	held.Release()
}
