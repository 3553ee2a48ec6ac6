package mount_test

import (
	"bufio"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/internal/mount"
)

// stranger starts a process with a mount namespace of its own, which has all mounts of now, in the folder dir. It
// returns what leads to the namespace's paths.
func stranger(t *testing.T, dir string) (prefix string) {
	t.Helper()
	cmd := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-ec",
		"cd "+dir+"; echo ready; exec sleep 600")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return fmt.Sprintf("/proc/%d/root", cmd.Process.Pid)
}

// on lists where a device is mounted in the namespace that prefix leads to.
func on(device, prefix string) (out []string) {
	for _, m := range mount.All() {
		if m.Prefix == prefix && m.On(device) {
			out = append(out, m.Path())
		}
	}
	return out
}

func TestUnmountInAnotherNamespace(t *testing.T) {
	lane.Host(t)
	dir := lane.Scratch(t)
	dev, other := device(t, dir, "ext4"), device(t, dir, "ext4")
	at := folder(t, dir, "at")
	_, err := mount.FileSystem(at, mount.Options{Device: dev, Type: "ext4", Data: []string{""}})
	must(t, err)
	idle, busy := stranger(t, "/"), stranger(t, at)
	owner := mount.Owner{Devices: []string{dev}}
	must(t, mount.Unmount(at, owner, false))
	for _, prefix := range []string{idle, busy} {
		if got := on(dev, prefix); len(got) != 1 || got[0] != prefix+at {
			t.Fatalf("the other namespace has it at %v", got)
		}
	}
	if err := mount.Unmount(idle+at, mount.Owner{Devices: []string{other}}, true); !errors.Is(err, mount.ErrForeign) {
		t.Errorf("the mount of another owner: %v", err)
	}
	must(t, mount.Unmount(idle+at, owner, false))
	must(t, mount.Unmount(idle+at, owner, false)) // there is nothing any more
	if err := mount.Unmount(busy+at, owner, false); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a mount that is in use: %v", err)
	}
	must(t, mount.Unmount(busy+at, owner, true))
	for _, prefix := range []string{idle, busy} {
		if got := on(dev, prefix); len(got) != 0 {
			t.Errorf("left: %v", got)
		}
	}
	for _, m := range mount.List() { // this process is where it was
		if strings.HasPrefix(m.Point, dir) {
			t.Errorf("mounted here: %v", m.Point)
		}
	}
}
