package providertest

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stillpoint-vss/stillpoint/conformance"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Fixture makes what is tested: a hardware or a software provider with fresh storage, for one case.
type Fixture struct {
	Hardware func(t *testing.T) *HardwareWorld
	Software func(t *testing.T) *SoftwareWorld
}

// Storage is how a case looks at the storage behind a provider. A nil function means that it can't be done; what it
// would show is then not checked.
type Storage struct {
	// Copies counts what copies take in the storage, finished or not.
	Copies func() int
	// Slow makes EndPrepareSnapshots wait until release is called. Without it an abort races with the preparation.
	Slow func() (release func())
}

// HardwareWorld is a hardware provider and the storage behind it.
type HardwareWorld struct {
	Storage
	Provider  provider.Hardware
	Originals []vss.LUNInformation // two or more plain LUNs, whose content the cases may change
	// Restart ends the provider's process and starts another one over the same storage. Without it cases about
	// restarts are skipped.
	Restart func() provider.Hardware
	// Visible reports whether the provider's host may see a LUN.
	Visible func(l vss.LUNInformation) bool
	// Write and Read access the content of a LUN, as one byte that stands for it.
	Write func(l vss.LUNInformation, b byte)
	Read  func(l vss.LUNInformation) byte
}

// SoftwareWorld is a software provider and the volumes that it copies.
type SoftwareWorld struct {
	Storage
	Provider provider.Software
	Volumes  []provider.Volume // two or more, whose content the cases may change
	// Restart ends the provider's process and starts another one. Without it cases about restarts are skipped.
	Restart func() provider.Software
	// Write and Read access the content of a volume, as one byte that stands for it.
	Write func(v provider.Volume, b byte)
	Read  func(v provider.Volume) byte
	// ReadAt and WriteAt access the content of a copy. WriteAt reports whether the copy could be written.
	ReadAt  func(l provider.Location) byte
	WriteAt func(l provider.Location, b byte) bool
	// Hold holds the writes to all volumes, as the service does around CommitSnapshots, until release is called.
	Hold func() (release func())
}

// Run tests a provider. Each case has a world of its own.
func Run(t *testing.T, f Fixture) {
	if f.Hardware == nil && f.Software == nil {
		t.Fatal("the fixture makes no provider")
	}
	if f.Hardware != nil {
		for _, c := range hardwareCases {
			t.Run(c.name, func(t *testing.T) { c.run(t, f.Hardware(t)) })
		}
	}
	if f.Software != nil {
		for _, c := range softwareCases {
			t.Run(c.name, func(t *testing.T) { c.run(t, f.Software(t)) })
		}
	}
}

// HardwareCases returns the cases for hardware providers; newWorld is called once for each.
func HardwareCases(newWorld func(conformance.T) *HardwareWorld) []conformance.Case {
	return bind(hardwareCases, newWorld)
}

// SoftwareCases returns the cases for software providers; newWorld is called once for each.
func SoftwareCases(newWorld func(conformance.T) *SoftwareWorld) []conformance.Case {
	return bind(softwareCases, newWorld)
}

// worldCase is one case over a world of type W.
type worldCase[W any] struct {
	name string
	run  func(conformance.T, W)
}

func bind[W any](cases []worldCase[W], newWorld func(conformance.T) W) []conformance.Case {
	var out []conformance.Case
	for _, c := range cases {
		out = append(out, conformance.Case{Name: c.name, Run: func(t conformance.T) { c.run(t, newWorld(t)) }})
	}
	return out
}

// of turns the cases that treat all providers alike into cases over a world.
func of[W interface{ subject() *subject }](cases []worldCase[*subject]) []worldCase[W] {
	var out []worldCase[W]
	for _, c := range cases {
		out = append(out, worldCase[W]{c.name, func(t conformance.T, w W) { c.run(t, w.subject()) }})
	}
	return out
}

// Socket serves a provider at a unix socket and connects to it, until the test ends.
func Socket(t conformance.T, p provider.Provider) provider.Provider {
	t.Helper()
	dir, err := os.MkdirTemp("", "vss-provider-") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "p.sock")
	stop := Serve(t, path, p)
	c, err := provider.Connect(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(); stop() })
	return c
}

// Serve serves a provider at a unix socket until stop is called, or the test ends.
func Serve(t conformance.T, path string, p provider.Provider) (stop func()) {
	t.Helper()
	l, err := wire.Listen(path, 0o600, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := provider.Serve(ctx, l, p, slog.New(slog.NewTextHandler(conformance.LogWriter(t), nil))); err != nil {
			t.Errorf("serve: %v", err)
		}
	}()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}
