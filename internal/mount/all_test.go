package mount_test

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/internal/mount"
)

// namespace starts a process with a mount namespace of its own, which ends with the returned function.
func namespace(t *testing.T, propagation string) (end func()) {
	t.Helper()
	c := exec.Command("unshare", "--mount", "--propagation", propagation, "sh", "-c", "echo; read -r end")
	in, err := c.StdinPipe()
	must(t, err)
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return func() {
		in.Close()
		_ = c.Wait() // read fails at the end of its input
	}
}

func TestUnmountAll(t *testing.T) {
	lane.Host(t)
	for _, c := range []struct {
		propagation string
		elsewhere   bool
	}{{"slave", false}, {"shared", false}, {"private", true}} {
		t.Run(c.propagation, func(t *testing.T) {
			dir := lane.Scratch(t)
			ours := device(t, dir, "ext4")
			shared := folder(t, dir, "shared")
			must(t, unix.Mount(shared, shared, "", unix.MS_BIND, "")) // as / is where systemd runs
			defer func() { must(t, unix.Unmount(shared, 0)) }()
			must(t, unix.Mount("", shared, "", unix.MS_SHARED, ""))
			points := []string{folder(t, shared, "a"), folder(t, shared, "b")}
			for _, p := range points {
				_, err := mount.FileSystem(p, mount.Options{Device: ours, Type: "ext4"})
				must(t, err)
			}
			end := namespace(t, c.propagation)
			err := mount.UnmountAll(ours, false)
			if errors.Is(err, mount.ErrElsewhere) != c.elsewhere || err != nil && !c.elsewhere {
				t.Errorf("unmount: %v", err)
			}
			for _, p := range points {
				if mount.IsPoint(p) != c.elsewhere {
					t.Errorf("%s is a mount point: %v", p, !c.elsewhere)
				}
			}
			end()
			must(t, mount.UnmountAll(ours, false))
		})
	}
}

func TestUnmountAllInUse(t *testing.T) {
	lane.Host(t)
	dir := lane.Scratch(t)
	ours := device(t, dir, "xfs")
	point := folder(t, dir, "point")
	_, err := mount.FileSystem(point, mount.Options{Device: ours, Type: "xfs"})
	must(t, err)
	f, err := os.Create(filepath.Join(point, "file"))
	must(t, err)
	defer f.Close()
	err = mount.UnmountAll(ours, false)
	if at := (*os.PathError)(nil); !errors.Is(err, unix.EBUSY) || !errors.As(err, &at) || at.Path != point {
		t.Errorf("unmount in use: %v", err)
	}
	must(t, mount.UnmountAll(ours, true))
	must(t, f.Close())
}
