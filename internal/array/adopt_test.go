package array_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/array/pool/pooltest"
)

// A pool that was copied file by file to another file system is whole there.
func TestAdoption(t *testing.T) {
	for _, way := range []struct{ from, to string }{
		{"xfs", "xfs"}, {"xfs", "btrfs"}, {"btrfs", "btrfs"}, {"btrfs", "xfs"},
	} {
		t.Run(way.from+" to "+way.to, func(t *testing.T) {
			w := newWorld(t, way.from, 512*mib, 8*mib)
			a := w.lun("a", 16*mib)
			pooltest.Write(t, w.data(a.ID), 3*mib, 'a', mib)
			_, copies := w.keep("", a.ID)
			pooltest.Write(t, w.data(a.ID), 3*mib, 'b', mib)
			before, err := w.LUNs(ctx)
			must(t, err)
			w.stop()
			there := newWorld(t, way.to, 512*mib, 8*mib)
			there.stop()
			must(t, os.RemoveAll(there.dir+"/pool.json"))
			if out, err := exec.Command("cp", "-a", w.dir+"/.", there.dir).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			there.start()
			after, err := there.LUNs(ctx)
			must(t, err)
			if d := cmp.Diff(before, after); d != "" {
				t.Error(d)
			}
			pooltest.Want(t, there.data(a.ID), 3*mib, 'b', mib)
			pooltest.Want(t, there.data(copies[0].ID), 3*mib, 'a', mib)
			pooltest.Want(t, there.data(a.ID), 0, 0, 3*mib)
			if l := there.get(a.ID); l.Size != 16*mib {
				t.Errorf("%+v", l)
			}
			_, again := there.keep(array.MethodPlex, a.ID, copies[0].ID)
			pooltest.Want(t, there.data(again[0].ID), 3*mib, 'b', mib)
			eventually(t, "hydrated", func() bool { return there.get(again[0].ID).Percent == 100 })
			must(t, there.Delete(ctx, a.ID, true))
			there.noData(a.ID)
		})
	}
}

// An adoption that was cut off anywhere is finished.
func TestAdoptionCutOff(t *testing.T) {
	for _, c := range []struct {
		name string
		cut  func(home string) error
	}{
		{"half a new subvolume", func(home string) error {
			return run(
				"sh", "-c",
				"mv $0/data $0/x && mkdir $0/data && mv $0/x/image $0/data/ && btrfs -q subvolume delete $0/x && "+
					"btrfs -q subvolume create $0/adopted && echo half > $0/adopted/image",
				home,
			)
		}},
		{"the old one aside", func(home string) error {
			return run("sh", "-c", "mv $0/data $0/adopted && mkdir $0/old && echo old > $0/old/image", home)
		}},
		{"the new one in place", func(home string) error {
			return run("sh", "-c", "mkdir $0/old && echo old > $0/old/image", home)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, "btrfs", 512*mib, 8*mib)
			a := w.lun("a", 16*mib)
			pooltest.Write(t, w.data(a.ID), 3*mib, 'a', mib)
			w.stop()
			must(t, c.cut(w.dir+"/luns/"+a.ID.Plain()))
			w.start()
			pooltest.Want(t, w.data(a.ID), 3*mib, 'a', mib)
			_, copies := w.keep("", a.ID)
			pooltest.Want(t, w.data(copies[0].ID), 3*mib, 'a', mib)
			must(t, w.Delete(ctx, a.ID, true))
			w.noData(a.ID)
		})
	}
}

func run(name string, args ...string) error { return exec.Command(name, args...).Run() }
