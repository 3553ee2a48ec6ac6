package service

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/coordinator"
	"github.com/stillpoint-vss/stillpoint/internal/hold"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// holder adapts package hold to the coordinator.
type holder struct {
	runDir string
	logger *slog.Logger
}

// Start implements coordinator.Holder. Volumes in mode flush are only flushed: their providers cut them atomically.
func (h *holder) Start(ctx context.Context, limit time.Duration, volumes []coordinator.HeldVolume,
	suspended []string) (coordinator.Guard, error) {
	g := &guard{}
	var frozen []hold.Volume
	for _, v := range volumes {
		switch v.Mode {
		case provider.HoldFreeze:
			frozen = append(frozen, hold.Volume{Name: v.Name, Root: v.Root})
		case provider.HoldFlush:
			g.flushed = append(g.flushed, v)
		default:
			return nil, cantSuspend(v.Name)
		}
	}
	if len(suspended) > 0 {
		return nil, cantSuspend(suspended[0])
	}
	if len(frozen) == 0 {
		return g, nil
	}
	held, err := hold.Start(ctx, hold.Config{RunDir: h.runDir, Limit: limit, Logger: h.logger}, frozen)
	if err != nil {
		return nil, err
	}
	g.held = held
	return g, nil
}

func cantSuspend(object string) error {
	return vss.E("StartGuard", vss.ErrNotSupported, errors.New("devices can't be suspended")).On(object)
}

// CanSuspend implements coordinator.Holder: the guards know file systems only.
func (h *holder) CanSuspend() bool { return false }

// Left implements coordinator.Holder.
func (h *holder) Left() ([]string, error) { return hold.Left(h.runDir) }

// Thaw implements coordinator.Holder.
func (h *holder) Thaw() ([]string, error) { return hold.ThawAll(h.runDir) }

// guard is a hold of frozen volumes, if there are any, with the volumes that are only flushed.
type guard struct {
	held    *hold.Guard
	flushed []coordinator.HeldVolume
	start   time.Time
}

// Preflush implements coordinator.Guard.
func (g *guard) Preflush(ctx context.Context) error {
	err := g.sync(ctx)
	if err == nil && g.held != nil {
		err = g.held.Preflush(ctx)
	}
	return err
}

// Flush implements coordinator.Guard.
func (g *guard) Flush(ctx context.Context) error {
	err := g.sync(ctx)
	if err == nil && g.held != nil {
		err = g.held.Flush(ctx)
	}
	return err
}

// Hold implements coordinator.Guard.
func (g *guard) Hold(ctx context.Context) error {
	g.start = time.Now()
	err := g.sync(ctx)
	if err == nil && g.held != nil {
		err = g.held.Hold(ctx)
	}
	return err
}

// sync writes out what is dirty on the volumes that are only flushed. It can't be interrupted: when ctx ends it goes
// on by itself.
func (g *guard) sync(ctx context.Context) error {
	if len(g.flushed) == 0 {
		return nil
	}
	done := make(chan error, 1)
	go func() {
		errs := make([]error, len(g.flushed))
		var all sync.WaitGroup
		for i, v := range g.flushed {
			all.Go(func() { errs[i] = flushVolume(v.Name, v.Root) })
		}
		all.Wait()
		done <- errors.Join(errs...)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return vss.E("Flush", vss.ErrUnexpected, ctx.Err())
	}
}

func flushVolume(name string, root *os.File) error {
	conn, err := root.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err = conn.Control(func(fd uintptr) { failed = unix.Syncfs(int(fd)) }); err == nil {
		err = failed
	}
	if err != nil {
		return vss.E("Flush", vss.ErrUnexpected,
			err).On(name).Advise("look for I/O errors of this file system in the kernel log")
	}
	return nil
}

// Release implements coordinator.Guard.
func (g *guard) Release() (hold.Result, error) {
	if g.held != nil {
		return g.held.Release()
	}
	now := time.Now()
	return hold.Result{Start: g.start, Frozen: g.start, End: now}, nil
}

// Close implements coordinator.Guard.
func (g *guard) Close() error {
	if g.held != nil {
		return g.held.Close()
	}
	return nil
}
