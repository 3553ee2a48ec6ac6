package service

import (
	"context"
	"errors"
	"log/slog"
	"time"

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

// Start implements coordinator.Holder. Volumes in mode HoldFlush are only flushed: their providers copy them
// atomically.
func (h *holder) Start(ctx context.Context, limit time.Duration, volumes []coordinator.HeldVolume,
	suspended []string) (coordinator.Guard, error) {
	g := &guard{}
	var frozen []hold.Volume
	for _, v := range volumes {
		switch v.Mode {
		case provider.HoldFreeze:
			frozen = append(frozen, hold.Volume{Name: v.Name, Root: v.Root})
		case provider.HoldFlush:
			g.flushed = append(g.flushed, hold.Volume{Name: v.Name, Root: v.Root})
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
	flushed []hold.Volume
	start   time.Time
}

// Preflush implements coordinator.Guard.
func (g *guard) Preflush(ctx context.Context) error {
	err := hold.Sync(ctx, g.flushed)
	if err == nil && g.held != nil {
		err = g.held.Preflush(ctx)
	}
	return err
}

// Flush implements coordinator.Guard.
func (g *guard) Flush(ctx context.Context) error {
	err := hold.Sync(ctx, g.flushed)
	if err == nil && g.held != nil {
		err = g.held.Flush(ctx)
	}
	return err
}

// Hold implements coordinator.Guard.
func (g *guard) Hold(ctx context.Context) error {
	g.start = time.Now()
	err := hold.Sync(ctx, g.flushed)
	if err == nil && g.held != nil {
		err = g.held.Hold(ctx)
	}
	return err
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
