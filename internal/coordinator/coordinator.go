package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/hold"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// IdleLimit is how long a set may stay open between StartSnapshotSet and DoSnapshotSet before it is aborted.
const IdleLimit = 10 * time.Minute

// Quiet keeps everybody else in the process from writing while volumes are held: the log, above all.
type Quiet interface {
	Hold()
	Release()
}

// Config is what a coordinator is made of.
type Config struct {
	Host        string // this host's name in masks and documents
	RunDir      string // sockets, private mounts, the guards' list; a tmpfs
	DeviceDir   string // where device objects are linked
	StateDir    string
	ExposeRoots []string // below these, members of group backup may expose
	LettersRoot string   // a free letter is exposed at LettersRoot/X
	Letters     func(name string) bool
	HoldLimit   time.Duration
	Catalog     *catalog.Store
	Volumes     *volume.Host
	Disks       *vds.Manager
	Providers   []provider.Provider
	// Writers lists the writers that run now.
	Writers         func(context.Context) []*writer.Instance
	WriterLimits    WriterLimits
	RequiredWriters []string // class ids or names: no set is made without them
	Quiet           Quiet
	Logger          *slog.Logger
	GuardExe        string // the program that hold re-executes; "" is this one
}

// Coordinator is the service. All of its methods may be called from many goroutines.
type Coordinator struct {
	Config
	providers []boundProvider

	mu       sync.Mutex
	sessions map[string]*Session
	creating *creation // the one set being made, from StartSnapshotSet on
	busySets map[vss.SnapshotSetID]bool
	private  map[vss.SnapshotID]string // where MountSnapshot shows copies
	events   eventLog
}

type boundProvider struct {
	provider.Provider
	props provider.Properties
}

// New makes a coordinator and binds its providers. Recover must run before the first session.
func New(ctx context.Context, c Config) (*Coordinator, error) {
	k := &Coordinator{Config: c, sessions: map[string]*Session{}, busySets: map[vss.SnapshotSetID]bool{}, private: map[vss.SnapshotID]string{}}
	if k.HoldLimit <= 0 || k.HoldLimit > hold.MaxLimit {
		return nil, vss.E("Configure", vss.ErrInvalidArg, fmt.Errorf("hold limit %v", k.HoldLimit)).Advise("0 < hold limit <= 10s")
	}
	for _, p := range c.Providers {
		props, err := p.Properties(ctx)
		if err == nil {
			err = p.OnLoad(ctx)
		}
		if err != nil { // an absent provider doesn't take the service down
			k.Logger.Error("provider not loaded", "provider", props.Name, "error", err)
			continue
		}
		k.providers = append(k.providers, boundProvider{p, props})
	}
	// Selection order: hardware, software, system; within a kind the order of registration.
	rank := map[vss.ProviderType]int{vss.ProviderHardware: 0, vss.ProviderSoftware: 1, vss.ProviderSystem: 2}
	slices.SortStableFunc(k.providers, func(a, b boundProvider) int { return rank[a.props.Type] - rank[b.props.Type] })
	k.events.init(k)
	if err := os.MkdirAll(k.DeviceDir, 0o755); err != nil {
		return nil, vss.E("Configure", vss.ErrUnexpected, err).On(k.DeviceDir)
	}
	return k, nil
}

// Idle says whether nothing is held, running or waiting for a client: the service may end.
func (k *Coordinator) Idle() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.sessions) == 0 && k.creating == nil && len(k.busySets) == 0
}

// provider finds a bound provider by id.
func (k *Coordinator) provider(id vss.ProviderID) (boundProvider, error) {
	for _, p := range k.providers {
		if p.props.ID == id {
			return p, nil
		}
	}
	return boundProvider{}, vss.E("FindProvider", vss.ErrProviderNotRegistered, nil).On(id.String()).Advise("`vss list providers` shows what is registered")
}

// hardware finds the hardware provider of a copy. Errors: VSS_E_PROVIDER_NOT_REGISTERED, VSS_E_PROVIDER_VETO for another kind.
func (k *Coordinator) hardware(id vss.ProviderID) (provider.Hardware, provider.Properties, error) {
	p, err := k.provider(id)
	if err != nil {
		return nil, p.props, err
	}
	h, ok := p.Provider.(provider.Hardware)
	if !ok {
		return nil, p.props, vss.E("FindProvider", vss.ErrProviderVeto, errors.New("the copy isn't a hardware provider's")).On(p.props.Name)
	}
	return h, p.props, nil
}

// Providers tells who is registered.
func (k *Coordinator) Providers() []provider.Properties {
	var out []provider.Properties
	for _, p := range k.providers {
		out = append(out, p.props)
	}
	return out
}

// legal are the codes that a provider may return beyond S_OK; method pages add a few.
var legal = []vss.Code{
	vss.ErrOutOfMemory, vss.ErrInvalidArg, vss.ErrAccessDenied, vss.ErrBadState, vss.ErrObjectNotFound,
	vss.ErrInsufficientStorage, vss.ErrVolumeNotSupported, vss.ErrVolumeNotSupportedByProvider,
	vss.ErrMaximumNumberOfSnapshotsReached, vss.ErrProviderVeto, vss.ErrCannotRevertDiskID,
	vss.ErrMaximumNumberOfVolumesReached, vss.ErrNestedVolumeLimit, vss.ErrUnsupportedContext, vss.ErrNotImpl, vss.ErrRebootRequired,
}

// said turns what a provider returned into what the requester may see, and writes the event that names provider and method.
func (k *Coordinator) said(p provider.Properties, method string, set vss.SnapshotSetID, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	object := ""
	var e *vss.Error
	if errors.As(err, &e) {
		object = e.Object
	}
	code := vss.CodeOf(err)
	if !slices.Contains(legal, code) {
		err = vss.E(method, vss.ErrUnexpectedProviderError, inEvents{err}).On(p.Name).Advise("wait ten minutes and try again, at most three times; the event log names the provider's own error")
	} else {
		err = vss.E(method, code, inEvents{err}).On(p.Name).Advise(vss.Hint(err))
	}
	k.events.add(catalog.Event{Severity: "error", What: "provider-failed", Provider: p.Name, SetID: set, Object: object, Code: vss.CodeOf(err), Message: err.Error(), Hint: vss.Hint(err)})
	return err
}

// busyLook is how often a set that is busy is looked at again.
const busyLook = 20 * time.Millisecond

// waitSet is lockSet for who has nobody to refuse to: it waits until the set is free or ctx ends.
func (k *Coordinator) waitSet(ctx context.Context, op string, id vss.SnapshotSetID) (unlock func(), err error) {
	for {
		if unlock, err = k.lockSet(op, id); err == nil {
			return unlock, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(busyLook):
		}
	}
}

// lockSet makes sure that only one of import, break, delete and expose works on a set. Errors: VSS_E_BAD_STATE.
func (k *Coordinator) lockSet(op string, id vss.SnapshotSetID) (unlock func(), err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.busySets[id] {
		return nil, vss.E(op, vss.ErrBadState, errors.New("another operation on the set is under way")).On(id.String()).Advise("wait until it is done")
	}
	k.busySets[id] = true
	return func() {
		k.mu.Lock()
		delete(k.busySets, id)
		k.mu.Unlock()
	}, nil
}
