package labtest

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/counters/counterstest"
	"github.com/stillpoint-vss/stillpoint/lab"
)

// TestRoot makes a LUN's volume the guest's root: the service's program, state and configuration are on what it holds.
// Sets of it and of another volume are made, and the service dies in the middle.
func TestRoot(t *testing.T) {
	if !lab.Inside() {
		t.Parallel()
	}
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			if !enter(t, lab.Guest{Memory: 1024, Disks: []lab.Disk{{Size: 4 << 30}}, Timeout: 5 * time.Minute}) {
				return
			}
			sh(t, "mkfs.xfs -q /dev/ubda; mkdir /run/pool; mount /dev/ubda /run/pool")
			first := newHost(t, "/run/state", "/run/pool/p")
			first.volume("root", "640M", kind, "gpt", "/mnt/root")
			first.volume("data", "64M", "ext4", "mbr", "/run/data")
			first.stop(unix.SIGTERM)
			enterRoot(t, "/mnt/root", first)
			h := newHost(t, "/state", "/run/pool/p")
			h.config = "/etc/vss.toml"
			where := sh(t,
				"findmnt -no FSTYPE /; df --output=target /state /etc/vss.toml /stillpoint.test | tail -n +2 | sort -u")
			if where != kind+"\n/\n" {
				t.Fatalf("the root and what is on it: %q", where)
			}
			h.rootSets()
			for _, p := range []string{"create/hold/after", "create/commit/after", "create/release/before"} {
				h.dies(p)
			}
			h.overruns()
			h.stop(unix.SIGTERM)
		})
	}
}

// enterRoot furnishes a volume and makes it the root of all processes of the guest. What is mounted below /run and the
// kernel's file systems come along; /usr, which is programs only, stays the old root's.
func enterRoot(t *testing.T, root string, h *host) {
	t.Helper()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	sh(t, "cd "+root+`
mkdir -p old dev proc sys run lab usr tmp mnt root var/tmp etc
for l in bin sbin lib lib64; do ln -s usr/$l $l; done
for f in passwd group nsswitch.conf ld.so.cache mke2fs.conf; do [ ! -e /etc/$f ] || cp /etc/$f etc/; done
cp `+exe+` stillpoint.test
cp `+h.config+` etc/vss.toml
cp -a `+h.state+` state
for d in dev proc sys run lab usr; do mount --rbind /$d $d; done
sync`)
	if err := unix.PivotRoot(root, root+"/old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chdir("/"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount("/old", unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	program = "/stillpoint.test"
}

func (h *host) rootSets() {
	h.Helper()
	for _, f := range []string{"/stamp", "/run/data/stamp"} {
		if err := os.WriteFile(f, []byte("stamp"), 0o600); err != nil {
			h.Fatal(err)
		}
	}
	s := h.create("/", "/run/data")
	for _, c := range s.ShadowCopies {
		if got := h.read(c, "stamp"); got != "stamp" {
			h.Errorf("the copy of %s has %q", c.OriginalVolume, got)
		}
	}
	gone := h.create("/run/data", "/")
	var b breakDoc
	h.vss(&b, "break", gone.SetID, "--read-write", "--keep-identity")
	for _, l := range b.LUNs {
		h.vss(nil, "lun", "delete", l.LUN, "--force")
	}
	h.clean(h.look(), none)
}

// dies kills the service at a point of a creation: the root is written to again at once, and the next start leaves
// what was acknowledged and nothing else.
func (h *host) dies(point string) {
	h.Helper()
	t := h.TB.(*testing.T)
	t.Run(strings.ReplaceAll(point, "/", " "), func(t *testing.T) {
		h := &host{TB: t, state: h.state, run: h.run, config: h.config}
		load := counterstest.Start(t, "/", "/run/data")
		h.stop(unix.SIGTERM)
		h.fault = point + " kill"
		if out, ok := h.try("create", "--no-writers", "--hold-limit", "10s", "/", "/run/data"); ok {
			t.Fatalf("%s was not reached: %s", point, out)
		}
		h.fault = ""
		h.flows(load, 5*time.Second) // half of the limit: it is the death that releases them
		now := h.look()
		h.clean(now, none)
		if got := len(now.copies); got != 2 {
			t.Errorf("%d copies, the acknowledged ones are 2\n%s", got, h.log())
		}
	})
}

// overruns: a hold of the root that is too long is ended by the guards, and fails the set.
func (h *host) overruns() {
	h.Helper()
	h.stop(unix.SIGTERM)
	h.fault = "create/hold/after delay 4s"
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := h.command(ctx, "create", "--no-writers", "--hold-limit", "1s", "/", "/run/data").Output()
	var doc struct{ Error struct{ Result string } }
	if jerr := json.Unmarshal(out, &doc); err == nil || jerr != nil || doc.Error.Result != "VSS_E_HOLD_WRITES_TIMEOUT" {
		h.Errorf("a hold of 4 s with a limit of 1 s: %v, %s", err, out)
	}
	h.fault = ""
	if err := os.WriteFile(filepath.Join(h.state, "probe"), nil, 0o600); err != nil {
		h.Error(err)
	}
	h.clean(h.look(), none)
}
