package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
)

// dialAs connects to a unix socket as an account of this host, which requires root unless it is that of this process:
// the kernel reports the IDs of the connecting thread to the server. Only one thread changes its IDs, and only to
// connect. The server itself must listen there, since other processes may create sockets in the same folder.
func dialAs(ctx context.Context, p *server.Process, path string) (net.Conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close() // FileConn duplicates the descriptor
	for {
		err := server.As(p.UID, p.GID, func() error { return unix.Connect(fd, &unix.SockaddrUnix{Name: path}) })
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EAGAIN) { // EAGAIN: the socket's queue is full
			return nil, fmt.Errorf("connect to %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to %s: %w: %w", path, err, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return nil, err
	}
	if int(peer.Pid) != p.PID {
		return nil, fmt.Errorf("process %d of account %d listens at %s, not the server, process %d", peer.Pid,
			peer.Uid, path, p.PID)
	}
	return net.FileConn(f)
}
