package labtest

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/lab"
)

// install puts everything where an installation has it; the programs are this one.
func install(t *testing.T) {
	t.Helper()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	sh(t, "for p in vss vssd vss-udev; do ln -sf "+exe+" /usr/local/bin/$p; done")
	sh(t, "cd ../../packaging && ./install '' /usr/local")
	sh(t, "systemd-sysusers; systemd-tmpfiles --create /usr/local/lib/tmpfiles.d/vss.conf; udevadm control --reload")
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

// event is what udev made of one, with the properties that the device has then.
type event struct{ device, action, properties string }

// events watches what udev does, until the function that it returns is called.
func events(t *testing.T) func() []event {
	t.Helper()
	cmd := exec.Command("udevadm", "monitor", "--udev", "--property", "--subsystem-match=block")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s, ready := bufio.NewScanner(out), make(chan bool)
	var all []event
	ended := make(chan bool)
	go func() {
		defer close(ended)
		for n := 0; s.Scan(); n++ {
			if n == 0 {
				close(ready)
			}
			f := strings.Fields(s.Text())
			switch { // UDEV [TIME] ACTION PATH (block), then NAME=VALUE a line
			case len(f) == 5 && f[0] == "UDEV":
				all = append(all, event{device: "/dev/" + filepath.Base(f[len(f)-2]), action: f[len(f)-3]})
			case len(all) > 0 && strings.Contains(s.Text(), "="):
				all[len(all)-1].properties += s.Text() + "\n"
			}
		}
	}()
	<-ready
	return func() []event {
		sh(t, "udevadm settle")
		_ = cmd.Process.Signal(unix.SIGTERM)
		<-ended
		_ = cmd.Wait()
		return all
	}
}

// undisturbed: udev has run its rules for the copies, and for no original nor a partition of one.
func undisturbed(t *testing.T, all []event, originals []lunDoc) {
	t.Helper()
	ours := map[string]bool{}
	for _, l := range originals {
		ours[l.Device] = true
		for _, p := range l.Disk.Partitions {
			ours[p.Device] = true
		}
	}
	seen := map[string]int{}
	for _, e := range all {
		seen[e.device]++
		if ours[e.device] {
			t.Errorf("an event of %s, which is mounted: %s\n%s", e.device, e.action, e.properties)
		}
	}
	if len(seen) == 0 {
		t.Error("no event at all was seen, not even those of the copies")
	}
	t.Logf("events: %v, originals: %v", seen, ours)
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
	kept := h.create(volumes...)
	before.same(t, "a set created")
	// A broken copy that is left read-only has the UUID of its original still.
	for _, how := range [][]string{{"--keep-identity"}, {"--keep-identity", "--read-write"}} {
		var b breakDoc
		h.vss(&b, append([]string{"break", h.create(volumes...).SetID}, how...)...)
		var free []string
		for _, l := range b.LUNs {
			free = append(free, l.Device)
		}
		if len(free) != len(volumes) {
			t.Fatalf("broken: %+v", b)
		}
		before.same(t, fmt.Sprintf("one broken, %v", how), free...)
		for _, l := range b.LUNs {
			h.vss(nil, "lun", "delete", l.LUN, "--force")
		}
		before.same(t, fmt.Sprintf("the broken one deleted, %v", how))
	}
	h.vss(nil, "delete", kept.SetID)
	before.same(t, "all gone")
	undisturbed(t, end(), originals)
	h.clean(h.look(), none)
}

// TestUdev creates and breaks sets of mounted volumes under udevd with our rules.
func TestUdev(t *testing.T) {
	if !enter(t, lab.Guest{Udev: true, Memory: 1024, Disks: []lab.Disk{{Size: 4 << 30}}, Modules: []string{"dm-mod"},
		Timeout: limit}) {
		return
	}
	install(t)
	h := newHost(t, "/var/lib/vss", "/srv/pool/p")
	h.run = "/run/vss"
	h.volume("a", "64M", "ext4", "gpt", "/srv/a")
	h.volume("b", "320M", "xfs", "mbr", "/srv/b")
	h.volume("c", "128M", "btrfs", "gpt", "/srv/c")
	for _, l := range h.look().luns {
		p := l.Disk.Partitions[0]
		// udevd hears of a new file system when mkfs has closed the device, which settle doesn't wait for.
		link := "udevadm settle; readlink -f /dev/disk/by-uuid/" + p.UUID + " || true"
		for end := time.Now().Add(20 * time.Second); sh(t, link) != p.Device+"\n"; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s has no link by UUID", p.Device)
			}
		}
	}
	h.passes(t, "/srv/a", "/srv/b", "/srv/c")
	sh(t, "umount /srv/a /srv/b /srv/c")
	h.stop(unix.SIGTERM)
}
