package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const lvmWithoutUdev = `activation { udev_sync=0 udev_rules=0 verify_udev_operations=0 monitoring=0 }
devices { obtain_device_list_from_udev=0 }
`

// initialize is the guest's first process: it creates the root, and becomes the agent or systemd.
func initialize() {
	p, err := setUp(os.Getenv(dirEnv))
	if err == nil {
		if p.Guest.Systemd {
			err = becomeSystemd()
		} else {
			agent()
		}
	}
	fail(err)
}

// fail reports an error to the host and powers off.
func fail(err error) {
	fmt.Fprintln(os.Stderr, "lab:", err)
	if l, open := openLine(); open == nil {
		_ = (&sender{w: l}).send(frameFailed, 0, []byte(err.Error()))
		drain(l)
	}
	powerOff()
}

func powerOff() {
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

// setUp creates the guest's root and everything that doesn't depend on the first command.
func setUp(dir string) (plan, error) {
	var p plan
	_ = os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	_ = os.Setenv("HOME", "/root")
	b, err := os.ReadFile(filepath.Join(dir, planFile))
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, err
	}
	g := p.Guest
	if err := mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return p, err
	}
	if err := loadModules("overlay", "loop"); err != nil {
		return p, err
	}
	if err := makeRoot(p, dir); err != nil {
		return p, err
	}
	if err := unix.Sethostname([]byte(g.Name)); err != nil {
		return p, os.NewSyscallError("sethostname", err)
	}
	files := map[string]string{"hosts": "127.0.0.1 localhost " + g.Name + "\n", "hostname": g.Name + "\n", "fstab": ""}
	for name, text := range files {
		if err := os.WriteFile("/etc/"+name, []byte(text), 0o644); err != nil {
			return p, err
		}
	}
	if err := bringUp("lo", ""); err != nil {
		return p, err
	}
	if g.Address != "" {
		if err := bringUp("vec0", g.Address); err != nil {
			return p, err
		}
	}
	if err := loadModules(g.Modules...); err != nil {
		return p, err
	}
	if exists("/sys/kernel/config") {
		if err := mount("configfs", "/sys/kernel/config", "configfs", 0, ""); err != nil {
			return p, err
		}
	}
	return p, setUpDevices(g)
}

// setUpDevices configures LVM, and starts udevd if the guest has it and systemd doesn't start it.
func setUpDevices(g Guest) error {
	lvm := lvmWithoutUdev
	if g.Udev || g.Systemd {
		lvm = "activation { monitoring=0 }\n"
	} else {
		_ = os.Setenv("DM_DISABLE_UDEV", "1") // dmsetup creates the nodes itself, and doesn't wait for udev
	}
	if exists("/etc/lvm") {
		if err := os.WriteFile("/etc/lvm/lvmlocal.conf", []byte(lvm), 0o644); err != nil {
			return err
		}
	}
	if g.Udev && !g.Systemd {
		for _, c := range [][]string{
			{"/lib/systemd/systemd-udevd", "--daemon"}, {"udevadm", "trigger", "--action=add"}, {"udevadm", "settle"},
		} {
			if err := run(c...); err != nil {
				return err
			}
		}
	}
	return nil
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func mount(source, target, kind string, flags uintptr, data string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s (%s) at %s: %w", source, kind, target, err)
	}
	return nil
}

// makeRoot assembles the new root at /run/root and changes to it.
func makeRoot(p plan, dir string) error {
	const root = "/run/root"
	if err := mount("tmpfs", "/run/over", "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	make := func() error { return overlay("/", root) }
	if p.Guest.Root != "" {
		make = func() error { return diskRoot(p, root) }
	}
	if err := make(); err != nil {
		return err
	}
	old := root + "/.old"
	if err := os.MkdirAll(old, 0o700); err != nil {
		return err
	}
	// /run and /mnt of the host are hidden, but not its /tmp, which has the test programs
	for _, m := range [][4]string{
		{"tmpfs", "run", "tmpfs", "mode=755"}, {"tmpfs", "mnt", "tmpfs", "mode=755"},
		{"devtmpfs", "dev", "devtmpfs", ""}, {"devpts", "dev/pts", "devpts", ""}, {"tmpfs", "dev/shm", "tmpfs", ""},
		{"proc", "proc", "proc", ""}, {"sysfs", "sys", "sysfs", ""}, {"cgroup", "sys/fs/cgroup", "cgroup2", ""},
		{"none", "lab", "hostfs", dir},
	} {
		if err := mount(m[0], filepath.Join(root, m[1]), m[2], 0, m[3]); err != nil {
			return err
		}
	}
	// Not chroot: kernel threads, which start modprobe and uevent helpers, must use the new root, too.
	if err := unix.PivotRoot(root, old); err != nil {
		return os.NewSyscallError("pivot_root", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Unmount("/.old", unix.MNT_DETACH); err != nil {
		return os.NewSyscallError("umount the old root", err)
	}
	for _, d := range []string{"/run/lvm", "/run/lock/lvm", "/run/lock/iscsi", "/usr/lib/modules"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	release, err := kernelRelease()
	if err != nil {
		return err
	}
	link := "/usr/lib/modules/" + release
	if err := os.Symlink(modulesDir+"/"+release, link); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// overlay shows the folder lower at target, with all changes kept in memory.
func overlay(lower, target string) error {
	name := "/run/over/" + strings.ReplaceAll(strings.Trim(target, "/"), "/", "-")
	for _, d := range []string{name + "/up", name + "/work"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	return mount("overlay", target, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s/up,workdir=%s/work", lower, name,
		name))
}

// lastDisk returns the node of the guest's last disk.
func lastDisk(g Guest) string { return "/dev/ubd" + string(rune('a'+len(g.Disks)-1)) }

// rootExe is the path of this program on a root of its own.
const rootExe = "/stillpoint.test"

// diskRoot creates a root on the last disk with this program, /etc and the folders that all programs write to. /usr is
// the host's.
func diskRoot(p plan, root string) error {
	dev := lastDisk(p.Guest)
	if p.Fresh {
		if err := run("mkfs."+p.Guest.Root, "-q", dev); err != nil {
			return err
		}
	}
	if err := mount(dev, root, p.Guest.Root, 0, ""); err != nil {
		return err
	}
	if p.Fresh {
		if err := furnish(root); err != nil {
			return err
		}
	}
	return overlay("/usr", root+"/usr")
}

func furnish(root string) error {
	for _, d := range []string{"root", "tmp", "var/tmp", "var/log", "var/lib", "etc", "opt", "usr"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	for _, l := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+l, filepath.Join(root, l)); err != nil {
			return err
		}
	}
	// Not os.Executable: before the guest has a /proc of its own it uses the host's, and finds the kernel there.
	if err := copyFile(os.Args[0], root+rootExe); err != nil {
		return err
	}
	for _, name := range []string{"passwd", "group", "nsswitch.conf", "ld.so.cache", "mke2fs.conf"} {
		if err := copyFile("/etc/"+name, root+"/etc/"+name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if exists("/etc/lvm") {
		if err := os.CopyFS(root+"/etc/lvm", os.DirFS("/etc/lvm")); err != nil {
			return err
		}
	}
	unix.Sync()
	return nil
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	st, err := os.Stat(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, st.Mode().Perm())
}

// waitFor polls for at most 10 s.
func waitFor(what string, ready func() bool) error {
	for range 200 {
		if ready() {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("no %s after 10 s", what)
}
