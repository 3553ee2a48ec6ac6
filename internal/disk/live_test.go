package disk

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Flags and ids of a disk change while its file systems are mounted and written to: the mounts stay as they are, no
// event announces another disk, and no byte of theirs is lost. The partitions lie as close to the table as
// they can.
func TestLiveDisk(t *testing.T) {
	for _, c := range []struct {
		name, fs string
		sector   uint32
		make     func(t *testing.T, d string)
	}{
		{
			"gpt from LBA 34", "ext4", 512,
			func(t *testing.T, d string) { run(t, "sgdisk", "-a", "1", "-n", "1:34:-1M", "-n", "2:0:0", d) },
		},
		{
			"gpt from LBA 6", "ext4", 4096,
			func(t *testing.T, d string) { run(t, "sgdisk", "-a", "1", "-n", "1:6:-1M", "-n", "2:0:0", d) },
		},
		{
			"mbr from LBA 63", "ext4", 512,
			func(t *testing.T, d string) { script(t, "label: dos\nstart=63\n", "sfdisk", "-q", d) },
		},
		{"gpt", "xfs", 512, func(t *testing.T, d string) {
			_, err := Create(d, StyleGPT, "")
			must(t, err)
		}},
		{"mbr", "btrfs", 4096, func(t *testing.T, d string) {
			_, err := Create(d, StyleMBR, "")
			must(t, err)
		}},
	} {
		t.Run(c.name+" "+c.fs, func(t *testing.T) {
			size := map[string]int64{"ext4": 64 * mib, "xfs": 320 * mib, "btrfs": 160 * mib}[c.fs]
			d := device(t, size, c.sector)
			c.make(t, d)
			tab := table(t, d)
			nodes, err := AddPartitions(d, tab)
			must(t, err)
			mkfs(t, c.fs, nodes[0])
			point, unmount := mountAt(t, nodes[0], c.fs, "")
			events := listen(t)
			stat := func() unix.Stat_t {
				var st unix.Stat_t
				must(t, unix.Stat(point, &st))
				return st
			}
			before := stat()

			var stop atomic.Bool
			written := make(chan map[string][32]byte)
			go func() {
				files := map[string][32]byte{}
				for i := 0; !stop.Load() || i < 3; i++ {
					name := fmt.Sprintf("%s/%d", point, i%20)
					b := bytes.Repeat([]byte(fmt.Sprintf("%s %d ", d, i)), 8000)
					f, err := os.Create(name)
					if err == nil {
						_, err = f.Write(b)
					}
					if err == nil {
						err = f.Sync()
					}
					if err != nil {
						t.Errorf("a write to the live file system: %v", err)
						break
					}
					f.Close()
					files[name] = sha256.Sum256(b)
				}
				written <- files
			}()
			for range lane.Soak(100) {
				edit(t, d, func(e *Editor) {
					must(t, e.SetFlags(vss.FlagsShadowCopy, 0))
					_, err := e.RenewIdentity()
					must(t, err)
					must(t, e.SetFlags(0, vss.FlagsShadowCopy))
				})
			}
			stop.Store(true)
			files := <-written
			if now := stat(); now.Dev != before.Dev || now.Ino != before.Ino {
				t.Errorf("the mount is another: %+v, was %+v", now, before)
			}
			if got := kernelPartitions(d); len(got) != len(tab.Partitions) {
				t.Errorf("the kernel has %v", got)
			}
			events(filepath.Base(d))
			check := func(point string) {
				t.Helper()
				for name, sum := range files {
					b, err := os.ReadFile(filepath.Join(point, filepath.Base(name)))
					if err != nil || sha256.Sum256(b) != sum {
						t.Errorf("%s isn't as it was written: %v", name, err)
					}
				}
			}
			check(point)
			unmount()
			fsck(t, c.fs, nodes[0])
			point, unmount = mountAt(t, nodes[0], c.fs, "")
			check(point)
			unmount()
			if tab.Style == StyleGPT {
				sound(t, d)
			}
		})
	}
}

// listen hears the kernel's events; the returned function fails the test for each that is about a disk.
func listen(t *testing.T) func(disk string) {
	t.Helper()
	s, err := unix.Socket(
		unix.AF_NETLINK,
		unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC,
		unix.NETLINK_KOBJECT_UEVENT,
	)
	must(t, err)
	t.Cleanup(func() { unix.Close(s) })
	must(t, unix.Bind(s, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}))
	return func(disk string) {
		t.Helper()
		b := make([]byte, 16384)
		for {
			n, _, err := unix.Recvfrom(s, b, 0)
			if err != nil {
				return
			}
			if event := b[:n]; bytes.Contains(event, []byte("/block/"+disk+"\x00")) ||
				bytes.Contains(event, []byte("/block/"+disk+"/")) {
				t.Errorf("the kernel told of the disk: %q", bytes.ReplaceAll(event, []byte{0}, []byte{' '}))
			}
		}
	}
}

func mkfs(t testing.TB, kind string, devices ...string) {
	t.Helper()
	switch kind {
	case "ext2", "ext3", "ext4":
		run(t, "mkfs."+kind, append([]string{"-q", "-F"}, devices...)...)
	default:
		run(t, "mkfs."+kind, append([]string{"-q", "-f"}, devices...)...)
	}
}

// fsck checks a clean, unmounted file system and changes nothing.
func fsck(t testing.TB, kind, device string) {
	t.Helper()
	switch kind {
	case "xfs":
		run(t, "xfs_repair", "-n", device)
	case "btrfs":
		run(t, "btrfs", "check", "--readonly", device)
	default:
		run(t, "e2fsck", "-fn", device)
	}
}
