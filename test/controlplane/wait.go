package controlplane

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// pollInterval is how often a condition is looked at that nothing announces.
const pollInterval = 50 * time.Millisecond

// until asks until the condition holds or the context ends, and then says why
// the condition did not hold. An error of the condition is not final.
func until(ctx context.Context, what string, condition func(context.Context) error) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	var last error
	for {
		err := condition(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, errors.Join(ctx.Err(), last))
		case <-ticker.C:
		}
	}
}
