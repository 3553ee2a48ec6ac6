package array_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/array/loopdev"
	"github.com/stillpoint-vss/stillpoint/internal/array/pool"
	"github.com/stillpoint-vss/stillpoint/internal/array/pool/pooltest"
	"github.com/stillpoint-vss/stillpoint/internal/array/target/loop"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const mib = 1 << 20

var ctx = context.Background()

// world is an array over one pool: in a folder on a file system of its own, or "self-made" on an ext4.
type world struct {
	t   *testing.T
	dir string // of the pool
	raw func() (array.Pool, error)
	*array.Controller
	low     int64
	targets []array.Target // before the loop target
	loop.Initiator
}

func newWorld(t *testing.T, kind string, size, low int64) *world {
	t.Helper()
	lane.Host(t)
	w := &world{t: t, low: low}
	if kind == "self-made" {
		below := pooltest.Folder(t, "ext4", size)
		w.dir = below + "/run"
		w.raw = func() (array.Pool, error) { return pool.OpenSelfMade(below+"/default.img", w.dir) }
	} else {
		w.dir = pooltest.Folder(t, kind, size)
		w.raw = func() (array.Pool, error) { return pool.Open(w.dir) }
	}
	w.start()
	t.Cleanup(func() {
		if w.Controller != nil {
			w.stop()
		}
	})
	return w
}

func (w *world) start() {
	w.t.Helper()
	if err := w.tryStart(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) tryStart() error {
	p, err := w.raw()
	if err != nil {
		return err
	}
	c, err := array.Open(ctx, array.Config{
		Name: "local", Pools: []array.NamedPool{{Name: "p", Pool: p}}, Targets: append(
			w.targets, loop.Target{},
		), LowWater: w.low,
		Logger: slog.New(slog.NewTextHandler(w.t.Output(), nil)),
	})
	if err != nil {
		return errors.Join(err, p.Close())
	}
	w.Controller = c
	return nil
}

func (w *world) stop() {
	w.t.Helper()
	must(w.t, w.Controller.Close())
	must(w.t, w.Controller.Close())
	w.Controller = nil
}

// restart is a controller that died and came back: Close writes no record.
func (w *world) restart() {
	w.t.Helper()
	w.stop()
	w.start()
}

func (w *world) lun(name string, size int64) array.LUN {
	w.t.Helper()
	l, err := w.Create(ctx, array.CreateRequest{Name: name, Size: size})
	must(w.t, err)
	return l
}

func (w *world) get(id vss.LUNID) array.LUN {
	w.t.Helper()
	l, err := w.LUN(ctx, id)
	must(w.t, err)
	return l
}

func (w *world) names() []string {
	w.t.Helper()
	all, err := w.LUNs(ctx)
	must(w.t, err)
	out := []string{}
	for _, l := range all {
		out = append(out, l.Name)
	}
	return out
}

// mapping maps a LUN and returns its mapping.
func (w *world) mapping(id vss.LUNID) array.Mapping {
	w.t.Helper()
	_, err := w.Map(ctx, id, "here")
	must(w.t, err)
	all, err := w.Mappings(ctx, "here")
	must(w.t, err)
	for _, m := range all {
		if m.LUN.ID == id {
			return m
		}
	}
	w.t.Fatalf("%s is not mapped", id)
	return array.Mapping{}
}

// attach maps a LUN and gives it a device, which goes at the end of the test.
func (w *world) attach(id vss.LUNID) string {
	w.t.Helper()
	m := w.mapping(id)
	device, err := w.Attach(ctx, m)
	must(w.t, err)
	backing := loopdev.Backing(device)
	w.t.Cleanup(func() {
		if strings.TrimSuffix(
			loopdev.Backing(device),
			" (deleted)",
		) == backing { // else its number is somebody else's by now
			_ = w.Initiator.Detach(ctx, device)
		}
	})
	return device
}

func newSet() vss.SnapshotSetID { return vss.SnapshotSetID{GUID: vss.NewGUID()} }

// prepared is the set of copies of these LUNs, before the cut.
func (w *world) prepare(m array.Method, origins ...vss.LUNID) (vss.SnapshotSetID, []array.LUN) {
	w.t.Helper()
	set := newSet()
	var r []array.CopyRequest
	for _, o := range origins {
		r = append(r, array.CopyRequest{Origin: o, Method: m})
	}
	copies, err := w.PrepareCopies(ctx, set, "here", r)
	must(w.t, err)
	return set, copies
}

func (w *world) commit(m array.Method, origins ...vss.LUNID) (vss.SnapshotSetID, []array.LUN) {
	w.t.Helper()
	set, copies := w.prepare(m, origins...)
	_, err := w.CommitCopies(ctx, set, "here")
	must(w.t, err)
	return set, copies
}

func (w *world) finish(m array.Method, origins ...vss.LUNID) (vss.SnapshotSetID, []array.LUN) {
	w.t.Helper()
	set, _ := w.commit(m, origins...)
	copies, err := w.FinishCopies(ctx, set, "here")
	must(w.t, err)
	return set, copies
}

func (w *world) keep(m array.Method, origins ...vss.LUNID) (vss.SnapshotSetID, []array.LUN) {
	w.t.Helper()
	set, copies := w.finish(m, origins...)
	must(w.t, w.KeepCopies(ctx, set, "here"))
	return set, copies
}

// noData checks that nothing of a LUN is left in the pool.
func (w *world) noData(ids ...vss.LUNID) {
	w.t.Helper()
	for _, id := range ids {
		for _, p := range []string{"luns/" + id.Plain(), "records/" + id.Plain() + ".json"} {
			if _, err := os.Stat(w.dir + "/" + p); !errors.Is(err, os.ErrNotExist) {
				w.t.Errorf("%s is still there (%v)", p, err)
			}
		}
	}
}

func (w *world) data(id vss.LUNID) string { return w.dir + "/luns/" + id.Plain() + "/data/image" }

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in 20 s: %s", what)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, code vss.Code) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Errorf("got %v, want %s", err, code.Name())
	}
}
