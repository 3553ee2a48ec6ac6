package coordinator

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/hold"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// fakeHolder is a Holder that notes what it is told and holds nothing.
type fakeHolder struct {
	suspends bool
	hook     func(op string) error // called before each operation of a guard

	mu     sync.Mutex
	held   bool
	late   bool // a guard was closed while it held
	open   int  // guards that aren't closed
	ops    []string
	vols   []HeldVolume
	susp   []string
	left   []string
	thawed int
}

func (h *fakeHolder) op(name string) error {
	h.mu.Lock()
	h.ops = append(h.ops, name)
	hook := h.hook
	h.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(name)
}

func (h *fakeHolder) Start(
	_ context.Context,
	limit time.Duration,
	vols []HeldVolume,
	suspended []string,
) (Guard, error) {
	if limit <= 0 || limit > hold.MaxLimit {
		return nil, errors.New("limit out of range")
	}
	if err := h.op("start"); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open++
	h.vols, h.susp = vols, suspended
	return &fakeGuard{h: h}, nil
}

func (h *fakeHolder) CanSuspend() bool { return h.suspends }

func (h *fakeHolder) Left() ([]string, error) { return slices.Clone(h.left), nil }

func (h *fakeHolder) Thaw() ([]string, error) {
	was := h.left
	h.left = nil
	h.thawed++
	return was, nil
}

// state returns whether something is held and how many guards are open.
func (h *fakeHolder) state() (held bool, open int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held, h.open
}

// closedHeld reports whether the last guard to be closed still held: nothing had released it.
func (h *fakeHolder) closedHeld() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.late
}

type fakeGuard struct {
	h      *fakeHolder
	start  time.Time
	closed sync.Once
}

func (g *fakeGuard) Preflush(context.Context) error { return g.h.op("preflush") }
func (g *fakeGuard) Flush(context.Context) error    { return g.h.op("flush") }

func (g *fakeGuard) Hold(context.Context) error {
	g.start = time.Now()
	g.set(true)
	return g.h.op("hold")
}

func (g *fakeGuard) set(held bool) {
	g.h.mu.Lock()
	g.h.held = held
	g.h.mu.Unlock()
}

func (g *fakeGuard) Release() (hold.Result, error) {
	g.set(false)
	return hold.Result{Start: g.start, Frozen: g.start, End: time.Now()}, g.h.op("release")
}

func (g *fakeGuard) Close() error {
	err := g.h.op("close")
	g.closed.Do(func() {
		g.h.mu.Lock()
		g.h.open--
		g.h.held, g.h.late = false, g.h.held
		g.h.mu.Unlock()
	})
	return err
}

// fakeVolumes are the volumes of a host in memory.
type fakeVolumes struct {
	dir    string
	all    []*volume.Volume
	nested func(vols []*volume.Volume, writes []string) error
	opened func(v *volume.Volume) error
}

func (f *fakeVolumes) Find(_ context.Context, name string) (*volume.Volume, error) {
	if name == "/net" {
		return nil, vss.E("FindVolume", vss.ErrVolumeNotSupported, nil).On(name)
	}
	for _, v := range f.all {
		if v.Name == name || v.Device == name {
			found := *v
			return &found, nil
		}
	}
	return nil, vss.E("FindVolume", vss.ErrObjectNotFound, nil).On(name)
}

func (f *fakeVolumes) List(context.Context) ([]*volume.Volume, error) { return f.all, nil }

func (f *fakeVolumes) Open(v *volume.Volume) (*os.File, error) {
	if f.opened != nil {
		if err := f.opened(v); err != nil {
			return nil, err
		}
	}
	return os.Open(f.dir)
}

func (f *fakeVolumes) CheckNesting(_ context.Context, vols []*volume.Volume, writes []string) error {
	if f.nested == nil {
		return nil
	}
	return f.nested(vols, writes)
}

func (f *fakeVolumes) CheckAdded(
	ctx context.Context, set []*volume.Volume, v *volume.Volume, writes []string,
) error {
	return f.CheckNesting(ctx, append(slices.Clone(set), v), writes)
}

// fakeQuiet notes whether the log is held.
type fakeQuiet struct {
	mu   sync.Mutex
	held int
}

func (q *fakeQuiet) Hold()    { q.mu.Lock(); q.held++; q.mu.Unlock() }
func (q *fakeQuiet) Release() { q.mu.Lock(); q.held--; q.mu.Unlock() }

func (q *fakeQuiet) count() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.held
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// ended runs an operation to its end.
func ended(a *Async, err error) error {
	if err != nil {
		return err
	}
	<-a.Done()
	return a.QueryStatus().Err
}
