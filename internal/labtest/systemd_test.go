package labtest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/array/loopdev"
	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/lab"
)

// limit is how long a guest of these tests may take.
const limit = 5 * time.Minute

// TestSystemd is a host under systemd with our units and a line of fstab for a volume on a LUN: the boot, a creation
// and a break, the service stopped in the middle of a creation and started again.
func TestSystemd(t *testing.T) {
	if !enter(t, lab.Guest{Systemd: true, Memory: 1024, Disks: []lab.Disk{{Size: 4 << 30}}, Timeout: limit}) {
		return
	}
	install(t)
	if err := os.MkdirAll("/srv/pool/p", 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, "/etc/vss/vss.toml", "[[array.pools]]\nname = \"p\"\ntype = \"reflink\"\npath = \"/srv/pool/p\"\n")
	h := &host{TB: t, state: "/var/lib/vss", run: "/run/vss", config: "/etc/vss/vss.toml"}
	sh(t, "systemctl daemon-reload && systemctl start vssd.socket")
	h.vss(nil, "lun", "create", "data", "--size", "320M")
	var l lunDoc
	h.vss(&l, "lun", "format", "data", "--fs", "xfs")
	if state(t, "vssd.service") != "active" {
		t.Fatalf("the socket didn't start the service")
	}
	write(t, "/etc/fstab", "UUID="+l.Disk.Partitions[0].UUID+" /srv/data xfs "+fstabOptions(t)+" 0 0\n")

	// As at a boot: no LUN is there until the service is.
	sh(t, "systemctl daemon-reload && systemctl stop vssd.socket vssd.service")
	if err := loopdev.Detach(l.Device); err != nil {
		t.Fatal(err)
	}
	sh(t, "udevadm settle; systemctl start vssd.socket vssd.service remote-fs.target; mountpoint -q /srv/data")
	h.passes(t, "/srv/data")

	h.stoppedInTheMiddle(t)

	// At the end of the day volumes go before the service.
	if got := sh(t, "systemctl show -P After srv-data.mount"); !strings.Contains(got, "vssd.service") {
		t.Errorf("srv-data.mount comes after %s", got)
	}
	sh(t, "systemctl stop remote-fs.target srv-data.mount && systemctl stop vssd.socket vssd.service")
	if failed := sh(t, "systemctl list-units --no-legend --state=failed"); failed != "" {
		t.Errorf("failed units: %s", failed)
	}
}

// fstabOptions returns the options of fstab in docs/start.md.
func fstabOptions(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/start.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(string(b), "\n") {
		if f := strings.Fields(l); len(f) == 6 && strings.HasPrefix(f[0], "UUID=") {
			return f[3]
		}
	}
	t.Fatal("docs/start.md has no line for fstab")
	return ""
}

func (h *host) stoppedInTheMiddle(t *testing.T) {
	t.Helper()
	const unit = "/run/systemd/system/vssd.service.d/fault.conf"
	for _, p := range []string{"create/set-flags/after", "create/hold/after"} {
		before := lookAround(t)
		write(t, unit, "[Service]\nEnvironment=\""+fault.Variable+"="+p+" pause /run/pause;"+p+" delay 3s\"\n")
		sh(t, "rm -rf /run/pause; mkdir /run/pause; touch /run/pause/go; systemctl daemon-reload; systemctl restart "+
			"vssd.service")
		var out strings.Builder
		cmd := h.command(t.Context(), "create", "--no-writers", "/srv/data")
		cmd.Stdout = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		sh(t, "until [ -e /run/pause/hit ]; do sleep 0.1; done; rm "+unit)
		sh(t, "systemctl stop vssd.socket vssd.service")
		took := time.Now()
		write(t, "/srv/data/probe", p)
		sh(t, "sync -f /srv/data")
		if d := time.Since(took); d > 11*time.Second {
			t.Errorf("stopped at %s: writes stood still for %v", p, d)
		}
		err := cmd.Wait()
		if got := state(t, "vssd.service"); got != "inactive" {
			t.Errorf("stopped at %s: the service is %s: %s", p, got, sh(t, "systemctl status vssd.service || true"))
		}
		before.same(t, "stopped at "+p)
		sh(t, "systemctl daemon-reload; systemctl start vssd.socket")
		now := h.look()
		h.clean(now, none)
		var s setDoc
		if _ = json.Unmarshal([]byte(out.String()), &s); err == nil {
			t.Logf("stopped at %s: the creation had its way all the same", p)
		}
		if len(now.copies) != len(s.ShadowCopies) {
			t.Errorf("stopped at %s: %d copies, the creation said %v, %s", p, len(now.copies), err, &out)
		}
		for _, c := range now.copies {
			h.vss(nil, "delete", c.SetID)
		}
		before.same(t, "recovered from a stop at "+p)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func state(t *testing.T, unit string) string {
	t.Helper()
	return strings.TrimSpace(sh(t, "systemctl show -P ActiveState "+unit))
}
