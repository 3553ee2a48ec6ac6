package labtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/counters"
	"github.com/stillpoint-vss/stillpoint/internal/counters/counterstest"
	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/internal/hold"
	"github.com/stillpoint-vss/stillpoint/internal/service"
	"github.com/stillpoint-vss/stillpoint/internal/tools/udev"
	"github.com/stillpoint-vss/stillpoint/internal/tools/vsscmd"
	"github.com/stillpoint-vss/stillpoint/lab"
	"github.com/stillpoint-vss/stillpoint/requester"
)

// TestMain makes the test binary the guests' first process, and the programs: it is vss, vssd or a guard by the name
// it is started under.
func TestMain(m *testing.M) {
	lab.Main()
	name := filepath.Base(os.Args[0])
	switch {
	case hold.IsGuard(os.Args):
		os.Exit(hold.RunGuard())
	case name == requester.DaemonName:
		if err := fault.Enable(os.Getenv(fault.Variable)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		os.Exit(service.Main(os.Args[1:]))
	case name == "vss-udev":
		os.Exit(udev.Main(os.Args[1:]))
	case name == "vss", name == "vss-exec-helper":
		os.Exit(vsscmd.Main(os.Args))
	}
	os.Exit(m.Run())
}

// host is the service in the guest that the test runs in: its folders, and how its commands are run.
type host struct {
	testing.TB
	state, run, config string
	fault              string // where the service that the next command starts shall break: see package fault
}

// newHost configures a service with a pool in a folder. State and pool are what the test keeps on disks; run is on a
// tmpfs and lasts as long as the test. The host has one name, wherever its disks are looked at.
func newHost(t testing.TB, state, pool string) *host {
	t.Helper()
	run, err := os.MkdirTemp("/run", "vss-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	h := &host{TB: t, state: state, run: run, config: run + "/vss.toml"}
	text := "[host]\nname = \"host\"\n[service]\nidle_exit = \"1h\"\n"
	if pool != "" {
		if err := os.MkdirAll(pool, 0o700); err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("[[array.pools]]\nname = \"p\"\ntype = \"reflink\"\npath = %q\n", pool)
	}
	if err := os.WriteFile(h.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return h
}

// program is this program, as the guest finds it.
var program = "/proc/self/exe"

// command is vss with --json, not started.
func (h *host) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program)
	cmd.Args = append([]string{"vss", "--json", "--state", h.state, "--run", h.run, "--config", h.config}, args...)
	cmd.Env = append(os.Environ(), fault.Variable+"="+h.fault)
	return cmd
}

// try runs vss, and gives its document and whether it exited with 0.
func (h *host) try(args ...string) (document []byte, ok bool) {
	h.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := h.command(ctx, args...)
	out, err := cmd.Output()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() < 0 {
		h.Fatalf("vss %v: %v\n%s", args, err, h.log())
	}
	return out, err == nil
}

// vss runs a command that must succeed, and reads its document into v (nil: not read).
func (h *host) vss(v any, args ...string) {
	h.Helper()
	out, ok := h.try(args...)
	if !ok {
		h.Fatalf("vss %s: %s\n%s", strings.Join(args, " "), out, h.log())
	}
	if v != nil {
		if err := json.Unmarshal(out, v); err != nil {
			h.Fatalf("vss %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

type lunDoc struct {
	ID, Name, Kind, Origin, Device string
	ReadOnly                       bool `json:"read_only"`
	Disk                           struct {
		Flags      []string
		Partitions []struct {
			Device, UUID string
			FileSystem   string `json:"file_system"`
			Flags        []string
		}
	}
}

type copyDoc struct {
	ID             string
	SetID          string `json:"set_id"`
	OriginalVolume string `json:"original_volume"`
	DeviceObject   string `json:"device_object"`
	Path           string
	FileSystem     string `json:"file_system"`
	LUNs           []string
}

type setDoc struct {
	SetID        string    `json:"set_id"`
	ShadowCopies []copyDoc `json:"shadow_copies"`
}

type breakDoc struct {
	LUNs []struct{ LUN, Device string }
}

// volume makes a LUN with a file system and mounts it at point.
func (h *host) volume(name, size, kind, style, point string) {
	h.Helper()
	h.vss(nil, "lun", "create", name, "--size", size)
	h.vss(nil, "lun", "format", name, "--fs", kind, "--"+style)
	h.mount(name, point)
}

func (h *host) mount(lun, point string) {
	h.Helper()
	if err := os.MkdirAll(point, 0o755); err != nil {
		h.Fatal(err)
	}
	h.vss(nil, "lun", "mount", lun, point)
}

// view is what a user sees of copies and LUNs.
type view struct {
	text   string
	copies []copyDoc
	luns   []lunDoc
}

func (h *host) look() view {
	h.Helper()
	var v view
	for doc, args := range map[any][]string{&v.copies: {"list", "shadows"}, &v.luns: {"lun", "list"}} {
		out, ok := h.try(args...)
		if err := json.Unmarshal(out, doc); !ok || err != nil {
			h.Fatalf("vss %v: %v\n%s", args, out, h.log())
		}
	}
	v.text = fmt.Sprintf("%+v\n%+v", v.copies, v.luns)
	return v
}

func (h *host) create(volumes ...string) setDoc {
	h.Helper()
	var s setDoc
	h.vss(&s, append([]string{"create", "--no-writers"}, volumes...)...)
	return s
}

// read gives what a copy has in a file, of which it gives the path below the volume.
func (h *host) read(c copyDoc, file string) string {
	h.Helper()
	at, kind, data := filepath.Join(h.run, "read"), "ext4", ""
	if err := os.MkdirAll(at, 0o700); err != nil {
		h.Fatal(err)
	}
	if c.FileSystem == "xfs" {
		kind, data = "xfs", "norecovery,nouuid"
	}
	if err := unix.Mount(c.DeviceObject, at, kind, unix.MS_RDONLY, data); err != nil {
		h.Errorf("copy %s of %s: mount %s: %v", c.ID, c.OriginalVolume, c.DeviceObject, err)
		return ""
	}
	defer h.unmount(c.DeviceObject, at)
	b, err := os.ReadFile(filepath.Join(at, file))
	if err != nil {
		h.Errorf("copy %s of %s: %v", c.ID, c.OriginalVolume, err)
	}
	return string(b)
}

// unmount returns when the kernel has let the device go: others on this machine may look in for a moment, or see it in
// mount namespaces of their own for a moment longer.
func (h *host) unmount(device, at string) {
	h.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := unix.Unmount(at, 0)
		if errors.Is(err, unix.EINVAL) {
			err = nil // done before
		}
		if err == nil {
			var fd int
			if fd, err = unix.Open(device, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0); err == nil {
				unix.Close(fd)
				return
			}
		}
		if time.Now().After(end) {
			h.Fatalf("unmount %s of %s: %v", at, device, err)
		}
	}
}

// clean checks what must be true of an idle host after any event: doctor finds nothing, originals have no flags, and
// each LUN is an original, of a copy in the catalogue, or one that plain knows: of a broken set.
func (h *host) clean(v view, plain func(lun string) bool) {
	h.Helper()
	var d struct{ OK bool }
	if out, ok := h.try("doctor"); !ok || json.Unmarshal(out, &d) != nil || !d.OK {
		h.Errorf("doctor: %s", out)
	}
	known := map[string]bool{}
	for _, c := range v.copies {
		for _, l := range c.LUNs {
			known[l] = true
		}
	}
	for _, l := range v.luns {
		flags := slices.Clone(l.Disk.Flags)
		for _, p := range l.Disk.Partitions {
			flags = append(flags, p.Flags...)
		}
		switch {
		case l.Origin == "" && (l.ReadOnly || len(flags) > 0):
			h.Errorf("original %s has flags %v, read-only %v", l.Name, flags, l.ReadOnly)
		case l.Origin != "" && !known[l.ID] && !plain(l.ID):
			h.Errorf("LUN %s (%s, %s) is of no copy", l.Name, l.ID, l.Kind)
		}
	}
}

// none is for clean, where no set was broken.
func none(string) bool { return false }

// service finds the running service, 0 for none.
func (h *host) service() int {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range all {
		b, _ := os.ReadFile(p)
		if !bytes.HasPrefix(b, []byte(requester.DaemonName+"\x00")) || !bytes.Contains(b, []byte("\x00"+h.run+"\x00")) {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(p, "/proc/%d/", &pid); err == nil {
			return pid
		}
	}
	return 0
}

// stop ends the service and waits until it is gone.
func (h *host) stop(s syscall.Signal) {
	h.Helper()
	pid := h.service()
	if pid == 0 {
		return
	}
	_ = unix.Kill(pid, s)
	lives := func() bool { // as a zombie it has no command line
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return len(b) > 0
	}
	for end := time.Now().Add(time.Minute); lives(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			h.Fatalf("the service, process %d, doesn't end\n%s", pid, h.log())
		}
	}
}

func (h *host) log() string {
	b, _ := os.ReadFile(filepath.Join(h.run, "vssd.log"))
	lines := strings.Split(string(b), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// flows: a load comes on within a time.
func (h *host) flows(l *counters.Load, within time.Duration) {
	h.Helper()
	if !counterstest.Flows(l, within) {
		h.Fatalf("writes stand still after %v\n%s", within, h.log())
	}
}

// enter is lab.Enter beside another test: a guest has one processor.
func enter(t *testing.T, g lab.Guest) bool {
	if !lab.Inside() {
		t.Parallel()
	}
	return lab.Enter(t, g)
}

// sh runs a script (set -e) and gives its output.
func sh(t testing.TB, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}
