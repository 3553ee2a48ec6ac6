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

// dialAs connects to a unix socket as an account of this host, which needs root unless it is one's own: the kernel shows the
// server who connected by the ids that the connecting thread has in that moment. The ids are changed on one thread, for the
// connect alone. The server must be the account's own, or root's: a folder of sockets may be open to everybody.
func dialAs(ctx context.Context, uid, gid int, path string) (net.Conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close() // FileConn has its own
	for {
		err := server.As(uid, gid, func() error { return unix.Connect(fd, &unix.SockaddrUnix{Name: path}) })
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EAGAIN) { // EAGAIN: as many wait at the socket as it takes
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
	if int(peer.Uid) != uid && peer.Uid != 0 {
		return nil, fmt.Errorf("the server at %s belongs to account %d, not to the cluster's owner %d", path, peer.Uid, uid)
	}
	return net.FileConn(f)
}
