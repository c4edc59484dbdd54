package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kubectl-ambient/kubectl-ambient/test/controlplane"
)

// status lists the control planes that run.
func status(_ context.Context, arguments []string) error {
	if err := newFlags("status").Parse(arguments); err != nil {
		return err
	}
	directory, err := instancesDirectory()
	if err != nil {
		return err
	}
	locks, err := filepath.Glob(filepath.Join(directory, "*.lock"))
	if err != nil {
		return err
	}
	found := false
	for _, lock := range locks {
		running, err := describe(strings.TrimSuffix(filepath.Base(lock), ".lock"))
		if err != nil {
			return err
		}
		found = found || running
	}
	if !found {
		answer("no control plane is up\n")
	}
	return nil
}

func describe(name string) (running bool, err error) {
	instance, err := newInstance(name)
	if err != nil {
		return false, err
	}
	lock, err := instance.lock()
	if err != nil {
		return false, err
	}
	if lock != nil {
		lock.Release()
		return false, nil
	}
	s, exists, err := instance.read()
	if err != nil {
		return true, err
	}
	if !exists || s.Kubeconfig == "" {
		answer("%s\tis being started or stopped\n", name)
		return true, nil
	}
	answer("%s\tup for %s\tistio %s\t%d nodes\tprocess %d\n\tKUBECONFIG=%s\n\tprograms in %s\n\tlogs in %s\n", name,
		time.Since(s.Started).Round(time.Second), s.Istio, s.Nodes, s.Process, s.Kubeconfig, s.Programs, s.Logs)
	return true, nil
}

// build builds the programs and prints where they are.
func build(ctx context.Context, arguments []string) error {
	flags := newFlags("build")
	all := flags.Bool("all", false, "")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if *all {
		if _, err := controlplane.BuildMetricsServer(ctx, say); err != nil {
			return err
		}
		if _, err := controlplane.BuildArgoRollouts(ctx, say); err != nil {
			return err
		}
	}
	programs, err := controlplane.Build(ctx, say)
	if err != nil {
		return err
	}
	if _, err := os.Stat(programs.Directory); err != nil {
		return err
	}
	answer("%s\n", programs.Directory)
	return nil
}
