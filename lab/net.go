package lab

import (
	"fmt"
	"net/netip"
	"os/exec"
	"testing"
)

// Net is a private network of guests: a bridge in a network namespace of its own.
type Net struct {
	t    testing.TB
	th   *thread
	taps int
}

// NewNet creates a network, which is removed after the test.
func NewNet(t testing.TB) *Net {
	t.Helper()
	th := threadFor(t)
	n := &Net{t: t, th: th}
	n.ip("link", "add", "br0", "type", "bridge")
	n.ip("link", "set", "br0", "up")
	return n
}

func (n *Net) ip(args ...string) {
	n.t.Helper()
	var out []byte
	err := n.th.do(func() (err error) {
		out, err = exec.Command("ip", args...).CombinedOutput()
		return err
	})
	if err != nil {
		n.t.Fatalf("ip %v: %v\n%s", args, err, out)
	}
}

// Add creates a guest with g.Address on this network, switched off. It keeps its hardware address across boots: with a
// random one the others would send to the old one for half a minute.
func (n *Net) Add(g Guest) *Machine {
	n.t.Helper()
	p, err := netip.ParsePrefix(g.Address)
	if err != nil || !p.Addr().Is4() {
		n.t.Fatalf("address %q of %s isn't an IPv4 address/prefix", g.Address, g.Name)
	}
	m := newMachine(n.t, g, n.th)
	a := p.Addr().As4()
	m.mac = fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3])
	m.tap = fmt.Sprintf("tap%d", n.taps)
	n.taps++
	n.ip("tuntap", "add", m.tap, "mode", "tap")
	n.ip("link", "set", m.tap, "master", "br0", "up")
	return m
}

// Boot adds a guest and boots it.
func (n *Net) Boot(g Guest) *Machine {
	n.t.Helper()
	m := n.Add(g)
	m.Boot()
	return m
}
