package lab

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/lane"
)

// thread is a thread of this process from which guests are started. They are killed when it ends (PR_SET_PDEATHSIG
// applies to the thread, not to the process), so it lives as long as they may. With a network of its own they see no
// other network.
type thread struct {
	calls chan func()
	ended chan struct{}
}

func newThread(network bool) (*thread, error) {
	th := &thread{calls: make(chan func()), ended: make(chan struct{})}
	up := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this function
		defer close(th.ended)
		if network {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				up <- os.NewSyscallError("unshare", err)
				return
			}
		}
		up <- nil
		for f := range th.calls {
			f()
		}
	}()
	return th, <-up
}

// do runs f on the thread. Processes that it starts are children of the thread.
func (th *thread) do(f func() error) error {
	done := make(chan error)
	th.calls <- func() { done <- f() }
	return <-done
}

// end ends the thread, and all guests started from it.
func (th *thread) end() {
	close(th.calls)
	<-th.ended
}

// threadFor returns a thread with a network of its own for a test of the lab lane.
func threadFor(t testing.TB) *thread {
	t.Helper()
	lane.Lab(t)
	th, err := newThread(true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(th.end)
	return th
}
