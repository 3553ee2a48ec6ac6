package cli

import (
	"context"
	"os/signal"

	"golang.org/x/sys/unix"
)

// Interruptible calls run with a context that ends when the process receives SIGTERM or SIGINT.
func Interruptible(run func(ctx context.Context) int) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	return run(ctx)
}
