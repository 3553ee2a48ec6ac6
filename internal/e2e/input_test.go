package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// TestBadInput goes through what a creation is given and can't do, row by row of the contract; what can be done is
// done.
func TestBadInput(t *testing.T) {
	w := newWorld(t)
	a := w.volume("a", "64M", "ext4", "gpt")
	b := w.volume("b", "320M", "xfs", "gpt")
	node := w.lun("a").Disk.Partitions[0].Device
	uuid := w.lun("a").Disk.Partitions[0].UUID
	w.write(filepath.Join(a, "file"), "text")
	folder := filepath.Join(a, "folder", "below")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}

	t.Run("no such path", func(t *testing.T) { w.refused("VSS_E_OBJECT_NOT_FOUND", "create", "/no/such/path") })
	t.Run("no such uuid", func(t *testing.T) {
		w.refused("VSS_E_OBJECT_NOT_FOUND", "create", "UUID=11111111-2222-3333-4444-555555555555")
	})
	t.Run("not on a block device", func(t *testing.T) {
		point := filepath.Join(w.dir, "mnt-tmpfs")
		if err := os.MkdirAll(point, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("none", point, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		defer unix.Unmount(point, 0)
		w.refused("VSS_E_VOLUME_NOT_SUPPORTED", "create", point)
		w.refused("VSS_E_VOLUME_NOT_SUPPORTED", "create", "/proc")
		w.refused("VSS_E_VOLUME_NOT_SUPPORTED", "create", a, point)
	})
	t.Run("the same volume twice", func(t *testing.T) {
		for _, again := range []string{a, a + "/", folder, filepath.Join(a, "file"), node, "UUID=" + uuid,
			strings.Replace(a, "/mnt-", "/./mnt-", 1)} {
			w.refused("VSS_E_OBJECT_ALREADY_EXISTS", "create", "--volume-of", a, again)
		}
	})
	t.Run("a folder in a volume", func(t *testing.T) { // users E
		for _, path := range []string{folder, filepath.Join(a, "file")} {
			if why := w.refused("E_INVALIDARG", "create", path); !strings.Contains(why.Cause, "volume "+a) {
				t.Errorf("create %s: %+v", path, why)
			}
		}
	})
	t.Run("the pool's own volume", func(t *testing.T) {
		w.refused("VSS_E_NESTED_VOLUME_LIMIT", "create", "/")
		w.refused("VSS_E_NESTED_VOLUME_LIMIT", "create", a, "/")
	})
	t.Run("one volume on another", func(t *testing.T) {
		image, point := filepath.Join(b, "image"), filepath.Join(w.dir, "mnt-nested")
		w.tool("truncate", "-s", "32M", image)
		w.tool("mkfs.ext4", "-q", image)
		if err := os.MkdirAll(point, 0o755); err != nil {
			t.Fatal(err)
		}
		w.tool("mount", "-o", "loop", image, point)
		defer func() { w.tool("umount", point); _ = os.Remove(image) }()
		w.refused("VSS_E_NESTED_VOLUME_LIMIT", "create", b, point)
		w.refused("VSS_E_VOLUME_NOT_SUPPORTED", "create", point, b) // no provider takes it alone
	})
	t.Run("not mounted", func(t *testing.T) {
		w.vss(nil, "lun", "unmount", "a")
		defer w.mount("a")
		s := w.create(node)
		if s.Consistency != "crash" || s.HoldMS != 0 {
			t.Errorf("a copy of what isn't mounted is %s consistent, held for %v ms", s.Consistency, s.HoldMS)
		}
		w.vss(nil, "delete", s.SetID)
	})
	t.Run("mounted read-only", func(t *testing.T) {
		w.tool("mount", "-o", "remount,ro", a)
		defer w.tool("mount", "-o", "remount,rw", a)
		s := w.create("--no-writers", a)
		if s.Consistency != "file-system" {
			t.Errorf("a copy of a read-only mount is %s consistent", s.Consistency)
		}
		w.vss(nil, "delete", s.SetID)
	})
	t.Run("a read-only LUN", func(t *testing.T) {
		w.vss(nil, "lun", "set", "a", "--read-only")
		defer w.vss(nil, "lun", "set", "a", "--read-write")
		w.refused("VSS_E_VOLUME_NOT_SUPPORTED", "create", a)
	})
	t.Run("no such provider", func(t *testing.T) {
		w.refused("VSS_E_PROVIDER_NOT_REGISTERED", "create", "--provider", "nobody", a)
		w.refused("VSS_E_PROVIDER_NOT_REGISTERED", "create", "--provider", "{11111111-2222-3333-4444-555555555555}", a)
	})
	t.Run("a context that hardware copies can't have", func(t *testing.T) {
		w.refused("VSS_E_VOLUME_NOT_SUPPORTED", "create", "--context", "client-accessible", a)
		w.refused("VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER", "create", "--context", "client-accessible", "--provider",
			"lun", a)
	})
	t.Run("hold limits", func(t *testing.T) {
		for _, limit := range []string{"0s", "-1s", "11s", "10.001s"} {
			w.refused("E_INVALIDARG", "create", "--hold-limit", limit, a)
		}
	})
	t.Run("expose", func(t *testing.T) {
		s := w.create("--no-writers", a)
		id := s.ShadowCopies[0].ID
		real, link, full := filepath.Join(w.dir, "mnt-real"), filepath.Join(w.dir, "link"), filepath.Join(w.dir, "full")
		for _, d := range []string{filepath.Join(real, "below"), filepath.Join(full, "x")} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(real, link); err != nil {
			t.Fatal(err)
		}
		w.refused("E_INVALIDARG", "expose", id, link)
		w.refused("E_INVALIDARG", "expose", id, filepath.Join(link, "below"))
		w.refused("E_INVALIDARG", "expose", id, full)
		w.refused("E_INVALIDARG", "expose", id, filepath.Join(a, "file"))
		w.refused("VSS_E_OBJECT_NOT_FOUND", "expose", id, filepath.Join(w.dir, "nowhere"))
		w.refused("VSS_E_OBJECT_NOT_FOUND", "unexpose", id)
		w.refused("VSS_E_OBJECT_NOT_FOUND", "expose", "{11111111-2222-3333-4444-555555555555}", real)
		if err := os.Remove(filepath.Join(real, "below")); err != nil {
			t.Fatal(err)
		}
		w.vss(nil, "expose", id, real)
		w.refused("VSS_E_OBJECT_ALREADY_EXISTS", "expose", id, real)
		hang, err := os.Open(real)
		if err != nil {
			t.Fatal(err)
		}
		w.refused("VSS_E_VOLUME_IN_USE", "unexpose", id)
		w.refused("VSS_E_VOLUME_IN_USE", "delete", id)
		hang.Close()
		w.vss(nil, "delete", s.SetID)
	})
	t.Run("unknown objects", func(t *testing.T) {
		const id = "{11111111-2222-3333-4444-555555555555}"
		for _, args := range [][]string{{"delete", id}, {"show", id}, {"break", id}} {
			w.refused("VSS_E_OBJECT_NOT_FOUND", args...)
		}
	})
	t.Run("a transportable set that isn't imported", func(t *testing.T) {
		bc := filepath.Join(w.dir, "bc.xml")
		s := w.create("--no-writers", "--transportable", "--bc", bc, a)
		if c := s.ShadowCopies[0]; c.DeviceObject != "" {
			t.Errorf("it has a device object %s", c.DeviceObject)
		}
		w.refused("VSS_E_OBJECT_NOT_FOUND", "break", s.SetID)
		w.refused("VSS_E_OBJECT_NOT_FOUND", "break", s.SetID, "--read-write")
		w.refused("VSS_E_OBJECT_NOT_FOUND", "expose", s.ShadowCopies[0].ID, filepath.Join(w.run, "exposed", "t"))
		var i setDoc
		w.vss(&i, "import", "--bc", bc)
		w.refused("VSS_E_BAD_STATE", "import", "--bc", bc)
		w.vss(nil, "delete", s.SetID)
		w.refused("VSS_E_NO_SNAPSHOTS_IMPORTED", "import", "--bc", bc)
	})
	w.clean()
}

// TestBusy: a second creation is refused while one is under way, or waits for it; a set that nobody finishes is let go.
func TestBusy(t *testing.T) {
	w := newWorld(t)
	a := w.volume("a", "64M", "ext4", "gpt")
	c := w.connect()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b, err := c.Open(ctx, "test")
	if err == nil {
		err = b.InitializeForBackup(ctx, nil)
	}
	if err == nil {
		_, err = b.StartSnapshotSet(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.refused("VSS_E_SNAPSHOT_SET_IN_PROGRESS", "create", a)
	w.refused("VSS_E_SNAPSHOT_SET_IN_PROGRESS", "create", "--wait", "300ms", a)
	time.AfterFunc(300*time.Millisecond, b.Close)
	w.vss(nil, "create", "--wait", "1m", a)
	if _, err := b.StartSnapshotSet(ctx); !errors.Is(err, vss.ErrBadState) {
		t.Errorf("a call on a session that is closed: %v", err)
	}
}

// TestTooMany: 64 volumes are copied at one instant, the 65th is refused.
func TestTooMany(t *testing.T) {
	w := newWorld(t)
	var devices []string
	for i := range vss.MaxVolumes + 1 {
		var l lunDoc
		w.vss(&l, "lun", "create", fmt.Sprintf("v%d", i), "--size", "4M")
		devices = append(devices, l.Device)
	}
	w.refused("VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED", append([]string{"create", "--no-writers"}, devices...)...)
	s := w.create(append([]string{"--no-writers"}, devices[:vss.MaxVolumes]...)...)
	if len(s.ShadowCopies) != vss.MaxVolumes {
		t.Errorf("%d copies", len(s.ShadowCopies))
	}
	w.clean()
}

// TestDamagedTables: a disk whose table is damaged, or of a form that we leave alone, is refused and not touched.
func TestDamagedTables(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name   string
		damage func(w *world, device string)
	}{
		{"both copies of the table are damaged", func(w *world, device string) {
			f, err := os.OpenFile(device, os.O_RDWR, 0)
			if err != nil {
				w.Fatal(err)
			}
			defer f.Close()
			size, err := f.Seek(0, 2)
			if err != nil {
				w.Fatal(err)
			}
			for _, at := range []int64{512 + 20, size - 512 + 20} {
				if _, err := f.WriteAt([]byte("damaged"), at); err != nil {
					w.Fatal(err)
				}
			}
		}},
		{"the table isn't at LBA 2", func(w *world, device string) { w.tool("sgdisk", "-j", "40", device) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := strings.ReplaceAll(c.name[:9], " ", "-")
			w := &world{TB: t, dir: w.dir, state: w.state, run: w.run}
			point := w.volume(name, "64M", "ext4", "gpt")
			device := w.lun(name).Device
			c.damage(w, device)
			before := w.ends(device)
			w.refused("VSS_E_VOLUME_NOT_SUPPORTED", "create", point)
			if !bytes.Equal(before, w.ends(device)) {
				t.Error("the disk's table was changed")
			}
			w.write(filepath.Join(point, "still"), "here")
		})
	}
}

// ends are the first and the last MiB of a disk.
func (w *world) ends(device string) []byte {
	w.Helper()
	f, err := os.Open(device)
	if err != nil {
		w.Fatal(err)
	}
	defer f.Close()
	size, err := f.Seek(0, 2)
	if err != nil {
		w.Fatal(err)
	}
	b := make([]byte, 65536)
	out := make([]byte, 131072)
	_, e1 := f.ReadAt(out[:65536], 0)
	_, e2 := f.ReadAt(b, size-65536)
	if err := errors.Join(e1, e2); err != nil {
		w.Fatal(err)
	}
	copy(out[65536:], b)
	return out
}

// TestNewerFormats: a store of a newer program is refused with its code and left byte by byte as it is.
func TestNewerFormats(t *testing.T) {
	newer := func(path string) func(*world) string {
		return func(w *world) string {
			file := filepath.Join(w.state, path)
			if strings.Contains(path, "*") {
				all, _ := filepath.Glob(file)
				if len(all) == 0 {
					w.Fatalf("no %s", file)
				}
				file = all[0]
			}
			b, err := os.ReadFile(file)
			if err != nil {
				w.Fatal(err)
			}
			var doc map[string]any
			if err := json.Unmarshal(b, &doc); err != nil {
				w.Fatal(err)
			}
			doc["format"] = 2
			if b, err = json.Marshal(doc); err != nil {
				w.Fatal(err)
			}
			w.write(file, string(b))
			return file
		}
	}
	for _, c := range []struct {
		name  string
		newer func(w *world) string
	}{
		{"catalogue", func(w *world) string {
			file := filepath.Join(w.state, "catalog.db")
			db, err := bolt.Open(file, 0o600, nil)
			if err != nil {
				w.Fatal(err)
			}
			newer := []byte(strconv.Itoa(catalog.Format + 1))
			err = db.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("format"), newer) })
			if err := errors.Join(err, db.Close()); err != nil {
				w.Fatal(err)
			}
			return file
		}},
		{"pool", newer("array/default/pool.json")},
		{"LUN record", newer("array/default/records/*.json")},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.vss(nil, "lun", "create", "a", "--size", "16M")
			w.stop(unix.SIGTERM)
			file := c.newer(w)
			before, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w.refused("VSS_E_NOT_SUPPORTED", "list", "shadows")
			after, err := os.ReadFile(file)
			if err != nil || !bytes.Equal(before, after) {
				t.Errorf("%s was changed: %v", file, err)
			}
			w.tool("sh", "-c",
				fmt.Sprintf("losetup -n -O NAME -j %s/array/default/luns/*/data/image | xargs -r losetup -d", w.state))
			w.release(filepath.Join(w.state, "array", "default"))
			if err := os.RemoveAll(w.state); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestFullPool: a pool that runs full costs copies, never the originals, and an event says so.
func TestFullPool(t *testing.T) {
	w := newWorld(t)
	image, pool := filepath.Join(w.dir, "pool.img"), filepath.Join(w.dir, "pool")
	if err := os.MkdirAll(pool, 0o755); err != nil {
		t.Fatal(err)
	}
	w.tool("truncate", "-s", "1500M", image)
	w.tool("mkfs.xfs", "-q", image)
	w.tool("mount", "-o", "loop", image, pool)
	t.Cleanup(func() { _ = exec.Command("umount", pool).Run() })
	t.Cleanup(w.end) // before the pool goes
	w.configure(fmt.Sprintf("[[array.pools]]\nname = \"p\"\ntype = \"reflink\"\npath = %q\n", pool))
	w.supervise() // one on demand makes no copies for which the room can't be reserved: it drops none
	point := w.volume("a", "700M", "ext4", "gpt")
	fill := func(b byte) error {
		f, err := os.OpenFile(filepath.Join(point, "fill"), os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		block := bytes.Repeat([]byte{b}, 1<<20)
		for i := range int64(600) {
			if _, err := f.WriteAt(block, i<<20); err != nil {
				return err
			}
		}
		return f.Sync()
	}
	if err := fill('a'); err != nil {
		t.Fatal(err)
	}
	w.create("--no-writers", point)
	for _, b := range []byte("bcd") {
		if err := fill(b); err != nil {
			t.Fatalf("writing the original: %v", err)
		}
		w.try("create", "--no-writers", point) // there may be no room: then it is refused
	}
	r := w.try("create", "--no-writers", "--plex", point)
	var doc struct{ Error failure }
	if err := json.Unmarshal(r.stdout, &doc); err != nil || r.code != 1 ||
		(doc.Error.Result != "VSS_E_VOLUME_NOT_SUPPORTED" && doc.Error.Result != "VSS_E_INSUFFICIENT_STORAGE") {
		t.Errorf("a copy for which there is no room: exit %d, %s", r.code, r.stdout)
	}
	if events := w.try("events"); !bytes.Contains(events.stdout, []byte(`"copy-lost"`)) {
		t.Errorf("no event of a copy that was dropped:\n%s", events.stdout)
	}
	tail := make([]byte, 1)
	f, err := os.Open(filepath.Join(point, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(tail, 599<<20); err != nil || tail[0] != 'd' {
		t.Errorf("the original has %q, %v", tail, err)
	}
}
