package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/array/pool"
	"github.com/stillpoint-vss/stillpoint/internal/array/target/loop"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/config"
	"github.com/stillpoint-vss/stillpoint/internal/coordinator"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/internal/journal"
	"github.com/stillpoint-vss/stillpoint/internal/providers"
	"github.com/stillpoint-vss/stillpoint/internal/providers/lun"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/internal/writers"
	"github.com/stillpoint-vss/stillpoint/internal/writerset"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// parts are the components of a running service.
type parts struct {
	array       *array.Controller
	disks       *vds.Manager
	events      *events.Log
	coordinator *coordinator.Coordinator
	providers   *providers.Registry // started after recovery
	closers     []func() error
	logger      *slog.Logger
}

// embedded is the name of the array that is part of the service.
const embedded = "local"

// assembly is what parts are made from.
type assembly struct {
	cfg    *config.Config
	o      Options
	store  *catalog.Store
	quiet  *journal.Ring
	logger *slog.Logger
}

// assemble creates the parts. On failure it closes those that it has created.
func (a assembly) assemble(ctx context.Context) (_ *parts, err error) {
	p := &parts{logger: a.logger, events: events.New(a.store, a.logger)}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if err := a.storage(ctx, p); err != nil {
		return nil, err
	}
	host, err := a.host(p)
	if err != nil {
		return nil, err
	}
	inBox, notLoaded := inBoxWriters(a.cfg, a.o, a.logger)
	registry, err := writers.New(writers.Config{
		RunDir: a.o.Run, InBox: inBox, Accounts: writers.Accounts(a.cfg), Trust: writers.Trust(a.cfg), Logger: a.logger,
	})
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, registry.Close)
	p.providers, err = providers.New(providers.Config{
		RunDir: a.o.Run, Accounts: a.cfg.Providers.Accounts, Report: p.reportProvider, Logger: a.logger,
	})
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, p.providers.Close)
	hardware := lun.New(lun.Config{Host: a.cfg.Host.Name, Arrays: p.disks.Arrays, Logger: a.logger})
	limits := a.cfg.Writers.Limits
	p.coordinator, err = coordinator.New(ctx, coordinator.Config{
		Name: a.cfg.Host.Name, HoldLimit: a.cfg.Service.HoldLimit.Duration, Catalog: a.store, Events: p.events,
		Volumes: volume.New(volume.Options{Names: a.cfg.Volumes}),
		Holder:  &holder{runDir: a.o.Run, logger: a.logger}, Host: host,
		Providers: []provider.Provider{hardware}, LookForProviders: p.providers.Look,
		Writers: registry.Running, RequiredWriters: a.cfg.Writers.Required(),
		WriterLimits: writerset.Limits{
			Identify: limits.Identify.Duration, PrepareSnapshot: limits.PrepareSnapshot.Duration,
			Work: limits.Work.Duration,
		},
		Quiet: a.quiet, Logger: a.logger, Inspect: p.inspect,
	})
	if err != nil {
		return nil, err
	}
	for _, err := range notLoaded {
		p.events.Problem(events.WriterNotLoaded, events.Error, vss.SnapshotSetID{}, "", err)
	}
	return p, p.forward(ctx)
}

// storage creates the embedded array and the disk manager.
func (a assembly) storage(ctx context.Context, p *parts) error {
	pools, err := openPools(a.cfg, a.o.State)
	if err != nil {
		return err
	}
	p.array, err = array.Open(ctx, array.Config{
		Name: embedded, Pools: pools, Targets: []array.Target{loop.Target{}}, LowWater: int64(a.cfg.Array.LowWater),
		Reserve: a.o.OnDemand,
		Logger:  a.logger,
	})
	if err != nil {
		for _, n := range pools {
			err = errors.Join(err, n.Close())
		}
		return err
	}
	p.closers = append(p.closers, p.array.Close)
	p.disks, err = vds.New(vds.Config{
		Host: a.cfg.Host.Name, Arrays: []array.Array{p.array},
		Initiators: map[string]vds.Initiator{"loop": loop.Initiator{}}, StateDir: a.o.State, Logger: a.logger,
		InUse: func(id vss.LUNID) string { return p.coordinator.InUse(id) },
		Event: func(kind events.Kind, severity events.Severity, object string, err error) {
			p.events.Problem(kind, severity, vss.SnapshotSetID{}, object, err)
		},
	})
	return err
}

// host creates the keeper of copies on this host.
func (a assembly) host(p *parts) (*copies.Host, error) {
	return copies.NewHost(copies.Config{
		Name: a.cfg.Host.Name, RunDir: a.o.Run, DeviceDir: deviceDir(a.o.Run),
		LettersRoot: a.cfg.LettersRoot(a.o.Run), ExposeRoots: a.cfg.ExposeRoots(a.o.Run),
		Letters: func(name string) bool { return a.cfg.Volumes[name] != "" },
		Catalog: a.store, Events: p.events, Disks: copies.Manager(p.disks), Logger: a.logger,
	})
}

// reportProvider records what happens to providers in other processes.
func (p *parts) reportProvider(n providers.News) {
	e := catalog.Event{Provider: n.Provider, Object: n.Path, Code: vss.CodeOf(n.Err)}
	switch n.Kind {
	case providers.Joined:
		e.Message = "the provider was loaded"
		p.events.Add(events.ProviderJoined, events.Info, e)
	case providers.Left:
		e.Message = "the provider was released: its socket was removed"
		p.events.Add(events.ProviderLeft, events.Info, e)
	case providers.Died:
		e.Message, e.Hint = "the provider's process ended", "start it again, if it was not stopped on purpose"
		p.events.Add(events.ProviderLeft, events.Warning, e)
	case providers.Refused:
		e.Message, e.Hint = n.Err.Error(), vss.Hint(n.Err)
		p.events.Add(events.ProviderRefused, events.Warning, e)
	}
}

// openPools opens the pools of the embedded array: the configured ones, or the one that it creates by itself.
func openPools(cfg *config.Config, state string) ([]array.NamedPool, error) {
	dir := filepath.Join(state, "array")
	if len(cfg.Array.Pools) == 0 {
		p, err := pool.OpenSelfMade(filepath.Join(dir, "default.img"), filepath.Join(dir, "default"))
		if err != nil {
			return nil, err
		}
		return []array.NamedPool{{Name: "default", Pool: p}}, nil
	}
	var out []array.NamedPool
	for _, c := range cfg.Array.Pools {
		var p array.Pool
		err := error(vss.E("OpenPool", vss.ErrNotSupported, fmt.Errorf("pools of type %s", c.Type)).On(c.Name).
			Advise("configure a reflink pool, which is a folder on XFS or btrfs"))
		if c.Type == "reflink" {
			p, err = pool.Open(c.Path)
		}
		if err != nil {
			for _, o := range out {
				err = errors.Join(err, o.Close())
			}
			return nil, err
		}
		out = append(out, array.NamedPool{Name: c.Name, Pool: p})
	}
	return out, nil
}

// forward records in the event log what the array does on its own.
func (p *parts) forward(ctx context.Context) error {
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	reported, err := p.array.Events(life)
	if err != nil {
		stop()
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range reported {
			severity := events.Warning
			if e.What == string(events.Hydrated) {
				severity = events.Info
			}
			p.events.Add(events.Kind(e.What), severity,
				catalog.Event{Time: e.Time, Provider: "lun", SetID: e.LUN.Set, Object: e.LUN.Name, Message: e.Text,
					Hint: e.Hint})
			if e.What == string(events.Dropped) {
				p.coordinator.Dropped(life, e.LUN.ID)
			}
		}
	}()
	p.closers = append(p.closers, func() error {
		stop()
		<-done
		return nil
	})
	return nil
}

// close closes the parts in reverse order.
func (p *parts) close() {
	for i := len(p.closers) - 1; i >= 0; i-- {
		if err := p.closers[i](); err != nil {
			p.logger.Warn("can't close a part of the service", "error", err)
		}
	}
}
