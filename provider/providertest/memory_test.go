package providertest

import (
	"testing"

	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func world(t *testing.T, reach func(*testing.T, provider.Hardware) provider.Hardware) *HardwareWorld {
	a, originals := NewArray(2)
	open := func(t *testing.T) provider.Hardware { return reach(t, NewMemory(a)) }
	return &HardwareWorld{
		Provider: open(t), Originals: originals, Restart: open,
		Copies:  func(*testing.T) int { return a.Copies() },
		Visible: func(_ *testing.T, l vss.LUNInformation) bool { return a.Visible(l) },
		Write:   func(_ *testing.T, l vss.LUNInformation, b byte) { a.Write(l, b) },
		Read:    func(_ *testing.T, l vss.LUNInformation) byte { return a.Read(l) },
		Slow:    a.Slow,
	}
}

func direct(_ *testing.T, p provider.Hardware) provider.Hardware { return p }

func socket(t *testing.T, p provider.Hardware) provider.Hardware {
	return Socket(t, p).(provider.Hardware)
}

func TestMemoryInProcess(t *testing.T) {
	Run(t, Fixture{Hardware: func(t *testing.T) *HardwareWorld { return world(t, direct) }})
}

func TestMemoryOverSocket(t *testing.T) {
	Run(t, Fixture{Hardware: func(t *testing.T) *HardwareWorld { return world(t, socket) }})
}
