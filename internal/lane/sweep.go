package lane

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// fithaw is FITHAW, _IOWR('X', 120, int), which x/sys does not name.
const fithaw = 0xC0045878

// sweep thaws, unmounts and detaches whatever hangs on files below dir, innermost first, and names what it found.
func sweep(dir string) []string {
	var found []string
	for range 8 { // each round may uncover the layer below
		n := len(found)
		loops := loopsBelow(dir)
		for _, m := range mounts() {
			if m.point == dir || strings.HasPrefix(m.point, dir+"/") || onLoop(m.source, loops) {
				found = append(found, "mount "+m.point)
				if f, err := os.Open(m.point); err == nil {
					_ = unix.IoctlSetInt(int(f.Fd()), fithaw, 0)
					f.Close()
				}
				_ = unix.Unmount(m.point, unix.MNT_DETACH)
			}
		}
		for _, l := range loops {
			found = append(found, "loop device "+l)
			detach(l)
		}
		if len(found) == n {
			break
		}
	}
	return found
}

type mount struct{ source, point string }

// mounts lists this namespace's mounts, the newest first.
func mounts() []mount {
	b, _ := os.ReadFile("/proc/self/mounts")
	var out []mount
	for _, l := range strings.Split(string(b), "\n") {
		if f := strings.Fields(l); len(f) > 2 {
			out = append([]mount{{f[0], f[1]}}, out...)
		}
	}
	return out
}

func loopsBelow(dir string) []string {
	var out []string
	all, _ := filepath.Glob("/sys/block/loop*")
	for _, p := range all {
		l := filepath.Base(p)
		if b := backing(l); strings.HasPrefix(b, dir+"/") {
			out = append(out, l)
		}
	}
	return out
}

func onLoop(source string, loops []string) bool {
	for _, l := range loops {
		d := "/dev/" + l
		if source == d || strings.HasPrefix(source, d+"p") {
			return true
		}
	}
	return false
}

// detach deletes a loop device's partitions and lets its file go.
func detach(loop string) {
	f, err := os.OpenFile("/dev/"+loop, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close()
	deletePartitions(f, loop)
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.LOOP_CLR_FD, 0)
}
