// Package lun is the hardware provider over storage arrays (package array): it copies whole LUNs inside the array
// that holds them. It keeps no state of its own. What it needs later it finds in the arrays by the LUNs' page 0x83,
// so that another process, or another host of the same arrays, can go on where this one ended.
package lun

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// ID identifies this provider permanently. VersionID changes with Version.
var (
	ID        = vss.ProviderID{GUID: vss.MustGUID("d2a4c1f6-7b0e-4f3a-9a61-5c8e20b97d14")}
	VersionID = vss.MustGUID("0f6f3c52-41d8-4f0b-8f53-3b9d6c2e7a01")
)

// Name and Version are shown by `vss list providers`.
const (
	Name    = "lun"
	Version = "1.0.0"
)

// Config holds the parameters of New.
type Config struct {
	Host   string               // name of this host in the masks of the arrays
	Arrays func() []array.Array // the arrays of this host; the same values each time
	Logger *slog.Logger
}

// Provider makes shadow copies of LUNs, one set at a time.
type Provider struct {
	cfg     Config
	machine *provider.Machine

	mu             sync.Mutex // the fields below; never held during a call of an array
	creation       *creation  // the set of the last BeginPrepareSnapshot
	deferredErrors []error    // of CommitSnapshots, to be logged when writes are not held any more
}

// New returns a provider.
func New(cfg Config) *Provider {
	p := &Provider{cfg: cfg}
	p.machine = provider.NewMachine(p.drop)
	return p
}

var _ provider.Hardware = (*Provider)(nil)

// Properties implements provider.Provider.
func (p *Provider) Properties(context.Context) (provider.Properties, error) {
	return provider.Properties{ID: ID, Name: Name, Type: vss.ProviderHardware, Version: Version, VersionID: VersionID,
		Capabilities: []provider.Capability{
			provider.CanDifferential,
			provider.CanPlex,
			provider.CanTransport,
			provider.CanResync,
		}}, nil
}

// OnLoad implements provider.Provider. It does nothing: the provider has no state of its own.
func (p *Provider) OnLoad(context.Context) error { return nil }

// OnUnload implements provider.Provider.
func (p *Provider) OnUnload(ctx context.Context, force bool) error {
	switch {
	case !p.machine.Pending():
		return nil
	case !force:
		return vss.False
	}
	set, _ := p.machine.Now()
	return p.AbortSnapshots(ctx, set)
}

// each calls do for all elements at once and joins the errors.
func each[T any](all []T, do func(T) error) error {
	if len(all) == 1 {
		return do(all[0])
	}
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, x := range all {
		wg.Go(func() { errs[i] = do(x) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
