package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/cni"
	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane/internal/process"
)

// startTimeout bounds the start of a control plane whose programs are built.
const startTimeout = 3 * time.Minute

// ControlPlane is a running Kubernetes control plane.
type ControlPlane struct {
	options    Options
	state      stateDirectory
	directory  string
	launcher   *process.Launcher
	identities *identities
	plain      *http.Client

	kubeconfig string
	config     *rest.Config
	client     kubernetes.Interface
	dynamic    dynamic.Interface
	network    *network
	istiods    istiods
	faults     *faults
	agent      *cni.Agent
	players    *players
	metrics    metricsAddress

	mutex   sync.Mutex
	cleanup []func()
	stopped bool
}

// Start starts a control plane and returns when it is ready to be used: its
// nodes are there and a pod becomes ready on them.
func Start(ctx context.Context, options Options) (*ControlPlane, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("starting a control plane: %w", err)
	}
	if options.Programs.Directory == "" {
		if options.Programs, err = Build(ctx, options.Progress); err != nil {
			return nil, err
		}
	}
	c := &ControlPlane{
		options:  options,
		launcher: process.NewLauncher(),
		plain:    newPlainClient(),
		faults:   newFaults(),
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("starting a control plane: %w", err), c.Stop())
	}
	return c, nil
}

// newPlainClient returns a client for what answers without TLS. It closes its
// connections at once, because those that are still open when a port-forward ends
// make client-go write complaints.
func newPlainClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
}

func (c *ControlPlane) start(ctx context.Context) error {
	if err := c.createDirectories(); err != nil {
		return err
	}
	var err error
	if c.identities, err = newIdentities(filepath.Join(c.directory, "certificates")); err != nil {
		return err
	}
	if err := c.startNetwork(ctx); err != nil {
		return err
	}
	c.options.Progress("starting etcd and kube-apiserver")
	if err := c.startAPIServer(ctx); err != nil {
		return err
	}
	c.options.Progress("starting the controllers and nodes")
	if err := c.startControllers(ctx); err != nil {
		return err
	}
	if err := c.startDoubles(ctx); err != nil {
		return err
	}
	return c.waitForPods(ctx)
}

func (c *ControlPlane) createDirectories() error {
	state, err := newStateDirectory(c.options.Directory)
	if err != nil {
		return err
	}
	c.state, c.directory = state, state.path
	if err := os.MkdirAll(c.Logs(), 0o750); err != nil {
		return fmt.Errorf("creating the state directory: %w", err)
	}
	return nil
}

// Kubeconfig is the path of a kubeconfig for an administrator.
func (c *ControlPlane) Kubeconfig() string { return c.kubeconfig }

// RESTConfig returns a client configuration for an administrator, without a
// limit to the rate of requests.
func (c *ControlPlane) RESTConfig() *rest.Config { return rest.CopyConfig(c.config) }

// Client returns a client of an administrator.
func (c *ControlPlane) Client() kubernetes.Interface { return c.client }

// Programs are the programs that the control plane runs.
func (c *ControlPlane) Programs() Programs { return c.options.Programs }

// Directory holds the state of the control plane.
func (c *ControlPlane) Directory() string { return c.directory }

// Logs is the directory of the programs' logs.
func (c *ControlPlane) Logs() string { return filepath.Join(c.directory, "logs") }

// KeepLogs makes Stop copy the logs to the directory, in place of what
// Options.KeepLogs said.
func (c *ControlPlane) KeepLogs(directory string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.options.KeepLogs = directory
}

// onStop has Stop call the function before those that were given earlier.
func (c *ControlPlane) onStop(stop func()) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.cleanup = append(c.cleanup, stop)
}

// Stop ends the control plane, with all that was started on it, and removes its
// state if it lies in a temporary directory. The programs are killed, since
// nobody will use their state again. Stopping twice is harmless.
func (c *ControlPlane) Stop() error {
	c.mutex.Lock()
	cleanup, keep, stopped := c.cleanup, c.options.KeepLogs, c.stopped
	c.cleanup, c.stopped = nil, true
	c.mutex.Unlock()
	if stopped {
		return nil
	}
	for i := len(cleanup) - 1; i >= 0; i-- {
		cleanup[i]()
	}
	c.launcher.Close()

	var failures []error
	if keep != "" && c.directory != "" {
		failures = append(failures, copyLogs(c.Logs(), keep))
	}
	failures = append(failures, c.state.remove())
	if err := errors.Join(failures...); err != nil {
		return fmt.Errorf("stopping the control plane: %w", err)
	}
	return nil
}

func copyLogs(from, to string) error {
	if err := os.MkdirAll(to, 0o750); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(from, "*.log"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := copyFile(file, filepath.Join(to, filepath.Base(file))); err != nil {
			return err
		}
	}
	return nil
}
