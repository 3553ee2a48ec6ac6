package providertest

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"sync"

	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Array is a storage array in memory, for Memory providers: LUNs of one byte each. It outlives its providers, as an
// array outlives the processes that speak to it.
type Array struct {
	mu   sync.Mutex
	luns map[string]*memoryLUN // by page 0x83
	gate chan struct{}         // EndPrepareSnapshots waits while it is open; nil lets all pass
}

type memoryLUN struct {
	info     vss.LUNInformation
	content  byte
	origin   string // of a copy
	set      vss.SnapshotSetID
	final    bool
	imported bool
	visible  bool
}

// NewArray returns an array with originals.
func NewArray(originals int) (*Array, []vss.LUNInformation) {
	a := &Array{luns: map[string]*memoryLUN{}}
	var out []vss.LUNInformation
	for range originals {
		l := a.add("", vss.SnapshotSetID{})
		l.visible = true
		out = append(out, l.info)
	}
	return a, out
}

// add adds a LUN. The caller holds mu, or has not shared the array yet.
func (a *Array) add(origin string, set vss.SnapshotSetID) *memoryLUN {
	l := &memoryLUN{info: NewLUN(), origin: origin, set: set}
	a.luns[key(&l.info)] = l
	return l
}

// NewLUN describes a LUN that no array has.
func NewLUN() vss.LUNInformation {
	id := vss.NewGUID()
	id[0] = id[0]&0x0f | 0x60
	return vss.LUNInformation{
		Version:         1,
		VendorID:        "MEMORY",
		ProductID:       "LUN",
		ProductRevision: "1",
		SerialNumber:    hex.EncodeToString(id[8:]),
		DeviceIDs:       []vss.StorageIdentifier{{CodeSet: vss.CodeSetBinary, Type: vss.IdentifierNAA, ID: id[:]}},
	}
}

func key(l *vss.LUNInformation) string {
	for _, d := range l.DeviceIDs {
		if d.Type == vss.IdentifierNAA {
			return string(d.ID)
		}
	}
	return ""
}

// find returns a LUN, or nil. The caller holds mu.
func (a *Array) find(l *vss.LUNInformation) *memoryLUN { return a.luns[key(l)] }

// Write sets a LUN's content; Read returns it; Visible reports whether the host may see it; Copies counts the copies.
func (a *Array) Write(l vss.LUNInformation, b byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.find(&l).content = b
}

// Read returns a LUN's content, 0 for none.
func (a *Array) Read(l vss.LUNInformation) byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f := a.find(&l); f != nil {
		return f.content
	}
	return 0
}

// Visible reports whether the host may see a LUN.
func (a *Array) Visible(l vss.LUNInformation) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.find(&l)
	return f != nil && f.visible
}

// Copies returns the number of copies, finished or not.
func (a *Array) Copies() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, l := range a.luns {
		if l.origin != "" {
			n++
		}
	}
	return n
}

// Slow makes every EndPrepareSnapshots wait until release is called.
func (a *Array) Slow() (release func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	gate := make(chan struct{})
	a.gate = gate
	return sync.OnceFunc(func() { close(gate) })
}

// dropSet deletes the copies of a set that aren't final and reports whether it had any.
func (a *Array) dropSet(set vss.SnapshotSetID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := false
	for k, l := range a.luns {
		if l.origin != "" && l.set == set {
			known = true
			if !l.final {
				delete(a.luns, k)
			}
		}
	}
	return known
}

// Memory is a complete hardware provider over an Array, for tests of code that calls providers. Change its exported
// fields before the first call.
type Memory struct {
	ID   vss.ProviderID
	Name string

	provider.Base
	array *Array
}

// MemoryID is the provider id of NewMemory's providers.
var MemoryID = vss.ProviderID{GUID: vss.MustGUID("5f1d0c6e-93b4-4c0e-9a55-6f2f0d9f3a11")}

// NewMemory returns a provider: a process that speaks to the array.
func NewMemory(a *Array) *Memory {
	return &Memory{
		ID:    MemoryID,
		Name:  "Memory Provider",
		array: a,
		Base: provider.Base{Machine: provider.NewMachine(func(_ context.Context, set vss.SnapshotSetID) error {
			a.dropSet(set)
			return nil
		})},
	}
}

var _ provider.Hardware = (*Memory)(nil)

// Properties implements provider.Provider.
func (m *Memory) Properties(context.Context) (provider.Properties, error) {
	return provider.Properties{
		ID:           m.ID,
		Name:         m.Name,
		Type:         vss.ProviderHardware,
		Version:      "1.0.0",
		VersionID:    m.ID.GUID,
		Capabilities: []provider.Capability{provider.CanDifferential, provider.CanTransport, provider.CanResync},
	}, nil
}

// AreLUNsSupported implements provider.Hardware.
func (m *Memory) AreLUNsSupported(
	_ context.Context,
	c vss.Context,
	_ []string,
	luns []vss.LUNInformation,
) (bool, []vss.LUNInformation, error) {
	m.array.mu.Lock()
	defer m.array.mu.Unlock()
	if c.Has(vss.AttrClientAccessible) || c.Has(vss.AttrPlex) || len(luns) == 0 {
		return false, luns, nil
	}
	for i := range luns {
		if f := m.array.find(&luns[i]); f == nil || f.origin != "" {
			return false, luns, nil
		}
	}
	return true, luns, nil
}

// BeginPrepareSnapshot implements provider.Hardware.
func (m *Memory) BeginPrepareSnapshot(
	ctx context.Context,
	set vss.SnapshotSetID,
	_ vss.SnapshotID,
	c vss.Context,
	devices []string,
	luns []vss.LUNInformation,
) error {
	return m.Machine.Begin(ctx, set, func(ctx context.Context) error {
		if ok, _, err := m.AreLUNsSupported(ctx, c, devices, luns); err != nil || !ok {
			return vss.E("BeginPrepareSnapshot", vss.ErrVolumeNotSupportedByProvider, err)
		}
		m.array.mu.Lock()
		defer m.array.mu.Unlock()
		for i := range luns {
			if m.array.copyOf(set, &luns[i]) == nil {
				m.array.add(key(&luns[i]), set)
			}
		}
		return nil
	})
}

// copyOf finds a set's copy of an original, or nil. The caller holds mu.
func (a *Array) copyOf(set vss.SnapshotSetID, original *vss.LUNInformation) *memoryLUN {
	for _, l := range a.luns {
		if l.set == set && l.origin != "" && l.origin == key(original) {
			return l
		}
	}
	return nil
}

// EndPrepareSnapshots implements provider.Provider.
func (m *Memory) EndPrepareSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	return m.Machine.Step(ctx, provider.CallEndPrepare, set, func(ctx context.Context) error {
		m.array.mu.Lock()
		gate := m.array.gate
		m.array.mu.Unlock()
		return waitFor(ctx, gate)
	})
}

// CommitSnapshots implements provider.Provider.
func (m *Memory) CommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	return m.Machine.Step(ctx, provider.CallCommit, set, func(context.Context) error {
		m.each(set, func(l *memoryLUN) { l.content = m.array.luns[l.origin].content })
		return nil
	})
}

func (m *Memory) each(set vss.SnapshotSetID, f func(*memoryLUN)) {
	m.array.mu.Lock()
	defer m.array.mu.Unlock()
	for _, l := range m.array.luns {
		if l.origin != "" && l.set == set {
			f(l)
		}
	}
}

// PostFinalCommitSnapshots implements provider.Provider.
func (m *Memory) PostFinalCommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	return m.Machine.Step(ctx, provider.CallPostFinalCommit, set, func(context.Context) error {
		m.each(set, func(l *memoryLUN) { l.final = true })
		return nil
	})
}

// AbortSnapshots implements provider.Provider. A set of a former process is known to the array only.
func (m *Memory) AbortSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	err := m.Machine.Abort(ctx, set)
	if errors.Is(err, vss.ErrObjectNotFound) && m.array.dropSet(set) {
		return nil
	}
	return err
}

// GetTargetLUNs implements provider.Hardware.
func (m *Memory) GetTargetLUNs(
	_ context.Context,
	set vss.SnapshotSetID,
	_ []string,
	sources []vss.LUNInformation,
) ([]vss.LUNInformation, error) {
	const op = "GetTargetLuns"
	now, state := m.Machine.Now()
	if now != set {
		return nil, vss.E(op, vss.ErrObjectNotFound, nil).On(set.String())
	}
	if !slices.Contains(
		[]vss.SnapshotState{vss.StatePostCommitted, vss.StatePreFinalCommitted, vss.StateCreated},
		state,
	) {
		return nil, vss.E(op, vss.ErrBadState, nil).On(set.String())
	}
	m.array.mu.Lock()
	defer m.array.mu.Unlock()
	var out []vss.LUNInformation
	for i := range sources {
		l := m.array.copyOf(set, &sources[i])
		if l == nil {
			return nil, vss.E(op, vss.ErrObjectNotFound, nil).On(sources[i].SerialNumber)
		}
		out = append(out, l.info)
	}
	return out, nil
}

// copies finds shadow copies' LUNs: all of them, or none and an error. The caller holds mu.
func (a *Array) copies(op string, luns []vss.LUNInformation) ([]*memoryLUN, error) {
	var out []*memoryLUN
	for i := range luns {
		l := a.find(&luns[i])
		if l == nil || l.origin == "" {
			return nil, vss.E(op, vss.ErrObjectNotFound, errors.New("no shadow copy of this array")).
				On(luns[i].SerialNumber)
		}
		out = append(out, l)
	}
	return out, nil
}

// LocateLUNs implements provider.Hardware.
func (m *Memory) LocateLUNs(_ context.Context, luns []vss.LUNInformation) error {
	m.array.mu.Lock()
	defer m.array.mu.Unlock()
	all, err := m.array.copies("LocateLuns", luns)
	if err != nil {
		return err
	}
	for _, l := range all {
		if l.imported {
			return vss.E("LocateLuns", vss.ErrBadState, errors.New("it was imported before")).On(l.info.SerialNumber)
		}
	}
	for _, l := range all {
		l.imported, l.visible = true, true
	}
	return nil
}

// FillInLUNInfo implements provider.Hardware.
func (m *Memory) FillInLUNInfo(_ context.Context, _ string, info *vss.LUNInformation) (bool, error) {
	m.array.mu.Lock()
	defer m.array.mu.Unlock()
	l := m.array.find(info)
	if l == nil {
		return false, nil
	}
	interconnects := info.Interconnects
	*info = l.info
	info.Interconnects = interconnects
	return true, nil
}

// OnLUNEmpty implements provider.Hardware.
func (m *Memory) OnLUNEmpty(_ context.Context, _ string, info *vss.LUNInformation) error {
	m.array.mu.Lock()
	defer m.array.mu.Unlock()
	all, err := m.array.copies("OnLunEmpty", []vss.LUNInformation{*info})
	if err == nil {
		delete(m.array.luns, key(&all[0].info))
	}
	return err
}

// OnLUNStateChange implements provider.Hardware.
func (m *Memory) OnLUNStateChange(
	_ context.Context,
	snapshots, originals []vss.LUNInformation,
	change vss.LUNStateChange,
) error {
	const op = "OnLunStateChange"
	if len(snapshots) != len(originals) {
		return vss.E(op, vss.ErrInvalidArg, errors.New("the lists differ in length"))
	}
	m.array.mu.Lock()
	defer m.array.mu.Unlock()
	all, err := m.array.copies(op, snapshots)
	if err != nil || change&vss.DoMaskLUNs == 0 {
		return err
	}
	for _, l := range all {
		l.visible = false
	}
	return nil
}

// ResyncLUNs implements provider.Hardware.
func (m *Memory) ResyncLUNs(_ context.Context, sources, targets []vss.LUNInformation, progress func(float64)) error {
	const op = "ResyncLuns"
	m.array.mu.Lock()
	defer m.array.mu.Unlock()
	all, err := m.array.copies(op, sources)
	if err == nil && len(sources) != len(targets) {
		err = vss.E(op, vss.ErrInvalidArg, errors.New("the lists differ in length"))
	}
	if err != nil {
		return err
	}
	for i, l := range all {
		to := m.array.find(&targets[i])
		if to == nil {
			return vss.E(op, vss.ErrObjectNotFound, nil).On(targets[i].SerialNumber)
		}
		to.content = l.content
		if progress != nil {
			progress(100 * float64(i+1) / float64(len(all)))
		}
	}
	return nil
}
