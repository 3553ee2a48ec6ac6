package lab

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// bringUp switches a network interface on, with an IPv4 address/prefix or "".
func bringUp(name, address string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if address != "" {
		p, err := netip.ParsePrefix(address)
		if err != nil {
			return err
		}
		for _, set := range []struct {
			req  uint
			addr []byte
		}{{unix.SIOCSIFADDR, p.Addr().AsSlice()}, {unix.SIOCSIFNETMASK, net.CIDRMask(p.Bits(), 32)}} {
			if err := r.SetInet4Addr(set.addr); err != nil {
				return err
			}
			if err := unix.IoctlIfreq(fd, set.req, r); err != nil {
				return fmt.Errorf("address of %s: %w", name, err)
			}
		}
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
		return fmt.Errorf("switch %s on: %w", name, err)
	}
	return nil
}
