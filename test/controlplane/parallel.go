package controlplane

import (
	"context"
	"errors"
	"sync"
)

// parallel runs the functions at once and cancels the others when one fails.
// What those say who were canceled for that is left out.
func parallel(parent context.Context, functions ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	var mutex sync.Mutex
	var failures []error
	var group sync.WaitGroup
	for _, function := range functions {
		group.Go(func() {
			err := function(ctx)
			mutex.Lock()
			defer mutex.Unlock()
			if err != nil && (len(failures) == 0 || !errors.Is(err, context.Canceled)) {
				failures = append(failures, err)
				cancel()
			}
		})
	}
	group.Wait()
	return errors.Join(failures...)
}
