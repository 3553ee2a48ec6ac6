package array_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/array/pool/pooltest"
	"github.com/stillpoint-vss/stillpoint/internal/atomicfile"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// A controller that died between any two steps of a creation, and its successor.
func TestCrashInACreation(t *testing.T) {
	for _, kind := range []string{"btrfs", "xfs"} {
		for _, c := range []struct {
			name  string
			step  func(w *world, a, b vss.LUNID) (vss.SnapshotSetID, []array.LUN)
			state array.State // of the copies afterwards; "" is gone
		}{
			{
				"prepared",
				func(w *world, a, b vss.LUNID) (vss.SnapshotSetID, []array.LUN) { return w.prepare("", a, b) }, "",
			},
			{"cut", func(w *world, a, b vss.LUNID) (vss.SnapshotSetID, []array.LUN) { return w.commit("", a, b) }, ""},
			{
				"finished",
				func(w *world, a, b vss.LUNID) (vss.SnapshotSetID, []array.LUN) { return w.finish("", a, b) },
				array.StateCommitted,
			},
			{
				"kept", func(w *world, a, b vss.LUNID) (vss.SnapshotSetID, []array.LUN) { return w.keep("", a, b) },
				array.StateReady,
			},
		} {
			t.Run(kind+" "+c.name, func(t *testing.T) {
				w := newWorld(t, kind, 512*mib, 8*mib)
				a, b := w.lun("a", 16*mib), w.lun("b", 16*mib)
				pooltest.Write(t, w.data(a.ID), 0, 'a', mib)
				set, copies := c.step(w, a.ID, b.ID)
				pooltest.Write(t, w.data(a.ID), 0, 'x', mib)
				w.restart()
				if c.state == "" {
					w.noData(copies[0].ID, copies[1].ID)
					if d := cmp.Diff([]string{"a", "b"}, w.names()); d != "" {
						t.Error(d)
					}
					wantCode(t, w.AbortCopies(ctx, set, "here"), vss.ErrObjectNotFound)
					return
				}
				for _, l := range copies {
					if got := w.get(l.ID); got.State != c.state || got.Set != set {
						t.Errorf("copy %+v", got)
					}
				}
				pooltest.Want(t, w.data(copies[0].ID), 0, 'a', mib)
				must(t, w.AbortCopies(ctx, set, "here"))
				if c.state == array.StateReady {
					w.get(copies[0].ID)
					return
				}
				w.noData(copies[0].ID, copies[1].ID)
			})
		}
	}
}

// What a record says that nobody finished, with all the data, a part of it, or none.
func TestCrashLeavesRecords(t *testing.T) {
	for _, kind := range []string{"btrfs", "xfs"} {
		for _, state := range []array.State{array.StateCreating, array.StatePreparing, array.StateDeleting} {
			for _, left := range []string{"all", "no image", "empty home", "nothing"} {
				t.Run(kind+" "+string(state)+", "+left, func(t *testing.T) {
					w := newWorld(t, kind, 512*mib, 8*mib)
					whole, l := w.lun("whole", 16*mib), w.lun("half", 16*mib)
					pooltest.Write(t, w.data(whole.ID), 0, 'w', mib)
					w.stop()
					w.edit(l.ID, func(l *array.LUN) { l.State = state })
					home := filepath.Join(w.dir, "luns", l.ID.Plain())
					switch left {
					case "no image":
						must(t, os.Remove(home+"/data/image"))
					case "empty home":
						must(t, os.RemoveAll(home+"/data"))
					case "nothing":
						must(t, os.RemoveAll(home))
					}
					w.start()
					w.noData(l.ID)
					pooltest.Want(t, w.data(whole.ID), 0, 'w', mib)
					w.lun("half", 16*mib) // the name is free again
				})
			}
		}
	}
}

// edit changes a record behind the controller's back.
func (w *world) edit(id vss.LUNID, f func(*array.LUN)) {
	w.t.Helper()
	path := filepath.Join(w.dir, "records", id.Plain()+".json")
	b, err := os.ReadFile(path)
	must(w.t, err)
	var l array.LUN
	must(w.t, json.Unmarshal(b, &l))
	f(&l)
	b, err = json.Marshal(l)
	must(w.t, err)
	must(w.t, atomicfile.Write(path, b))
}

func TestCrashInAChangeOfSize(t *testing.T) {
	for _, c := range []struct {
		name  string
		crash func(w *world, l array.LUN)
		size  int64
	}{
		{"extend, before the image", func(w *world, l array.LUN) {}, 16 * mib},
		{"extend, after the image", func(w *world, l array.LUN) {
			must(w.t, os.Truncate(w.data(l.ID), 32*mib))
		}, 32 * mib},
		{
			"resync, before the image",
			func(w *world, l array.LUN) { w.edit(l.ID, func(l *array.LUN) { l.State = array.StateResyncing }) },
			16 * mib,
		},
		{"resync, in the middle", func(w *world, l array.LUN) {
			w.edit(l.ID, func(l *array.LUN) { l.State = array.StateResyncing })
			must(w.t, os.WriteFile(filepath.Dir(w.data(l.ID))+"/new", []byte("half"), 0o600))
		}, 16 * mib},
		{"resync, after the image", func(w *world, l array.LUN) {
			w.edit(l.ID, func(l *array.LUN) { l.State = array.StateResyncing })
			must(w.t, os.Truncate(w.data(l.ID), 8*mib))
		}, 8 * mib},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "btrfs", 512*mib, 8*mib)
			l, source := w.lun("a", 16*mib), w.lun("b", 16*mib)
			pooltest.Write(t, w.data(source.ID), 0, 'b', mib)
			w.stop()
			c.crash(w, l)
			w.start()
			if got := w.get(l.ID); got.Size != c.size || got.State != array.StateReady {
				t.Errorf("%+v", got)
			}
			must(t, w.Resync(ctx, source.ID, l.ID, nil))
			pooltest.Want(t, w.data(l.ID), 0, 'b', mib)
		})
	}
}

func TestNewerFormatsAreLeftAlone(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(w *world, l array.LUN)
	}{
		{"record", func(w *world, l array.LUN) {
			w.edit(l.ID, func(l *array.LUN) { l.Format, l.State = 2, array.StateDeleting })
		}},
		{"pool", func(w *world, l array.LUN) {
			must(w.t, os.WriteFile(w.dir+"/pool.json", []byte(`{"format":2,"new":"thing"}`), 0o600))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "btrfs", 512*mib, 8*mib)
			l, half := w.lun("a", 16*mib), w.lun("half", 16*mib)
			w.stop()
			w.edit(half.ID, func(l *array.LUN) { l.State = array.StateDeleting })
			c.spoil(w, l)
			before := tree(t, w.dir)
			err := w.tryStart()
			wantCode(t, err, vss.ErrNotSupported)
			if vss.Hint(err) == "" {
				t.Error("no advice")
			}
			if d := cmp.Diff(before, tree(t, w.dir)); d != "" {
				t.Errorf("something was changed: %s", d)
			}
		})
	}
}

// tree is what is in a folder, with times and sizes.
func tree(t *testing.T, dir string) (out []string) {
	t.Helper()
	must(t, filepath.Walk(dir, func(p string, i os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		out = append(out, p+" "+i.ModTime().String())
		return nil
	}))
	return out
}

// A record whose data was taken away is told, not forgotten.
func TestDataGone(t *testing.T) {
	w := newWorld(t, "xfs", 512*mib, 8*mib)
	l := w.lun("a", 16*mib)
	w.stop()
	must(t, os.Remove(w.data(l.ID)))
	wantCode(t, w.tryStart(), vss.VDSErrProviderCacheCorrupt)
	if _, err := os.Stat(filepath.Join(w.dir, "records", l.ID.Plain()+".json")); errors.Is(err, os.ErrNotExist) {
		t.Error("the record is gone")
	}
}

// A copy whose dropping could not be recorded, because nothing could be written any more, is gone after a crash.
func TestCrashInADropOfAFullPool(t *testing.T) {
	for _, left := range []string{"empty image", "nothing"} {
		t.Run(left, func(t *testing.T) {
			w := newWorld(t, "btrfs", 512*mib, 8*mib)
			a := w.lun("a", 16*mib)
			_, copies := w.keep("", a.ID)
			w.stop()
			must(t, os.Truncate(w.data(copies[0].ID), 0))
			if left == "nothing" {
				must(t, os.RemoveAll(filepath.Join(w.dir, "luns", copies[0].ID.Plain())))
			}
			w.start()
			w.noData(copies[0].ID)
			if d := cmp.Diff([]string{"a"}, w.names()); d != "" {
				t.Error(d)
			}
		})
	}
}
