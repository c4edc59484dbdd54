package controlplane

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestParallelReportsTheCause(t *testing.T) {
	broken := errors.New("broken")
	err := parallel(t.Context(),
		func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		},
		func(context.Context) error { return broken },
		func(context.Context) error { return nil },
	)
	if !errors.Is(err, broken) || errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

func TestParallelReportsTheEndOfItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := parallel(ctx, func(ctx context.Context) error { return ctx.Err() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

func TestUntilSaysWhatIsMissing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := until(ctx, "all is well", func(context.Context) error {
		cancel()
		return errors.New("it is not")
	})
	if err == nil || !strings.Contains(err.Error(), "all is well") {
		t.Errorf("the error is %v", err)
	}
	attempts := 0
	err = until(t.Context(), "it works", func(context.Context) error {
		if attempts++; attempts < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || attempts != 3 {
		t.Errorf("after %d attempts the error is %v", attempts, err)
	}
}
