package hold

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/lab"
)

const coordinatorEnv = "VSS_HOLD_TEST_COORDINATOR"

func TestMain(m *testing.M) {
	lab.Main()
	switch {
	case IsGuard(os.Args):
		os.Exit(RunGuard())
	case os.Getenv(coordinatorEnv) != "":
		os.Exit(coordinate(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// fileSystem is a mounted one on a loop device, to be frozen at will.
type fileSystem struct {
	dir, image, kind string
	root             *os.File
	probes           atomic.Int32
}

var kinds = []string{"ext4", "xfs", "btrfs"}

// makeFS makes a file system that the test's end thaws and unmounts.
func makeFS(t testing.TB, scratch, kind string, megabytes int64) *fileSystem {
	t.Helper()
	name := fmt.Sprintf("%s-%d", kind, fsCount.Add(1))
	fs := &fileSystem{dir: filepath.Join(scratch, name), image: filepath.Join(scratch, name+".img"), kind: kind}
	if err := os.WriteFile(fs.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(fs.image, megabytes<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(fs.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs."+kind, "-q", fs.image)
	fs.mount(t)
	t.Cleanup(func() { fs.unmount(t) })
	return fs
}

var fsCount atomic.Int32

func (fs *fileSystem) mount(t testing.TB) {
	t.Helper()
	command(t, "mount", "-o", "loop", fs.image, fs.dir)
	var err error
	if fs.root, err = os.Open(fs.dir); err != nil {
		t.Fatal(err)
	}
}

func (fs *fileSystem) unmount(t testing.TB) {
	if fs.root == nil {
		return
	}
	for thawSuper(int(fs.root.Fd())) == nil {
		t.Errorf("%s was still frozen at the end of the test", fs.dir)
	}
	fs.root.Close()
	fs.root = nil
	var err error
	for range 100 { // probes that had been blocked are on their way
		if err = unix.Unmount(fs.dir, 0); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("unmount %s: %v", fs.dir, err)
}

func command(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// write makes a file in the background: the channel is closed when that is done. It can block but freezes nothing.
func (fs *fileSystem) write() <-chan struct{} {
	done := make(chan struct{})
	path := filepath.Join(fs.dir, fmt.Sprintf("probe-%d", fs.probes.Add(1)))
	go func() {
		defer close(done)
		_ = os.WriteFile(path, []byte("probe"), 0o600)
	}()
	return done
}

func within(done <-chan struct{}, d time.Duration) bool {
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

func mustWrite(t *testing.T, d time.Duration, all ...*fileSystem) {
	t.Helper()
	began := time.Now()
	for _, fs := range all {
		if !within(fs.write(), d-time.Since(began)) {
			t.Errorf("%s can't be written to after %v: it is frozen", fs.dir, d)
		}
	}
}

func mustBlock(t *testing.T, all ...*fileSystem) {
	t.Helper()
	for _, fs := range all {
		if within(fs.write(), 100*time.Millisecond) {
			t.Errorf("%s can be written to: it isn't frozen", fs.dir)
		}
	}
}

func volumes(all ...*fileSystem) []Volume {
	var out []Volume
	for _, fs := range all {
		out = append(out, Volume{Name: fs.dir, Root: fs.root})
	}
	return out
}

func start(t testing.TB, run string, limit time.Duration, all ...*fileSystem) *Guard {
	t.Helper()
	g, err := Start(context.Background(), Config{RunDir: run, Limit: limit}, volumes(all...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		for _, c := range []*child{g.freezer, g.sentinel} {
			if _, err := processOf(c.proc.Pid); err == nil {
				t.Errorf("guard %d is still there after Close", c.proc.Pid)
			}
		}
	})
	return g
}

func setUp(t testing.TB) string { lane.Host(t); return lane.Scratch(t) }

// dirty leaves that much unwritten data in the file system.
func (fs *fileSystem) dirty(t testing.TB, megabytes int) {
	t.Helper()
	f, err := os.Create(filepath.Join(fs.dir, "dirty"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i * 7)
	}
	for range megabytes {
		if _, err := f.Write(block); err != nil {
			t.Fatal(err)
		}
	}
}

// makeStalling makes a file system and a function that stalls its writes: until resume is called no flush of it ends,
// however fast the machine is. Its image lies on another file system, which stall freezes.
func makeStalling(t *testing.T, scratch, kind string, megabytes int64) (fs *fileSystem, stall func() (resume func())) {
	t.Helper()
	below := makeFS(t, scratch, "ext4", megabytes+200)
	fs = makeFS(t, below.dir, kind, megabytes)
	return fs, func() func() {
		if err := freezeSuper(int(below.root.Fd())); err != nil {
			t.Fatal(err)
		}
		resume := sync.OnceFunc(func() {
			if err := thawSuper(int(below.root.Fd())); err != nil {
				t.Errorf("thaw %s: %v", below.dir, err)
			}
		})
		t.Cleanup(resume)
		return resume
	}
}

// coordinate is the main program of a coordinator that a test kills: it holds the folders given and says how far it
// is. It never releases by itself.
func coordinate(args []string) int {
	limit, err := time.ParseDuration(args[0])
	if err != nil {
		return 2
	}
	var vols []Volume
	for _, dir := range args[2:] {
		f, err := os.Open(dir)
		if err != nil {
			return 2
		}
		vols = append(vols, Volume{Name: dir, Root: f})
	}
	g, err := Start(context.Background(), Config{RunDir: args[1], Limit: limit}, vols)
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	fmt.Println("guards", g.freezer.proc.Pid, g.sentinel.proc.Pid)
	bufio.NewReader(os.Stdin).ReadString('\n')
	fmt.Println("holding")
	if err := g.Hold(context.Background()); err != nil {
		fmt.Println("failed", err)
	} else {
		fmt.Println("held")
	}
	bufio.NewReader(os.Stdin).ReadString('\n')
	g.Close()
	return 0
}

// victims are the three processes of one hold.
type victims struct {
	coordinator, freezer, sentinel int
	said                           chan string
	stdin                          io.Writer
	reaped                         chan struct{}
}

func (v *victims) pids() []int { return []int{v.coordinator, v.freezer, v.sentinel} }

// launch starts a coordinator in a process of its own, ready to hold.
func launch(t *testing.T, run string, limit time.Duration, all ...*fileSystem) *victims {
	t.Helper()
	return launchBy(t, func(*exec.Cmd) {}, run, limit, all...)
}

func launchBy(t *testing.T, change func(*exec.Cmd), run string, limit time.Duration, all ...*fileSystem) *victims {
	t.Helper()
	args := []string{limit.String(), run}
	for _, fs := range all {
		args = append(args, fs.dir)
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), coordinatorEnv+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	change(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	v := &victims{coordinator: cmd.Process.Pid, said: make(chan string, 8), stdin: stdin, reaped: make(chan struct{})}
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			v.said <- s.Text()
		}
		_ = cmd.Wait()
		close(v.reaped)
	}()
	t.Cleanup(func() {
		for _, pid := range v.pids() {
			if pid != 0 && ours(pid) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		<-v.reaped
		v.mustBeGone(t)
	})
	f := strings.Fields(v.hear(t, 10*time.Second))
	if len(f) != 3 || f[0] != "guards" {
		t.Fatalf("the coordinator said %q", f)
	}
	v.freezer, _ = strconv.Atoi(f[1])
	v.sentinel, _ = strconv.Atoi(f[2])
	return v
}

// ours says whether a process still is one of this test program's.
func ours(pid int) bool {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	self, _ := os.Readlink("/proc/self/exe")
	return err == nil && exe == self
}

func (v *victims) hear(t *testing.T, d time.Duration) string {
	t.Helper()
	select {
	case s := <-v.said:
		return s
	case <-time.After(d):
		t.Fatalf("the coordinator said nothing in %v", d)
		return ""
	}
}

// mustBeGone fails if a guard outlives its time.
func (v *victims) mustBeGone(t *testing.T) {
	t.Helper()
	for _, pid := range []int{v.freezer, v.sentinel} {
		for range 60 {
			if pid == 0 || !ours(pid) {
				pid = 0
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if pid != 0 {
			t.Errorf("guard process %d is still there", pid)
		}
	}
}
