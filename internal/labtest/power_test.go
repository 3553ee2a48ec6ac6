package labtest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/array/loopdev"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/lab"
)

// TestPower records what rounds of create, break and delete write to the disk that has the pool and the catalogue, and cuts
// the power at the flushes: on the disk as it was then, recovery keeps what was acknowledged and leaves nothing over. What was
// acknowledged when stands in the record itself, as marks.
func TestPower(t *testing.T) {
	scratch := lane.Scratch(t)
	record := file(t, scratch, "record", 8<<30)
	t.Run("rounds", func(t *testing.T) {
		if lab.Inside() {
			rounds(t)
			return
		}
		m := lab.Boot(t, lab.Guest{
			Memory: 1024, Disks: []lab.Disk{{Size: diskSize}, {Path: record}}, Modules: []string{"dm-log-writes"}, Timeout: time.Hour,
		})
		m.Test(t)
		m.Halt()
	})
	if t.Failed() {
		return
	}
	t.Run("cuts", func(t *testing.T) {
		if lab.Inside() {
			cuts(t)
			return
		}
		lab.Boot(t, lab.Guest{
			Memory: 1024, Disks: []lab.Disk{{Path: record}, {Size: diskSize}, {Size: diskSize}}, Modules: []string{"dm-snapshot"}, Timeout: 12 * time.Hour,
		}).Test(t)
	})
}

const diskSize = 2 << 30

func file(t *testing.T, dir, name string, size int64) string {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.WriteFile(p, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(p, size); err != nil {
		t.Fatal(err)
	}
	return p
}

// Marks of the record, each "WHAT:ROUND:SET" with the LUNs of a broken set behind.
const (
	ready     = "ready"
	created   = "created"
	deleting  = "deleting"
	deleted   = "deleted"
	breaking  = "breaking"
	broken    = "broken"
	releasing = "releasing" // its LUNs are being deleted
	released  = "released"
)

// rounds makes two sets a round, breaks one and deletes its LUNs, and deletes the other a round later.
func rounds(t *testing.T) {
	dev := lab.LogWrites(t, "watched", "/dev/ubda", "/dev/ubdb")
	sh(t, "mkfs.xfs -q "+dev+"; mkdir /mnt/disk /mnt/a /mnt/b; mount "+dev+" /mnt/disk")
	t.Cleanup(func() { sh(t, "umount /mnt/disk") })
	h := newHost(t, "/mnt/disk/state", "/mnt/disk/pool")
	t.Cleanup(func() { h.shutDown("/mnt/disk") })
	h.volume("a", "64M", "ext4", "gpt", "/mnt/a")
	h.volume("b", "320M", "xfs", "mbr", "/mnt/b")
	sh(t, "sync")
	mark := func(what string, round int, set string, luns ...string) {
		lab.Mark(t, "watched", strings.Join(append([]string{what, fmt.Sprint(round), set}, luns...), ":"))
	}
	mark(ready, 0, "")
	last := setDoc{}
	for r := range lane.Soak(20) {
		stamp(t, r)
		kept, gone := h.create("/mnt/a", "/mnt/b"), setDoc{}
		mark(created, r, kept.SetID)
		gone = h.create("/mnt/a", "/mnt/b")
		mark(created, r, gone.SetID)

		mark(breaking, r, gone.SetID)
		var b breakDoc
		h.vss(&b, "break", gone.SetID, "--read-write", "--keep-identity")
		mark(broken, r, gone.SetID, b.LUNs[0].LUN, b.LUNs[1].LUN)
		mark(releasing, r, gone.SetID)
		for _, l := range b.LUNs {
			h.vss(nil, "lun", "delete", l.LUN, "--force")
		}
		mark(released, r, gone.SetID)

		if r > 0 {
			mark(deleting, r-1, last.SetID)
			h.vss(nil, "delete", last.SetID)
			mark(deleted, r-1, last.SetID)
		}
		last = kept
	}
}

// stamp writes what the copies of a round must have.
func stamp(t *testing.T, round int) {
	t.Helper()
	for _, v := range []string{"a", "b"} {
		f, err := os.Create("/mnt/" + v + "/stamp")
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteString(stampOf(v, round))
		if err == nil {
			err = f.Sync()
		}
		if err != nil || f.Close() != nil {
			t.Fatal(err)
		}
	}
}

func stampOf(volume string, round int) string {
	return strings.Repeat(fmt.Sprintf("volume %s in round %d\n", volume, round), 5000)
}

// promise is what must be true of a set from its last mark on.
type promise struct {
	what  string
	round string
	luns  []string // of a broken set
}

// cuts rebuilds the disk as it was at the flushes, and looks what recovery makes of it.
func cuts(t *testing.T) {
	l, err := lab.ReadLog("/dev/ubda")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	base, err := os.OpenFile("/dev/ubdb", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	all := l.Flushes()
	points := sample(l, all)
	t.Logf("seed %d, %d entries, %d flushes, %d of them cut", seed, len(l.Entries), len(all), len(points))
	at := 0
	for n, p := range points {
		if err := l.Replay(base, at, p+1, nil); err != nil {
			t.Fatal(err)
		}
		if err := base.Sync(); err != nil {
			t.Fatal(err)
		}
		at = p + 1
		next := len(l.Entries)
		if i := slices.Index(all, p); i+1 < len(all) {
			next = all[i+1]
		}
		for _, torn := range []bool{false, true} {
			if os.Getenv("VSS_SOAK") == "" && torn != (n%2 == 1) {
				continue
			}
			when := fmt.Sprintf("seed %d, cut after entry %d of %d, torn: %v", seed, p, len(l.Entries), torn)
			c := &cut{t: t, sets: promises(l.Entries[:at])}
			sh(t, fmt.Sprintf("dmsetup create cut --table '0 %d snapshot /dev/ubdb /dev/ubdc N 8'", diskSize/512))
			if torn { // a cache that lost some of what no flush had made certain yet
				d, err := os.OpenFile("/dev/mapper/cut", os.O_RDWR, 0)
				if err == nil {
					err = l.Replay(d, at, next, func(int) bool { return random.IntN(2) == 0 })
				}
				if err == nil {
					err = d.Sync()
				}
				if err != nil || d.Close() != nil {
					t.Fatal(err)
				}
				c.sets = promises(l.Entries[:next]) // marks between the two: whatever they start may have begun
				for id, s := range promises(l.Entries[:at]) {
					if s.what == created && c.sets[id].what != deleting && c.sets[id].what != breaking {
						c.sets[id] = s
					}
				}
			}
			c.check(when)
			sh(t, "dmsetup remove --retry cut")
			if t.Failed() {
				t.Fatal(when)
			}
		}
	}
}

// sample is every flush after the first volumes were there; outside of a soak those around each mark, and some more.
func sample(l *lab.Log, all []int) []int {
	from := slices.IndexFunc(l.Entries, func(e lab.LogEntry) bool { return strings.HasPrefix(e.Mark, ready) })
	i := slices.IndexFunc(all, func(n int) bool { return n > from })
	all = all[i:]
	if os.Getenv("VSS_SOAK") != "" {
		return all
	}
	const most = 24
	var out []int
	for i := range most {
		out = append(out, all[i*(len(all)-1)/(most-1)])
	}
	return slices.Compact(out)
}

// promises is what the marks among the entries say of each set.
func promises(entries []lab.LogEntry) map[string]promise {
	out := map[string]promise{}
	for _, e := range entries {
		if f := strings.Split(e.Mark, ":"); len(f) > 2 && f[2] != "" {
			out[f[2]] = promise{what: f[0], round: f[1], luns: append(out[f[2]].luns, f[3:]...)}
		}
	}
	return out
}

type cut struct {
	t    *testing.T
	sets map[string]promise
}

// check starts the service on the disk as it was, and looks at what there is.
func (c *cut) check(when string) {
	t := c.t
	sh(t, "mount /dev/mapper/cut /mnt && mkdir -p /run/look")
	h := newHost(t, "/mnt/state", "/mnt/pool")
	defer sh(t, "umount /mnt")
	defer h.shutDown("/mnt")
	plain := map[string]bool{}
	for _, s := range c.sets {
		for _, l := range s.luns {
			plain[l] = s.what == broken || s.what == releasing
		}
	}
	underWay := func(string) bool { return slices.ContainsFunc(values(c.sets), func(s promise) bool { return s.what == breaking }) }
	h.clean(func(lun string) bool { return plain[lun] || underWay(lun) })
	c.kept(h)
	luns := h.luns()
	for _, l := range luns {
		delete(plain, l.ID)
	}
	for id, s := range c.sets {
		for _, l := range s.luns {
			if s.what == broken && plain[l] {
				t.Errorf("LUN %s of the broken set %s is lost", l, id)
			}
		}
	}
	for _, l := range luns {
		if l.Origin == "" {
			fsck(t, l)
		}
	}
	before := h.picture()
	h.stop(unix.SIGKILL)
	if after := h.picture(); after != before {
		t.Errorf("a second start changes something: before\n%s\nafter\n%s", before, after)
	}
	if t.Failed() {
		t.Logf("%s: sets %v\n%s\n%s", when, c.sets, before, h.log())
	}
}

// kept: acknowledged copies are there and readable; those that were being deleted or broken are whole or gone.
func (c *cut) kept(h *host) {
	have := map[string][]copyDoc{}
	for _, s := range h.shadows() {
		have[s.SetID] = append(have[s.SetID], s)
	}
	for id, s := range c.sets {
		n := len(have[id])
		switch s.what {
		case created:
			if n != 2 {
				h.Errorf("of the acknowledged set %s %d copies are left", id, n)
			}
		case deleting, breaking:
			if n != 0 && n != 2 {
				h.Errorf("%s set %s: %d copies are left", s.what, id, n)
			}
		default:
			if n != 0 {
				h.Errorf("%s set %s: %d copies are left", s.what, id, n)
			}
		}
		var round int
		_, _ = fmt.Sscan(s.round, &round)
		for _, one := range have[id] {
			v := filepath.Base(one.OriginalVolume)
			if got := h.read(one, "stamp"); got != stampOf(v, round) {
				h.Errorf("copy %s of %s in round %d has %.40q, %d bytes", one.ID, one.OriginalVolume, round, got, len(got))
			}
		}
	}
}

// fsck mounts an original, as after a power cut its log is replayed, and checks it.
func fsck(t *testing.T, l lunDoc) {
	t.Helper()
	p := l.Disk.Partitions[0]
	check := "e2fsck -fn "
	if p.FileSystem == "xfs" {
		check = "xfs_repair -n "
	}
	sh(t, "mount "+p.Device+" /run/look; umount /run/look; "+check+p.Device)
}

func values(m map[string]promise) []promise {
	var out []promise
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

// shutDown ends the service and takes its copies and LUNs off this guest, as a shutdown does: the disk keeps them.
func (h *host) shutDown(disk string) {
	h.Helper()
	h.stop(unix.SIGTERM)
	mounts, _ := os.ReadFile("/proc/self/mounts")
	lines := strings.Split(string(mounts), "\n")
	slices.Reverse(lines)
	for _, l := range lines {
		if f := strings.Fields(l); len(f) > 1 && strings.HasPrefix(f[0], "/dev/loop") {
			if err := unix.Unmount(f[1], 0); err != nil {
				h.Errorf("unmount %s: %v", f[1], err)
			}
		}
	}
	loops, _ := filepath.Glob("/sys/block/loop*")
	for _, p := range loops {
		dev := "/dev/" + filepath.Base(p)
		if strings.HasPrefix(loopdev.Backing(dev), disk+"/") {
			if err := loopdev.Detach(dev); err != nil {
				h.Errorf("detach %s: %v", dev, err)
			}
		}
	}
}
