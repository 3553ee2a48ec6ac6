// Package vds is the disk manager (the duties of the Virtual Disk Service): it knows the arrays of this host, brings
// the LUNs that they show to it here as disks, and does what an administrator does with a LUN before the Volume
// Shadow Copy Service knows it and after a break. Server serves it over gRPC.
//
// Results of LUN management carry VDS's codes; what the coordinator calls (identities, flags, Uninstall) carries VSS's.
// A LUN is changed by one caller at a time; changes of different LUNs don't wait for each other.
package vds

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Initiator brings LUNs of one kind of target to this host.
type Initiator interface {
	// Find returns the disks that show the LUNs now, whichever program attached them, "" for a LUN without a disk. The
	// disks of this host are searched once.
	Find(mappings []array.Mapping) (devices []string)
	// Attach makes a disk of a LUN that Find hasn't found; partitions are not added. Errors: VSS_E_MISSING_DISK.
	Attach(ctx context.Context, m array.Mapping) (device string, err error)
	// Detach deletes the partitions and the disk. Errors: VDS_E_DEVICE_IN_USE, and the disk stays.
	Detach(ctx context.Context, device string) error
	// Resize makes the disk as large as its LUN.
	Resize(ctx context.Context, device string) error
}

// Config configures a Manager.
type Config struct {
	Host       string // this host's name in masks
	Arrays     []array.Array
	Initiators map[string]Initiator // by the type of address that they take
	StateDir   string               // for persistent mounts, and where LUNs were attached
	// InUse returns why a LUN is needed as it is (a shadow copy of a set, a set being made), "" if it isn't: such a
	// LUN is neither masked, deleted nor changed by an administrator. It may be nil.
	InUse func(vss.LUNID) (why string)
	// Event reports a problem to administrators; it may be nil.
	Event  func(kind events.Kind, severity events.Severity, object string, err error)
	Logger *slog.Logger
}

// Manager is the disk manager of a host. Its methods may be called from many goroutines.
type Manager struct {
	cfg Config

	places   *places
	mounts   *mountList
	contents contents

	mu    sync.Mutex // the fields below
	locks map[vss.LUNID]*lunLock
	ids   map[string]vss.LUNID // LUNs by the designators of page 0x83
}

// Disk is a LUN and what it is on this host.
type Disk struct {
	LUN     array.LUN
	Array   array.Array
	Device  string // the disk, not a partition; "" while the LUN isn't on this host
	Address array.Address
}

// Exists reports whether an array has the LUN.
func (d Disk) Exists() bool { return !d.LUN.ID.IsZero() }

// lunLock is held while a LUN is changed.
type lunLock struct {
	sync.Mutex
	users int
}

// New makes the disk manager of a host. Errors: VSS_E_NOT_SUPPORTED for a state directory of a newer format.
func New(cfg Config) (*Manager, error) {
	mounts, err := openMounts(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	return &Manager{
		cfg: cfg, places: openPlaces(cfg.StateDir), mounts: mounts, contents: contents{known: map[string]content{}},
		locks: map[vss.LUNID]*lunLock{}, ids: map[string]vss.LUNID{},
	}, nil
}

// Arrays are the arrays that this host knows.
func (m *Manager) Arrays() []array.Array { return slices.Clone(m.cfg.Arrays) }

// lock waits until no other caller changes the LUN.
func (m *Manager) lock(id vss.LUNID) (unlock func()) {
	m.mu.Lock()
	l := m.locks[id]
	if l == nil {
		l = &lunLock{}
		m.locks[id] = l
	}
	l.users++
	m.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		m.mu.Lock()
		if l.users--; l.users == 0 {
			delete(m.locks, id)
		}
		m.mu.Unlock()
	}
}

// initiator chooses the one that takes an address.
func (m *Manager) initiator(a array.Address) (Initiator, error) {
	if i := m.cfg.Initiators[a.Type]; i != nil {
		return i, nil
	}
	return nil, vss.E("FindInitiator", vss.VDSErrNotSupported, errors.New("no initiator for targets of type "+a.Type)).
		On(m.cfg.Host).
		Advise("the array shows this LUN in a way that this host can't reach")
}

// event reports a problem to administrators.
func (m *Manager) event(kind events.Kind, severity events.Severity, object string, err error) {
	m.cfg.Logger.Warn(string(kind), "object", object, "error", err)
	if m.cfg.Event != nil {
		m.cfg.Event(kind, severity, object, err)
	}
}
