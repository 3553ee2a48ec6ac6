package providertest

import (
	"testing"

	"github.com/stillpoint-vss/stillpoint/provider"
)

func hardwareWorld(reach func(provider.Hardware) provider.Hardware) *HardwareWorld {
	a, originals := NewArray(2)
	open := func() provider.Hardware { return reach(NewMemory(a)) }
	return &HardwareWorld{
		Storage:  Storage{Copies: a.Copies, Slow: a.Slow},
		Provider: open(), Originals: originals, Restart: open, Visible: a.Visible, Write: a.Write, Read: a.Read,
	}
}

func softwareWorld(reach func(provider.Software) provider.Software) *SoftwareWorld {
	h, volumes := NewHost(2)
	open := func() provider.Software { return reach(NewMemorySoftware(h)) }
	return &SoftwareWorld{
		Storage:  Storage{Copies: h.Copies, Slow: h.Slow},
		Provider: open(), Volumes: volumes, Restart: open, Write: h.Write, Read: h.Read,
		ReadAt:  func(l provider.Location) byte { b, _ := h.ReadAt(l); return b },
		WriteAt: h.WriteAt,
	}
}

func direct[P provider.Provider](p P) P { return p }

func TestMemoryInProcess(t *testing.T) {
	Run(t, Fixture{Hardware: func(*testing.T) *HardwareWorld { return hardwareWorld(direct[provider.Hardware]) }})
}

func TestMemoryOverSocket(t *testing.T) {
	Run(t, Fixture{Hardware: func(t *testing.T) *HardwareWorld {
		return hardwareWorld(func(p provider.Hardware) provider.Hardware { return Socket(t, p).(provider.Hardware) })
	}})
}

func TestMemorySoftwareInProcess(t *testing.T) {
	Run(t, Fixture{Software: func(*testing.T) *SoftwareWorld { return softwareWorld(direct[provider.Software]) }})
}

func TestMemorySoftwareOverSocket(t *testing.T) {
	Run(t, Fixture{Software: func(t *testing.T) *SoftwareWorld {
		return softwareWorld(func(p provider.Software) provider.Software { return Socket(t, p).(provider.Software) })
	}})
}
