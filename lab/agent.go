package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// openLine opens the line to the host. The terminal is set to raw mode, since it would change and echo the data.
func openLine() (*os.File, error) {
	fd, err := unix.Open("/dev/tty1", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("open /dev/tty1", err)
	}
	tio, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err == nil {
		tio.Iflag, tio.Oflag, tio.Lflag = 0, 0, 0
		tio.Cflag = tio.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
		tio.Cc[unix.VMIN], tio.Cc[unix.VTIME] = 1, 0
		err = unix.IoctlSetTermios(fd, unix.TCSETS, tio)
	}
	return os.NewFile(uintptr(fd), "tty1"), err
}

// drain waits until everything written has reached the host.
func drain(f *os.File) { _ = unix.IoctlSetInt(int(f.Fd()), unix.TCSBRK, 1) }

// run runs a command during the set-up, before the agent takes over waiting for processes.
func run(args ...string) error {
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", args, err, out)
	}
	return nil
}

// worker starts commands and waits for all children of this process, including adopted ones.
type worker struct {
	line  sender
	mu    sync.Mutex
	calls map[uint32]int               // number of a command -> process
	waits map[int]chan unix.WaitStatus // process -> channel for its status
}

// agent executes the host's commands and never returns.
func agent() {
	l, err := openLine()
	if err != nil {
		fail(err)
	}
	w := &worker{line: sender{w: l}, calls: map[uint32]int{}, waits: map[int]chan unix.WaitStatus{}}
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	go func() {
		for range died {
			w.reap()
		}
	}()
	if err := w.line.send(frameUp, 0, nil); err != nil {
		fail(err)
	}
	for {
		f, err := readFrame(l)
		if err != nil {
			fail(err)
		}
		switch f.kind {
		case frameRun:
			var c command
			if err := json.Unmarshal(f.data, &c); err != nil {
				fail(err)
			}
			go w.do(f.id, c)
		case frameKill:
			w.mu.Lock()
			if pid, ok := w.calls[f.id]; ok && len(f.data) == 1 {
				_ = unix.Kill(-pid, unix.Signal(f.data[0]))
			}
			w.mu.Unlock()
		case frameHalt:
			drain(l)
			powerOff()
		}
	}
}

func (w *worker) reap() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if c, ok := w.waits[pid]; ok {
			delete(w.waits, pid)
			c <- ws
		}
	}
}

// do runs one command and sends its output and status.
func (w *worker) do(id uint32, c command) {
	status, err := w.execute(id, c)
	if err != nil {
		_ = w.line.send(frameErr, id, []byte("lab: "+err.Error()+"\n"))
	}
	_ = w.line.send(frameExit, id, []byte(strconv.Itoa(status)))
}

// environment returns the environment of a command: its own, with the guest's name and what the agent has set up.
func environment(c command) []string {
	name, _ := os.Hostname()
	env := append(c.Env, guestEnv+"="+name)
	for _, k := range []string{"HOME", "PATH", "DM_DISABLE_UDEV"} {
		if v, ok := os.LookupEnv(k); ok {
			env = append(env, k+"="+v)
		}
	}
	return env
}

func (w *worker) execute(id uint32, c command) (int, error) {
	if len(c.Args) == 0 {
		return 127, errors.New("no command")
	}
	path, err := exec.LookPath(c.Args[0])
	if err != nil {
		return 127, err
	}
	if !exists(c.Dir) {
		c.Dir = "/"
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 127, err
	}
	defer null.Close()
	files := []*os.File{null}
	var copied sync.WaitGroup
	for _, kind := range []byte{frameOut, frameErr} {
		r, wr, err := os.Pipe()
		if err != nil {
			return 127, err
		}
		defer r.Close() // ends the copying if a child of the command still has the other end
		defer wr.Close()
		files = append(files, wr)
		copied.Go(func() { w.copy(r, kind, id) })
	}
	w.mu.Lock() // must not be reaped before it is registered
	p, err := os.StartProcess(path, c.Args, &os.ProcAttr{
		Dir: c.Dir, Env: environment(c), Files: files, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		w.mu.Unlock()
		return 127, err
	}
	ended := make(chan unix.WaitStatus, 1)
	w.waits[p.Pid], w.calls[id] = ended, p.Pid
	w.mu.Unlock()
	for _, f := range files[1:] {
		f.Close()
	}
	ws := <-ended
	w.mu.Lock()
	delete(w.calls, id)
	w.mu.Unlock()
	_ = p.Release()
	all := make(chan struct{})
	go func() { copied.Wait(); close(all) }()
	select {
	case <-all:
	case <-time.After(300 * time.Millisecond):
	}
	if ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return ws.ExitStatus(), nil
}

func (w *worker) copy(r io.Reader, kind byte, id uint32) {
	b := make([]byte, 16<<10)
	for {
		n, err := r.Read(b)
		if n > 0 && w.line.send(kind, id, b[:n]) != nil {
			return
		}
		if err != nil {
			return
		}
	}
}
