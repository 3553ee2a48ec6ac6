package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Source: Linux, include/net/tcp_states.h; include/uapi/linux/net.h.
const (
	tcpListen  = "0A"
	acceptsCon = 0x10000 // SO_ACCEPTCON in the flags of a unix socket
)

// Sockets returns the unix sockets at which the process listens, as absolute paths; abstract ones begin with @.
func (p *Process) Sockets() ([]string, error) {
	mine, err := p.inodes()
	if err != nil {
		return nil, err
	}
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/unix", p.PID))
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line) // Num RefCount Protocol Flags Type St Inode Path
		if len(f) < 8 || !slices.Contains(mine, f[6]) {
			continue
		}
		flags, err := strconv.ParseUint(f[3], 16, 32)
		if err != nil || flags&acceptsCon == 0 {
			continue
		}
		_, path, _ := strings.Cut(strings.TrimRight(line, "\n"), " "+f[6]+" ") // the path may contain blanks
		if path[0] != '/' && path[0] != '@' {
			path = filepath.Join(p.Dir, path)
		}
		out = append(out, path)
	}
	return slices.Compact(out), nil
}

// Ports returns the addresses of this host at which the process listens by TCP. A wildcard address is returned as the
// loopback address.
func (p *Process) Ports() ([]netip.AddrPort, error) {
	mine, err := p.inodes()
	if err != nil {
		return nil, err
	}
	var out []netip.AddrPort
	for _, name := range []string{"tcp", "tcp6"} {
		table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", p.PID, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(table)) {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != tcpListen || !slices.Contains(mine, f[9]) || !p.made(f[7]) {
				continue
			}
			if at, err := address(f[1]); err == nil {
				out = append(out, at)
			}
		}
	}
	return out, nil
}

// made reports whether a socket, whose owner is given, was made by root or the server's account: a process can inherit
// sockets that listen.
func (p *Process) made(uid string) bool { return uid == "0" || uid == strconv.Itoa(p.UID) }

// address parses an address of /proc/net/tcp: 32-bit words in the byte order of little-endian machines, then the port.
func address(s string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for word := range slices.Chunk(b, 4) {
		slices.Reverse(word)
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ip, ok := netip.AddrFromSlice(b)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("invalid address %q", s)
	}
	ip = ip.Unmap()
	if ip.IsUnspecified() {
		if ip = netip.IPv6Loopback(); len(b) == 4 {
			ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
	}
	return netip.AddrPortFrom(ip, uint16(n)), nil
}

// inodes returns the inode numbers of the sockets that the process has open.
func (p *Process) inodes() ([]string, error) {
	dir := fmt.Sprintf("/proc/%d/fd", p.PID)
	fds, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, fd := range fds {
		to, err := os.Readlink(filepath.Join(dir, fd.Name()))
		if inode, ok := strings.CutPrefix(to, "socket:["); err == nil && ok {
			out = append(out, strings.TrimSuffix(inode, "]"))
		}
	}
	return out, nil
}

// Dial connects to a unix socket and checks that this process listens there: other processes may create sockets in the
// same folder. The path is the server's, which may have a /tmp of its own.
func (p *Process) Dial(ctx context.Context, path string) (net.Conn, error) {
	c, err := p.dial(ctx, path)
	if err == nil || path[0] == '@' {
		return c, err
	}
	f, opened := os.OpenFile(fmt.Sprintf("/proc/%d/root%s", p.PID, path), unix.O_PATH, 0)
	if opened != nil {
		return nil, err
	}
	defer f.Close()
	if c, e := p.dial(ctx, fmt.Sprintf("/proc/self/fd/%d", f.Fd())); e == nil {
		return c, nil
	}
	return nil, err
}

func (p *Process) dial(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := p.behind(c.(*net.UnixConn)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (p *Process) behind(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var asked error
	if err := raw.Control(func(fd uintptr) {
		peer,
			asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if asked != nil {
		return asked
	}
	if int(peer.Pid) != p.PID {
		return fmt.Errorf(
			"%[3]s belongs to process %[1]d of account %[2]d, not to the server, process %[4]d",
			peer.Pid,
			peer.Uid,
			c.RemoteAddr(),
			p.PID,
		)
	}
	return nil
}
