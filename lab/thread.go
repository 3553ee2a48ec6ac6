package lab

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// thread is a thread of this process to start guests from. They are killed when it ends (PR_SET_PDEATHSIG goes by thread,
// not by process), hence it lives as long as they may. With a network of its own they see no other.
type thread struct {
	calls chan func()
	ended chan struct{}
}

func newThread(network bool) (*thread, error) {
	th := &thread{calls: make(chan func()), ended: make(chan struct{})}
	up := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this function
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

// do runs f on the thread. Processes that it starts are the thread's children.
func (th *thread) do(f func() error) error {
	done := make(chan error)
	th.calls <- func() { done <- f() }
	return <-done
}

// end ends the thread, and all guests that it started.
func (th *thread) end() {
	close(th.calls)
	<-th.ended
}
