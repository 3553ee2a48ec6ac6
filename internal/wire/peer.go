package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// PeerInfo describes the process at the other end of a unix socket, as of the time of the connection.
type PeerInfo struct {
	UID, GID uint32
	Groups   []uint32 // supplementary groups
	PID      int32    // for the log only, as it may have been reused; authorise by UID and groups
}

// In reports whether the process is in a group, by its main or a supplementary group.
func (p PeerInfo) In(gid uint32) bool {
	for _, g := range p.Groups {
		if g == gid {
			return true
		}
	}
	return p.GID == gid
}

// Peer returns the process that called a handler. It returns false if the connection isn't a unix socket of NewServer.
func Peer(ctx context.Context) (PeerInfo, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return PeerInfo{}, false
	}
	a, ok := p.AuthInfo.(unixAuth)
	return a.PeerInfo, ok
}

// TransportCredentials returns the credentials of unix sockets: nothing is encrypted, and the kernel identifies the
// other side. A connection is rejected with the error of trust, which may be nil.
func TransportCredentials(trust func(PeerInfo) error) credentials.TransportCredentials {
	return unixCredentials{trust}
}

type unixCredentials struct{ trust func(PeerInfo) error }

type unixAuth struct {
	credentials.CommonAuthInfo
	PeerInfo
}

// AuthType implements credentials.AuthInfo.
func (unixAuth) AuthType() string { return "unix-peer" }

func (u unixCredentials) handshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	p, err := readPeer(c)
	if err == nil && u.trust != nil {
		if err = u.trust(p); err != nil {
			if d, ok := c.(*dialed); ok {
				d.refuse(err)
			}
		}
	}
	if err != nil {
		return nil, nil, err
	}
	return c, unixAuth{credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}, p}, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (u unixCredentials) ClientHandshake(
	_ context.Context,
	_ string,
	c net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	return u.handshake(c)
}

// ServerHandshake implements credentials.TransportCredentials.
func (u unixCredentials) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return u.handshake(c)
}

// Info implements credentials.TransportCredentials.
func (unixCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "unix-peer"}
}

// Clone implements credentials.TransportCredentials.
func (u unixCredentials) Clone() credentials.TransportCredentials { return u }

// OverrideServerName implements credentials.TransportCredentials; a unix socket has no server name.
func (unixCredentials) OverrideServerName(string) error { return nil }

func readPeer(c net.Conn) (PeerInfo, error) {
	s, ok := c.(syscall.Conn)
	if _, unixConn := c.RemoteAddr().(*net.UnixAddr); !ok || !unixConn {
		return PeerInfo{}, errors.New("wire: not a unix socket")
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return PeerInfo{}, err
	}
	var p PeerInfo
	var perr error
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			perr = fmt.Errorf("SO_PEERCRED: %w", err)
			return
		}
		p = PeerInfo{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid}
		p.Groups, perr = peerGroups(fd)
	})
	return p, errors.Join(err, perr)
}

// peerGroups queries SO_PEERGROUPS, which x/sys doesn't support: an array of gid_t, and ERANGE with the required
// length if the buffer is too short.
func peerGroups(fd uintptr) ([]uint32, error) {
	groups := make([]uint32, 32)
	for {
		length := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&length)), 0)
		switch {
		case errno == 0:
			return groups[:length/4], nil
		case errno == unix.ERANGE && int(length) > len(groups)*4:
			groups = make([]uint32, length/4)
		default:
			return nil, fmt.Errorf("SO_PEERGROUPS: %w", errno)
		}
	}
}
