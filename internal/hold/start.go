package hold

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/boot"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// MaxLimit is the longest time that writes may be held, from the first freeze to the last thaw, flushes included.
// Source: CommitSnapshots.
const MaxLimit = 10 * time.Second

// Config holds the parameters of Start.
type Config struct {
	RunDir string        // on a tmpfs: RunDir/held lists what is held
	Limit  time.Duration // 0 < Limit <= MaxLimit
	Exe    string        // program to run as guards, whose main calls IsGuard; "" for this program
	Logger *slog.Logger  // nil for none. Nothing is logged between Hold and Release
}

// Volume is one file system to hold.
type Volume struct {
	Name string
	Root *os.File // an open directory on it; Start duplicates the descriptor
}

// root is a descriptor of a file system that isn't closed while in use.
type root struct {
	file *os.File
	conn syscall.RawConn
	fd   int
}

func newRoot(f *os.File) (*root, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	file := os.NewFile(uintptr(fd), f.Name())
	conn, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &root{file: file, conn: conn, fd: fd}, nil
}

// do calls f with the descriptor.
func (r *root) do(f func(fd int) error) error {
	var err error
	if failed := r.conn.Control(func(fd uintptr) { err = f(int(fd)) }); failed != nil {
		return failed
	}
	return err
}

// child is a guard process.
type child struct {
	*link
	file   *os.File // the link's descriptor
	proc   *os.Process
	exited chan struct{} // closed when the process is reaped
}

func (c *child) kill() { _ = c.proc.Kill() }

// holds counts the guards of this process, for their names.
var holds atomic.Uint64

// Start starts the two guard processes with the volumes' descriptors and waits until both are ready, at most 5 s.
// Nothing is held yet. The caller must close the Guard. If Start fails, nothing remains.
//
// Errors: E_INVALIDARG for a limit out of range, no volume, or a file system given twice (each super block is held
// once); VSS_E_UNEXPECTED if the guards can't be started.
func Start(ctx context.Context, c Config, vols []Volume) (_ *Guard, err error) {
	const op = "StartGuard"
	if c.Limit <= 0 || c.Limit > MaxLimit {
		return nil, vss.E(op, vss.ErrInvalidArg,
			fmt.Errorf("hold limit %v is not between 0 and %v", c.Limit, MaxLimit)).
			Advise("set a hold limit of at most 10 s")
	}
	if len(vols) == 0 {
		return nil, vss.E(op, vss.ErrInvalidArg, errors.New("no volume to hold"))
	}
	if c.Exe == "" {
		c.Exe = "/proc/self/exe"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	g := &Guard{
		c:       c,
		volumes: vols,
		frozen:  newAlarm(),
		thawed:  newAlarm(),
		awake:   make(chan struct{}, 1),
		armed:   make(chan struct{}, 1),
		watched: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			g.discard()
			var e *vss.Error
			if !errors.As(err, &e) {
				err = vss.E(op, vss.ErrUnexpected, err).
					Advise("check the resource limits of the service, which must be able to start processes")
			}
		}
	}()
	if err := g.open(); err != nil {
		return nil, err
	}
	if err := g.spawn(); err != nil {
		return nil, err
	}
	if err := g.awaitGuards(ctx); err != nil {
		return nil, err
	}
	if err := g.describe(); err != nil {
		return nil, err
	}
	g.line = newLine(g.b, g.fds())
	go g.watch()
	return g, nil
}

// awaitGuards waits until both guards are ready.
func (g *Guard) awaitGuards(ctx context.Context) error {
	ready := time.NewTimer(readyWithin)
	defer ready.Stop()
	for _, child := range []*child{g.freezer, g.sentinel} {
		select {
		case what, ok := <-child.in:
			if !ok || what != msgReady {
				return fmt.Errorf("guard process %d ended at its start", child.proc.Pid)
			}
		case <-ready.C:
			return fmt.Errorf("guard process %d not ready in %v", child.proc.Pid, readyWithin)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// open duplicates the volumes' descriptors and checks that each file system is given once.
func (g *Guard) open() error {
	seen := map[string]string{}
	mounts := allMounts()
	for _, v := range g.volumes {
		r, err := newRoot(v.Root)
		if err != nil {
			return err
		}
		g.roots = append(g.roots, r)
		at, err := locate(v.Name, r.file, mounts)
		if err != nil {
			return err
		}
		if other, ok := seen[at.Device]; ok {
			return vss.E("StartGuard", vss.ErrInvalidArg, fmt.Errorf("it is the same file system as %s", other)).
				On(v.Name)
		}
		seen[at.Device] = v.Name
		g.record.Volumes = append(g.record.Volumes, at)
	}
	return nil
}

func (g *Guard) fds() []int {
	out := make([]int, len(g.roots))
	for i, r := range g.roots {
		out[i] = r.fd
	}
	return out
}

// spawn starts freezer and sentinel, connected to us and to each other.
func (g *Guard) spawn() error {
	b, page, err := newBoard(len(g.volumes))
	if err != nil {
		return err
	}
	g.b = b
	b.limit.Store(int64(g.c.Limit))
	defer page.Close()
	dir := filepath.Join(g.c.RunDir, heldDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	g.path = filepath.Join(dir, fmt.Sprintf("%d-%d", os.Getpid(), holds.Add(1)))
	left, right, err := joined()
	if err != nil {
		return err
	}
	defer left.Close()
	defer right.Close()
	if g.freezer, err = g.run(freezerName, page, left, page, page); err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(g.freezer.proc.Pid, 0) // the process isn't reaped yet, so that no other can have its PID
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	defer pidfd.Close()
	if g.stat, err = os.Open(fmt.Sprintf("/proc/%d/stat", g.freezer.proc.Pid)); err != nil {
		return err
	}
	if g.sentinel, err = g.run(sentinelName, page, right, pidfd, g.stat); err != nil {
		return err
	}
	go g.freezer.reap()
	go g.sentinel.reap()
	return nil
}

// run starts one guard with the descriptors that newGuard expects.
func (g *Guard) run(name string, page, peer, freezer, stat *os.File) (*child, error) {
	here, there, err := joined()
	if err != nil {
		return nil, err
	}
	defer there.Close()
	cmd := &exec.Cmd{
		Path: g.c.Exe, Args: []string{name, strconv.Itoa(len(g.volumes)), g.path},
		// a thread in an ioctl never blocks others
		Env:         []string{"GOMAXPROCS=" + strconv.Itoa(len(g.volumes)+4), "GOTRACEBACK=none"},
		Dir:         "/",
		ExtraFiles:  []*os.File{page, there, peer, freezer, stat},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	for _, r := range g.roots {
		cmd.ExtraFiles = append(cmd.ExtraFiles, r.file)
	}
	if err := cmd.Start(); err != nil {
		here.Close()
		return nil, err
	}
	return &child{link: listen(int(here.Fd())), file: here, proc: cmd.Process, exited: make(chan struct{})}, nil
}

func (c *child) reap() {
	_, _ = c.proc.Wait()
	close(c.exited)
}

// describe completes the record of this hold.
func (g *Guard) describe() error {
	g.record.Format = recordFormat
	var err error
	if g.record.Boot, err = boot.ID(); err != nil {
		return err
	}
	if g.record.Coordinator, err = processOf(os.Getpid()); err != nil {
		return err
	}
	for _, c := range []*child{g.freezer, g.sentinel} {
		p, err := processOf(c.proc.Pid)
		if err != nil {
			return err
		}
		g.record.Guards = append(g.record.Guards, p)
	}
	return nil
}

// discard releases what a Guard has, when nothing is held and it isn't used any more.
func (g *Guard) discard() {
	for _, c := range []*child{g.freezer, g.sentinel} {
		if c != nil {
			c.kill()
		}
	}
	for _, c := range []*child{g.freezer, g.sentinel} {
		if c != nil {
			if g.sentinel != nil {
				<-c.exited
			} else {
				_, _ = c.proc.Wait() // spawn failed before reap was started
			}
			c.cut()
			for range c.in {
			}
			c.file.Close()
		}
	}
	if g.stat != nil {
		g.stat.Close()
	}
	for _, r := range g.roots {
		r.file.Close()
	}
	if g.b != nil {
		_ = g.b.close()
	}
	for _, dir := range siblingCgroups() {
		_ = os.Remove(dir) // succeeds when it is empty
	}
}
