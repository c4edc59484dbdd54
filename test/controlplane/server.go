package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/internal/ports"
	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/internal/process"
)

// startAttempts is how often a server is started anew because somebody who does
// not reserve ports took one of its ports.
const startAttempts = 5

// server is a program that listens on ports of its own.
type server struct {
	// name is that of the program, and of its log unless log is set.
	name string
	log  string
	// path is where the program is, if it is none of the control plane's own.
	path string
	// ports is how many it needs.
	ports       int
	arguments   func(ports []int) []string
	environment []string
	directory   string
	ready       func(ctx context.Context, ports []int) error
}

// running is a server that was started.
type running struct {
	process *process.Process
	ports   *ports.Reservation
}

func (r running) stop() {
	r.process.Kill()
	r.ports.Release()
}

// startServer starts a server that lives as long as the control plane, waits
// until it is ready and returns its ports.
func (c *ControlPlane) startServer(ctx context.Context, server server) ([]int, error) {
	started, err := c.launch(ctx, server)
	if err != nil {
		return nil, err
	}
	c.onStop(started.stop)
	return started.ports.Ports, nil
}

func (c *ControlPlane) launch(ctx context.Context, server server) (running, error) {
	var err error
	for range startAttempts {
		var started running
		started, err = c.launchOnce(ctx, server)
		if err == nil || !portTaken(err) {
			return started, err
		}
	}
	return running{}, err
}

func portTaken(err error) bool {
	var ended *process.EndedError
	return errors.As(err, &ended) && strings.Contains(ended.Tail, "address already in use")
}

func (c *ControlPlane) launchOnce(ctx context.Context, server server) (running, error) {
	directory, err := cacheDirectory("ports")
	if err != nil {
		return running{}, err
	}
	reserved, err := ports.Reserve(directory, server.ports)
	if err != nil {
		return running{}, fmt.Errorf("starting %s: %w", server.name, err)
	}
	log := server.log
	if log == "" {
		log = server.name
	}
	path := server.path
	if path == "" {
		path = c.options.Programs.Path(server.name)
	}
	started, err := c.launcher.Start(process.Spec{
		Name:        server.name,
		Path:        path,
		Arguments:   server.arguments(reserved.Ports),
		Environment: server.environment,
		Directory:   server.directory,
		Log:         filepath.Join(c.Logs(), log+".log"),
	})
	if err != nil {
		reserved.Release()
		return running{}, err
	}
	result := running{process: started, ports: reserved}
	if server.ready == nil {
		return result, nil
	}
	err = started.WaitUntil(ctx, func(ctx context.Context) error { return server.ready(ctx, reserved.Ports) })
	if err != nil {
		result.stop()
		return running{}, err
	}
	return result, nil
}

// answers returns nil when the URL is answered with success.
func answers(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}
