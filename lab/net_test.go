package lab

import (
	"strings"
	"testing"
)

// TestNet: guests reach each other and no other host, with the same addresses after a power failure.
func TestNet(t *testing.T) {
	n := NewNet(t)
	a, b := n.Boot(Guest{Name: "a", Address: "10.9.0.1/24", Memory: 256}),
		n.Boot(Guest{Name: "b", Address: "10.9.0.2/24", Memory: 256})
	answer := func(m *Machine, address, want string) {
		t.Helper()
		if out := m.Sh("timeout 2 bash -c 'echo >/dev/tcp/" + address +
			"/9' 2>&1 || echo status $?"); !strings.Contains(out, want) {
			t.Errorf("%s: %q, want %q", address, out, want)
		}
	}
	answer(a, "10.9.0.2", "Connection refused") // from the other kernel
	b.Cut()
	answer(a, "10.9.0.2", "status 124")
	b.Boot()
	answer(a, "10.9.0.2", "Connection refused")
	answer(b, "10.9.0.1", "Connection refused")
	answer(a, "192.0.2.1", "Network is unreachable")
}
