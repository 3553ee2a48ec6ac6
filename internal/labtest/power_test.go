package labtest

import (
	"fmt"
	"maps"
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
	if !lab.Inside() {
		t.Parallel()
	}
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
	guests := 1
	if os.Getenv("VSS_SOAK") != "" {
		guests = 2
	}
	for part := range guests {
		t.Run(fmt.Sprintf("cuts %d of %d", part, guests), func(t *testing.T) {
			if lab.Inside() {
				cuts(t, part, guests)
				return
			}
			t.Parallel()
			m := lab.Boot(t, lab.Guest{
				Memory: 1024, Disks: []lab.Disk{{Size: diskSize}, {Size: diskSize}}, Modules: []string{"dm-snapshot"}, Timeout: 12 * time.Hour,
			})
			if err := os.Link(record, filepath.Join(m.Dir(), "record")); err != nil {
				t.Fatal(err)
			}
			m.Test(t)
		})
	}
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
		_, err = f.WriteString(stampOf(v, fmt.Sprint(round)))
		if err == nil {
			err = f.Sync()
		}
		if err != nil || f.Close() != nil {
			t.Fatal(err)
		}
	}
}

func stampOf(volume, round string) string {
	return strings.Repeat(fmt.Sprintf("volume %s in round %s\n", volume, round), 5000)
}

// promise is what must be true of a set from its last mark on.
type promise struct {
	what  string
	round string
	luns  []string // of a broken set
}

// cuts rebuilds the disk as it was at the flushes, and looks what recovery makes of it. Guests share the work.
func cuts(t *testing.T, part, guests int) {
	l, err := lab.ReadLog("/lab/record")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	base, err := os.OpenFile("/dev/ubda", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	all := l.Flushes()
	points := sample(l, all, random)
	t.Logf("seed %d, %d entries, %d flushes, %d of them cut", seed, len(l.Entries), len(all), len(points))
	at := 0
	for n, p := range points {
		if n%guests != part {
			continue
		}
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
		for _, torn := range variants(n / guests) {
			t.Logf("seed %d, cut after entry %d, torn: %v", seed, p, torn)
			sh(t, fmt.Sprintf("dmsetup create cut --table '0 %d snapshot /dev/ubda /dev/ubdb N 8'", diskSize/512))
			sets := promises(l.Entries[:at])
			if torn {
				tear(t, l, at, next, random)
				for id, s := range promises(l.Entries[:next]) { // what was begun before the next flush may have got anywhere
					if s.what == deleting || s.what == breaking || s.what == releasing {
						sets[id] = s
					}
				}
			}
			sh(t, "mount /dev/mapper/cut /mnt && mkdir -p /run/look")
			c := &cut{newHost(t, "/mnt/state", "/mnt/pool"), sets}
			c.check()
			c.shutDown("/mnt")
			sh(t, "umount /mnt; dmsetup remove --retry cut")
			if t.Failed() {
				return
			}
		}
	}
}

// variants says whether a cut tears: the disk's cache then loses some of what no flush had made certain yet.
func variants(n int) []bool {
	if os.Getenv("VSS_SOAK") == "" {
		return []bool{n%2 == 1}
	}
	return []bool{false, true}[:1+n%2] // all as they are, every other one torn as well
}

// tear does a part of the writes among entries from to to.
func tear(t *testing.T, l *lab.Log, from, to int, random *rand.Rand) {
	t.Helper()
	d, err := os.OpenFile("/dev/mapper/cut", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := l.Replay(d, from, to, func(int) bool { return random.IntN(2) == 0 }); err != nil {
		t.Fatal(err)
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
}

// sample is every flush after the first volumes were there; outside of a soak some of them, other ones each time.
func sample(l *lab.Log, all []int, random *rand.Rand) []int {
	from := slices.IndexFunc(l.Entries, func(e lab.LogEntry) bool { return strings.HasPrefix(e.Mark, ready) })
	all = all[slices.IndexFunc(all, func(n int) bool { return n > from }):]
	if os.Getenv("VSS_SOAK") != "" {
		return all
	}
	const most = 12
	var out []int
	for i := range most {
		out = append(out, all[(i*len(all)+random.IntN(len(all)))/most])
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
	*host
	sets map[string]promise
}

// check starts the service on the disk as it was, and looks at what there is.
func (c *cut) check() {
	now := c.look()
	c.copies(now)
	plain := map[string]bool{} // what may be there of broken sets
	for _, l := range now.luns {
		plain[l.ID] = false
	}
	for id, s := range c.sets {
		for _, l := range s.luns {
			if _, there := plain[l]; s.what == broken && !there {
				c.Errorf("LUN %s of the broken set %s is lost", l, id)
			}
			plain[l] = s.what == broken || s.what == releasing
		}
	}
	breaks := slices.ContainsFunc(slices.Collect(maps.Values(c.sets)), func(s promise) bool { return s.what == breaking })
	c.clean(now, func(lun string) bool { return plain[lun] || breaks })
	for _, l := range now.luns {
		if l.Origin == "" {
			fsck(c, l)
		}
	}
	c.stop(unix.SIGKILL)
	if again := c.look(); again.text != now.text {
		c.Errorf("a second start changes something: before\n%s\nafter\n%s", now.text, again.text)
	}
	if c.Failed() {
		c.Logf("sets %v\n%s\n%s", c.sets, now.text, c.log())
	}
}

// copies: those that were acknowledged are there and readable, those that were being broken are all there or none, and so is
// each one that was being deleted.
func (c *cut) copies(now view) {
	have := map[string][]copyDoc{}
	for _, s := range now.copies {
		have[s.SetID] = append(have[s.SetID], s)
	}
	for id, s := range c.sets {
		n, ok := len(have[id]), false
		switch s.what {
		case created:
			ok = n == 2
		case breaking:
			ok = n == 0 || n == 2
		case deleting:
			ok = n <= 2
		default:
			ok = n == 0
		}
		if !ok {
			c.Errorf("set %s, %s: %d copies are left", id, s.what, n)
		}
		for _, one := range have[id] {
			v := filepath.Base(one.OriginalVolume)
			if got := c.read(one, "stamp"); got != stampOf(v, s.round) {
				c.Errorf("copy %s of %s in round %s has %.40q, %d bytes", one.ID, one.OriginalVolume, s.round, got, len(got))
			}
		}
	}
}

// fsck mounts an original, as after a power cut its log is replayed, and checks it.
func fsck(t testing.TB, l lunDoc) {
	t.Helper()
	p := l.Disk.Partitions[0]
	if p.Device == "" {
		t.Errorf("original %s on %q has no device for its partition", l.Name, l.Device)
		return
	}
	check := "e2fsck -fn "
	if p.FileSystem == "xfs" {
		check = "xfs_repair -n "
	}
	sh(t, "mount "+p.Device+" /run/look; umount /run/look; "+check+p.Device)
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
