package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// poolAt makes a file system that can hold a pool, and mounts it at DIR/NAME.
func (w *world) poolAt(name, kind string) string {
	w.Helper()
	image, point := filepath.Join(w.dir, name+".img"), filepath.Join(w.dir, name)
	if err := os.MkdirAll(point, 0o755); err != nil {
		w.Fatal(err)
	}
	w.tool("truncate", "-s", "2G", image)
	w.tool("mkfs."+kind, "-q", image)
	w.tool("mount", "-o", "loop", image, point)
	w.Cleanup(func() { _ = exec.Command("umount", point).Run() })
	return point
}

func (w *world) usePool(path string) {
	w.configure(fmt.Sprintf("[[array.pools]]\nname = \"p\"\ntype = \"reflink\"\npath = %q\n", path))
}

// TestStateTravels: flags and identities are on the LUNs. They outlive the state directory, and go where the pool's
// files are copied to.
func TestStateTravels(t *testing.T) {
	for _, kind := range []string{"xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			pool, there := w.poolAt("pool", kind), w.poolAt("there", kind)
			t.Cleanup(w.end)
			if err := os.Mkdir(filepath.Join(pool, "p"), 0o700); err != nil {
				t.Fatal(err)
			}
			w.usePool(filepath.Join(pool, "p"))
			var points []string
			for i, style := range []string{"gpt", "mbr", "whole-disk"} {
				points = append(points, w.volume(fmt.Sprintf("v%d", i), "64M", "ext4", style))
				w.write(filepath.Join(points[i], "file"), style)
			}
			kept := w.create(append([]string{"--no-writers"}, points...)...)
			gone := w.create(append([]string{"--no-writers"}, points...)...)
			var b breakDoc
			w.vss(&b, "break", gone.SetID, "--read-write", "--keep-identity")
			before := map[string]lunDoc{}
			for _, l := range append(slices.Clone(kept.ShadowCopies[0].LUNs), kept.ShadowCopies[1].LUNs[0],
				kept.ShadowCopies[2].LUNs[0], b.LUNs[0].LUN, b.LUNs[1].LUN, b.LUNs[2].LUN) {
				before[l] = w.lun(l)
			}
			for _, p := range points {
				w.tool("umount", p)
			}
			w.stop(unix.SIGTERM)
			w.letGo(pool)

			// another place, another state: nothing of the old service's but the pool's files
			w.tool("cp", "-a", "--sparse=always", filepath.Join(pool, "p"), there)
			w.tool("umount", pool)
			if err := os.RemoveAll(w.state); err != nil {
				t.Fatal(err)
			}
			w.usePool(filepath.Join(there, "p"))
			w.vss(nil, "lun", "rescan")
			for id, was := range before {
				now := w.lun(id)
				if now.Kind != was.Kind || now.Vpd83 != was.Vpd83 || now.Serial != was.Serial ||
					now.Disk.ID != was.Disk.ID || now.ReadOnly != was.ReadOnly ||
					!slices.Equal(now.Disk.Flags, was.Disk.Flags) {
					t.Errorf("LUN %s is %+v\nwas %+v", id, now, was)
				}
				for i, p := range now.Disk.Partitions {
					if o := was.Disk.Partitions[i]; p.ID != o.ID || p.UUID != o.UUID ||
						!slices.Equal(p.Flags, o.Flags) {
						t.Errorf("partition %+v, was %+v", p, o)
					}
				}
			}
			for i, l := range b.LUNs { // the broken ones are ordinary LUNs, and take writes
				point := w.mount(l.LUN)
				got, err := os.ReadFile(filepath.Join(point, "file"))
				if err != nil || string(got) != []string{"gpt", "mbr", "whole-disk"}[i] {
					t.Errorf("%q, %v", got, err)
				}
				w.write(filepath.Join(point, "file"), "new")
				w.tool("umount", point)
			}
			for _, c := range kept.ShadowCopies { // nobody knows the copies here: an administrator can delete them
				w.vss(nil, "lun", "delete", c.LUNs[0], "--force")
			}
			w.end()
			w.letGo(there)
		})
	}
}

// letGo detaches the loop devices of a pool's LUNs, as a reboot would.
func (w *world) letGo(pool string) {
	w.Helper()
	out, err := exec.Command("losetup", "-n", "-O", "NAME,BACK-FILE").Output()
	if err != nil {
		w.Fatal(err)
	}
	w.tool("sh", "-c",
		fmt.Sprintf("echo %q | while read dev file; do case \"$file\" in %s/*) for p in "+
			"/sys/block/${dev##*/}/${dev##*/}p*; do [ -e $p ] && delpart $dev $(cat $p/partition); done; losetup -d "+
			"$dev;; esac; done; true", out, pool))
}
