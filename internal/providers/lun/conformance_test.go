package lun_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/providers/lun"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func TestConformance(t *testing.T) {
	direct := func(_ *testing.T, p *lun.Provider) provider.Hardware { return p }
	socket := func(t *testing.T, p *lun.Provider) provider.Hardware {
		return providertest.Socket(t, p).(provider.Hardware)
	}
	for _, x := range []struct {
		name  string
		pools []string
		far   bool
		reach func(*testing.T, *lun.Provider) provider.Hardware
	}{
		{"in process", []string{"xfs"}, false, direct},
		{"over a socket", []string{"btrfs"}, false, socket},
		{"two arrays", []string{"xfs", "btrfs"}, false, direct},
		{"a far array", []string{"xfs"}, true, direct},
	} {
		t.Run(x.name, func(t *testing.T) {
			dirs := folders(t, x.pools...)
			providertest.Run(t, providertest.Fixture{Hardware: func(t *testing.T) *providertest.HardwareWorld {
				w := newWorldAt(t, x.far, 2, dirs...)
				return &providertest.HardwareWorld{
					Storage:  providertest.Storage{Copies: w.copies, Slow: w.slow},
					Provider: x.reach(t, w.Provider), Originals: w.sources(),
					Restart: func() provider.Hardware { return x.reach(t, w.provider(host)) },
					Visible: func(l vss.LUNInformation) bool { return w.visible(l, host) },
					Write:   w.write,
					Read:    w.read,
				}
			}})
		})
	}
}

// slow makes every preparation wait until release is called, or it is cancelled.
func (w *world) slow() (release func()) {
	gate := make(chan struct{})
	for _, a := range w.arrays {
		a.hook = func(ctx context.Context, method string, call func() error) error {
			if method == "PrepareCopies" {
				select {
				case <-gate:
				case <-ctx.Done():
				}
			}
			return call()
		}
	}
	return sync.OnceFunc(func() { close(gate) })
}
