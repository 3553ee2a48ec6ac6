package array_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/array/pool/pooltest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// TestStory is the life of two LUNs and their copies, on devices.
func TestStory(t *testing.T) {
	for _, kind := range []string{"btrfs", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, kind, 1<<30, 8*mib)
			a, b := w.lun("a", 16*mib), w.lun("b", 16*mib)
			if m, err := w.Mappings(ctx, "here"); err != nil || len(m) != 0 {
				t.Errorf("a new LUN is masked from all; %v sees %v", err, m)
			}
			da, db := w.attach(a.ID), w.attach(b.ID)
			pooltest.Write(t, da, 0, 'a', mib)
			pooltest.Write(t, db, 0, 'b', mib)

			set, copies := w.prepare("", a.ID, b.ID)
			if d := cmp.Diff([]string{"a", "b"}, w.names()); d != "" {
				t.Errorf("prepared copies are nobody's business yet: %s", d)
			}
			skew, err := w.CommitCopies(ctx, set, "here")
			must(t, err)
			pooltest.Write(t, da, 0, 'x', mib)
			done, err := w.FinishCopies(ctx, set, "here")
			must(t, err)
			for i, c := range done {
				o := []array.LUN{a, b}[i]
				if c.ID != copies[i].ID || c.Kind != array.KindShadowCopy ||
					c.State != array.StateCommitted || c.Origin != o.ID || c.Method != array.MethodDifferential ||
					c.Size != o.Size || c.Set != set || c.Host != "here" || c.Skew != skew || c.Final ||
					len(c.MappedTo) != 0 ||
					c.NAA == o.NAA ||
					c.Serial == o.Serial ||
					c.Percent != 100 {
					t.Errorf("copy %+v", c)
				}
			}
			must(t, w.KeepCopies(ctx, set, "here"))
			must(t, w.KeepCopies(ctx, set, "here"))
			if c := w.get(done[0].ID); !c.Final || c.State != array.StateReady {
				t.Errorf("kept copy %+v", c)
			}
			pooltest.Want(t, w.attach(done[0].ID), 0, 'a', mib)
			pooltest.Want(t, w.attach(done[1].ID), 0, 'b', mib)
			must(t, w.AbortCopies(ctx, set, "here")) // touches nothing that is kept
			w.get(done[0].ID)

			wantCode(t, w.Delete(ctx, a.ID, true), vss.VDSErrDeviceInUse)
			must(t, w.Initiator.Detach(ctx, da))
			if _, err := w.Unmap(ctx, a.ID, "here"); err != nil {
				t.Fatal(err)
			}
			wantCode(t, w.Delete(ctx, a.ID, false), vss.VDSErrDeviceInUse)

			before := w.get(done[0].ID)
			w.restart()
			if d := cmp.Diff(before, w.get(done[0].ID)); d != "" {
				t.Errorf("after a restart: %s", d)
			}
			if got := w.attach(done[0].ID); got == "" {
				t.Error("not found again")
			}
			must(t, w.Delete(ctx, a.ID, true))
			w.noData(a.ID)
			pooltest.Want(t, w.attach(done[0].ID), 0, 'a', mib)

			must(t, w.MakePlain(ctx, []vss.LUNID{done[0].ID, done[1].ID}))
			if c := w.get(done[1].ID); c.Kind != array.KindPlain || !c.Set.IsZero() || c.Origin != b.ID {
				t.Errorf("broken copy %+v", c)
			}
			wantCode(t, w.AbortCopies(ctx, set, "here"), vss.ErrObjectNotFound)
			must(t, w.Initiator.Detach(ctx, db))
			_, err = w.Unmap(ctx, b.ID, "here")
			must(t, err)
			must(t, w.Delete(ctx, b.ID, false)) // nothing depends on it any more
		})
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, "btrfs", 512*mib, 8*mib)
	a := w.lun("a", 16*mib)
	b := w.lun("b", 16*mib)
	nobody := vss.LUNID{GUID: vss.NewGUID()}
	_, copies := w.keep("", a.ID)
	must(t, w.MarkImported(ctx, "here", []vss.LUNID{copies[0].ID}))
	_, fresh := w.keep("", b.ID)
	lun := func(_ array.LUN, err error) error { return err }
	for _, c := range []struct {
		name string
		err  error
		want vss.Code
	}{
		{"name in use", lun(w.Create(ctx, array.CreateRequest{Name: "a", Size: 16 * mib})), vss.VDSErrInvalidOperation},
		{"no name", lun(w.Create(ctx, array.CreateRequest{Size: 16 * mib})), vss.ErrInvalidArg},
		{"name with a colon: storage 23", lun(w.Create(
			ctx, array.CreateRequest{Name: "a:1", Size: 16 * mib})), vss.ErrInvalidArg},
		{"name with a slash", lun(w.Create(ctx, array.CreateRequest{Name: "a/b", Size: 16 * mib})), vss.ErrInvalidArg},
		{
			"name with a control character", lun(w.Create(ctx, array.CreateRequest{Name: "a\n", Size: 16 * mib})),
			vss.ErrInvalidArg,
		},
		{
			"name like an id", lun(w.Create(ctx, array.CreateRequest{Name: nobody.String(), Size: 16 * mib})),
			vss.ErrInvalidArg,
		},
		{
			"long name", lun(w.Create(ctx, array.CreateRequest{Name: strings.Repeat("x", 129), Size: 16 * mib})),
			vss.ErrInvalidArg,
		},
		{"no size", lun(w.Create(ctx, array.CreateRequest{Name: "c"})), vss.ErrInvalidArg},
		{"negative size", lun(w.Create(ctx, array.CreateRequest{Name: "c", Size: -1})), vss.ErrInvalidArg},
		{
			"too large for anything", lun(w.Create(ctx, array.CreateRequest{Name: "c", Size: 1 << 62})),
			vss.ErrInvalidArg,
		},
		{
			"larger than the pool", lun(w.Create(ctx, array.CreateRequest{Name: "c", Size: 1 << 40})),
			vss.VDSErrNotEnoughSpace,
		},
		{
			"no such pool", lun(w.Create(ctx, array.CreateRequest{Name: "c", Pool: "q", Size: 16 * mib})),
			vss.VDSErrObjectNotFound,
		},
		{"get nobody", lun(w.LUN(ctx, nobody)), vss.VDSErrObjectNotFound},
		{"delete nobody", w.Delete(ctx, nobody, true), vss.VDSErrObjectNotFound},
		{"rename to a name in use", lun(w.Rename(ctx, a.ID, "b")), vss.VDSErrInvalidOperation},
		{"extend to less", lun(w.Extend(ctx, a.ID, 8*mib)), vss.VDSErrInvalidOperation},
		{"extend past the pool", lun(w.Extend(ctx, a.ID, 1<<40)), vss.VDSErrNotEnoughSpace},
		{"extend past everything", lun(w.Extend(ctx, a.ID, 1<<63-1)), vss.ErrInvalidArg},
		{"map to no host", lun(w.Map(ctx, a.ID, "")), vss.ErrInvalidArg},
		{"map nobody", lun(w.Map(ctx, nobody, "h")), vss.VDSErrObjectNotFound},
		{"import twice", w.MarkImported(ctx, "here", []vss.LUNID{fresh[0].ID, copies[0].ID}), vss.ErrBadState},
		{
			"commit an unknown set", func() error { _, err := w.CommitCopies(ctx, newSet(), "here"); return err }(),
			vss.ErrObjectNotFound,
		},
		{
			"finish an unknown set", func() error { _, err := w.FinishCopies(ctx, newSet(), "here"); return err }(),
			vss.ErrObjectNotFound,
		},
		{"keep an unknown set", w.KeepCopies(ctx, newSet(), "here"), vss.ErrObjectNotFound},
		{"abort an unknown set", w.AbortCopies(ctx, newSet(), "here"), vss.ErrObjectNotFound},
		{"abort no set", w.AbortCopies(ctx, vss.SnapshotSetID{}, "here"), vss.ErrObjectNotFound},
		{"copy nobody", func() error {
			_, err := w.PrepareCopies(ctx, newSet(), "h", []array.CopyRequest{{Origin: a.ID}, {Origin: nobody}})
			return err
		}(), vss.ErrObjectNotFound},
		{"copy by magic", func() error {
			_, err := w.PrepareCopies(
				ctx, newSet(), "h", []array.CopyRequest{{Origin: a.ID}, {Origin: a.ID, Method: "magic"}},
			)
			return err
		}(), vss.ErrInvalidArg},
		{"copy to a name in use", func() error {
			_, err := w.PrepareCopies(ctx, newSet(), "h", []array.CopyRequest{{Origin: a.ID, Name: "b"}})
			return err
		}(), vss.VDSErrInvalidOperation},
		{"resync onto itself", w.Resync(ctx, a.ID, a.ID, nil), vss.ErrInvalidArg},
		{"resync onto a shadow copy", w.Resync(ctx, a.ID, copies[0].ID, nil), vss.VDSErrNotSupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantCode(t, c.err, c.want)
			if vss.Hint(c.err) == "" && c.want == vss.VDSErrNotEnoughSpace {
				t.Error("no advice")
			}
		})
	}
	if d := cmp.Diff([]string{"a", copies[0].Name, "b", fresh[0].Name}, w.names()); d != "" {
		t.Errorf("a refusal left something: %s", d)
	}
	if w.get(fresh[0].ID).Imported {
		t.Error("all or none are marked imported")
	}
	if ok, err := w.CanCopy(ctx, []array.CopyRequest{{Origin: a.ID}}); !ok || err != nil {
		t.Errorf("can't copy: %v", err)
	}
	if ok, err := w.CanCopy(ctx, []array.CopyRequest{{Origin: nobody}}); ok || err != nil {
		t.Errorf("can copy nobody: %v", err)
	}
}

func TestSmallThings(t *testing.T) {
	w := newWorld(t, "xfs", 512*mib, 8*mib)
	a := w.lun("a", 5*mib+1)
	if a.Size != 6*mib {
		t.Errorf("size %d", a.Size)
	}
	for _, h := range []string{"h1", "h2", "h1"} {
		if _, err := w.Map(ctx, a.ID, h); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.Rename(ctx, a.ID, "new")
	must(t, err)
	_, err = w.SetFlags(ctx, a.ID, vss.FlagsShadowCopy)
	must(t, err)
	_, err = w.Extend(ctx, a.ID, 9*mib)
	must(t, err)
	_, err = w.Unmap(ctx, a.ID, "h2")
	must(t, err)
	_, err = w.Unmap(ctx, a.ID, "h2")
	must(t, err)
	w.restart()
	want := a
	want.Name, want.Flags, want.Size, want.MappedTo = "new", vss.FlagsShadowCopy, 9*mib, []string{"h1"}
	if d := cmp.Diff(want, w.get(a.ID)); d != "" {
		t.Error(d)
	}
	if m, _ := w.Mappings(ctx, "h2"); len(m) != 0 {
		t.Errorf("h2 sees %v", m)
	}
	if m, _ := w.Mappings(ctx, "h1"); len(m) != 1 || m[0].Address.Type != "loop" || !m[0].Address.DirectIO {
		t.Errorf("h1 sees %v", m)
	}
	info, err := w.Info(ctx)
	must(t, err)
	if len(info.Pools) != 1 || info.Pools[0].Size < 256*mib || info.Pools[0].Free <= 0 ||
		info.Pools[0].Free > info.Pools[0].Size {
		t.Errorf("info %+v", info)
	}
	paths, err := w.WritePaths(ctx)
	must(t, err)
	if d := cmp.Diff([]string{w.dir}, paths); d != "" {
		t.Error(d)
	}
}

// A copy has the flags that its origin had at the cut, not those of before or later.
func TestFlagsAreCut(t *testing.T) {
	w := newWorld(t, "btrfs", 512*mib, 8*mib)
	a := w.lun("a", 16*mib)
	set, _ := w.prepare("", a.ID)
	_, err := w.SetFlags(ctx, a.ID, vss.FlagsShadowCopy)
	must(t, err)
	_, err = w.CommitCopies(ctx, set, "here")
	must(t, err)
	_, err = w.SetFlags(ctx, a.ID, 0)
	must(t, err)
	copies, err := w.FinishCopies(ctx, set, "here")
	must(t, err)
	if copies[0].Flags != vss.FlagsShadowCopy || w.get(a.ID).Flags != 0 {
		t.Errorf("flags of the copy %v, of the origin %v", copies[0].Flags, w.get(a.ID).Flags)
	}
}

func TestOrder(t *testing.T) {
	w := newWorld(t, "btrfs", 512*mib, 8*mib)
	a := w.lun("a", 16*mib)
	set, _ := w.prepare("", a.ID)
	_, err := w.PrepareCopies(ctx, set, "here", []array.CopyRequest{{Origin: a.ID}})
	wantCode(t, err, vss.ErrBadState)
	_, err = w.FinishCopies(ctx, set, "here")
	wantCode(t, err, vss.ErrBadState)
	wantCode(t, w.KeepCopies(ctx, set, "here"), vss.ErrBadState)
	wantCode(t, w.Delete(ctx, a.ID, true), vss.VDSErrDeviceInUse)
	_, err = w.CommitCopies(ctx, set, "here")
	must(t, err)
	_, err = w.CommitCopies(ctx, set, "here")
	wantCode(t, err, vss.ErrBadState)
	wantCode(t, w.KeepCopies(ctx, set, "here"), vss.ErrBadState)
	for range 2 {
		_, err = w.FinishCopies(ctx, set, "here")
		must(t, err)
	}
	must(t, w.KeepCopies(ctx, set, "here"))
}

// A commit that fails for one copy leaves none.
func TestAllOrNone(t *testing.T) {
	for _, kind := range []string{"btrfs", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, kind, 512*mib, 8*mib)
			a, b := w.lun("a", 16*mib), w.lun("b", 16*mib)
			set, copies := w.prepare("", a.ID, b.ID)
			// The second cut fails: its place is taken (btrfs), or its file may not be changed (XFS).
			spoil := w.dir + "/luns/" + copies[1].ID.Plain() + "/data"
			if kind == "btrfs" {
				must(t, os.Mkdir(spoil, 0o700))
			} else {
				must(t, run("chattr", "+i", spoil+"/image"))
			}
			_, err := w.CommitCopies(ctx, set, "here")
			wantCode(t, err, vss.ErrProviderVeto)
			_, err = w.FinishCopies(ctx, set, "here")
			wantCode(t, err, vss.ErrProviderVeto)
			wantCode(t, w.KeepCopies(ctx, set, "here"), vss.ErrBadState)
			if kind == "btrfs" {
				must(t, os.Remove(spoil))
			} else {
				must(t, run("chattr", "-i", spoil+"/image"))
			}
			must(t, w.AbortCopies(ctx, set, "here"))
			w.noData(copies[0].ID, copies[1].ID)
			if d := cmp.Diff([]string{"a", "b"}, w.names()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestTwoHosts(t *testing.T) {
	w := newWorld(t, "btrfs", 1<<30, 8*mib)
	a, b := w.lun("a", 16*mib), w.lun("b", 16*mib)
	one, _ := w.prepare("", a.ID, b.ID)
	two, _ := w.prepare("", b.ID, a.ID)
	must(t, w.AbortCopies(ctx, one, "here"))
	_, err := w.CommitCopies(ctx, two, "here")
	must(t, err)
	_, err = w.FinishCopies(ctx, two, "here")
	must(t, err)
	must(t, w.KeepCopies(ctx, two, "here"))
	wantCode(t, w.KeepCopies(ctx, one, "here"), vss.ErrObjectNotFound)

	// Several at once, each in its own order, some aborted on the way.
	var all sync.WaitGroup
	for h := range 4 {
		all.Go(func() {
			host := fmt.Sprint("h", h)
			for i := range 5 {
				set := newSet()
				r := []array.CopyRequest{{Origin: a.ID}, {Origin: b.ID}}
				if _, err := w.PrepareCopies(ctx, set, host, r); err != nil {
					t.Error(err)
					return
				}
				if i%2 == 0 {
					if _, err := w.CommitCopies(ctx, set, host); err != nil {
						t.Error(err)
					}
					if rand.IntN(2) == 0 {
						if _, err := w.FinishCopies(ctx, set, host); err != nil {
							t.Error(err)
						}
					}
				}
				if err := w.AbortCopies(ctx, set, host); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := len(w.names()); n != 4 {
		t.Errorf("%d LUNs: %v", n, w.names())
	}
}

func TestResync(t *testing.T) {
	w := newWorld(t, "btrfs", 512*mib, 8*mib)
	a, b := w.lun("a", 16*mib), w.lun("b", 32*mib)
	pooltest.Write(t, w.data(a.ID), 0, 'a', mib)
	_, copies := w.keep("", a.ID)
	pooltest.Write(t, w.data(a.ID), 0, 'x', mib)
	device := w.attach(a.ID)
	wantCode(t, w.Resync(ctx, copies[0].ID, a.ID, nil), vss.VDSErrDeviceInUse)
	must(t, w.Initiator.Detach(ctx, device))
	_, err := w.Unmap(ctx, a.ID, "here")
	must(t, err)
	var seen []float64
	must(t, w.Resync(ctx, copies[0].ID, a.ID, func(p float64) { seen = append(seen, p) }))
	must(t, w.Resync(ctx, copies[0].ID, b.ID, nil))
	pooltest.Want(t, w.data(a.ID), 0, 'a', mib)
	pooltest.Want(t, w.data(b.ID), 0, 'a', mib)
	if l := w.get(b.ID); l.Size != 16*mib || l.State != array.StateReady || l.NAA != b.NAA {
		t.Errorf("target %+v", l)
	}
	if len(seen) < 2 || seen[len(seen)-1] != 100 {
		t.Errorf("progress %v", seen)
	}
}
