package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/lab"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// rules is the path of our rules in the guest, and program that of the program they run: this test program, which then
// acts as vss-udev.
const (
	rules   = "/etc/udev/rules.d/59-vss.rules"
	program = "/opt/bin/vss-udev"
)

func TestMain(m *testing.M) {
	if os.Args[0] == program {
		main()
		return
	}
	lab.RunTests(m)
}

// TestRules checks the rules with a real udevd on a disk that is an original, a copy that arrives, an original whose
// set is being created, and a copy that was broken.
func TestRules(t *testing.T) {
	if !lab.Enter(t, lab.Guest{
		Disks: []lab.Disk{{Size: 64 << 20}, {Size: 64 << 20}}, Udev: true, Timeout: 3 * time.Minute,
	}) {
		return
	}
	install(t)
	for name, d := range map[string]struct {
		device string
		style  disk.Style
	}{"gpt": {"/dev/ubda", disk.StyleGPT}, "mbr": {"/dev/ubdb", disk.StyleMBR}} {
		t.Run(name, func(t *testing.T) {
			part := d.device + "1"
			if _, err := disk.Create(d.device, d.style, "data"); err != nil {
				t.Fatal(err)
			}
			sh(t, "udevadm settle; blockdev --rereadpt "+d.device+" && udevadm settle && mkfs.ext4 -q "+part)

			event(t, "add", d.device)
			p := properties(t, part)
			uuid := p["ID_FS_UUID"]
			if uuid == "" || p["VSS_HIDDEN"] != "" || p["SYSTEMD_READY"] != "" || !linked(uuid) {
				t.Fatalf("a plain volume: %v", p)
			}

			// An original with flags left by a crash is mounted: the system must keep it.
			sh(t, "mount "+part+" /mnt")
			setFlags(t, d.device, vss.FlagsShadowCopy, 0)
			event(t, "change", d.device)
			if p := properties(t, part); p["ID_FS_UUID"] != uuid || p["SYSTEMD_READY"] != "" || !linked(uuid) {
				t.Errorf("a known volume was hidden by a change event: %v", p)
			}
			sh(t, "umount /mnt")

			event(t, "add", d.device)
			p = properties(t, part)
			if p["ID_FS_UUID"] != "" || p["ID_FS_TYPE"] != "" || p["SYSTEMD_READY"] != "0" ||
				p["UDISKS_IGNORE"] != "1" || linked(uuid) {
				t.Errorf("a hidden copy that arrives: %v, linked %v", p, linked(uuid))
			}
			if links := p["DEVLINKS"]; strings.Contains(links, "partuuid") || strings.Contains(links, "label") {
				t.Errorf("a hidden copy has links by identity: %s", links)
			}
			if !disk.ReadOnly(part) {
				t.Error("a read-only copy's device can be written")
			}

			sh(t, "mkdir -p /run/vss; echo "+d.device+" >/run/vss/creating")
			event(t, "add", d.device)
			if p := properties(t, part); p["ID_FS_UUID"] != uuid || p["SYSTEMD_READY"] != "" || !linked(uuid) {
				t.Errorf("a disk in RUN/creating: %v", p)
			}
			sh(t, "rm /run/vss/creating")

			event(t, "add", d.device)
			setFlags(t, d.device, 0, vss.FlagShadowCopy|vss.FlagHidden)
			event(t, "change", d.device)
			if p := properties(t, part); p["ID_FS_UUID"] != uuid || p["SYSTEMD_READY"] != "" || !linked(uuid) {
				t.Errorf("a copy that was broken: %v", p)
			}
		})
	}
}

// install installs the packaged rules, with this program as the one that they run.
func install(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile("../../packaging/59-vss.rules")
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	sh(t, "mkdir -p "+filepath.Dir(program)+" && cp "+exe+" "+program)
	if err := os.WriteFile(rules, []byte(strings.ReplaceAll(string(text), "@BINDIR@", filepath.Dir(program))),
		0o644); err != nil {
		t.Fatal(err)
	}
	sh(t, "udevadm control --reload")
}

func sh(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// event sends udev events of the given kind for the disk and its partition, and waits until both are handled. udevd
// handles that of the disk first. Each command takes a good part of a second in the guest, so there is only one.
func event(t *testing.T, action, device string) {
	t.Helper()
	node := "/sys/class/block/" + filepath.Base(device)
	sh(t, "udevadm settle; udevadm trigger --settle --action="+action+" "+node+" "+node+"1")
}

func setFlags(t *testing.T, device string, set, clr vss.DiskFlags) {
	t.Helper()
	sh(t, "blockdev --setrw "+device+" "+device+"1")
	e, err := disk.Open(context.Background(), device)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.SetFlags(set, clr); err != nil {
		t.Fatal(err)
	}
}

func properties(t *testing.T, device string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, l := range strings.Split(sh(t, "udevadm info -q property -n "+device), "\n") {
		if k, v, ok := strings.Cut(l, "="); ok && (strings.HasPrefix(k, "VSS_") || strings.HasPrefix(k, "ID_FS_") ||
			strings.HasPrefix(k, "ID_PART_ENTRY") || k == "DEVLINKS" || k == "SYSTEMD_READY" || k == "UDISKS_IGNORE") {
			all[k] = v
		}
	}
	return all
}

func linked(uuid string) bool {
	_, err := os.Stat("/dev/disk/by-uuid/" + uuid)
	return err == nil
}
