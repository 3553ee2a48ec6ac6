package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/counters/counterstest"
	"github.com/stillpoint-vss/stillpoint/internal/fault/faulttest"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/requester"
)

// casualties are the processes that a test kills or stops, in order: each of the three of a hold, each pair, and all.
var casualties = [][]string{
	{"vssd"}, {"vss-freezer"}, {"vss-sentinel"},
	{"vssd", "vss-freezer"}, {"vss-freezer", "vssd"}, {"vssd", "vss-sentinel"}, {"vss-sentinel", "vssd"},
	{"vss-freezer", "vss-sentinel"}, {"vss-sentinel", "vss-freezer"},
	{"vssd", "vss-freezer", "vss-sentinel"}, {"vss-sentinel", "vss-freezer", "vssd"},
}

// holdPoints are where a hold is when it happens: before the first freeze, after the last, before and after the copies
// are taken, and before the first thaw.
var holdPoints = []string{"create/hold/before", "create/hold/after", "create/commit/before", "create/commit/after",
	"create/release/before"}

// TestGuards kills and stops any one, two and all of the coordinator and its guards at each point of a hold, with
// writes going on: nothing is frozen one second after the hold limit, and the host is clean after the next start.
func TestGuards(t *testing.T) {
	f := newFaultWorld(t)
	t.Cleanup(f.rescue)
	n := 0
	for _, point := range holdPoints {
		for _, victims := range casualties {
			for _, s := range []syscall.Signal{unix.SIGKILL, unix.SIGSTOP} {
				if n++; lane.Soak(5) < 5 && n%5 != 0 { // all points, casualties and signals come up, not each with each
					continue
				}
				if absent := f.strike(point, point == holdPoints[0], victims, s, holdLimit); absent != nil {
					t.Fatalf("at %s: %v", point, absent)
				}
			}
		}
	}
	if absent := f.strike("create/commit/after", false, []string{"vssd", "vss-freezer"}, unix.SIGSTOP,
		10*time.Second); absent != nil {
		t.Fatal(absent)
	}
	counterstest.End(t, f.load)
}

// TestGuardsAtEveryStep does so to any one and two of them at every point of a creation at which they are there.
func TestGuardsAtEveryStep(t *testing.T) {
	f := newFaultWorld(t)
	t.Cleanup(f.rescue)
	points := f.points(&sequences[0])
	hold := slices.Index(points, holdPoints[0])
	struck, random := 0, rand.New(rand.NewPCG(seed(t), 0))
	for i, point := range points {
		alone := map[string]bool{} // processes that don't run
		for _, victims := range casualties[:9] {
			for _, s := range []syscall.Signal{unix.SIGKILL, unix.SIGSTOP} {
				if lane.Soak(10) < 10 && random.IntN(60) != 0 ||
					slices.ContainsFunc(victims, func(name string) bool { return alone[name] }) {
					continue
				}
				var absent absentError
				if errors.As(f.strike(point, i <= hold, victims, s, holdLimit), &absent) {
					alone[string(absent)] = true
				} else {
					struck++
				}
			}
		}
	}
	t.Logf("%d points, struck %d times", len(points), struck)
	if hold < 0 || struck == 0 {
		t.Error("this proves nothing")
	}
	f.load.End()
}

// absentError names a process that doesn't run.
type absentError string

func (e absentError) Error() string { return "there is no process " + string(e) }

// rescue ends a hold that a failed test left, so that its load comes to an end.
func (f *faultWorld) rescue() {
	if !f.Failed() {
		return
	}
	for _, name := range []string{"vssd", "vss-freezer", "vss-sentinel"} {
		for _, pid := range f.processes(name) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	for _, v := range f.volumes {
		thawForeign(v)
	}
}

// paused is a creation that stands still at a point.
type paused struct {
	*faultWorld
	cmd  *exec.Cmd
	out  strings.Builder
	gate faulttest.Gate
}

// pauseAt begins a creation of the volumes and returns when it has come to the point.
func (f *faultWorld) pauseAt(point string, limit time.Duration, volumes ...string) *paused {
	f.Helper()
	f.stop(unix.SIGTERM)
	p := &paused{faultWorld: f, gate: faulttest.NewGate(f)}
	f.fault = p.gate.At(point)
	p.cmd = f.command(context.Background(),
		append([]string{"--json", "create", "--no-writers", "--hold-limit", limit.String()}, volumes...)...)
	p.cmd.Stdout = &p.out
	if err := p.cmd.Start(); err != nil {
		f.Fatal(err)
	}
	f.fault = ""
	if !p.gate.Reached(20 * time.Second) {
		p.goOn()
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		f.Fatalf("the creation doesn't come to %s: %s\n%s", point, p.out.String(), f.log())
	}
	return p
}

func (p *paused) goOn() { p.gate.Open(p) }

// end waits for the command's end. The set is nil if it failed, and failure is then the reason.
func (p *paused) end() (*setDoc, failure) {
	p.Helper()
	err := p.cmd.Wait()
	var doc struct {
		setDoc
		Error failure
	}
	if jerr := json.Unmarshal([]byte(p.out.String()), &doc); jerr != nil {
		p.Fatalf("create: %v, no document: %s\n%s", err, p.out.String(), p.log())
	}
	if err != nil {
		return nil, doc.Error
	}
	return &doc.setDoc, failure{}
}

// strike takes out processes while a creation stands at a point. One that goes on at once comes to the hold without
// those that were stopped. Errors: absentError, and nothing was done.
func (f *faultWorld) strike(point string, goesOn bool, victims []string, s syscall.Signal, limit time.Duration) error {
	f.Helper()
	when := fmt.Sprintf("%v of %v at %s, limit %v", s, victims, point, limit)
	p := f.pauseAt(point, limit, f.volumes...)
	var pids []int
	for _, name := range victims {
		found := f.processes(name)
		if len(found) != 1 {
			p.goOn()
			p.end()
			f.forget("")
			return absentError(name)
		}
		pids = append(pids, found[0])
	}
	for _, pid := range pids {
		_ = unix.Kill(pid, s)             // one whose peer died may have ended by itself
		time.Sleep(20 * time.Millisecond) // for the others to notice a death
	}
	if goesOn || s == unix.SIGKILL {
		p.goOn()
	}
	if len(victims) == 3 {
		f.thawAll(s)
	}
	f.flows(f.load, limit+time.Second, when)
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGCONT)
	}
	p.goOn()
	set, failed := p.end()
	known := []string{"VSS_E_HOLD_WRITES_TIMEOUT", "VSS_E_FLUSH_WRITES_TIMEOUT", "E_UNEXPECTED"}
	switch {
	case set != nil:
		f.looksWhole(set, when)
	case !strings.Contains(strings.Join(known, " "), failed.Result) && failed.Result != "VSS_E_UNEXPECTED":
		f.Errorf("%s: the set failed with %s: %s", when, failed.Result, failed.Cause)
	case failed.Hint == "":
		f.Errorf("%s: %s without a hint", when, failed.Result)
	}
	f.restart()
	f.flows(f.load, limit+time.Second, when+", after a restart")
	f.clean()
	f.forget("")
	if f.Failed() {
		f.Fatalf("%s\n%s", when, f.log())
	}
	return nil
}

// thawAll is what is left to do when all three are gone: an administrator's `vssd thaw`, or after a kill the next
// start. A stopped coordinator is ended first, as its service manager does: while it lives the hold is its own.
func (f *faultWorld) thawAll(s syscall.Signal) {
	f.Helper()
	f.stop(unix.SIGKILL)
	if s == unix.SIGKILL {
		f.vss(nil, "list", "providers")
		return
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{requester.DaemonName, "--state", f.state, "--run", f.run, "thaw"}
	if out, err := cmd.CombinedOutput(); err != nil {
		f.Errorf("vssd thaw: %v: %s", err, out)
	}
}

// looksWhole: a set that was acknowledged all the same is of one instant.
func (f *faultWorld) looksWhole(s *setDoc, when string) {
	f.Helper()
	var roots []string
	for i, c := range s.ShadowCopies {
		at := filepath.Join(f.run, "exposed", fmt.Sprintf("g%d", i))
		f.vss(nil, "expose", c.ID, at)
		roots = append(roots, at)
	}
	counterstest.OneInstant(f, roots)
	if f.Failed() {
		f.Errorf("%s: it was acknowledged", when)
	}
}

// TestHoldOverrun: a hold that takes too long is ended at its limit, for any late party, and the set fails with the
// documented code.
func TestHoldOverrun(t *testing.T) {
	f := newFaultWorld(t)
	for _, c := range []struct {
		point string
		limit time.Duration
	}{{"create/commit/before", holdLimit}, {"create/release/before", holdLimit},
		{"provider/CommitSnapshots/before", holdLimit}, {"create/commit/before", 10 * time.Second}} {
		f.stop(unix.SIGTERM)
		f.fault = fmt.Sprintf("%s delay %v", c.point, c.limit+time.Second)
		still := f.load.StoodStill(func() {
			f.refused("VSS_E_HOLD_WRITES_TIMEOUT",
				append([]string{"create", "--no-writers", "--hold-limit", c.limit.String()}, f.volumes...)...)
		})
		t.Logf("%s: writes stood still for %v, the limit was %v", c.point, still, c.limit)
		if still > c.limit+time.Second || still < c.limit/2 {
			t.Errorf("delayed at %s writes stood still for %v, the limit was %v", c.point, still, c.limit)
		}
		f.restart()
		f.clean()
		if n := len(f.shadows()); n != len(f.base.ShadowCopies) {
			t.Errorf("%d copies after a set that failed", n)
		}
	}
	counterstest.End(t, f.load)
}

// TestGuardsInFlush kills and stops the processes of a hold while FIFREEZE itself writes out what is dirty: 1 GB. A
// freeze can't be cut short, so the volume comes free when its flush is over, and then at once.
func TestGuardsInFlush(t *testing.T) {
	f := newFaultWorld(t)
	big := f.volume("c", "1400M", "xfs", "gpt")
	f.volumes = append(f.volumes, big)
	t.Cleanup(f.rescue)
	n := 0
	for _, victims := range casualties[:9] {
		for _, s := range []syscall.Signal{unix.SIGKILL, unix.SIGSTOP} {
			if n++; lane.Soak(9) < 9 && n%9 != 1 {
				continue
			}
			f.strikeInFlush(big, victims, s)
		}
	}
	// Nobody dies: the set fails with the code of a flush that took too long.
	p := f.dirtied(big, 20*time.Millisecond)
	p.goOn()
	if set, failed := p.end(); set != nil || failed.Result != "VSS_E_FLUSH_WRITES_TIMEOUT" {
		t.Errorf("a flush of 1 GB in a hold of 20 ms: %+v, %s: %s", set, failed.Result, failed.Cause)
	}
	f.restart()
	f.clean()
	counterstest.End(t, f.load)
}

// dirtied is a creation that stands just before the hold, with 1 GB dirty on a volume.
func (f *faultWorld) dirtied(root string, limit time.Duration) *paused {
	f.Helper()
	p := f.pauseAt("create/hold/before", limit, f.volumes...)
	file, err := os.OpenFile(filepath.Join(root, "dirty"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	block := make([]byte, 1<<20)
	for i := range int64(1 << 10) {
		block[0] = byte(i)
		if _, err := file.WriteAt(block, i<<20); err != nil {
			p.goOn()
			f.Fatal(err)
		}
	}
	return p
}

func (f *faultWorld) strikeInFlush(root string, victims []string, s syscall.Signal) {
	f.Helper()
	when := fmt.Sprintf("%v of %v in the flush", s, victims)
	p := f.dirtied(root, holdLimit)
	var pids []int
	for _, name := range victims {
		pids = append(pids, f.processes(name)...)
	}
	p.goOn()
	time.Sleep(100 * time.Millisecond) // the small volumes are frozen by now
	began := time.Now()
	for _, pid := range pids {
		_ = unix.Kill(pid, s)
	}
	wrote := make(chan error, 1)
	go func() { wrote <- os.WriteFile(filepath.Join(root, "after"), []byte(when), 0o644) }()
	select {
	case err := <-wrote:
		if err != nil {
			f.Errorf("%s: %v", when, err)
		}
	case <-time.After(time.Minute):
		f.Fatalf("%s: the volume is held a minute later\n%s", when, f.log())
	}
	f.flows(f.load, holdLimit+time.Second, when)
	f.Logf("%s: the volume was free %v later", when, time.Since(began))
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGCONT)
	}
	if set, _ := p.end(); set != nil {
		f.looksWhole(&setDoc{ShadowCopies: set.ShadowCopies[:2]}, when)
	}
	f.restart()
	f.clean()
	f.forget("")
}

// Freezing as another program does it: fsfreeze(8), qemu-ga.
const (
	fifreeze = 0xC0045877 // FIFREEZE, which x/sys does not name
	fithaw   = 0xC0045878 // FITHAW
)

// thawForeign thaws a file system that any process froze, and returns the kernel's error.
func thawForeign(root string) error { return superIoctl(root, fithaw) }

// freezeForeign freezes one as another program would.
func freezeForeign(root string) error { return superIoctl(root, fifreeze) }

func superIoctl(root string, request uint) error {
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.IoctlSetInt(fd, request, 0)
}
