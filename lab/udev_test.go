package lab

import (
	"os"
	"os/exec"
	"testing"
)

// shell runs a script (set -e) in the guest of this test, and returns its output.
func shell(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// udevWorks: a new file system gets its links, and LVM works with udev.
func udevWorks(t *testing.T) {
	t.Helper()
	const id = "6f9d1c3e-0d0e-4b5a-9c7c-5f1f5c1d2e3f"
	shell(t, "mkfs.ext4 -q -U "+id+" /dev/ubda; udevadm settle")
	if out := shell(t, "readlink -f /dev/disk/by-uuid/"+id); out != "/dev/ubda\n" {
		t.Errorf("the link by UUID leads to %q", out)
	}
	shell(t, "vgcreate -q vg /dev/ubdb; lvcreate -q -y -L 16M -n lv vg; readlink -f /dev/vg/lv; lvremove -q -y "+
		"vg/lv; vgremove -q -y vg")
}

func TestUdev(t *testing.T) {
	if Enter(t, Guest{Udev: true, Disks: []Disk{{Size: 16 << 20}, {Size: 64 << 20}}, Modules: []string{"dm-mod"}}) {
		udevWorks(t)
	}
}

func TestSystemd(t *testing.T) {
	if !Enter(t, Guest{Systemd: true, Disks: []Disk{{Size: 16 << 20}, {Size: 64 << 20}}, Modules: []string{"dm-mod"}}) {
		return
	}
	udevWorks(t)
	if out := shell(t,
		"cat /proc/1/comm; systemctl is-active lab.target systemd-udevd.service"); out != "systemd\nactive\nactive\n" {
		t.Errorf("systemd: %q", out)
	}
	const unit = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo from a unit >/run/probe'\n"
	if err := os.WriteFile("/run/systemd/system/probe.service", []byte(unit), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := shell(t,
		"systemctl start probe.service; cat /run/probe; "+
			"systemctl list-units --no-legend --state=failed"); out != "from a unit\n" {
		t.Errorf("a unit of ours, and those that failed: %q", out)
	}
}
