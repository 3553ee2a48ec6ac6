package labtest

import (
	"bufio"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/lab"
)

// built names the folder with the programs that this one can't be, for the inner side of a test.
const built = "VSS_TEST_PROGRAMS"

// buildPrograms builds them, on the host.
func buildPrograms(t *testing.T) {
	t.Helper()
	if lab.Inside() {
		return
	}
	dir := lane.Scratch(t)
	sh(t, "cd ../.. && CGO_ENABLED=0 go build -o "+dir+"/ ./cmd/vss-udev")
	t.Setenv(built, dir)
}

// install puts everything where an installation has it; vss and vssd are this program.
func install(t *testing.T) {
	t.Helper()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	sh(t, "mkdir -p /usr/local/bin; install -m 755 "+os.Getenv(built)+"/vss-udev /usr/local/bin/")
	for _, n := range []string{"vss", "vssd"} {
		_ = os.Remove("/usr/local/bin/" + n)
		if err := os.Symlink(exe, "/usr/local/bin/"+n); err != nil {
			t.Fatal(err)
		}
	}
	sh(t, "cd ../../packaging && ./install '' /usr/local && systemd-sysusers && systemd-tmpfiles --create /usr/local/lib/tmpfiles.d/vss.conf && udevadm control --reload")
	sh(t, "mkfs.xfs -q /dev/ubda; mkdir -p /srv/pool; mount /dev/ubda /srv/pool")
}

// live is what the system around it sees of volumes: all mounts with their device numbers, all links by identity.
type live struct {
	mounts []string
	links  map[string]string
}

func lookAround(t *testing.T) live {
	t.Helper()
	l := live{links: map[string]string{}}
	l.mounts = strings.Split(sh(t, "udevadm settle; findmnt -rn -o TARGET,SOURCE,MAJ:MIN,FSTYPE,OPTIONS | sort"), "\n")
	for _, by := range []string{"uuid", "label", "partuuid", "partlabel"} {
		all, _ := filepath.Glob("/dev/disk/by-" + by + "/*")
		for _, p := range all {
			to, err := filepath.EvalSymlinks(p)
			if err != nil {
				t.Errorf("%s leads nowhere: %v", p, err)
			}
			l.links[p] = to
		}
	}
	return l
}

// same: mounts and links are what they were. Links to devices of free may come: LUNs that are no copies any more.
func (l live) same(t *testing.T, when string, free ...string) {
	t.Helper()
	now := lookAround(t)
	if !slices.Equal(now.mounts, l.mounts) {
		t.Errorf("%s: mounts were\n%s\nare\n%s", when, strings.Join(l.mounts, "\n"), strings.Join(now.mounts, "\n"))
	}
	for p, to := range now.links {
		was, there := l.links[p]
		ours := slices.ContainsFunc(free, func(d string) bool { return to == d || strings.HasPrefix(to, d+"p") })
		if was != to && (there || !ours) {
			t.Errorf("%s: %s leads to %s, before to %q", when, p, to, was)
		}
	}
	for p := range maps.Keys(l.links) {
		if _, ok := now.links[p]; !ok {
			t.Errorf("%s: %s is gone", when, p)
		}
	}
}

// events watches what udev does, until the function that it returns is called: that gives the devices that had events.
func events(t *testing.T) func() map[string][]string {
	t.Helper()
	cmd := exec.Command("udevadm", "monitor", "--udev", "--kernel", "--subsystem-match=block")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s, ready := bufio.NewScanner(out), make(chan bool)
	all, ended := map[string][]string{}, make(chan bool)
	go func() {
		defer close(ended)
		for n := 0; s.Scan(); n++ {
			if n == 0 {
				close(ready)
			}
			if f := strings.Fields(s.Text()); len(f) > 3 && strings.HasPrefix(f[3], "/devices/") { // KERNEL [TIME] ACTION PATH (block)
				d := "/dev/" + filepath.Base(f[3])
				all[d] = append(all[d], f[0]+" "+f[2])
			}
		}
	}()
	<-ready
	return func() map[string][]string {
		sh(t, "udevadm settle")
		_ = cmd.Process.Signal(unix.SIGTERM)
		<-ended
		_ = cmd.Wait()
		return all
	}
}

// undisturbed: no event was for a partition of an original.
func undisturbed(t *testing.T, all map[string][]string, originals []lunDoc) {
	t.Helper()
	if len(all) == 0 {
		t.Error("no event at all was seen, not even those of the copies")
	}
	for _, l := range originals {
		for _, p := range l.Disk.Partitions {
			if e := all[p.Device]; len(e) > 0 {
				t.Errorf("events of %s, which is mounted: %v", p.Device, e)
			}
		}
		if e := all[l.Device]; len(e) > 0 {
			t.Logf("events of the original disk %s: %v", l.Device, e)
		}
	}
}

// originals are the LUNs that are no copy of another.
func (v view) originals() []lunDoc {
	return slices.DeleteFunc(slices.Clone(v.luns), func(l lunDoc) bool { return l.Origin != "" })
}

// passes takes sets of live volumes through their whole life and sees that nobody around notices.
func (h *host) passes(t *testing.T, volumes ...string) {
	t.Helper()
	before := lookAround(t)
	originals := h.look().originals()
	end := events(t)
	kept, gone := h.create(volumes...), h.create(volumes...)
	before.same(t, "two sets created")
	var b breakDoc
	h.vss(&b, "break", gone.SetID, "--read-write", "--keep-identity")
	var free []string
	for _, l := range b.LUNs {
		free = append(free, l.Device)
	}
	if len(free) != len(volumes) {
		t.Fatalf("broken: %+v", b)
	}
	before.same(t, "one broken", free...)
	for _, l := range b.LUNs {
		h.vss(nil, "lun", "delete", l.LUN, "--force")
	}
	h.vss(nil, "delete", kept.SetID)
	before.same(t, "both gone")
	undisturbed(t, end(), originals)
	h.clean(h.look(), none)
}

// TestUdev creates and breaks sets of mounted volumes under udevd with our rules.
func TestUdev(t *testing.T) {
	buildPrograms(t)
	if !lab.Enter(t, lab.Guest{Udev: true, Memory: 1024, Disks: []lab.Disk{{Size: 4 << 30}}, Modules: []string{"dm-mod"}, Timeout: limit}) {
		return
	}
	install(t)
	h := newHost(t, "/var/lib/vss", "/srv/pool/p")
	h.run = "/run/vss"
	h.volume("a", "64M", "ext4", "gpt", "/srv/a")
	h.volume("b", "320M", "xfs", "mbr", "/srv/b")
	h.volume("c", "128M", "btrfs", "gpt", "/srv/c")
	for _, l := range h.look().luns {
		if p := l.Disk.Partitions[0]; sh(t, "udevadm settle; readlink -f /dev/disk/by-uuid/"+p.UUID) != p.Device+"\n" {
			t.Errorf("%s has no link by UUID", p.Device)
		}
	}
	h.passes(t, "/srv/a", "/srv/b", "/srv/c")
	sh(t, "umount /srv/a /srv/b /srv/c")
	h.stop(unix.SIGTERM)
}
