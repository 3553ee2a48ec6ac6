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
	for _, propagation := range []string{"slave", "shared", "private"} {
		t.Run(propagation, func(t *testing.T) {
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
			end := namespace(t, propagation)
			defer end()
			must(t, mount.UnmountAll(ours, false))
			for _, m := range mount.All() {
				if m.On(ours) {
					t.Errorf("%s is mounted", m.Path())
				}
			}
		})
	}
}

// A mount that is in use in another namespace stays, and with it those of this one.
func TestUnmountAllInUseElsewhere(t *testing.T) {
	lane.Host(t)
	dir := lane.Scratch(t)
	ours := device(t, dir, "ext4")
	point := folder(t, dir, "point")
	_, err := mount.FileSystem(point, mount.Options{Device: ours, Type: "ext4"})
	must(t, err)
	prefix := stranger(t, point)
	if err := mount.UnmountAll(ours, false); !errors.Is(err, mount.ErrElsewhere) || !errors.Is(err, unix.EBUSY) {
		t.Errorf("unmount: %v", err)
	}
	if !mount.IsPoint(point) || len(on(ours, prefix)) != 1 {
		t.Errorf("mounted here: %v, there: %v", mount.IsPoint(point), on(ours, prefix))
	}
	must(t, mount.UnmountAll(ours, true))
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
