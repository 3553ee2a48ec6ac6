package labtest

import (
	"errors"
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
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/lab"
)

// TestPower records what rounds of create, break and delete write to the disk that has the pool and the catalogue, and
// cuts the power at the flushes: on the disk as it was then, recovery keeps what was acknowledged and leaves nothing
// over. What was acknowledged when stands in the record itself, as marks. A guest records; this machine, which is many
// times faster, looks at the disks.
func TestPower(t *testing.T) {
	for _, p := range []powered{
		{name: "folder", pool: "pool", volume: "320M", disk: 2 << 30},
		{name: "self-made", disk: 4 << 30, volume: "320M"},
	} {
		t.Run(p.name, func(t *testing.T) {
			if lab.Inside() {
				p.rounds(t)
				return
			}
			t.Parallel()
			lane.Host(t)
			dir := lane.Scratch(t)
			record := file(t, dir, "record", 16<<30)
			m := lab.Boot(t, lab.Guest{
				Memory: 1024, Disks: []lab.Disk{{Size: p.disk}, {Path: record}}, Modules: []string{"dm-log-writes"},
				Timeout: time.Hour,
			})
			m.Test(t)
			m.Halt()
			if !t.Failed() {
				p.cuts(t, dir, record)
			}
		})
	}
}

// powered is a disk whose power is cut.
type powered struct {
	name   string
	pool   string // folder on the disk that is the pool, "" for the one that the service makes itself
	volume string // size of the XFS volume
	disk   int64
}

// host is the service with all that it keeps on the disk, which is mounted at root.
func (p powered) host(t testing.TB, root string) *host {
	pool := p.pool
	if pool != "" {
		pool = filepath.Join(root, pool)
	}
	return newHost(t, filepath.Join(root, "state"), pool)
}

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
func (p powered) rounds(t *testing.T) {
	dev := lab.LogWrites(t, "watched", "/dev/ubda", "/dev/ubdb")
	sh(t, "mkfs.xfs -q "+dev+"; mkdir /mnt/disk /mnt/a /mnt/b; mount "+dev+" /mnt/disk")
	t.Cleanup(func() { sh(t, "umount /mnt/disk") })
	h := p.host(t, "/mnt/disk")
	t.Cleanup(func() {
		h.stop(unix.SIGTERM)
		takeDown(t, "/mnt/disk")
	})
	h.volume("a", "64M", "ext4", "gpt", "/mnt/a")
	h.volume("b", p.volume, "xfs", "mbr", "/mnt/b")
	sh(t, "sync")
	mark := func(what string, round int, set string, luns ...string) {
		lab.Mark(t, "watched", strings.Join(append([]string{what, fmt.Sprint(round), set}, luns...), ":"))
	}
	mark(ready, 0, "")
	last := setDoc{}
	for r := range lane.Soak(10) {
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

// cuts rebuilds the disk as it was at the flushes, and looks what recovery makes of it.
func (p powered) cuts(t *testing.T, dir, record string) {
	l, err := lab.ReadLog(record)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := newStage(t, dir, p.disk)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	all := l.Flushes()
	points := sample(l, all, random)
	t.Logf("seed %d, %d entries, %d flushes, %d of them cut", seed, len(l.Entries), len(all), len(points))
	at := 0
	for n, cutAt := range points {
		if n%500 == 499 {
			t.Logf("%d of them looked at", n)
		}
		if err := l.Replay(s.base, at, cutAt+1, nil); err != nil {
			t.Fatal(err)
		}
		at = cutAt + 1
		next := len(l.Entries)
		if i := slices.Index(all, cutAt); i+1 < len(all) {
			next = all[i+1]
		}
		for _, torn := range variants(n) {
			sets := promises(l.Entries[:at])
			d := s.copy(t)
			if torn {
				if err := l.Replay(d, at, next, func(int) bool { return random.IntN(2) == 0 }); err != nil {
					t.Fatal(err)
				}
				// what was begun before the next flush may have got anywhere
				for id, s := range promises(l.Entries[:next]) {
					if s.what == deleting || s.what == breaking || s.what == releasing {
						sets[id] = s
					}
				}
			}
			d.Close()
			mountFile(t, d.Name(), s.root, "xfs")
			c := &cut{p.host(t, s.root), sets}
			c.check()
			c.stop(unix.SIGTERM)
			takeDown(t, s.root)
			takeDown(t, s.dir)
			if t.Failed() {
				b, _ := os.ReadFile(filepath.Join(c.run, "vssd.log"))
				t.Fatalf("%s\nseed %d, cut after entry %d, torn: %v", b, seed, cutAt, torn)
			}
			os.RemoveAll(c.run)
		}
	}
}

// stage is where a rebuilt disk is looked at: a btrfs, which copies a disk in no time, in however many pieces it was
// written.
type stage struct {
	dir, root string   // root is where the copy of the disk is mounted
	base      *os.File // the disk without what recovery does to it
}

func newStage(t *testing.T, dir string, size int64) *stage {
	t.Helper()
	s := &stage{dir: filepath.Join(dir, "stage"), root: filepath.Join(dir, "root")}
	for _, d := range []string{s.dir, s.root} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	image := file(t, dir, "stage.img", 4*size)
	sh(t, "mkfs.btrfs -q "+image)
	t.Cleanup(func() { takeDown(t, dir) })
	mountFile(t, image, s.dir, "btrfs")
	sh(t, "btrfs subvolume create "+s.dir+"/base")
	var err error
	if s.base, err = os.OpenFile(file(t, filepath.Join(s.dir, "base"), "disk", size), os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.base.Close() })
	return s
}

// copy makes a disk that is as the base is now, instead of the last one.
func (s *stage) copy(t *testing.T) *os.File {
	t.Helper()
	at := filepath.Join(s.dir, "cut")
	if _, err := os.Stat(at); err == nil {
		sh(t, "btrfs subvolume delete "+at)
	}
	sh(t, "btrfs subvolume snapshot "+s.dir+"/base "+at)
	f, err := os.OpenFile(filepath.Join(at, "disk"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// mountFile mounts the file system in a file.
func mountFile(t *testing.T, path, point, kind string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dev, err := loopdev.Attach(f, 0)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if err = unix.Mount(dev, point, kind, 0, ""); !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			break // a process that looks for a free device has each open for a moment
		}
	}
	if err != nil {
		_ = loopdev.Detach(dev)
		t.Fatalf("mount %s: %v", path, err)
	}
}

// takeDown unmounts and detaches all that is on files below dir, what is on top first, as a shutdown does.
func takeDown(t testing.TB, dir string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		left := takeDownOnce(dir)
		if left == nil {
			return
		}
		if time.Now().After(end) {
			t.Errorf("can't be taken down: %v", left)
			return
		}
	}
}

// takeDownOnce gives what stays, for now.
func takeDownOnce(dir string) error {
	var left []error
	ours := map[string]bool{}
	loops, _ := filepath.Glob("/sys/block/loop*")
	for _, p := range loops {
		if dev := "/dev/" + filepath.Base(p); strings.HasPrefix(loopdev.Backing(dev), dir+"/") {
			ours[dev] = true
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	lines := strings.Split(string(mounts), "\n")
	slices.Reverse(lines)
	for _, l := range lines {
		f := strings.Fields(l)
		if len(f) < 2 {
			continue
		}
		if whole, _, _ := strings.Cut(strings.TrimPrefix(f[0], "/dev/loop"), "p"); ours["/dev/loop"+whole] {
			if err := unix.Unmount(f[1], 0); err != nil {
				left = append(left, fmt.Errorf("unmount %s: %w", f[1], err))
			}
		}
	}
	for dev := range ours {
		err := disk.DeletePartitions(dev) // this kernel may know none by itself, and then keeps those that were added
		if err == nil {
			err = loopdev.Detach(dev)
		}
		if err != nil {
			left = append(left, fmt.Errorf("detach %s: %w", dev, err))
		}
	}
	return errors.Join(left...)
}

// variants says whether a cut tears: the disk's cache then loses some of what no flush had made certain yet.
func variants(n int) []bool {
	if os.Getenv("VSS_SOAK") == "" {
		return []bool{n%2 == 1}
	}
	return []bool{false, true}[:1+n%4/3] // all as they are, and every fourth one torn
}

// sample is every flush after the first volumes were there; outside of a soak some of them, other ones each time.
func sample(l *lab.Log, all []int, random *rand.Rand) []int {
	from := slices.IndexFunc(l.Entries, func(e lab.LogEntry) bool { return strings.HasPrefix(e.Mark, ready) })
	all = all[slices.IndexFunc(all, func(n int) bool { return n > from }):]
	if os.Getenv("VSS_SOAK") != "" {
		return all
	}
	const most = 40
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
	breaks := slices.ContainsFunc(slices.Collect(maps.Values(c.sets)),
		func(s promise) bool { return s.what == breaking })
	c.clean(now, func(lun string) bool { return plain[lun] || breaks })
	for _, l := range now.luns {
		if l.Origin == "" && !c.Failed() {
			c.fsck(l)
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

// copies: those that were acknowledged are there and readable, those that were being broken are all there or none, and
// so is each one that was being deleted.
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
				c.Errorf("copy %s of %s in round %s has %.40q, %d bytes", one.ID, one.OriginalVolume, s.round, got,
					len(got))
			}
		}
	}
}

// fsck mounts an original, as after a power cut its log is replayed, and checks it.
func (c *cut) fsck(l lunDoc) {
	c.Helper()
	if len(l.Disk.Partitions) == 0 {
		c.Errorf("original %s on %q has no partition", l.Name, l.Device)
		return
	}
	p := l.Disk.Partitions[0]
	if p.Device == "" {
		c.Errorf("original %s on %q has no device for its partition", l.Name, l.Device)
		return
	}
	check := "e2fsck -fn "
	if p.FileSystem == "xfs" {
		check = "xfs_repair -n "
	}
	at := filepath.Join(c.run, "look")
	if err := os.MkdirAll(at, 0o700); err != nil {
		c.Fatal(err)
	}
	if err := unix.Mount(p.Device, at, p.FileSystem, 0, ""); err != nil {
		c.Errorf("original %s: mount %s: %v", l.Name, p.Device, err)
		return
	}
	c.unmount(p.Device, at)
	sh(c, check+p.Device)
}
