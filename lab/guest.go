package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Guest describes a kernel to boot and its devices.
type Guest struct {
	Name    string   // host name; "" is "guest"
	Memory  int      // MiB; 0 is 512. The host allocates it as it is used
	Disks   []Disk   // /dev/ubda, /dev/ubdb, ...
	Modules []string // kernel modules to load before the first command. Many are loaded on demand
	// "ext4", "xfs": the root is on the last disk, and can be frozen; "": on a tmpfs over the host's
	Root    string
	Udev    bool          // udevd runs: /dev/disk/by-*, rules. Takes about 5 s
	Systemd bool          // systemd is the first process, and runs udevd. Takes about 10 s
	Address string        // address/prefix on a Net
	Timeout time.Duration // of Run and Enter, boot included; 0 is 1 minute
}

// Disk is a disk of the guest, stored in a file.
type Disk struct {
	Size int64  // bytes: a new, empty file, which is removed after the test
	Path string // or this file
	Sync bool   // each write is on the host's disk before it is acknowledged (O_SYNC)
}

func (g *Guest) fill() {
	if g.Name == "" {
		g.Name = "guest"
	}
	if g.Memory == 0 {
		g.Memory = 512
	}
	if g.Timeout == 0 {
		g.Timeout = time.Minute
	}
}

// images creates the disks that don't exist below dir, and returns the paths of all.
func (g *Guest) images(dir string) ([]string, error) {
	if g.Root != "" && len(g.Disks) == 0 {
		return nil, fmt.Errorf("a guest with an %s root needs a disk", g.Root)
	}
	var out []string
	for i, d := range g.Disks {
		path := d.Path
		if path == "" {
			path = filepath.Join(dir, fmt.Sprintf("disk-%d", i))
			if err := image(path, d.Size); err != nil {
				return nil, err
			}
		}
		out = append(out, path)
	}
	return out, nil
}

// image creates a sparse file of size bytes.
func image(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(size)
}

// kernel returns the kernel's command line.
func (g *Guest) kernel(m *Machine, boot string) []string {
	out := []string{
		fmt.Sprintf("mem=%dM", g.Memory), "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet",
		"init=" + m.exe, "uml_dir=" + boot + "/", "umid=u",
		"con0=null,fd:1", "con1=fd:3,fd:4", "con=null", "ssl=null",
		dirEnv + "=" + m.Dir(),
	}
	for i, d := range m.disks {
		flag := ""
		if g.Disks[i].Sync {
			flag = "s"
		}
		out = append(out, fmt.Sprintf("ubd%d%s=%s", i, flag, d))
	}
	if m.tap != "" {
		out = append(out, fmt.Sprintf("vec0:transport=tap,ifname=%s,mac=%s,depth=128,gro=1", m.tap, m.mac))
	}
	return out
}
