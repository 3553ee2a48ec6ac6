package disk

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// super is what btrfs-progs reads of one superblock of a device.
type super struct{ fsid, metadata, sum string }

var superLine = regexp.MustCompile(`(?m)^(fsid|metadata_uuid|csum)\s+(.*)$`)

func supers(t testing.TB, device string) []super {
	t.Helper()
	var out []super
	dump := run(t, "btrfs", "inspect-internal", "dump-super", "-a", device)
	for _, s := range strings.Split(dump, "superblock: ")[1:] {
		var v super
		for _, f := range superLine.FindAllStringSubmatch(s, -1) {
			switch f[1] {
			case "fsid":
				v.fsid = f[2]
			case "metadata_uuid":
				v.metadata = f[2]
			case "csum":
				v.sum = f[2]
			}
		}
		out = append(out, v)
	}
	return out
}

// sums are the checksums of images.
func sums(t testing.TB, images []string) string {
	t.Helper()
	h := sha256.New()
	for _, i := range images {
		f, err := os.Open(i)
		must(t, err)
		_, err = io.Copy(h, f)
		must(t, err)
		f.Close()
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// btrfsWith makes a file system over images, with something in it, unmounted and in no kernel's memory.
func btrfsWith(t testing.TB, dir string, sizes []int64, options ...string) (images, devices []string) {
	t.Helper()
	for i, size := range sizes {
		images = append(images, image(t, filepath.Join(dir, fmt.Sprintf("disk%d", i)), size))
		devices = append(devices, attach(t, images[i], 512))
	}
	mkfs(t, "btrfs", append(options, devices...)...)
	point, unmount := mountBtrfs(t, devices)
	run(t, "btrfs", "subvolume", "create", filepath.Join(point, "sub"))
	must(t, os.WriteFile(filepath.Join(point, "sub", "file"), bytes.Repeat([]byte("original "), 100_000), 0o600))
	unmount()
	return images, devices
}

// mountBtrfs registers all devices with the kernel, which forgets them after the unmount.
func mountBtrfs(t testing.TB, devices []string) (string, func()) {
	t.Helper()
	run(t, "btrfs", append([]string{"device", "scan"}, devices...)...)
	point, unmount := mountAt(t, devices[0], "btrfs", "")
	return point, func() {
		t.Helper()
		unmount()
		run(t, "btrfs", append([]string{"device", "scan", "--forget"}, devices...)...)
	}
}

func wantFile(t testing.TB, point string) {
	t.Helper()
	if b := content(t, filepath.Join(point, "sub", "file")); !bytes.Equal(
		b,
		bytes.Repeat([]byte("original "), 100_000),
	) {
		t.Errorf("the file in %s isn't as it was written", point)
	}
}

// A copy of a btrfs gets an fsid of its own in every superblock of every device, is mounted beside the original,
// written to and checked; with its former id it is the copy, byte for byte.
func TestBtrfsFSID(t *testing.T) {
	for _, c := range []struct {
		name    string
		sizes   []int64
		mirrors int
		options []string
	}{
		{"one device", []int64{160 * mib}, 2, nil},
		{"one device with all mirrors", []int64{257 << 30}, 3, nil},
		{"three devices", []int64{160 * mib, 160 * mib, 200 * mib}, 2, []string{"-d", "raid1", "-m", "raid1c3"}},
		{"sha256", []int64{160 * mib}, 2, []string{"--csum", "sha256"}},
		{"mixed", []int64{64 * mib}, 1, []string{"--mixed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			lane.Host(t)
			dir := lane.Scratch(t)
			var images, copies []string
			t.Run(
				"side by side",
				func(t *testing.T) { images, copies = sideBySide(t, dir, c.sizes, c.mirrors, c.options) },
			)
			// btrfs check takes a device of the twin for one of its own, so each is looked at alone
			for _, set := range [][]string{images, copies} {
				t.Run("alone", func(t *testing.T) {
					var devices []string
					for _, img := range set {
						devices = append(devices, attach(t, img, 512))
					}
					fsck(t, "btrfs", devices[0])
				})
			}
		})
	}
}

func sideBySide(t *testing.T, dir string, sizes []int64, mirrors int, options []string) (images, copies []string) {
	images, devices := btrfsWith(t, dir, sizes, options...)
	originals := supers(t, devices[0])
	if len(originals) != mirrors {
		t.Fatalf("%d superblocks, want %d: %v", len(originals), mirrors, originals)
	}
	was, err := ProbeFileSystem(devices[0])
	must(t, err)
	if was.Type != "btrfs" || was.Devices != len(devices) || was.FSID.Plain() != originals[0].fsid ||
		was.MetadataUUID != was.FSID {
		t.Errorf("probed %+v", was)
	}
	var twins []string
	for i, img := range images {
		copies = append(copies, filepath.Join(dir, fmt.Sprintf("copy%d", i)))
		run(t, "cp", "--sparse=always", img, copies[i])
	}
	before := ""
	if mirrors < 3 { // else too large to read
		before = sums(t, images)
	}
	for _, img := range copies {
		twins = append(twins, attach(t, img, 512))
	}
	fsid, err := renewBtrfs(twins)
	must(t, err)
	for _, d := range twins {
		all := supers(t, d)
		if len(all) != mirrors {
			t.Errorf("%d superblocks, were %d", len(all), mirrors)
		}
		for _, s := range all {
			if s.fsid != fsid.Plain() || s.metadata != was.FSID.Plain() || !strings.Contains(s.sum, "[match]") {
				t.Errorf("superblock %+v, want fsid %s of %s", s, fsid.Plain(), was.FSID.Plain())
			}
		}
		fs, err := ProbeFileSystem(d)
		if err != nil || fs.FSID != fsid || fs.MetadataUUID != was.FSID || fs.UUID != fsid.Plain() ||
			fs.Devices != len(devices) {
			t.Errorf("probed %+v, %v", fs, err)
		}
	}
	if before != "" {
		must(t, SetBtrfsFSID(twins, was.FSID))
		if sums(t, copies) != before {
			t.Error("with its former fsid the copy isn't as it was")
		}
		must(t, SetBtrfsFSID(twins, fsid))
	}

	live, unmount := mountBtrfs(t, devices)
	copied, unmountCopy := mountBtrfs(t, twins)
	wantFile(t, copied)
	must(t, os.WriteFile(filepath.Join(copied, "sub", "file"), []byte("changed"), 0o600))
	must(t, os.WriteFile(filepath.Join(copied, "new"), []byte("new"), 0o600))
	run(t, "btrfs", "scrub", "start", "-B", copied)
	wantFile(t, live)
	wantCode(t, SetBtrfsFSID(twins, vss.NewGUID()), vss.ErrVolumeInUse)
	unmountCopy()
	unmount()
	for i, s := range supers(t, devices[0]) {
		if s.fsid != originals[i].fsid || s.metadata != originals[i].metadata {
			t.Errorf("the original's superblock is %+v, was %+v", s, originals[i])
		}
	}
	point, unmount := mountBtrfs(t, devices)
	wantFile(t, point)
	unmount()
	return images, copies
}

// A change that was cut off between two devices, or two mirrors, is done again from the beginning.
func TestBtrfsInterrupted(t *testing.T) {
	lane.Host(t)
	_, devices := btrfsWith(t, lane.Scratch(t), []int64{160 * mib, 160 * mib})
	m, err := openBtrfs(devices[1])
	must(t, err)
	half := m.supers[btrfsMirrors[1]]
	half.setFSID(vss.NewGUID())
	_, err = m.file.WriteAt(half, btrfsMirrors[1])
	must(t, err)
	must(t, m.file.Close())
	m, err = openBtrfs(devices[0])
	must(t, err)
	must(t, m.setFSID(vss.NewGUID()))
	must(t, m.file.Close())
	fsid, err := renewBtrfs(devices)
	must(t, err)
	for _, d := range devices {
		for _, s := range supers(t, d) {
			if s.fsid != fsid.Plain() || !strings.Contains(s.sum, "[match]") {
				t.Errorf("%s: superblock %+v, want %s", d, s, fsid.Plain())
			}
		}
	}
	point, unmount := mountBtrfs(t, devices)
	wantFile(t, point)
	unmount()
	fsck(t, "btrfs", devices[0])
}

// Devices that aren't one complete, known, unmounted btrfs are refused, and nothing is written.
func TestBtrfsRefused(t *testing.T) {
	lane.Host(t)
	dir := lane.Scratch(t)
	make := func(name string, n int, options ...string) (images, devices []string) {
		d := filepath.Join(dir, name)
		must(t, os.Mkdir(d, 0o755))
		sizes := []int64{160 * mib, 160 * mib, 160 * mib}[:n]
		return btrfsWith(t, d, sizes, options...)
	}
	images, one := make("one", 1)
	two, other := make("two", 2)
	images = append(images, two...)
	_, ext := make("another", 1)
	mkfs(t, "ext4", ext[0])
	hashed, xxhash := make("xxhash", 1, "--csum", "xxhash")
	seeding, seed := make("seed", 1)
	run(t, "btrfstune", "-f", "-S", "1", seed[0])
	broken, spoilt := make("spoilt", 1)
	poke(t, spoilt[0], btrfsSuper+100, 0x5a, 0xa5, 0x5a)
	images = append(append(append(images, hashed...), seeding...), broken...)
	before := sums(t, images)
	for _, c := range []struct {
		name    string
		devices []string
		want    vss.Code
	}{
		{"a device too few", other[:1], vss.ErrCannotRevertDiskID},
		{"a device too many", []string{one[0], other[0]}, vss.ErrCannotRevertDiskID},
		{"a device twice", []string{other[0], other[0]}, vss.ErrVolumeInUse},
		{"a device of another file system", []string{other[0], one[0]}, vss.ErrCannotRevertDiskID},
		{"no btrfs", ext, vss.ErrCannotRevertDiskID},
		{"a superblock with a wrong checksum", spoilt, vss.ErrCannotRevertDiskID},
		{"another kind of checksum", xxhash, vss.ErrNotSupported},
		{"a seed", seed, vss.ErrNotSupported},
		{"no such device", []string{filepath.Join(dir, "x")}, vss.ErrCannotRevertDiskID},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := renewBtrfs(c.devices)
			wantCode(t, err, c.want)
			if vss.Hint(err) == "" {
				t.Errorf("%v doesn't say what to do", err)
			}
		})
	}
	if sums(t, images) != before {
		t.Error("something was written")
	}
	_, unmount := mountBtrfs(t, other)
	wantCode(t, SetBtrfsFSID(other, vss.NewGUID()), vss.ErrVolumeInUse)
	unmount()
	must(t, SetBtrfsFSID(other, vss.NewGUID()))
}

// Twins, two devices that say they are the same one, are refused.
func TestBtrfsTwin(t *testing.T) {
	lane.Host(t)
	dir := lane.Scratch(t)
	images, devices := btrfsWith(t, dir, []int64{160 * mib, 160 * mib})
	run(t, "cp", images[0], images[0]+".copy")
	twin := attach(t, images[0]+".copy", 512)
	wantCode(t, SetBtrfsFSID([]string{devices[0], twin}, vss.NewGUID()), vss.ErrCannotRevertDiskID)
	if s := supers(t, twin); s[0] != supers(t, devices[0])[0] {
		t.Error("a refused change was begun")
	}
}

// renewBtrfs gives a btrfs a fresh fsid.
func renewBtrfs(devices []string) (vss.GUID, error) {
	fsid := vss.NewGUID()
	return fsid, SetBtrfsFSID(devices, fsid)
}
