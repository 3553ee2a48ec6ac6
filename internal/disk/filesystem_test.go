package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/internal/mount"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func TestProbeFileSystem(t *testing.T) {
	const uuid = "0b1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"
	for _, c := range []struct {
		name string
		make []string // the image's name is added
		want FileSystem
	}{
		{"nothing", nil, FileSystem{}},
		{
			"ext2", []string{"mkfs.ext2", "-q", "-F", "-U", uuid, "-L", "a b"},
			FileSystem{Type: "ext2", UUID: uuid, Label: "a b"},
		},
		{"ext3", []string{"mkfs.ext3", "-q", "-F", "-U", uuid}, FileSystem{Type: "ext3", UUID: uuid}},
		{
			"ext4", []string{"mkfs.ext4", "-q", "-F", "-U", uuid, "-L", "sixteen-letters!"},
			FileSystem{Type: "ext4", UUID: uuid, Label: "sixteen-letters!", Checksums: true},
		},
		{
			"ext4 with a seed", []string{"mkfs.ext4", "-q", "-F", "-O", "metadata_csum_seed", "-U", uuid},
			FileSystem{Type: "ext4", UUID: uuid, Checksums: true, ChecksumSeed: true},
		},
		{
			"ext4 of 1 KiB blocks without extents",
			[]string{"mkfs.ext4", "-q", "-F", "-b", "1024", "-O", "^extent,^64bit", "-U", uuid},
			FileSystem{Type: "ext4", UUID: uuid, Checksums: true},
		},
		{
			"ext4's external journal", []string{"mke2fs", "-q", "-F", "-O", "journal_dev", "-b", "4096", "-U", uuid},
			FileSystem{Type: "jbd", UUID: uuid},
		},
		{
			"xfs", []string{"mkfs.xfs", "-q", "-m", "uuid=" + uuid, "-L", "twelve chars"[:11]},
			FileSystem{Type: "xfs", UUID: uuid, Label: "twelve char"},
		},
		{
			"btrfs", []string{"mkfs.btrfs", "-q", "-U", uuid, "-L", "dâta"},
			FileSystem{
				Type: "btrfs", UUID: uuid, Label: "dâta", FSID: vss.MustGUID(uuid), MetadataUUID: vss.MustGUID(uuid),
				Devices: 1, DeviceID: 1,
			},
		},
		{
			"swap", []string{"mkswap", "-q", "-U", uuid, "-L", `a "b\`},
			FileSystem{Type: "swap", UUID: uuid, Label: `a "b\`},
		},
		{"minix", []string{"mkfs.minix"}, FileSystem{Type: "minix"}},
		{"a partition table", []string{"sgdisk", "-n", "1"}, FileSystem{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := temp(t, 320*mib)
			if c.make != nil {
				run(t, c.make[0], append(c.make[1:], d)...)
			}
			got, err := ProbeFileSystem(d)
			must(t, err)
			got.DeviceUUID = vss.GUID{}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}

	_, err := ProbeFileSystem(filepath.Join(t.TempDir(), "x"))
	wantCode(t, err, vss.ErrObjectNotFound)

	// Two signatures that none of ours decides between: nobody guesses.
	d := temp(t, 64*mib)
	run(t, "mkswap", "-q", d)
	poke(t, d, 0, []byte("-rom1fs-")...)
	if fs, err := ProbeFileSystem(d); err == nil {
		t.Errorf("of several it chose %+v", fs)
	} else {
		wantCode(t, err, vss.ErrVolumeNotSupported)
	}
}

// TestExt4BySingleFeatures: one feature that ext3 doesn't have makes an ext4 of it, as blkid says (storage 24).
func TestExt4BySingleFeatures(t *testing.T) {
	for _, o := range []string{"ea_inode", "large_dir", "inline_data", "encrypt", "mmp", "quota", "extent"} {
		d := temp(t, 32*mib)
		run(t, "mkfs.ext3", "-q", "-F", "-O", o, d)
		if fs, err := ProbeFileSystem(d); err != nil || fs.Type != "ext4" {
			t.Errorf("ext3 with %s: %+v, %v", o, fs, err)
		}
	}
}

// TestOutside: an external journal or log is named, and an image that has one isn't given another UUID, since the
// journal that would be replayed is the original's (storage 07).
func TestOutside(t *testing.T) {
	lane.Host(t)
	dir := lane.Scratch(t)
	journal := attach(t, image(t, filepath.Join(dir, "journal"), 32*mib), 512)
	data := image(t, filepath.Join(dir, "data"), 64*mib)
	run(t, "mke2fs", "-q", "-F", "-O", "journal_dev", "-b", "4096", journal)
	run(t, "mkfs.ext4", "-q", "-F", "-b", "4096", "-J", "device="+journal, data)
	fs, err := ProbeFileSystem(data)
	must(t, err)
	if !strings.Contains(fs.Outside, journal) {
		t.Errorf("ext4 needs %q, not %s", fs.Outside, journal)
	}
	err = SetFileSystemUUID(t.Context(), data, vss.NewGUID().Plain())
	wantCode(t, err, vss.ErrCannotRevertDiskID)

	log, xfs := temp(t, 320*mib), temp(t, 320*mib)
	run(t, "mkfs.xfs", "-q", "-l", "logdev="+log+",size=64m", xfs)
	if fs, err := ProbeFileSystem(xfs); err != nil || fs.Outside == "" {
		t.Errorf("XFS with an external log: %+v, %v", fs, err)
	}
}

// TestCheckBtrfs: what can't be given another fsid is known before a copy is made (storage 21).
func TestCheckBtrfs(t *testing.T) {
	for _, c := range []struct {
		sum  string
		good bool
	}{{"crc32c", true}, {"sha256", true}, {"xxhash", false}, {"blake2", false}} {
		d := temp(t, 320*mib)
		run(t, "mkfs.btrfs", "-q", "--csum", c.sum, d)
		if err := CheckBtrfs([]string{d}); c.good != (err == nil) {
			t.Errorf("%s: %v", c.sum, err)
		}
		wantCode(t, CheckBtrfs([]string{d, d}), vss.ErrNotSupported) // of a degraded one not all are here
	}
	d := temp(t, 320*mib)
	run(t, "mkfs.btrfs", "-q", d)
	run(t, "btrfstune", "-S", "1", d)
	wantCode(t, CheckBtrfs([]string{d}), vss.ErrNotSupported)
}

// The way of blkid's export format.
func TestExported(t *testing.T) {
	got := exported("DEVNAME=/dev/x\nTYPE=vfat\nUUID=1234-ABCD\nLABEL=a\\ \\\"b\\\\c\\\nPTTYPE=dos\nnonsense\n=\n")
	if d := cmp.Diff(FileSystem{Type: "vfat", UUID: "1234-ABCD", Label: `a "b\c\`}, got); d != "" {
		t.Error(d)
	}
}

// A copy of a live file system, whose log has to be replayed, gets a UUID of its own beside its mounted original.
func TestSetFileSystemUUID(t *testing.T) {
	for _, kind := range []string{"ext2", "ext3", "ext4", "xfs"} {
		for _, state := range []string{"clean", "frozen", "cut off"} {
			if kind == "ext2" && state == "cut off" {
				continue // it has no log: what a power cut leaves is for fsck, not for a replay
			}
			t.Run(kind+" "+state, func(t *testing.T) {
				lane.Host(t)
				dir := lane.Scratch(t)
				img := image(t, filepath.Join(dir, "disk"), 320*mib)
				original := attach(t, img, 512)
				mkfs(t, kind, original)
				was, err := ProbeFileSystem(original)
				must(t, err)
				point, unmount := mountAt(t, original, kind, "")
				for i := range 50 {
					f, err := os.Create(filepath.Join(point, fmt.Sprint(i)))
					must(t, err)
					_, err = f.Write(bytes.Repeat([]byte{byte(i)}, 10_000))
					must(t, err)
					must(t, f.Sync())
					f.Close()
				}
				must(t, os.Remove(filepath.Join(point, "49")))
				copied := img + ".copy"
				switch state {
				case "clean":
					unmount()
					run(t, "cp", "--sparse=always", img, copied)
					point, unmount = mountAt(t, original, kind, "")
				case "frozen":
					frozen(t, point, func() { run(t, "cp", "--sparse=always", img, copied) })
				case "cut off":
					run(t, "cp", "--sparse=always", img, copied)
				}
				device := attach(t, copied, 512)
				want := state == "cut off" || state == "frozen" && kind == "xfs"
				if dirty := dirtyLog(t, kind, device); dirty != want {
					t.Errorf("the copy's log is dirty: %v; the case isn't what it says", dirty)
				}
				uuid := vss.NewGUID().Plain()
				must(t, replay(device, kind)) // what changes below is without what the log has
				before := run(t, "cat", copied)
				must(t, SetFileSystemUUID(t.Context(), device, uuid))
				if n := changed(before, run(t, "cat", copied)); kind != "xfs" && n > 20 {
					t.Errorf(
						"%d blocks of 4 KiB changed: those of more than the superblock, its copies and the log's head",
						n,
					)
				}
				now, err := ProbeFileSystem(device)
				if err != nil || now.UUID != uuid || uuid == was.UUID || now.Type != was.Type {
					t.Errorf("probed %+v (%v), set to %s, the original has %s", now, err, uuid, was.UUID)
				}
				if dirtyLog(t, kind, device) {
					t.Error("the log is dirty still")
				}
				fsck(t, kind, device)
				twin, unmountTwin := mountAt(t, device, kind, "") // XFS refuses a UUID that it has mounted already
				for i := range 49 {
					if b := content(t, filepath.Join(twin, fmt.Sprint(i))); !bytes.Equal(
						b,
						bytes.Repeat([]byte{byte(i)}, 10_000),
					) {
						t.Errorf("file %d isn't as it was written", i)
					}
				}
				must(t, os.WriteFile(filepath.Join(twin, "new"), []byte("x"), 0o600))
				unmountTwin()
				// And back again, twice: as when a break is undone.
				must(t, RestoreFileSystemUUID(t.Context(), device, was.UUID))
				must(t, RestoreFileSystemUUID(t.Context(), device, was.UUID))
				if now, err := ProbeFileSystem(device); err != nil || now.UUID != was.UUID {
					t.Errorf("probed %+v (%v), set back to %s", now, err, was.UUID)
				}
				fsck(t, kind, device)
				if _, err := os.Stat(filepath.Join(point, "new")); err == nil {
					t.Error("the original sees what was written to the copy")
				}
				unmount()
				if now, _ := ProbeFileSystem(original); now.UUID != was.UUID {
					t.Errorf("the original's UUID became %s", now.UUID)
				}
				fsck(t, kind, original)
			})
		}
	}
}

// frozen runs f while a file system is frozen.
func frozen(t testing.TB, point string, f func()) {
	t.Helper()
	dir, err := os.Open(point)
	must(t, err)
	defer dir.Close()
	must(t, unix.IoctlSetInt(int(dir.Fd()), mount.FIFREEZE, 0))
	defer func() {
		if err := unix.IoctlSetInt(int(dir.Fd()), mount.FITHAW, 0); err != nil {
			t.Errorf("thaw: %v", err)
		}
	}()
	f()
}

// cutOff is a device whose power goes after some writes.
type cutOff struct {
	*os.File
	left int
}

var errPower = errors.New("no power")

func (c *cutOff) WriteAt(b []byte, at int64) (int, error) {
	if c.left--; c.left < 0 {
		return 0, errPower
	}
	return c.File.WriteAt(b, at)
}

// An XFS can be mounted after each of the writes by which it gets a UUID, and gets its former one back.
func TestSetXFSUUIDCutOff(t *testing.T) {
	lane.Host(t)
	for _, options := range [][]string{nil, {"-l", "version=2,su=256k"}, {"-b", "size=1024"}, {"-s", "size=4096"}} {
		t.Run(strings.Join(options, " "), func(t *testing.T) {
			d := device(t, 320*mib, 512)
			run(t, "mkfs.xfs", append([]string{"-q", d}, options...)...)
			was, err := ProbeFileSystem(d)
			must(t, err)
			for writes := 0; ; writes++ {
				point, unmount := mountAt(t, d, "xfs", "")
				must(
					t,
					os.WriteFile(filepath.Join(point, "file"), bytes.Repeat([]byte("content "), 10_000+writes), 0o600),
				)
				unmount()
				must(t, replay(d, "xfs"))
				f, err := os.OpenFile(d, os.O_RDWR|os.O_EXCL, 0)
				must(t, err)
				cut := setXFSUUID(&cutOff{f, writes}, vss.NewGUID())
				must(t, f.Close())
				if cut != nil && !errors.Is(cut, errPower) {
					t.Fatal(cut)
				}
				must(t, waitUnused(d))
				must(t, replay(d, "xfs"))
				must(t, RestoreFileSystemUUID(t.Context(), d, was.UUID))
				if now, err := ProbeFileSystem(d); err != nil || now.UUID != was.UUID {
					t.Errorf("%d writes: probed %+v (%v), restored %s", writes, now, err, was.UUID)
				}
				fsck(t, "xfs", d)
				point, unmount = mountAt(t, d, "xfs", "")
				if b := content(t, filepath.Join(point, "file")); !bytes.Equal(
					b,
					bytes.Repeat([]byte("content "), 10_000+writes),
				) {
					t.Errorf("%d writes: the file has %d bytes", writes, len(b))
				}
				unmount()
				if cut == nil {
					if writes < 3 {
						t.Errorf("done with %d writes: the case isn't what it says", writes)
					}
					return
				}
			}
		})
	}
}

// XFS of version 4, which not every kernel takes, has no checksums.
func TestSetXFSUUIDVersion4(t *testing.T) {
	lane.Host(t)
	d := device(t, 320*mib, 512)
	run(t, "mkfs.xfs", "-q", "-m", "crc=0", d)
	uuid := vss.NewGUID()
	f, err := os.OpenFile(d, os.O_RDWR|os.O_EXCL, 0)
	must(t, err)
	must(t, errors.Join(setXFSUUID(f, uuid), f.Close()))
	if now, err := ProbeFileSystem(d); err != nil || now.UUID != uuid.Plain() {
		t.Errorf("probed %+v (%v), set %s", now, err, uuid)
	}
	fsck(t, "xfs", d)
}

// Where the power went between the writes of a new UUID, the superblock of an ext is the former one and the rest is
// not.
func TestRestoreFileSystemUUID(t *testing.T) {
	lane.Host(t)
	for name, make := range map[string][]string{
		"ext4": {"mkfs.ext4", "-q"}, "ext4, checksums of groups only": {
			"mkfs.ext4", "-q", "-O", "^metadata_csum,uninit_bg",
		}, "ext3": {"mkfs.ext3", "-q"},
	} {
		t.Run(name, func(t *testing.T) {
			d := device(t, 320*mib, 512)
			run(t, make[0], append(make[1:], d)...)
			was, err := ProbeFileSystem(d)
			must(t, err)
			point, unmount := mountAt(t, d, was.Type, "")
			must(t, os.WriteFile(filepath.Join(point, "file"), bytes.Repeat([]byte("content "), 10_000), 0o600))
			unmount()
			superblock := func(use func(*os.File, []byte, int64) (int, error), b []byte) {
				f, err := os.OpenFile(d, os.O_RDWR|unix.O_DIRECT, 0)
				must(t, err)
				_, err = use(f, b, 0)
				must(t, errors.Join(err, f.Close()))
			}
			b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
			must(t, err)
			defer func() { must(t, unix.Munmap(b)) }()
			superblock((*os.File).ReadAt, b)
			must(t, SetFileSystemUUID(t.Context(), d, vss.NewGUID().Plain()))
			superblock((*os.File).WriteAt, b)
			must(t, RestoreFileSystemUUID(t.Context(), d, was.UUID))
			if now, err := ProbeFileSystem(d); err != nil || now.UUID != was.UUID {
				t.Errorf("probed %+v (%v), restored %s", now, err, was.UUID)
			}
			fsck(t, was.Type, d)
			point, unmount = mountAt(t, d, was.Type, "")
			if b := content(t, filepath.Join(point, "file")); !bytes.Equal(
				b,
				bytes.Repeat([]byte("content "), 10_000),
			) {
				t.Errorf("the file has %d bytes", len(b))
			}
			unmount()
		})
	}
}

// changed counts blocks of 4 KiB that differ.
func changed(a, b string) (n int) {
	for at := 0; at < len(a); at += 4096 {
		if a[at:at+4096] != b[at:at+4096] {
			n++
		}
	}
	return n
}

// Programs that are started at the same time have our descriptors for a moment, which must not keep a replayed file
// system in use.
func TestReplayWhileForking(t *testing.T) {
	lane.Host(t)
	d := device(t, 320*mib, 512)
	mkfs(t, "xfs", d)
	ended := make(chan struct{})
	var forks sync.WaitGroup
	for range 4 {
		forks.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
					_ = exec.Command("true").Run()
				}
			}
		})
	}
	for range 60 {
		if err := replay(d, "xfs"); err != nil {
			t.Error(err)
			break
		}
		if err := checkUnused(d); err != nil {
			t.Errorf("in use still: %v", err)
			break
		}
	}
	close(ended)
	forks.Wait()
}

// dirtyLog says whether a log waits to be replayed.
func dirtyLog(t testing.TB, kind, device string) bool {
	t.Helper()
	if kind == "xfs" {
		return strings.Contains(run(t, "xfs_logprint", "-t", device), "<DIRTY>")
	}
	return strings.Contains(run(t, "dumpe2fs", "-h", device), "needs_recovery")
}

func TestSetFileSystemUUIDRefused(t *testing.T) {
	lane.Host(t)
	refused := func(ctx context.Context, d string) {
		t.Helper()
		before, err := ProbeFileSystem(d)
		must(t, err)
		err = SetFileSystemUUID(ctx, d, vss.NewGUID().Plain())
		wantCode(t, err, vss.ErrCannotRevertDiskID)
		if vss.Hint(err) == "" {
			t.Errorf("%v doesn't say what to do", err)
		}
		if after, _ := ProbeFileSystem(d); after != before {
			t.Errorf("it became %+v, was %+v", after, before)
		}
	}
	none := device(t, 16*mib, 512)
	refused(t.Context(), none)
	swap := device(t, 16*mib, 512)
	run(t, "mkswap", "-q", swap)
	refused(t.Context(), swap)

	ext := device(t, 16*mib, 512)
	mkfs(t, "ext4", ext)
	ended, end := context.WithCancel(t.Context())
	end()
	refused(ended, ext)
	must(t, SetReadOnly(ext, true))
	refused(t.Context(), ext)
	must(t, SetReadOnly(ext, false))
	_, unmount := mountAt(t, ext, "ext4", "")
	refused(t.Context(), ext) // its own tools don't touch what is mounted
	unmount()

	broken := device(t, 320*mib, 512)
	mkfs(t, "xfs", broken)
	poke(t, broken, 512, bytes.Repeat([]byte{0x5a}, 512)...) // the first group's header
	refused(t.Context(), broken)
}
