package lun_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/array/pool"
	"github.com/stillpoint-vss/stillpoint/internal/array/pool/pooltest"
	"github.com/stillpoint-vss/stillpoint/internal/array/remote"
	"github.com/stillpoint-vss/stillpoint/internal/array/target/loop"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/internal/providers/lun"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	mib  = 1 << 20
	host = "here"
)

var ctx = context.Background()

// link is an array as hosts reach it: its controller may die and come back, and calls may be made to wait or fail.
type link struct {
	array.Array
	t    *testing.T
	dir  string
	pool array.Pool
	low  int64
	name string
	far  bool // the array is reached over a socket, as host
	// hook stands before every call that is named below; nil lets it pass.
	hook func(ctx context.Context, method string, call func() error) error
}

func (l *link) do(ctx context.Context, method string, call func() error) error {
	if l.hook == nil {
		return call()
	}
	return l.hook(ctx, method, call)
}

func (l *link) LUNs(ctx context.Context) (out []array.LUN, err error) {
	return out, l.do(ctx, "LUNs", func() error { out, err = l.Array.LUNs(ctx); return err })
}

func (l *link) PrepareCopies(
	ctx context.Context,
	set vss.SnapshotSetID,
	host string,
	r []array.CopyRequest,
) (out []array.LUN, err error) {
	return out, l.do(
		ctx,
		"PrepareCopies",
		func() error { out, err = l.Array.PrepareCopies(ctx, set, host, r); return err },
	)
}

func (l *link) CommitCopies(ctx context.Context, set vss.SnapshotSetID, host string) (skew time.Duration, err error) {
	return skew, l.do(
		ctx,
		"CommitCopies",
		func() error { skew, err = l.Array.CommitCopies(ctx, set, host); return err },
	)
}

func (l *link) KeepCopies(ctx context.Context, set vss.SnapshotSetID, host string) error {
	return l.do(ctx, "KeepCopies", func() error { return l.Array.KeepCopies(ctx, set, host) })
}

func (l *link) AbortCopies(ctx context.Context, set vss.SnapshotSetID, host string) error {
	return l.do(ctx, "AbortCopies", func() error { return l.Array.AbortCopies(ctx, set, host) })
}

func (l *link) Map(ctx context.Context, id vss.LUNID, host string) (out array.LUN, err error) {
	return out, l.do(ctx, "Map", func() error { out, err = l.Array.Map(ctx, id, host); return err })
}

func (l *link) MapAll(ctx context.Context, host string, ids []vss.LUNID) error {
	return l.do(ctx, "MapAll", func() error { return l.Array.MapAll(ctx, host, ids) })
}

func (l *link) MarkImported(ctx context.Context, host string, ids []vss.LUNID) error {
	return l.do(ctx, "MarkImported", func() error { return l.Array.MarkImported(ctx, host, ids) })
}

// broken is a hook by which one method fails without having done anything.
func broken(method string, err error) func(context.Context, string, func() error) error {
	return func(_ context.Context, m string, call func() error) error {
		if m == method {
			return err
		}
		return call()
	}
}

var errBroken = vss.E("Test", vss.VDSErrObjectStatusFailed, errors.New("the line is dead"))

func (l *link) start() {
	l.t.Helper()
	var err error
	l.pool, err = pool.Open(l.dir)
	must(l.t, err)
	l.Array, err = array.Open(
		ctx,
		array.Config{
			Name:     l.name,
			Pools:    []array.NamedPool{{Name: "p", Pool: l.pool}},
			Targets:  []array.Target{loop.Target{}},
			LowWater: l.low,
			Logger:   logger(l.t),
		},
	)
	must(l.t, err)
	if l.far {
		l.Array = l.serve(l.Array)
	}
}

// served is an array at the other end of a socket; closing it ends the service there, too.
type served struct {
	array.Array
	end func() error
}

func (s *served) Close() error { return errors.Join(s.Array.Close(), s.end()) }

func (l *link) serve(a array.Array) array.Array {
	l.t.Helper()
	socket := filepath.Join(os.TempDir(), filepath.Base(l.dir)+".sock") // a pool's path is too long for one
	at, err := wire.Listen(socket, 0o600, "")
	must(l.t, err)
	serving, stop := context.WithCancel(ctx)
	over := make(chan error, 1)
	go func() { over <- remote.Serve(serving, at, a, remote.UnixCaller, logger(l.t)) }()
	c, err := remote.Connect(ctx, socket, remote.AsHost(host))
	must(l.t, err)
	return &served{c, func() error {
		stop()
		return errors.Join(<-over, a.Close())
	}}
}

// restart is a controller that died and came back: Close writes no record.
func (l *link) restart() {
	l.t.Helper()
	must(l.t, l.Array.Close())
	l.start()
}

func logger(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// folders are file systems for pools, one for each kind, for all worlds of a test.
func folders(t *testing.T, kinds ...string) []string {
	t.Helper()
	lane.Host(t)
	var out []string
	for _, k := range kinds {
		out = append(out, pooltest.Folder(t, k, 1<<30))
	}
	return out
}

// world is a host with a provider over arrays, an array on each folder, and originals on them in turn.
type world struct {
	*lun.Provider
	t         *testing.T
	arrays    []*link
	originals []array.LUN
	log       *bytes.Buffer
}

func newWorld(t *testing.T, originals int, folders ...string) *world {
	t.Helper()
	return newWorldAt(t, false, originals, folders...)
}

// newWorldAt is newWorld with arrays that may be far, over sockets.
func newWorldAt(t *testing.T, far bool, originals int, folders ...string) *world {
	t.Helper()
	w := &world{t: t, log: &bytes.Buffer{}}
	for i, f := range folders {
		dir, err := os.MkdirTemp(f, "pool")
		must(t, err)
		l := &link{t: t, dir: dir, low: 8 * mib, name: fmt.Sprintf("array%d", i), far: far}
		l.start()
		t.Cleanup(func() { must(t, l.Array.Close()) })
		w.arrays = append(w.arrays, l)
	}
	for i := range originals {
		l, err := w.arrays[i%len(folders)].Create(
			ctx,
			array.CreateRequest{Name: fmt.Sprintf("lun%d", i), Size: 16 * mib},
		)
		must(t, err)
		w.originals = append(w.originals, l)
	}
	w.Provider = w.provider(host)
	return w
}

// provider is one process more, on any host.
func (w *world) provider(host string) *lun.Provider {
	return lun.New(
		lun.Config{Host: host, Logger: slog.New(slog.NewTextHandler(w.log, nil)), Arrays: func() []array.Array {
			var out []array.Array
			for _, l := range w.arrays {
				out = append(out, l)
			}
			return out
		}},
	)
}

func (w *world) sources() []vss.LUNInformation {
	var out []vss.LUNInformation
	for _, l := range w.originals {
		out = append(out, l.Information())
	}
	return out
}

// find gives a LUN's record and its array; it may be gone.
func (w *world) find(info vss.LUNInformation) (*link, array.LUN, bool) {
	w.t.Helper()
	for _, a := range w.arrays {
		all, err := a.Array.LUNs(ctx)
		must(w.t, err)
		for _, l := range all {
			if i := l.Information(); i.SameLUN(&info) {
				return a, l, true
			}
		}
	}
	return nil, array.LUN{}, false
}

func (w *world) visible(info vss.LUNInformation, host string) bool {
	_, l, ok := w.find(info)
	return ok && slices.Contains(l.MappedTo, host)
}

func (w *world) image(info vss.LUNInformation) string {
	w.t.Helper()
	a, l, ok := w.find(info)
	if !ok {
		w.t.Fatalf("no LUN with serial %s", info.SerialNumber)
	}
	return a.pool.Backing(l.ID).Path
}

func (w *world) write(info vss.LUNInformation, b byte) {
	w.t.Helper()
	pooltest.Write(w.t, w.image(info), mib, b, 4096)
}

func (w *world) read(info vss.LUNInformation) byte {
	w.t.Helper()
	f, err := os.Open(w.image(info))
	must(w.t, err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, mib+4095)
	must(w.t, err)
	return b[0]
}

// copies counts what the pools have beside the originals: records, and no data without a record.
func (w *world) copies() int {
	w.t.Helper()
	n := -len(w.originals)
	for _, a := range w.arrays {
		records, err := filepath.Glob(a.pool.RecordDir() + "/*.json")
		must(w.t, err)
		n += len(records)
		stored, err := a.pool.Stored()
		must(w.t, err)
		for id := range stored {
			if !slices.Contains(records, filepath.Join(a.pool.RecordDir(), id.Plain()+".json")) {
				w.t.Errorf("%s has data and no record", id)
			}
		}
	}
	return n
}

func (w *world) wantCopies(when string, want int) {
	w.t.Helper()
	if n := w.copies(); n != want {
		w.t.Errorf("%s: %d copies in the pools, want %d", when, n, want)
	}
}

func newSet() vss.SnapshotSetID { return vss.SnapshotSetID{GUID: vss.NewGUID()} }

func begin(p *lun.Provider, set vss.SnapshotSetID, c vss.Context, luns ...vss.LUNInformation) error {
	return p.BeginPrepareSnapshot(ctx, set, vss.SnapshotID{GUID: vss.NewGUID()}, c, make([]string, len(luns)), luns)
}

// steps are the calls of a set after it was begun, in their order.
var steps = []struct {
	name string
	do   func(p *lun.Provider, set vss.SnapshotSetID) error
}{
	{
		"EndPrepareSnapshots",
		func(p *lun.Provider, set vss.SnapshotSetID) error { return p.EndPrepareSnapshots(ctx, set) },
	},
	{
		"PreCommitSnapshots",
		func(p *lun.Provider, set vss.SnapshotSetID) error { return p.PreCommitSnapshots(ctx, set) },
	},
	{"CommitSnapshots", func(p *lun.Provider, set vss.SnapshotSetID) error { return p.CommitSnapshots(ctx, set) }},
	{
		"PostCommitSnapshots",
		func(p *lun.Provider, set vss.SnapshotSetID) error { return p.PostCommitSnapshots(ctx, set, 1) },
	},
	{
		"PreFinalCommitSnapshots",
		func(p *lun.Provider, set vss.SnapshotSetID) error { return p.PreFinalCommitSnapshots(ctx, set) },
	},
	{
		"PostFinalCommitSnapshots",
		func(p *lun.Provider, set vss.SnapshotSetID) error { return p.PostFinalCommitSnapshots(ctx, set) },
	},
}

// How far a set is, in steps.
const (
	preCommitted = 2
	postCommit   = 4
	created      = 6
)

// reach makes a set of all originals and does the first n steps.
func (w *world) reach(p *lun.Provider, c vss.Context, n int) vss.SnapshotSetID {
	w.t.Helper()
	set := newSet()
	must(w.t, begin(p, set, c, w.sources()...))
	for _, s := range steps[:n] {
		if err := s.do(p, set); err != nil {
			w.t.Fatalf("%s: %v", s.name, err)
		}
	}
	return set
}

func (w *world) targets(set vss.SnapshotSetID) []vss.LUNInformation {
	w.t.Helper()
	out, err := w.GetTargetLUNs(ctx, set, make([]string, len(w.originals)), w.sources())
	must(w.t, err)
	return out
}

// create makes a set and gives the descriptions of its copies.
func (w *world) create(c vss.Context) (vss.SnapshotSetID, []vss.LUNInformation) {
	w.t.Helper()
	set := w.reach(w.Provider, c, created)
	return set, w.targets(set)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, what string, err error, code vss.Code) {
	t.Helper()
	if vss.CodeOf(err) != code {
		t.Errorf("%s: %v, want %s", what, err, code.Name())
	}
}
