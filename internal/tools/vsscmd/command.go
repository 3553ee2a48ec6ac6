package vsscmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// command runs a program to its end and gives its exit code as a shell would.
func (a *app) command(args, env []string, lost <-chan struct{}) int {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return a.notRun(args[0], err)
	}
	cmd := &exec.Cmd{Path: path, Args: args, Env: append(os.Environ(), env...), Stdin: a.stdin, Stdout: a.stdout, Stderr: a.stderr}
	if a.json {
		cmd.Stdout = a.stderr // standard output is for one document
	}
	code, err := runForwarding(cmd, lost)
	if errors.Is(err, errLost) {
		a.warn("%v", err)
		return exitOurs
	}
	if err != nil {
		return a.notRun(args[0], err)
	}
	return code
}

// notRun tells why a program could not be run.
func (a *app) notRun(name string, err error) int {
	fmt.Fprintf(a.stderr, "vss: %s: %v\n", name, err)
	return notRunCode(err)
}

func notRunCode(err error) int {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return exitMissing
	}
	return exitNotRun
}

// errLost says that a program was ended because the service went away: its next start deletes the copies.
var errLost = vss.E("exec", vss.ErrUnexpected, errors.New("the service went away, and the copies with it; the command was ended")).
	Advise("what it did is not complete: run it again")

// lostGrace is how long a program has to end by itself when the session is lost.
const lostGrace = 5 * time.Second

// runForwarding starts a program, passes signals on to it and waits. The program dies with us, because the copies do, and is
// ended when the session is lost.
func runForwarding(cmd *exec.Cmd, lost <-chan struct{}) (int, error) {
	// PDEATHSIG fires when the thread that started the program ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	done, ended := make(chan struct{}), false
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-lost:
				ended = true
				_ = cmd.Process.Signal(unix.SIGTERM)
				select {
				case <-done:
				case <-time.After(lostGrace):
					_ = cmd.Process.Kill()
				}
				return
			case s := <-signals:
				if !fromKeyboard(s) { // the keyboard's go to the program, too
					_ = cmd.Process.Signal(s)
				}
			case <-done:
				return
			}
		}
	})
	err := cmd.Wait()
	close(done)
	watching.Wait()
	if ended {
		return 0, errLost
	}
	if cmd.ProcessState == nil {
		return 0, err
	}
	if w, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return exitSignal + int(w.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// fromKeyboard says whether a signal comes from the terminal, which sends it to the whole foreground group.
func fromKeyboard(s os.Signal) bool {
	if s != unix.SIGINT && s != unix.SIGQUIT {
		return false
	}
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
