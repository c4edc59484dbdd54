package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// patience is how long a supervisor may take to end before it is killed, which
// ends its programs as well.
const patience = 20 * time.Second

func down(ctx context.Context, arguments []string) error {
	name, err := parseName("down", arguments)
	if err != nil {
		return err
	}
	instance, err := newInstance(name)
	if err != nil {
		return err
	}
	lock, err := instance.lock()
	if err != nil {
		return err
	}
	if lock != nil {
		defer lock.Release()
		say(fmt.Sprintf("control plane %q is not up", name))
		return os.RemoveAll(instance.directory)
	}
	found, exists, err := instance.read()
	if err != nil || !exists {
		return errors.Join(fmt.Errorf("control plane %q is being started or stopped by another process", name), err)
	}
	return instance.stop(ctx, found.Process)
}

func (i instance) stop(ctx context.Context, id int) error {
	if err := syscall.Kill(id, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping process %d: %w", id, err)
	}
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := i.waitUntilFree(patient)
	if errors.Is(err, context.DeadlineExceeded) {
		say(fmt.Sprintf("process %d does not end and is killed", id))
		if err := syscall.Kill(id, syscall.SIGKILL); err != nil {
			return fmt.Errorf("killing process %d: %w", id, err)
		}
		err = i.waitUntilFree(ctx)
	}
	if err != nil {
		return fmt.Errorf("waiting for process %d: %w", id, err)
	}
	say(fmt.Sprintf("control plane %q is down", i.name))
	return os.RemoveAll(i.directory)
}
