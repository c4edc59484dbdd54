package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane"
)

// runForeground runs a control plane until it is interrupted.
func runForeground(ctx context.Context, arguments []string) error {
	parsed, err := parseSettings("run", arguments)
	if err != nil {
		return err
	}
	return supervise(ctx, parsed, say, func(s state) {
		printHints(parsed.name, s)
	})
}

// supervise runs a control plane until the context ends, and calls ready when
// it can be used.
func supervise(ctx context.Context, parsed settings, progress func(string), ready func(state)) (err error) {
	instance, err := newInstance(parsed.name)
	if err != nil {
		return err
	}
	lock, err := instance.lock()
	if err != nil {
		return fmt.Errorf("locking control plane %q: %w", parsed.name, err)
	}
	if lock == nil {
		return fmt.Errorf("control plane %q is running already", parsed.name)
	}
	defer lock.Release()
	// A predecessor that was killed has left its state.
	if err := os.RemoveAll(instance.directory); err != nil {
		return err
	}
	if err := os.MkdirAll(instance.directory, 0o750); err != nil {
		return err
	}
	written := state{Process: os.Getpid(), Started: time.Now().UTC(), Istio: parsed.istio, Nodes: parsed.nodes}
	if err := instance.write(written); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(instance.directory)) }()

	plane, err := start(ctx, parsed, instance, progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plane.Stop()) }()
	written.Kubeconfig, written.Programs, written.Logs = plane.Kubeconfig(), plane.Programs().Directory, plane.Logs()
	if err := instance.write(written); err != nil {
		return err
	}
	ready(written)
	<-ctx.Done()
	return nil
}

func start(ctx context.Context, parsed settings, instance instance, progress func(string)) (*controlplane.ControlPlane, error) {
	plane, err := controlplane.Start(ctx, controlplane.Options{
		Directory: filepath.Join(instance.directory, "state"),
		Nodes:     controlplane.Nodes(parsed.nodes),
		Progress:  progress,
		KeepLogs:  instance.directory + ".logs",
	})
	if err != nil {
		return nil, err
	}
	if profile := profiles[parsed.istio]; profile != "" {
		if _, err := plane.InstallIstio(ctx, controlplane.IstioOptions{Profile: profile}); err != nil {
			return nil, errors.Join(err, plane.Stop())
		}
	}
	return plane, nil
}
