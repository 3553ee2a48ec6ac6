package vds_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/array/pool"
	"github.com/stillpoint-vss/stillpoint/internal/array/pool/pooltest"
	"github.com/stillpoint-vss/stillpoint/internal/array/target/loop"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	mib     = 1 << 20
	lunSize = 320 * mib // XFS needs as much
)

var ctx = context.Background()

// world is an array and the disk manager of one host on it.
type world struct {
	t   *testing.T
	dir string // of the pool
	*vds.Manager
	array  *array.Controller
	state  string
	config vds.Config

	mu     sync.Mutex
	events []catalog.Event
	inUse  map[vss.LUNID]string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	lane.Host(t)
	w := &world{t: t, dir: pooltest.Folder(t, "xfs", 4<<30)}
	w.array = openArray(t, "local", w.dir)
	w.host("here", w.array)
	return w
}

func openArray(t *testing.T, name, dir string) *array.Controller {
	t.Helper()
	p, err := pool.Open(dir)
	must(t, err)
	c, err := array.Open(
		ctx,
		array.Config{
			Name:     name,
			Pools:    []array.NamedPool{{Name: "p", Pool: p}},
			Targets:  []array.Target{loop.Target{}},
			LowWater: 8 * mib,
			Logger:   logger(t),
		},
	)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func logger(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// host makes w the disk manager of a host; at the end everything that it attached goes.
func (w *world) host(name string, arrays ...array.Array) {
	w.t.Helper()
	w.state, w.inUse = lane.Scratch(w.t), map[vss.LUNID]string{}
	w.config = vds.Config{
		Host:       name,
		Arrays:     arrays,
		Initiators: map[string]vds.Initiator{"loop": loop.Initiator{}},
		StateDir:   w.state,
		Logger:     logger(w.t),
		InUse:      func(id vss.LUNID) string { return w.inUse[id] },
		Event: func(kind events.Kind, severity events.Severity, object string, err error) {
			w.mu.Lock()
			w.events = append(w.events, catalog.Event{
				What: string(kind), Severity: string(severity), Object: object,
				Code: vss.CodeOf(err), Message: err.Error(), Hint: vss.Hint(err),
			})
			w.mu.Unlock()
		},
	}
	w.restart()
	w.t.Cleanup(func() {
		disks, err := w.Disks(ctx)
		must(w.t, err)
		for _, d := range disks {
			if err := w.Uninstall(ctx, d, true); err != nil {
				w.t.Errorf("%s: %v", d.LUN.Name, err)
			}
		}
	})
}

// other is a second host on the same array and the same kernel.
func (w *world) other(name string) *world {
	w.t.Helper()
	o := &world{t: w.t, dir: w.dir, array: w.array}
	o.host(name, w.array)
	return o
}

// restart is a service that died and came back.
func (w *world) restart() {
	w.t.Helper()
	m, err := vds.New(w.config)
	must(w.t, err)
	w.Manager = m
}

func (w *world) heard(what string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.What == what && e.Message != "" && e.Hint != "" {
			return true
		}
	}
	return false
}

// create makes a LUN that arrives here.
func (w *world) create(name string) vds.Disk {
	w.t.Helper()
	d, err := w.Create(ctx, "", array.CreateRequest{Name: name, Size: lunSize}, false)
	must(w.t, err)
	if d.Device == "" {
		w.t.Fatalf("%s did not arrive", name)
	}
	return d
}

// formatted is a LUN with a file system.
func (w *world) formatted(name string, style disk.Style, fs string) vds.Disk {
	w.t.Helper()
	w.create(name)
	d, err := w.Format(ctx, name, style, fs, "")
	must(w.t, err)
	return d
}

func (w *world) get(name string) vds.Disk {
	w.t.Helper()
	d, err := w.Find(ctx, name)
	must(w.t, err)
	return d
}

func (w *world) folder(name string) string {
	w.t.Helper()
	p := filepath.Join(w.state, name)
	must(w.t, os.MkdirAll(p, 0o755))
	return p
}

// mount mounts a LUN's volume at a folder of the same name.
func (w *world) mount(name string, persist bool) string {
	w.t.Helper()
	p := w.folder(name)
	_, err := w.Mount(ctx, name, 0, p, persist)
	must(w.t, err)
	return p
}

// copy is a kept copy of a LUN, with the four flags on it as a creation sets them, masked from everybody.
func (w *world) copy(d vds.Disk, keep bool) (array.LUN, vss.SnapshotSetID) {
	w.t.Helper()
	must(w.t, w.SetLUNFlags(ctx, d, vss.FlagsShadowCopy, 0))
	set := vss.SnapshotSetID{GUID: vss.NewGUID()}
	_, err := w.array.PrepareCopies(ctx, set, "here", []array.CopyRequest{{Origin: d.LUN.ID}})
	must(w.t, err)
	_, err = w.array.CommitCopies(ctx, set, "here")
	must(w.t, err)
	copies, err := w.array.FinishCopies(ctx, set, "here")
	must(w.t, err)
	if keep {
		must(w.t, w.array.KeepCopies(ctx, set, "here"))
	}
	must(w.t, w.SetLUNFlags(ctx, d, 0, vss.FlagsShadowCopy))
	l, err := w.array.LUN(ctx, copies[0].ID)
	must(w.t, err)
	return l, set
}

// imported is a copy that arrived on this host the way the coordinator has it arrive.
func (w *world) imported(d vds.Disk) vds.Disk {
	w.t.Helper()
	l, _ := w.copy(d, true)
	_, err := w.array.Map(ctx, l.ID, w.config.Host)
	must(w.t, err)
	arrived, err := w.Rescan(ctx, vds.RescanOptions{Import: []vss.LUNID{l.ID}})
	must(w.t, err)
	if len(arrived) != 1 || arrived[0].LUN.ID != l.ID || len(disk.Nodes(arrived[0].Device)) != 1 {
		w.t.Fatalf("arrived %+v", arrived)
	}
	_, err = w.RenewIdentity(ctx, arrived[0])
	must(w.t, err)
	must(w.t, disk.SetReadOnly(arrived[0].Device, true))
	return arrived[0]
}

// write puts a file into a mounted volume.
func write(t *testing.T, folder, text string) {
	t.Helper()
	must(t, os.WriteFile(folder+"/file", []byte(text), 0o600))
}

func wantFile(t *testing.T, folder, text string) {
	t.Helper()
	if b, err := os.ReadFile(folder + "/file"); err != nil || string(b) != text {
		t.Errorf("read %q (%v), want %q", b, err, text)
	}
}

// hold keeps a file of a folder open until release.
func hold(t *testing.T, folder string) (release func()) {
	t.Helper()
	f, err := os.OpenFile(folder+"/held", os.O_CREATE|os.O_RDWR, 0o600)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return func() { f.Close() }
}

func mounted(path string) bool {
	var a, b unix.Stat_t
	return unix.Stat(path, &a) == nil && unix.Stat(filepath.Dir(path), &b) == nil && a.Dev != b.Dev
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v (%s)", err, vss.Hint(err))
	}
}

// wantCode checks an error's code, and that it says what to do next.
func wantCode(t *testing.T, err error, code vss.Code) {
	t.Helper()
	if vss.CodeOf(err) != code || !errors.Is(err, code) {
		t.Errorf("got %v, want %s", err, code.Name())
	} else if vss.Hint(err) == "" {
		t.Errorf("%v: no hint", err)
	}
}
