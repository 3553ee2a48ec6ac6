package hold

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	preflushRound = time.Second      // a shorter round is the last
	preflushLimit = 60 * time.Second // for all rounds: applications may write faster than the disk does
)

// Preflush writes dirty data of all volumes to disk in parallel, repeatedly until a round takes less than a second or
// 60 s have passed, so that the flush within the hold is short. Nothing is held. Errors: VSS_E_UNEXPECTED if a file
// system can't write.
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
			return nil // the limit of the hold decides
		}
		return flushError("Preflush", err)
	}
}

// Flush is one more round, directly before the hold.
func (g *Guard) Flush(ctx context.Context) error { return flushError("Flush", g.sync(ctx)) }

// sync runs syncfs on all volumes.
func (g *Guard) sync(ctx context.Context) error {
	return syncAll(ctx, len(g.roots), func(i int) (string, error) {
		return g.volumes[i].Name, g.roots[i].do(unix.Syncfs)
	})
}

// Sync writes dirty data of volumes to disk, in parallel. Errors: VSS_E_UNEXPECTED if a file system can't write, or ctx
// ends.
func Sync(ctx context.Context, volumes []Volume) error {
	return flushError("Flush", syncAll(ctx, len(volumes), func(i int) (string, error) {
		return volumes[i].Name, syncfs(volumes[i].Root)
	}))
}

// syncfs runs syncfs on the file system of an open directory.
func syncfs(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := conn.Control(func(fd uintptr) { failed = unix.Syncfs(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// syncAll calls sync for n volumes in parallel. Syncfs can't be interrupted: after the end of ctx it continues in the
// background.
func syncAll(ctx context.Context, n int, syncOne func(i int) (name string, err error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		errs := make([]error, n)
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				if name, err := syncOne(i); err != nil {
					errs[i] = vss.E("Syncfs", vss.ErrUnexpected, err).On(name).
						Advise("check the kernel log for I/O errors of this file system")
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
