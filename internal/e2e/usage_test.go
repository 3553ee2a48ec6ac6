package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/counters"
	"github.com/stillpoint-vss/stillpoint/internal/counters/counterstest"
)

// usage is what a service has of the machine.
type usage struct {
	descriptors, threads, mounts, loops int
	resident                            int // KiB
}

func (u usage) String() string {
	return fmt.Sprintf("%d descriptors, %d threads, %d mounts, %d loop devices, %d KiB resident", u.descriptors,
		u.threads, u.mounts, u.loops, u.resident)
}

// usage looks at the running service, which must be there.
func (w *world) usage() usage {
	w.Helper()
	pid := w.service()
	if pid == 0 {
		w.Fatalf("no service runs\n%s", w.log())
	}
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	fds, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		w.Fatal(err)
	}
	u := usage{descriptors: len(fds)}
	text, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		w.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		f := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "Threads:"):
			u.threads, _ = strconv.Atoi(f[1])
		case strings.HasPrefix(line, "VmRSS:"):
			u.resident, _ = strconv.Atoi(f[1])
		}
	}
	mounts, err := os.ReadFile(filepath.Join(proc, "mounts"))
	if err != nil {
		w.Fatal(err)
	}
	u.mounts = strings.Count(string(mounts), " "+w.dir+"/")
	backed, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, b := range backed {
		if file, err := os.ReadFile(b); err == nil && strings.HasPrefix(string(file), w.dir+"/") {
			u.loops++
		}
	}
	return u
}

// settle waits until the service has given back what it took since before, and fails if it doesn't. Memory is the
// runtime's to keep: it may grow by so many KiB.
func (w *world) settle(before usage, grown int) usage {
	w.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		now := w.usage()
		small := now.resident < before.resident+grown
		if now.descriptors <= before.descriptors+2 && now.threads <= before.threads+8 && now.mounts <= before.mounts &&
			now.loops <= before.loops && small {
			return now
		}
		if time.Now().After(end) {
			w.Errorf("the service has grown from %v to %v", before, now)
			return now
		}
	}
}

// stacks ends the service with a dump of its goroutines in its log, and counts them.
func (w *world) stacks() int {
	w.Helper()
	file := filepath.Join(w.run, "vssd.log")
	before, _ := os.ReadFile(file)
	w.stop(unix.SIGQUIT)
	after, err := os.ReadFile(file)
	if err != nil || len(after) < len(before) {
		w.Fatalf("no log: %v", err)
	}
	n := strings.Count(string(after[len(before):]), "\ngoroutine ")
	if n == 0 {
		w.Fatalf("no stacks in the log:\n%s", w.log())
	}
	return n
}

// flows: a load comes on within a time.
func (w *world) flows(load *counters.Load, limit time.Duration, when string) {
	w.Helper()
	if !counterstest.Flows(load, limit) {
		w.Fatalf("%s: writes stand still after %v\n%s", when, limit, w.log())
	}
}
