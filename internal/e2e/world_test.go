package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/internal/hold"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/internal/service"
	"github.com/stillpoint-vss/stillpoint/internal/tools/testrequester"
	"github.com/stillpoint-vss/stillpoint/internal/tools/testwriter"
	"github.com/stillpoint-vss/stillpoint/internal/tools/vsscmd"
	"github.com/stillpoint-vss/stillpoint/requester"
)

// TestMain makes the test binary the programs, too: it is vss, vssd or a guard by the name it is started under.
func TestMain(m *testing.M) {
	switch {
	case hold.IsGuard(os.Args):
		os.Exit(hold.RunGuard())
	case filepath.Base(os.Args[0]) == requester.DaemonName:
		if err := fault.Enable(os.Getenv(fault.Variable)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		os.Exit(service.Main(os.Args[1:]))
	case filepath.Base(os.Args[0]) == "vss", os.Args[0] == "vss-exec-helper":
		os.Exit(vsscmd.Main(os.Args))
	case os.Args[0] == testwriter.Name:
		os.Exit(testwriter.Main(os.Args[1:]))
	case os.Args[0] == testrequester.Name:
		os.Exit(testrequester.Main(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// world is a host: state and run folders of its own with the service that vss starts for them.
type world struct {
	testing.TB
	dir, state, run string
	config          string
	program         string // of another version; "": this test binary
	fault           string // where the service that the next command starts shall break: see package fault
}

// newWorld makes a host. At the end of the test its service is ended, its LUNs are taken off and its folders removed;
// what a test leaves mounted is a failure.
func newWorld(t testing.TB) *world {
	t.Helper()
	lane.Host(t)
	w := &world{TB: t, dir: lane.Scratch(t), program: os.Getenv(recordJSON)}
	w.state, w.run = filepath.Join(w.dir, "state"), filepath.Join(w.dir, "run")
	t.Cleanup(w.end)
	return w
}

// configure writes the host's configuration; before the first command.
func (w *world) configure(toml string) {
	w.Helper()
	w.config = filepath.Join(w.dir, "vss.toml")
	w.write(w.config, toml)
}

func (w *world) write(path, text string) {
	w.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.Fatal(err)
	}
}

// command is vss with its global flags, not started.
func (w *world) command(ctx context.Context, args ...string) *exec.Cmd {
	global := []string{"vss", "--state", w.state, "--run", w.run}
	if w.config != "" {
		global = append(global, "--config", w.config)
	}
	cmd := exec.CommandContext(ctx, cmp.Or(w.program, "/proc/self/exe"))
	cmd.Args = append(global, args...)
	cmd.Env = append(os.Environ(), fault.Variable+"="+w.fault)
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// supervise starts the service as systemd does, not on demand; before the first command. It ends with the world.
func (w *world) supervise() {
	w.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{requester.DaemonName, "--state", w.state, "--run", w.run, "--config", w.config}
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	go func() { _ = cmd.Wait() }() // how it ends is the test's matter
	socket := filepath.Join(w.run, "vssd.sock")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return
		}
		if time.Now().After(end) {
			w.Fatal("the service has no socket after 10 s")
		}
	}
}

// result is how a command ended.
type result struct {
	code   int
	stdout []byte
	stderr string
}

// try runs vss with --json.
func (w *world) try(args ...string) result {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	return w.finish(w.command(ctx, append([]string{"--json"}, args...)...))
}

func (w *world) finish(cmd *exec.Cmd) result {
	w.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.Fatalf("%v: %v", cmd.Args, err)
	}
	return result{cmd.ProcessState.ExitCode(), out.Bytes(), errs.String()}
}

// vss runs a command that must succeed, and reads its document into v (nil: not read).
func (w *world) vss(v any, args ...string) {
	w.Helper()
	r := w.try(args...)
	if r.code != 0 {
		w.Fatalf("vss %s: exit %d\n%s%s\n%s", strings.Join(args, " "), r.code, r.stdout, r.stderr, w.log())
	}
	if v != nil {
		if err := json.Unmarshal(r.stdout, v); err != nil {
			w.Fatalf("vss %s: %v\n%s", strings.Join(args, " "), err, r.stdout)
		}
	}
}

// refused runs a command that must fail with a result, and gives its error.
func (w *world) refused(name string, args ...string) failure {
	w.Helper()
	r := w.try(args...)
	var doc struct{ Error failure }
	if err := json.Unmarshal(r.stdout, &doc); err != nil {
		w.Fatalf("vss %s: exit %d, no document: %v\n%s%s", strings.Join(args, " "), r.code, err, r.stdout, r.stderr)
	}
	if r.code != 1 || doc.Error.Result != name {
		w.Errorf("vss %s: exit %d, %s (%s: %s); want exit 1, %s", strings.Join(args, " "), r.code, doc.Error.Result,
			doc.Error.Message, doc.Error.Cause, name)
	}
	if doc.Error.Hint == "" {
		w.Errorf("vss %s: %s without a hint", strings.Join(args, " "), doc.Error.Result)
	}
	return doc.Error
}

type failure struct{ Result, HRESULT, Message, Cause, Hint string }

type lunDoc struct {
	ID, Name, Array, Pool, Serial, Vpd83, Kind, Origin, Method, Device string
	Size                                                               int64
	CompletePercent                                                    float64  `json:"complete_percent"`
	MappedTo                                                           []string `json:"mapped_to"`
	ReadOnly                                                           bool     `json:"read_only"`
	Disk                                                               diskDoc
}

type diskDoc struct {
	Style, ID  string
	Flags      []string
	Partitions []partitionDoc
}

type partitionDoc struct {
	Number      int
	ID, Device  string
	Start, Size int64
	FileSystem  string `json:"file_system"`
	UUID        string
	Flags       []string
}

type setDoc struct {
	SetID             string `json:"set_id"`
	Result            string
	Context           string
	Attributes        []string
	HoldMS            float64 `json:"hold_ms"`
	WriterWindowMS    float64 `json:"writer_window_ms"`
	Consistency       string
	ConsistencyReason string    `json:"consistency_reason"`
	ShadowCopies      []copyDoc `json:"shadow_copies"`
	Writers           []writerDoc
	Timeline          []struct {
		Step    string
		StartMS float64 `json:"start_ms"`
		EndMS   float64 `json:"end_ms"`
	}
}

type copyDoc struct {
	ID             string
	SetID          string `json:"set_id"`
	State          string
	OriginalVolume string `json:"original_volume"`
	DeviceObject   string `json:"device_object"`
	Path           string
	ProviderName   string `json:"provider_name"`
	Context        string
	Attributes     []string
	ExposedAt      string `json:"exposed_at"`
	LUNs           []string
	Consistency    string
}

type writerDoc struct {
	Name, ID, State string
	LastError       string  `json:"last_error"`
	FrozenMS        float64 `json:"frozen_ms"`
	Components      int
}

type breakDoc struct {
	SetID string `json:"set_id"`
	LUNs  []struct {
		LUN, Device, Identity string
		OriginalVolume        string `json:"original_volume"`
		ReadWrite             bool   `json:"read_write"`
		Masked                bool
	}
}

// volume makes a LUN with a file system and mounts it; it gives the mount point. Style is gpt, mbr or whole-disk.
func (w *world) volume(name, size, fs, style string) string {
	w.Helper()
	w.vss(nil, "lun", "create", name, "--size", size)
	w.vss(nil, "lun", "format", name, "--fs", fs, "--"+style)
	return w.mount(name)
}

// mount mounts a LUN's only volume at DIR/mnt-NAME.
func (w *world) mount(name string) string {
	w.Helper()
	point := filepath.Join(w.dir, "mnt-"+name)
	if err := os.MkdirAll(point, 0o755); err != nil {
		w.Fatal(err)
	}
	w.vss(nil, "lun", "mount", name, point)
	return point
}

func (w *world) lun(name string) lunDoc {
	w.Helper()
	var l lunDoc
	w.vss(&l, "lun", "show", name)
	return l
}

func (w *world) shadows() []copyDoc {
	w.Helper()
	var out []copyDoc
	w.vss(&out, "list", "shadows")
	return out
}

func (w *world) create(args ...string) setDoc {
	w.Helper()
	var s setDoc
	w.vss(&s, append([]string{"create"}, args...)...)
	return s
}

// service gives the process of the running service, 0 for none.
func (w *world) service() int {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range all {
		b, err := os.ReadFile(p)
		args := strings.Split(string(b), "\x00")
		if err != nil || args[0] != requester.DaemonName {
			continue
		}
		for i, a := range args {
			if a == "--run" && i+1 < len(args) && args[i+1] == w.run {
				var pid int
				if _, err := fmt.Sscanf(p, "/proc/%d/cmdline", &pid); err == nil {
					return pid
				}
			}
		}
	}
	return 0
}

// stop ends the service, with TERM or KILL, and waits until it is gone.
func (w *world) stop(s syscall.Signal) {
	w.Helper()
	pid := w.service()
	if pid == 0 {
		return
	}
	_ = unix.Kill(pid, s)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if unix.Kill(pid, 0) != nil || zombie(pid) {
			return
		}
		if time.Now().After(end) {
			w.Fatalf("the service, process %d, doesn't end\n%s", pid, w.log())
		}
	}
}

func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z")
}

func (w *world) log() string {
	b, _ := os.ReadFile(filepath.Join(w.run, "vssd.log"))
	lines := strings.Split(string(b), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}

// end takes everything down: copies, mounts of ours, LUNs, the service, the pool.
func (w *world) end() {
	if _, err := os.Stat(w.state); err != nil {
		return
	}
	if w.Failed() {
		w.Logf("the service's log:\n%s", w.log())
	}
	w.try("delete", "--all", "--force")
	mounts, _ := os.ReadFile("/proc/self/mounts")
	lines := strings.Split(string(mounts), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if f := strings.Fields(lines[i]); len(f) > 1 && strings.HasPrefix(f[1], w.dir+"/mnt-") {
			_ = unix.Unmount(f[1], 0)
		}
	}
	var luns []lunDoc
	if r := w.try("lun", "list"); r.code == 0 && json.Unmarshal(r.stdout, &luns) == nil {
		for _, l := range luns {
			if r := w.try("lun", "delete", l.ID, "--force"); r.code != 0 {
				w.Logf("lun delete %s: %s", l.Name, r.stdout)
			}
		}
	}
	w.stop(unix.SIGTERM)
	w.release(filepath.Join(w.state, "array", "default"))
}

// release unmounts the self-made pool: it stays mounted beyond the service by design.
func (w *world) release(point string) {
	if unix.Unmount(point, 0) != nil {
		return
	}
	out, _ := exec.Command("losetup", "-n", "-O", "NAME", "-j", filepath.Join(w.state, "array", "default.img")).Output()
	for _, dev := range strings.Fields(string(out)) {
		_ = exec.Command("losetup", "-d", dev).Run()
	}
}

func atoi(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
