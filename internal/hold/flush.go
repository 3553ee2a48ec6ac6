package hold

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	preflushRound = time.Second      // a round as short as this is the last
	preflushLimit = 60 * time.Second // for all rounds: writers that write faster than the disk would keep it going
)

// Preflush writes out what is dirty on all volumes at once, again until a round takes less than a second or 60 s are over,
// so that the flush inside the hold is short. Nothing is held. Errors: VSS_E_UNEXPECTED if a file system couldn't write.
func (g *Guard) Preflush(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, preflushLimit)
	defer cancel()
	for {
		began := time.Now()
		err := g.sync(limit)
		if err == nil && time.Since(began) >= preflushRound {
			continue
		}
		if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			return nil // as clean as it gets; the hold's limit decides
		}
		return flushError("Preflush", err)
	}
}

// Flush is one more round, just before the hold.
func (g *Guard) Flush(ctx context.Context) error { return flushError("Flush", g.sync(ctx)) }

// sync runs syncfs on all volumes. It can't be interrupted: when ctx ends it goes on by itself.
func (g *Guard) sync(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		errs := make([]error, len(g.roots))
		var all sync.WaitGroup
		for i, r := range g.roots {
			all.Go(func() {
				if err := r.do(unix.Syncfs); err != nil {
					errs[i] = vss.E("Syncfs", vss.ErrUnexpected, err).On(g.volumes[i].Name).Advise("look for I/O errors of this file system in the kernel log")
				}
			})
		}
		all.Wait()
		done <- errors.Join(errs...)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func flushError(op string, err error) error {
	if err == nil {
		return nil
	}
	return vss.E(op, vss.ErrUnexpected, err)
}
