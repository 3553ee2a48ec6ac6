package vss

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// command runs a program to its end and gives its exit code as a shell would.
func (a *app) command(args, env []string) int {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return a.notRun(args[0], err)
	}
	cmd := &exec.Cmd{Path: path, Args: args, Env: append(os.Environ(), env...), Stdin: a.stdin, Stdout: a.stdout, Stderr: a.stderr}
	if a.json {
		cmd.Stdout = a.stderr // standard output is for one document
	}
	code, err := runForwarding(cmd)
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

// runForwarding starts a program, passes signals on to it and waits. The program dies with us, because the copies do.
func runForwarding(cmd *exec.Cmd) (int, error) {
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
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case s := <-signals:
				if !fromKeyboard(s) { // the keyboard's go to the program, too
					_ = cmd.Process.Signal(s)
				}
			case <-done:
				return
			}
		}
	}()
	err := cmd.Wait()
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
