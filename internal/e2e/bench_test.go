package e2e

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/array/pool/pooltest"
)

// benchRounds is how often everything is measured: all figures are of so many rounds.
const benchRounds = 30

// dirtyBytes is what each volume has unwritten when a round begins.
const dirtyBytes = 1 << 20

// BenchmarkHold is the hold of sets of 1, 8 and 32 volumes, beside two floors: a bare program that freezes the same
// file systems at once, makes the same copies at once by the pool's own primitive, and thaws them at once. The first
// does just that, so that its freeze writes out what is dirty; the second runs syncfs on all of them before, as a
// creation does. Beside it the program of formerCommit makes the same sets of volumes of its own. Every round has the
// same dirty data, and the four take turns. Times are in milliseconds; ratios are of the medians.
func BenchmarkHold(b *testing.B) {
	program := formerProgram(b) // outlives the worlds, which end with it
	w, former := newWorld(b), newWorld(b)
	former.program = program
	all, theirs := w.benchVolumes(32), former.benchVolumes(32)
	for _, n := range []int{1, 8, 32} {
		b.Run(fmt.Sprintf("volumes=%d", n), func(b *testing.B) {
			var ours, before, bare, synced figures
			var creation, creationBefore stepFigures
			load := loadAverage(b)
			for b.Loop() {
				for range benchRounds {
					for _, run := range []func(){
						func() { w.measure(all[:n], &ours, &creation) },
						func() { former.measure(theirs[:n], &before, &creationBefore) },
						func() { bare.add(w.bareHold(all[:n], false)) },
						func() { synced.add(w.bareHold(all[:n], true)) },
					} {
						w.soil(all[:n])
						former.soil(theirs[:n])
						run()
						w.settlePool()
						former.settlePool()
					}
				}
			}
			ours.report(b, "hold")
			bare.report(b, "floor")
			synced.report(b, "floor-synced")
			creation.wall.report(b, "create")
			b.ReportMetric(ours.at(50)/bare.at(50), "ratio")
			b.ReportMetric(ours.at(50)/synced.at(50), "ratio-synced")
			before.report(b, "hold-former")
			creationBefore.wall.report(b, "create-former")
			b.ReportMetric(ours.at(50)/before.at(50), "hold-ratio-former")
			b.ReportMetric(creation.wall.at(50)/creationBefore.wall.at(50), "create-ratio-former")
			b.ReportMetric(0, "ns/op")
			b.Logf("load average %s before, %s after; median of each step in ms:%s\nof the former program:%s", load,
				loadAverage(b), &creation, &creationBefore)
		})
	}
}

// benchVolumes makes n volumes, one in four of XFS.
func (w *world) benchVolumes(n int) (all []*benchVolume) {
	w.Helper()
	for i := range n {
		kind, size := "ext4", "64M"
		if i%4 == 3 {
			kind, size = "xfs", "320M"
		}
		all = append(all, w.benchVolume(fmt.Sprintf("v%d", i), size, kind))
	}
	return all
}

// measure makes a set and deletes it.
func (w *world) measure(volumes []*benchVolume, hold *figures, creation *stepFigures) {
	w.Helper()
	w.vss(nil, "delete", w.measureCreation(volumes, hold, creation))
}

// measureCreation makes a set and returns its id.
func (w *world) measureCreation(volumes []*benchVolume, hold *figures, creation *stepFigures) string {
	w.Helper()
	args := []string{"create", "--no-writers"}
	for _, v := range volumes {
		args = append(args, v.point)
	}
	var s setDoc
	began := time.Now()
	w.vss(&s, args...)
	creation.wall.add(time.Since(began))
	hold.ms = append(hold.ms, s.HoldMS)
	for _, t := range s.Timeline {
		creation.add(t.Step, t.EndMS-t.StartMS)
	}
	return s.SetID
}

// stepFigures are the times of creations, and of their steps.
type stepFigures struct {
	wall  figures
	steps map[string]*figures
}

func (f *stepFigures) add(step string, ms float64) {
	if f.steps == nil {
		f.steps = map[string]*figures{}
	}
	if f.steps[step] == nil {
		f.steps[step] = &figures{}
	}
	f.steps[step].ms = append(f.steps[step].ms, ms)
}

// String is the median of each step, the longest first.
func (f *stepFigures) String() string {
	names := slices.SortedFunc(maps.Keys(f.steps),
		func(a, b string) int { return cmp.Compare(f.steps[b].at(50), f.steps[a].at(50)) })
	var s strings.Builder
	for _, n := range names {
		fmt.Fprintf(&s, " %s %.1f", n, f.steps[n].at(50))
	}
	return s.String()
}

// benchVolume is a mounted LUN: what a bare program needs of it.
type benchVolume struct {
	point string
	data  string // the LUN's subvolume in the pool
}

func (w *world) benchVolume(name, size, kind string) *benchVolume {
	w.Helper()
	v := &benchVolume{point: w.volume(name, size, kind, "gpt")}
	v.data = filepath.Join(w.pool(), "luns", strings.Trim(w.lun(name).ID, "{}"), "data")
	return v
}

// pool is where the self-made pool is mounted.
func (w *world) pool() string { return filepath.Join(w.state, "array", "default") }

// soil leaves the same amount of unwritten data on all volumes.
func (w *world) soil(all []*benchVolume) {
	w.Helper()
	data := make([]byte, dirtyBytes)
	for _, v := range all {
		if err := os.WriteFile(filepath.Join(v.point, "dirty"), data, 0o644); err != nil {
			w.Fatal(err)
		}
	}
}

// settlePool ends what the pool still has to write of a round, so that no round pays for the one before it.
func (w *world) settlePool() {
	w.Helper()
	w.tool("btrfs", "filesystem", "sync", w.pool())
}

// ioctls of the bare program. Source: linux/fs.h, linux/btrfs.h.
const (
	fiFreeze        = 0xC0045877
	fiThaw          = 0xC0045878
	snapCreateV2    = 0x50009417
	snapDestroy     = 0x5000940f
	snapArgsV2Size  = 4096
	snapArgsV2Name  = 56
	destroyArgsName = 8
)

// bareHold is the bare program: it gives the time from just before the first FIFREEZE to the return of the last FITHAW.
func (w *world) bareHold(all []*benchVolume, syncFirst bool) time.Duration {
	w.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(len(all) + 4)) // a thread in an ioctl never keeps another waiting
	type part struct {
		root, source, parent *os.File
		args                 []byte
		frozen               bool
		err                  error
	}
	parts := make([]part, len(all))
	home := filepath.Join(w.pool(), "floor")
	for i, v := range all {
		p := &parts[i]
		parent := filepath.Join(home, fmt.Sprint(i))
		if err := os.MkdirAll(parent, 0o700); err != nil {
			w.Fatal(err)
		}
		p.root, p.source, p.parent = w.openDir(v.point), w.openDir(v.data), w.openDir(parent)
		p.args = make([]byte, snapArgsV2Size)
		*(*int64)(unsafe.Pointer(&p.args[0])) = int64(p.source.Fd())
		copy(p.args[snapArgsV2Name:], "data")
	}
	w.tool("sync", "-f", w.pool())
	if syncFirst {
		var wg sync.WaitGroup
		for i := range parts {
			wg.Go(func() { parts[i].err = unix.Syncfs(int(parts[i].root.Fd())) })
		}
		wg.Wait()
	}
	stages := []func(*part){
		func(p *part) { p.err = ioctlOf(p.root, fiFreeze, nil); p.frozen = p.err == nil },
		func(p *part) { p.err = ioctlOf(p.parent, snapCreateV2, unsafe.Pointer(&p.args[0])) },
		func(p *part) {
			if p.frozen {
				if err := ioctlOf(p.root, fiThaw, nil); err != nil {
					p.err = err
				}
			}
		},
	}
	var ready, done sync.WaitGroup
	gates := make([]chan struct{}, len(stages))
	ends := make([]sync.WaitGroup, len(stages))
	ready.Add(len(parts))
	for s := range stages {
		gates[s] = make(chan struct{})
		ends[s].Add(len(parts))
	}
	for i := range parts {
		done.Go(func() {
			runtime.LockOSThread()
			ready.Done()
			for s, f := range stages {
				<-gates[s]
				f(&parts[i])
				ends[s].Done()
			}
		})
	}
	ready.Wait()
	began := time.Now()
	for s := range stages {
		close(gates[s])
		ends[s].Wait()
	}
	took := time.Since(began)
	done.Wait()
	for i := range parts {
		p := &parts[i]
		if p.err != nil {
			w.Errorf("the bare program: %s: %v", all[i].point, p.err)
		}
		args := make([]byte, snapArgsV2Size)
		copy(args[destroyArgsName:], "data")
		if err := ioctlOf(p.parent, snapDestroy, unsafe.Pointer(&args[0])); err != nil {
			w.Errorf("the bare program's copy of %s: %v", all[i].point, err)
		}
		for _, f := range []*os.File{p.root, p.source, p.parent} {
			f.Close()
		}
	}
	if err := os.RemoveAll(home); err != nil {
		w.Error(err)
	}
	return took
}

func (w *world) openDir(path string) *os.File {
	w.Helper()
	f, err := os.Open(path)
	if err != nil {
		w.Fatal(err)
	}
	return f
}

func ioctlOf(f *os.File, request uintptr, arg unsafe.Pointer) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg)); e != 0 {
		return e
	}
	return nil
}

// BenchmarkFragmented is the hold of a LUN in 100,000 pieces beside that of one with the same data in one piece; both
// are made anew in the same pool, have the same dirty data, and take turns.
func BenchmarkFragmented(b *testing.B) {
	const pieces, block = 100_000, 4096
	w := newWorld(b)
	var all []*benchVolume
	for i, step := range []int64{1, 2} {
		v := w.benchVolume(fmt.Sprintf("v%d", i), "1536M", "xfs")                   // ext4 would write zeros between
		w.lay(filepath.Join(v.point, "file"), pieces+pieces/100, step*block, block) // a few may end up side by side
		all = append(all, v)
	}
	var hold [2]figures
	var extents [2]int
	load := loadAverage(b)
	for b.Loop() {
		for range benchRounds {
			for i, v := range all {
				w.soil(all)
				s := w.create("--no-writers", v.point)
				hold[i].ms = append(hold[i].ms, s.HoldMS)
				w.vss(nil, "delete", s.SetID)
				w.settlePool()
			}
		}
	}
	for i, v := range all {
		extents[i], _ = pooltest.Extents(b, filepath.Join(v.data, "image"))
	}
	if extents[1] < pieces {
		b.Fatalf("the LUN is in %d pieces, not in %d", extents[1], pieces)
	}
	hold[0].report(b, "whole")
	hold[1].report(b, "fragmented")
	b.ReportMetric(hold[1].at(50)/hold[0].at(50), "ratio")
	b.ReportMetric(0, "ns/op")
	b.Logf("load average %s before, %s after; %d and %d extents", load, loadAverage(b), extents[0], extents[1])
}

// lay writes so many blocks of a file, each step bytes after the one before. Its space is one piece of the volume, so
// that the volume's LUN has what was written in as many pieces as the file.
func (w *world) lay(path string, blocks, step, block int64) {
	w.Helper()
	f, err := os.Create(path)
	if err != nil {
		w.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, blocks*step); err != nil {
		w.Fatal(err)
	}
	data := make([]byte, block)
	for i := range blocks {
		if _, err := f.WriteAt(data, i*step); err != nil {
			w.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		w.Fatal(err)
	}
}

// figures are the times of many rounds, in milliseconds.
type figures struct{ ms []float64 }

func (f *figures) add(d time.Duration) { f.ms = append(f.ms, float64(d.Microseconds())/1000) }

// at is a percentile: the smallest time that so many percent of the rounds did not exceed.
func (f *figures) at(percent float64) float64 {
	s := slices.Sorted(slices.Values(f.ms))
	return s[max(int(math.Ceil(percent/100*float64(len(s)))), 1)-1]
}

func (f *figures) report(b *testing.B, name string) {
	b.Helper()
	b.ReportMetric(f.at(50), name+"-p50-ms")
	b.ReportMetric(f.at(99), name+"-p99-ms")
	b.ReportMetric(f.at(100), name+"-max-ms")
}

// loadAverage is how busy the machine is: figures taken on a busy one say little.
func loadAverage(b *testing.B) string {
	b.Helper()
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		b.Fatal(err)
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}
