package lab

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/lane"
)

// TestCut: after a power failure synced data is present, and other data is lost.
func TestCut(t *testing.T) {
	m := Boot(t, Guest{Disks: []Disk{{Size: 64 << 20}}})
	m.Sh("mkfs.ext4 -q /dev/ubda; mount /dev/ubda /mnt; echo safe >/mnt/a; sync; echo lost >/mnt/b")
	m.Cut()
	m.Boot()
	if out := m.Sh("mount /dev/ubda /mnt; cat /mnt/a; ls /mnt; echo after >/mnt/c"); out != "safe\na\nlost+found\n" {
		t.Errorf("after the power cut: %q", out)
	}
	m.Halt()
	m.Boot()
	if out := m.Sh("mount /dev/ubda /mnt; cat /mnt/a /mnt/c"); out != "safe\nafter\n" {
		t.Errorf("after an orderly halt: %q", out)
	}
}

// TestRootDisk: a root on a disk of its own survives a power failure.
func TestRootDisk(t *testing.T) {
	m := Boot(t, Guest{Root: "xfs", Disks: []Disk{{Size: 1 << 20}, {Size: 512 << 20}}})
	m.Sh("echo safe >/root/a; sync; echo lost >/root/b")
	m.Cut()
	m.Boot()
	if out := m.Sh("ls /root; findmnt -no SOURCE,FSTYPE /"); out != "a\n/dev/ubdb xfs\n" {
		t.Errorf("after the power cut: %q", out)
	}
}

// TestLogWrites: a disk in the state at a mark has what was written before and not what was written after.
func TestLogWrites(t *testing.T) {
	if Inside() {
		dev := LogWrites(t, "watched", "/dev/ubda", "/dev/ubdb")
		shell(t, "mkfs.ext4 -q "+dev+"; mount "+dev+" /mnt; echo one >/mnt/before; sync")
		Mark(t, "watched", "between")
		shell(t, "echo two >/mnt/after; sync; umount /mnt")
		return
	}
	const size = 64 << 20
	m := Boot(t, Guest{Disks: []Disk{{Size: size}, {Size: 256 << 20}}, Modules: []string{"dm-log-writes"}})
	m.Test(t)
	m.Halt()
	l, err := ReadLog(m.Disk(1))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	between, flushes := l.Mark("between"), l.Flushes()
	if between < 0 || l.Mark("no such mark") != -1 {
		t.Fatalf("marks not found: %d, %d", between, l.Mark("no such mark"))
	}
	if len(flushes) < 4 || flushes[0] > between || flushes[len(flushes)-1] < between {
		t.Errorf("mark at %d, flushes at %v", between, flushes)
	}
	scratch := lane.Scratch(t)
	at := func(name string, entry int) string {
		p := filepath.Join(scratch, name)
		if err := l.Image(p, size, entry); err != nil {
			t.Fatal(err)
		}
		return p
	}
	mid, end := at("mid", between), at("end", len(l.Entries))

	f, err := os.OpenFile(mid, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	early := read(t, mid)
	if err := l.Replay(f, between, len(l.Entries), func(int) bool { return true }); err != nil ||
		!bytes.Equal(early, read(t, mid)) {
		t.Errorf("a cache that lost everything changed the disk (%v)", err)
	}
	steps := at("steps", between)
	s, err := os.OpenFile(steps, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := l.Replay(s, between, len(l.Entries), nil); err != nil || !bytes.Equal(read(t, end), read(t, steps)) {
		t.Errorf("replayed in two steps it is another disk (%v)", err)
	}
	if a, err := os.ReadFile(end); err != nil || !bytes.Equal(a, read(t, m.Disk(0))) {
		t.Errorf("replayed to its end it isn't the disk (%v)", err)
	}
	g := Boot(t, Guest{Disks: []Disk{{Path: mid}, {Path: end}, {Path: at("cut", flushes[len(flushes)-1])}}})
	for dev, want := range map[string]string{"/dev/ubda": "before\nlost+found\n",
		"/dev/ubdb": "after\nbefore\nlost+found\n"} {
		if out := g.Sh("mount " + dev + " /mnt; ls /mnt; umount /mnt"); out != want {
			t.Errorf("%s holds %q", dev, out)
		}
	}
	g.Sh("mount /dev/ubdc /mnt; grep -q one /mnt/before; umount /mnt; e2fsck -fn /dev/ubdc")
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFlakey: writes are lost although they were acknowledged.
func TestFlakey(t *testing.T) {
	if Inside() {
		dev := Flakey(t, "flaky", "/dev/ubda")
		shell(t, "mkfs.ext4 -q "+dev+"; mount "+dev+" /mnt; echo one >/mnt/before; sync")
		DropWrites(t, "flaky", "/dev/ubda")
		shell(t, "echo two >/mnt/after; sync; umount /mnt")
		return
	}
	m := Boot(t, Guest{Disks: []Disk{{Size: 64 << 20}}, Modules: []string{"dm-flakey"}})
	m.Test(t)
	if out := m.Sh("mount /dev/ubda /mnt; ls /mnt"); out != "before\nlost+found\n" {
		t.Errorf("on the disk: %q", out)
	}
}
