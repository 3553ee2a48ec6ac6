package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/array/loopdev"
	"github.com/stillpoint-vss/stillpoint/internal/demo/pgserver"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/hold"
	"github.com/stillpoint-vss/stillpoint/internal/mount"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	cleanLimit = 3 * time.Minute
	endLimit   = 30 * time.Second // for a process to exit after a signal
)

// clean removes everything that the demonstration made, regardless of the step at which it ended: first in order, with
// the programs that made it, then by force. It relies on nothing but the name of the directory, and has a time limit of
// its own, since the context of the demonstration may have been cancelled. The error names what could not be removed;
// other errors are ignored.
func (r *run) clean() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanLimit)
	defer cancel()
	defer r.lock.Close()
	for _, s := range []*pgserver.Server{{Data: r.path("mnt", "data", "pg")}, {Data: r.path("copies", "data")}} {
		if s.Stop(ctx) != nil {
			_ = s.Crash(ctx) // it may have exited in the meantime
		}
	}
	_ = r.load.halt() // it fails because its server has stopped
	r.endStrays(requester.DaemonName)
	if r.made != nil {
		r.made.Session.Close()
	}
	if _, err := os.Stat(r.path("run")); err == nil {
		_ = r.deleteLUNs(ctx)
	}
	if r.client != nil {
		_ = r.client.Close()
	}
	r.endService()
	r.endStrays("")
	_, _ = hold.ThawAll(r.path("run"))
	left := r.takeDown()
	if len(left) > 0 { // removing the directory would also remove the content of what is mounted in it
		return vss.E("Demo", vss.ErrUnexpected, fmt.Errorf("could not remove %s", strings.Join(left, ", "))).
			On(r.dir).Advise("unmount and detach it, then remove " + r.dir)
	}
	if err := os.RemoveAll(r.dir); err != nil {
		return vss.E("Demo", vss.ErrUnexpected, err).On(r.dir).Advise("remove it")
	}
	return nil
}

// deleteLUNs deletes the set and all LUNs with the service. It starts the service if it has stopped.
func (r *run) deleteLUNs(ctx context.Context) error {
	c, err := requester.Connect(ctx, r.options())
	if err != nil {
		return err
	}
	defer c.Close()
	b, err := c.Open(ctx, program)
	if err != nil {
		return err
	}
	defer b.Close()
	if err := errors.Join(b.InitializeForBackup(ctx, nil), b.SetContext(ctx, vss.ContextAll)); err != nil {
		return err
	}
	copies, err := b.QuerySnapshots(ctx)
	for _, s := range copies {
		_, _, derr := b.DeleteSnapshots(ctx, s.ID.GUID, vss.ObjectSnapshot, true)
		err = errors.Join(err, derr)
	}
	list, lerr := c.Disks().ListLUNs(ctx)
	err = errors.Join(err, lerr)
	for _, l := range list {
		_, derr := c.Disks().DeleteLUN(ctx, l.ID.String(), true)
		err = errors.Join(err, derr)
	}
	return err
}

// endService ends the service and waits until it has exited.
func (r *run) endService() {
	if pid := listener(r.path("run", "vssd.sock")); pid > 0 {
		end(pid, unix.SIGTERM, unix.SIGKILL)
	}
}

// listener returns the id of the process that listens on a socket, 0 if there is none. It closes its connection before
// it returns, because a service that ends waits for its connections.
func listener(socket string) (pid int) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return 0
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(peer.Pid)
		}
	})
	return pid
}

// end sends a process one signal after another until it has exited.
func end(pid int, signals ...unix.Signal) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for _, s := range signals {
		_ = unix.PidfdSendSignal(fd, s, nil, 0)
		for limit := time.Now().Add(endLimit); time.Now().Before(limit); {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(endLimit.Milliseconds()))
			if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}
}

// endStrays kills processes that have the directory in their arguments or as working directory, except those named
// except.
func (r *run) endStrays(except string) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range all {
		pid, _ := strconv.Atoi(filepath.Base(p))
		line, err := os.ReadFile(filepath.Join(p, "cmdline"))
		if err != nil || pid == os.Getpid() {
			continue
		}
		args := strings.Split(string(line), "\x00")
		cwd, _ := os.Readlink(filepath.Join(p, "cwd"))
		if filepath.Base(args[0]) != except && (r.below(cwd) || slices.ContainsFunc(args[1:], r.below)) {
			end(pid, unix.SIGKILL)
		}
	}
}

func (r *run) below(path string) bool { return path == r.dir || strings.HasPrefix(path, r.dir+"/") }

// takeDown unmounts and detaches what is below the directory, the newest mount first. It returns what it could not.
func (r *run) takeDown() (left []string) {
	for range 4 { // what is removed in one round may have blocked the rest
		left = nil
		for _, m := range mount.Below(r.dir) {
			if mount.Unmount(m.Point, mount.Owner{ID: m.ID}, false) != nil {
				left = append(left, "mount "+m.Point)
			}
		}
		all, _ := filepath.Glob("/sys/block/loop*/loop")
		for _, p := range all {
			device := "/dev/" + filepath.Base(filepath.Dir(p))
			if !r.below(loopdev.Backing(device)) {
				continue
			}
			if errors.Join(disk.DeletePartitions(device), loopdev.Detach(device)) != nil {
				left = append(left, "loop device "+device)
			}
		}
		if len(left) == 0 {
			break
		}
	}
	return left
}
