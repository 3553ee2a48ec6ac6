package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/internal/hold"
	"github.com/stillpoint-vss/stillpoint/internal/writerset"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// IdleLimit is how long a set may stay open between StartSnapshotSet and DoSnapshotSet without a call of its session
// before it is aborted.
const IdleLimit = 10 * time.Minute

// Config holds the parts that a coordinator works with.
type Config struct {
	Name      string // of this host, in records and documents
	HoldLimit time.Duration
	Catalog   *catalog.Store
	Events    *events.Log
	Volumes   Volumes
	Holder    Holder
	Host      Host
	Providers []provider.Provider // loaded by New; see AddProvider for later ones
	// LookForProviders adds the providers that have started but aren't added yet, before they are listed. Nil: there
	// are none.
	LookForProviders func(context.Context)
	// Writers lists the writers that run now.
	Writers         func(context.Context) []*writer.Instance
	WriterLimits    writerset.Limits
	RequiredWriters []string // class ids or names: no set is made without them
	Quiet           Quiet
	// Inspect looks for what is wrong outside of the coordinator's parts. Nil: nothing is looked at.
	Inspect func(context.Context) []copies.Finding
	Logger  *slog.Logger
}

// writers returns the configuration of the writers of a session.
func (c *Config) writers() *writerset.Config {
	return &writerset.Config{
		Writers: c.Writers, Limits: c.WriterLimits, Required: c.RequiredWriters, Events: c.Events, Logger: c.Logger,
	}
}

// report records a failure that its requester doesn't see, with what to do about it.
func (c *Config) report(kind events.Kind, set vss.SnapshotSetID, err error, hint string) {
	c.Events.Add(kind, events.Error, catalog.Event{SetID: set, Code: vss.CodeOf(err), Message: err.Error(), Hint: hint})
}

// Coordinator runs requesters' sessions and manages the copies of this host. All of its methods may be called from many
// goroutines.
type Coordinator struct {
	Config

	began     time.Time
	admission sync.Mutex // of Admit
	table     []step     // of a creation
	mu        sync.Mutex
	kinds     []copies.Kind // hardware, software, system; in this order they are asked for a volume
	loading   map[vss.ProviderID]bool
	stops     map[vss.ProviderID]func()
	sessions  map[string]*Session
	creating  *creation // the set that is being created, from StartSnapshotSet on
	busySets  map[vss.SnapshotSetID]bool
	owned     map[vss.SnapshotSetID]bool // by an open session, which created or imported them
}

// New returns a coordinator with its providers loaded. A provider that can't be loaded is logged and left out.
// Recover must run before the first session. Errors: E_INVALIDARG for a hold limit out of range.
func New(ctx context.Context, c Config) (*Coordinator, error) {
	k := &Coordinator{
		Config: c, began: time.Now(), table: steps, loading: map[vss.ProviderID]bool{},
		stops: map[vss.ProviderID]func(){}, sessions: map[string]*Session{},
		busySets: map[vss.SnapshotSetID]bool{}, owned: map[vss.SnapshotSetID]bool{},
	}
	if k.HoldLimit <= 0 || k.HoldLimit > hold.MaxLimit {
		return nil, vss.E("Configure", vss.ErrInvalidArg, fmt.Errorf("hold limit %v", k.HoldLimit)).
			Advise("0 < hold limit <= 10s")
	}
	for _, p := range c.Providers {
		if _, err := k.load(ctx, p); err != nil {
			k.Logger.Error("provider not loaded", "error", err)
		}
	}
	return k, nil
}

// Idle reports whether no session is open and no operation is running, so that the service may end.
func (k *Coordinator) Idle() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.sessions) == 0 && k.creating == nil && len(k.busySets) == 0
}

// Shutdown closes every session, waits until ctx ends for what they do, and unloads the providers. What a session
// can't finish in time is done at the next start.
func (k *Coordinator) Shutdown(ctx context.Context) {
	k.mu.Lock()
	var open []*Session
	for _, s := range k.sessions {
		open = append(open, s)
	}
	k.mu.Unlock()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		var all sync.WaitGroup
		for _, s := range open {
			all.Go(func() { s.close(ctx) })
		}
		all.Wait()
	}()
	select {
	case <-closed:
	case <-ctx.Done():
		k.Logger.Warn("sessions were still at work when the service stopped")
	}
	for _, kind := range k.loaded() {
		k.unwatch(kind.Properties().ID)
		if err := kind.Unload(ctx, true); err != nil {
			k.Logger.Warn("provider not unloaded cleanly", "provider", kind.Properties().Name, "error", err)
		}
	}
}

// endCreation gives the creation lock back.
func (k *Coordinator) endCreation(c *creation) {
	k.mu.Lock()
	if k.creating == c {
		k.creating = nil
	}
	k.mu.Unlock()
}

// lockPollInterval is how often waitSet tries to lock a set that is busy.
const lockPollInterval = 20 * time.Millisecond

// waitSet locks a set, and blocks until it is free or ctx is done.
func (k *Coordinator) waitSet(ctx context.Context, op string, id vss.SnapshotSetID) (unlock func(), err error) {
	for {
		if unlock, err = k.lockSet(op, id); err == nil {
			return unlock, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(lockPollInterval):
		}
	}
}

// lockSet makes sure that only one of import, break, delete and expose works on a set. Errors: VSS_E_BAD_STATE.
func (k *Coordinator) lockSet(op string, id vss.SnapshotSetID) (unlock func(), err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.busySets[id] {
		return nil, vss.E(op, vss.ErrBadState, errors.New("another operation on the set is running")).On(id.String()).
			Advise("wait until it is done")
	}
	k.busySets[id] = true
	return func() {
		k.mu.Lock()
		delete(k.busySets, id)
		k.mu.Unlock()
	}, nil
}
