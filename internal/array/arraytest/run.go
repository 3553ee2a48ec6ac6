package arraytest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// World is an array without LUNs and what a test must be able to do behind its back.
type World struct {
	// At is the array as a host reaches it.
	At func(host string) array.Array
	// Restart stands for a controller that died and came back. What At gave before may be dead after it.
	Restart func()
	// Write and Read are the content of a LUN, as one byte that stands for it.
	Write func(id vss.LUNID, b byte)
	Read  func(id vss.LUNID) byte
}

// Hosts of the cases. The array must take them for two, neither of which is its administrator.
const (
	A = "host-a"
	B = "host-b"
)

const mib = 1 << 20

// Run proves an array. Each case has a world of its own, with room for 200 MiB of data.
func Run(t *testing.T, newWorld func(t *testing.T) *World) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(&world{newWorld(t), t}) })
	}
}

var cases = []struct {
	name string
	run  func(w *world)
}{
	{"info", info},
	{"the life of a LUN", life},
	{"masks", masks},
	{"refusals", refusals},
	{"a copy is of the instant", instant},
	{"the order of calls", order},
	{"all copies of a set or none", allOrNone},
	{"restarts", restarts},
	{"two hosts", twoHosts},
	{"import once", importOnce},
	{"break", breaks},
	{"plex", plex},
	{"pause", pause},
	{"resync", resync},
	{"ended contexts", ended},
}

type world struct {
	*World
	*testing.T
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) code(what string, err error, code vss.Code) {
	w.Helper()
	if !errors.Is(err, code) || vss.CodeOf(err) == vss.OK {
		w.Errorf("%s: %v, want %s", what, err, code.Name())
	}
}

func (w *world) lun(l array.LUN, err error) array.LUN {
	w.Helper()
	w.must(err)
	return l
}

func (w *world) create(name string) array.LUN {
	w.Helper()
	return w.lun(w.At(A).Create(w.Context(), array.CreateRequest{Name: name, Size: 16 * mib}))
}

func (w *world) get(id vss.LUNID) array.LUN {
	w.Helper()
	return w.lun(w.At(A).LUN(w.Context(), id))
}

// names checks which LUNs a host gets listed, in their order.
func (w *world) names(when, host string, want ...string) {
	w.Helper()
	all, err := w.At(host).LUNs(w.Context())
	w.must(err)
	got := []string{}
	for _, l := range all {
		got = append(got, l.Name)
	}
	if !slices.Equal(got, want) {
		w.Errorf("%s: LUNs %q, want %q", when, got, want)
	}
}

func (w *world) content(what string, id vss.LUNID, want byte) {
	w.Helper()
	if got := w.Read(id); got != want {
		w.Errorf("%s has %q, want %q", what, got, want)
	}
}

func newSet() vss.SnapshotSetID { return vss.SnapshotSetID{GUID: vss.NewGUID()} }

func of(m array.Method, names []string, origins ...array.LUN) []array.CopyRequest {
	var out []array.CopyRequest
	for i, o := range origins {
		out = append(out, array.CopyRequest{Origin: o.ID, Method: m, Name: names[i]})
	}
	return out
}

// How far a set is taken.
const (
	prepared = iota
	committed
	finished
	kept
)

// set makes a set of host A's, as far as is asked, and gives its copies.
func (w *world) set(far int, r ...array.CopyRequest) (vss.SnapshotSetID, []array.LUN) {
	w.Helper()
	a, ctx, set := w.At(A), w.Context(), newSet()
	copies, err := a.PrepareCopies(ctx, set, A, r)
	w.must(err)
	if far >= committed {
		_, err = a.CommitCopies(ctx, set, A)
		w.must(err)
	}
	if far >= finished {
		copies, err = a.FinishCopies(ctx, set, A)
		w.must(err)
	}
	if far >= kept {
		w.must(a.KeepCopies(ctx, set, A))
	}
	return set, copies
}

func (w *world) eventually(what string, f func() bool) {
	w.Helper()
	for end := time.Now().Add(30 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("not in 30 s: %s", what)
		}
	}
}

func dead() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
