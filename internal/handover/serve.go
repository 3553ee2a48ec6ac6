package handover

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	maxCallers   = 32              // connections served at once; others wait
	requestLimit = 5 * time.Second // until a caller has sent its request
)

// Answer returns the mounts of the session with this token. The uid is that of the caller, as the kernel reports it.
// Serve closes the files.
type Answer func(ctx context.Context, uid uint32, session string) ([]Mount, error)

// Serve answers requests on a listener of wire.ListenPackets until it is closed. Descriptors are sent to root only:
// others could use them to pass folders that are closed to them.
func Serve(ctx context.Context, l net.Listener, answer Answer) error {
	slots := make(chan struct{}, maxCallers)
	for {
		slots <- struct{}{}
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer func() { <-slots }()
			defer c.Close()
			if u, ok := c.(*net.UnixConn); ok {
				serveOne(ctx, u, answer)
			}
		}()
	}
}

// serveOne answers one caller. What can't be sent is dropped: the caller is gone.
func serveOne(ctx context.Context, c *net.UnixConn, answer Answer) {
	_ = c.SetDeadline(time.Now().Add(requestLimit))
	text := make([]byte, 4096)
	n, err := c.Read(text)
	if err != nil {
		return
	}
	var q request
	var mounts []Mount
	uid, err := caller(c)
	if err == nil {
		err = json.Unmarshal(text[:n], &q)
	}
	if err != nil {
		err = vss.E("HandOver", vss.ErrInvalidArg, err)
	} else {
		mounts, err = answer(ctx, uid, q.Session)
	}
	r := reply{Mounts: mounts}
	if err != nil {
		r = reply{Error: wire.MarshalError(err)}
	}
	var fds []int
	for i, m := range mounts {
		if m.File == nil {
			continue
		}
		defer m.File.Close()
		if uid == 0 && err == nil {
			fds, r.Files = append(fds, int(m.File.Fd())), append(r.Files, i)
		}
	}
	if text, err = json.Marshal(r); err != nil || len(text) > maxMessage {
		return
	}
	_ = c.SetDeadline(time.Now().Add(requestLimit))
	_ = c.SetWriteBuffer(2 * maxMessage)
	_, _, _ = c.WriteMsgUnix(text, unix.UnixRights(fds...), nil)
}

// caller returns the user id of the process at the other end.
func caller(c *net.UnixConn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var cerr error
	err = raw.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, os.NewSyscallError("SO_PEERCRED", cerr)); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}
