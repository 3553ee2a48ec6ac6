package cli

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

// Command runs a command of the user, with env added to the environment, and returns its exit code as a shell does. The
// command is ended when lost, the channel of a session, is closed; lost may be nil.
func (t *Tool) Command(args, env []string, lost <-chan struct{}) int {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return t.notRun(args[0], err)
	}
	cmd := &exec.Cmd{
		Path: path, Args: args, Env: append(os.Environ(), env...), Stdin: t.Stdin,
		Stdout: t.Inherited(), Stderr: t.Stderr,
	}
	if t.JSON {
		cmd.Stdout = t.Stderr // standard output is for the document
	}
	code, err := RunForwarding(cmd, lost)
	if errors.Is(err, ErrLost) {
		t.Warnf("%v", err)
		return ExitTool
	}
	if err != nil {
		return t.notRun(args[0], err)
	}
	return code
}

// notRun prints why a command could not be run.
func (t *Tool) notRun(name string, err error) int {
	fmt.Fprintf(t.Stderr, "%s: %s: %v\n", t.Name, name, err)
	return NotRunCode(err)
}

// NotRunCode returns the exit code for an error of looking a command up or executing it.
func NotRunCode(err error) int {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return ExitMissing
	}
	return ExitNotRun
}

// ErrLost is the error of RunForwarding when the session was lost. The copies are deleted at the next start of the
// service.
var ErrLost = vss.E("exec", vss.ErrUnexpected, errors.New("the service stopped, so the command was ended")).
	Advise("the result of the command is incomplete; run it again")

// lostGrace is how long a command may take to exit after SIGTERM when the session is lost.
const lostGrace = 5 * time.Second

// RunForwarding starts a command, forwards signals to it, waits for it and returns its exit code as a shell does. The
// command is killed when this process dies, because the copies are deleted then, and ended with ErrLost when the
// session is lost.
func RunForwarding(cmd *exec.Cmd, lost <-chan struct{}) (int, error) {
	// PDEATHSIG is sent when the thread that started the command ends.
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
				if !fromTerminal(s) { // the command has received that one, too
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
		return 0, ErrLost
	}
	if cmd.ProcessState == nil {
		return 0, err
	}
	if w, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return ExitSignal + int(w.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// fromTerminal reports whether a signal may come from the terminal, which sends it to all processes of the foreground
// group.
func fromTerminal(s os.Signal) bool {
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
