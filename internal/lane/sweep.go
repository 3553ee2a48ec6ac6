package lane

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/mount"
)

// sweep thaws, unmounts and detaches everything that uses files below dir, innermost first, and returns what it found.
func sweep(dir string) []string {
	var found []string
	for range 8 { // each round may uncover the layer below
		n := len(found)
		loops := loopsBelow(dir)
		all := mount.List()
		slices.Reverse(all)
		for _, m := range all {
			if m.Point == dir || strings.HasPrefix(m.Point, dir+"/") || onLoop(m.Source, loops) {
				found = append(found, "mount "+m.Point)
				if f, err := os.Open(m.Point); err == nil {
					_ = unix.IoctlSetInt(int(f.Fd()), mount.FITHAW, 0)
					f.Close()
				}
				_ = mount.Unmount(m.Point, mount.Owner{ID: m.ID}, true)
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
