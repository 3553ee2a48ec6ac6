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

func assemble(
	ctx context.Context,
	cfg *config.Config,
	o Options,
	store *catalog.Store,
	quiet *journal.Ring,
	logger *slog.Logger,
) (*parts, error) {
	p := &parts{logger: logger}
	ok := false
	defer func() {
		if !ok {
			p.close()
		}
	}()
	pools, err := openPools(cfg, o.State)
	if err != nil {
		return nil, err
	}
	if p.array, err = array.Open(ctx, array.Config{Name: embedded, Pools: pools, Targets: []array.Target{loop.Target{}},
		LowWater: int64(cfg.Array.LowWater), Logger: logger}); err != nil {
		for _, n := range pools {
			err = errors.Join(err, n.Close())
		}
		return nil, err
	}
	p.closers = append(p.closers, p.array.Close)
	p.events = events.New(store, logger)
	p.disks, err = vds.New(vds.Config{
		Host: cfg.Host.Name, Arrays: []array.Array{p.array},
		Initiators: map[string]vds.Initiator{"loop": loop.Initiator{}}, StateDir: o.State,
		Logger: logger, InUse: func(id vss.LUNID) string { return p.coordinator.InUse(id) },
		Event: func(kind events.Kind, severity events.Severity, object string, err error) {
			p.events.Problem(kind, severity, vss.SnapshotSetID{}, object, err)
		},
	})
	if err != nil {
		return nil, err
	}
	host, err := copies.NewHost(copies.Config{
		Name: cfg.Host.Name, RunDir: o.Run, DeviceDir: deviceDir(o.Run), LettersRoot: cfg.LettersRoot(o.Run),
		ExposeRoots: cfg.ExposeRoots(o.Run),
		Letters:     func(name string) bool { return cfg.Volumes[name] != "" }, Catalog: store, Events: p.events,
		Disks: copies.Manager(p.disks), Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	inBox, notLoaded := inBoxWriters(cfg, o.Run, logger)
	registry, err := writers.New(
		writers.Config{
			RunDir:   o.Run,
			InBox:    inBox,
			Accounts: writers.Accounts(cfg),
			Trust:    writers.Trust(cfg),
			Logger:   logger,
		},
	)
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, registry.Close)
	p.providers, err = providers.New(providers.Config{
		RunDir: o.Run, Accounts: cfg.Providers.Accounts, Report: p.reportProvider, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, p.providers.Close)
	hardware := lun.New(lun.Config{Host: cfg.Host.Name, Arrays: p.disks.Arrays, Logger: logger})
	p.coordinator, err = coordinator.New(ctx, coordinator.Config{
		Name: cfg.Host.Name, HoldLimit: cfg.Service.HoldLimit.Duration, Catalog: store, Events: p.events,
		Volumes: volume.New(volume.Options{Names: cfg.Volumes}), Holder: &holder{runDir: o.Run, logger: logger},
		Host: host, Providers: []provider.Provider{hardware}, LookForProviders: p.providers.Look,
		Writers: registry.Running, RequiredWriters: cfg.Writers.Required(),
		WriterLimits: writerset.Limits{
			Identify:        cfg.Writers.Limits.Identify.Duration,
			PrepareSnapshot: cfg.Writers.Limits.PrepareSnapshot.Duration, Work: cfg.Writers.Limits.Work.Duration,
		},
		Quiet: quiet, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	for _, err := range notLoaded {
		p.events.Problem(events.WriterNotLoaded, events.Error, vss.SnapshotSetID{}, "", err)
	}
	if err := p.forward(ctx); err != nil {
		return nil, err
	}
	ok = true
	return p, nil
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
		err := error(
			vss.E("OpenPool", vss.ErrNotSupported, fmt.Errorf("pools of type %s", c.Type)).
				On(c.Name).
				Advise("configure a reflink pool, which is a folder on XFS or btrfs"),
		)
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
