package providertest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// MemorySoftware is a complete software provider over a Host, for tests of code that calls providers. Change its
// exported fields before the first call.
type MemorySoftware struct {
	ID    vss.ProviderID
	Name  string
	Offer provider.Offer // of every volume
	Paths []string       // what WritePaths returns

	provider.SoftwareBase
	host *Host
}

// MemorySoftwareID is the provider id of NewMemorySoftware's providers.
var MemorySoftwareID = vss.ProviderID{GUID: vss.MustGUID("2f0a6a4e-5a4d-4a0c-8f0c-1c6c0b1f7d52")}

// NewMemorySoftware returns a provider: a process on the host.
func NewMemorySoftware(h *Host) *MemorySoftware {
	m := &MemorySoftware{
		ID:    MemorySoftwareID,
		Name:  "Memory Software Provider",
		Offer: provider.Offer{Cost: "one byte"},
		host:  h,
	}
	m.Machine = provider.NewMachine(func(_ context.Context, set vss.SnapshotSetID) error {
		h.dropSet(set)
		return nil
	})
	return m
}

var _ provider.Software = (*MemorySoftware)(nil)

// Properties implements provider.Provider.
func (m *MemorySoftware) Properties(context.Context) (provider.Properties, error) {
	return provider.Properties{
		ID:           m.ID,
		Name:         m.Name,
		Type:         vss.ProviderSoftware,
		Version:      "1.0.0",
		VersionID:    m.ID.GUID,
		Capabilities: []provider.Capability{provider.CanPlex, provider.CanRevert},
	}, nil
}

// IsVolumeSupported implements provider.Software.
func (m *MemorySoftware) IsVolumeSupported(_ context.Context, v provider.Volume, c vss.Context) (bool, error) {
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	_, known := m.host.volumes[v.UUID]
	return known && m.allows(c) == nil, nil
}

// allows returns an error for contexts that it doesn't support.
func (m *MemorySoftware) allows(c vss.Context) error {
	p, _ := m.Properties(context.Background())
	return p.Allows(c)
}

// Consider implements provider.Software.
func (m *MemorySoftware) Consider(ctx context.Context, v provider.Volume, c vss.Context) (provider.Offer, error) {
	if ok, err := m.IsVolumeSupported(ctx, v, c); err != nil || !ok {
		return provider.Offer{}, vss.E("Consider", vss.ErrVolumeNotSupportedByProvider,
			errors.New("not a volume of this host, or an unsupported context")).
			On(v.Name)
	}
	return m.Offer, nil
}

// IsVolumeSnapshotted implements provider.Software.
func (m *MemorySoftware) IsVolumeSnapshotted(
	_ context.Context,
	v provider.Volume,
) (bool, vss.SnapshotCompatibility, error) {
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	for _, c := range m.host.copies {
		if c.final && c.volume.UUID == v.UUID {
			return true, 0, nil
		}
	}
	return false, 0, nil
}

// BeginPrepareSnapshot implements provider.Software.
func (m *MemorySoftware) BeginPrepareSnapshot(ctx context.Context, set vss.SnapshotSetID, id vss.SnapshotID,
	v provider.Volume, c vss.Context) error {
	return m.Machine.Begin(ctx, set, func(ctx context.Context) error {
		if err := m.allows(c); err != nil {
			return err
		}
		if _, err := m.Consider(ctx, v, c); err != nil {
			return err
		}
		m.host.mu.Lock()
		defer m.host.mu.Unlock()
		if m.host.copies[id] != nil {
			return vss.E("BeginPrepareSnapshot", vss.ErrInvalidArg, errors.New("the copy exists")).On(id.String())
		}
		m.host.copies[id] = &memoryCopy{set: set, volume: v, props: provider.SnapshotProperties{
			ID: id, SetID: set, OriginalVolume: v.Name, ProviderID: m.ID, Attributes: c, State: vss.StateCreated,
			DeviceObject: device(id), OriginatingHost: "memory", ServiceHost: "memory",
		}}
		return nil
	})
}

// EndPrepareSnapshots implements provider.Provider.
func (m *MemorySoftware) EndPrepareSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	return m.Machine.Step(ctx, provider.CallEndPrepare, set, func(ctx context.Context) error {
		provider.Report(ctx, 0)
		if err := m.host.wait(ctx); err != nil {
			return err
		}
		provider.Report(ctx, 100)
		return nil
	})
}

// WritePaths implements provider.Software.
func (m *MemorySoftware) WritePaths(_ context.Context, set vss.SnapshotSetID) ([]string, error) {
	if now, state := m.Machine.Now(); now != set || state == vss.StateAborted {
		return nil, vss.E("WritePaths", vss.ErrObjectNotFound, nil).On(set.String())
	}
	return m.Paths, nil
}

// CommitSnapshots implements provider.Provider.
func (m *MemorySoftware) CommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	return m.Machine.Step(ctx, provider.CallCommit, set, func(context.Context) error {
		now := time.Now()
		m.host.each(set, func(c *memoryCopy) { c.content, c.cut = m.host.volumes[c.volume.UUID], now })
		return nil
	})
}

// PostCommitSnapshots implements provider.Provider.
func (m *MemorySoftware) PostCommitSnapshots(ctx context.Context, set vss.SnapshotSetID, count int) error {
	return m.Machine.Step(ctx, provider.CallPostCommit, set, func(context.Context) error {
		m.host.each(set, func(c *memoryCopy) { c.props.Count, c.props.Created = count, c.cut })
		return nil
	})
}

// Describe implements provider.Software.
func (m *MemorySoftware) Describe(_ context.Context, set vss.SnapshotSetID, id vss.SnapshotID) (provider.Copy, error) {
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	c := m.host.copies[id]
	if c == nil || c.set != set {
		return provider.Copy{}, notFound("Describe", id)
	}
	if c.cut.IsZero() {
		return provider.Copy{}, vss.E("Describe", vss.ErrBadState, errors.New("the copy isn't taken yet")).
			On(id.String())
	}
	return provider.Copy{
		Payload:    payload(id),
		Version:    1,
		FirstCut:   c.cut,
		LastCut:    c.cut,
		Attributes: vss.AttrPlex,
	}, nil
}

// PostFinalCommitSnapshots implements provider.Provider.
func (m *MemorySoftware) PostFinalCommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	return m.Machine.Step(ctx, provider.CallPostFinalCommit, set, func(context.Context) error {
		m.host.each(set, func(c *memoryCopy) { c.final, c.writable = true, false })
		return nil
	})
}

// AbortSnapshots implements provider.Provider. A set of a former process is known to the host only.
func (m *MemorySoftware) AbortSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	err := m.Machine.Abort(ctx, set)
	if errors.Is(err, vss.ErrObjectNotFound) && m.host.dropSet(set) {
		return nil
	}
	return err
}

func payload(id vss.SnapshotID) []byte { return []byte("memory " + id.String()) }

func notFound(op string, id vss.SnapshotID) error {
	return vss.E(op, vss.ErrObjectNotFound, errors.New("the provider has no such copy")).On(id.String())
}

// find returns a copy that was taken. The caller holds host.mu.
func (m *MemorySoftware) find(op string, r provider.Ref) (*memoryCopy, error) {
	c := m.host.copies[r.ID]
	if c == nil || c.cut.IsZero() {
		return nil, notFound(op, r.ID)
	}
	if string(r.Payload) != string(payload(r.ID)) {
		return nil, vss.E(op, vss.ErrInvalidArg, fmt.Errorf("payload %q is not what Describe returned", r.Payload)).
			On(r.ID.String())
	}
	return c, nil
}

// Surface implements provider.Software.
func (m *MemorySoftware) Surface(_ context.Context, r provider.Ref) (provider.Location, error) {
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	c, err := m.find("Surface", r)
	if err == nil && c.lost {
		err = vss.E("Surface", vss.ErrObjectNotFound, errors.New("the copy is lost")).On(r.ID.String())
	}
	if err != nil {
		return provider.Location{}, err
	}
	c.surfaced = true
	return provider.Location{Devices: []string{device(r.ID)}}, nil
}

// SetWritable implements provider.Software.
func (m *MemorySoftware) SetWritable(_ context.Context, r provider.Ref, on bool) error {
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	c, err := m.find("SetWritable", r)
	switch {
	case err != nil:
		return err
	case !c.surfaced || on && c.final:
		return vss.E("SetWritable", vss.ErrBadState, errors.New("the copy isn't surfaced, or is read-only for good")).
			On(r.ID.String())
	}
	c.writable = on
	return nil
}

// Withdraw implements provider.Software.
func (m *MemorySoftware) Withdraw(_ context.Context, r provider.Ref, _ bool) error {
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	c, err := m.find("Withdraw", r)
	if err == nil {
		c.surfaced, c.writable = false, false
	}
	return err
}

// GetSnapshotProperties implements provider.Software.
func (m *MemorySoftware) GetSnapshotProperties(
	_ context.Context,
	id vss.SnapshotID,
) (provider.SnapshotProperties, error) {
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	if c := m.host.copies[id]; c != nil && c.final {
		return c.props, nil
	}
	return provider.SnapshotProperties{}, notFound("GetSnapshotProperties", id)
}

// Query implements provider.Software.
func (m *MemorySoftware) Query(context.Context) ([]provider.SnapshotProperties, error) {
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	var out []provider.SnapshotProperties
	for _, c := range m.host.copies {
		if c.final {
			out = append(out, c.props)
		}
	}
	return out, nil
}

// SetSnapshotProperty implements provider.Software.
func (m *MemorySoftware) SetSnapshotProperty(
	_ context.Context,
	id vss.SnapshotID,
	p provider.Property,
	value any,
) error {
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	c := m.host.copies[id]
	if c == nil || !c.final {
		return notFound("SetSnapshotProperty", id)
	}
	text, isText := value.(string)
	attributes, isAttributes := value.(vss.Attributes)
	switch {
	case p == provider.PropertyExposedName && isText:
		c.props.ExposedName = text
	case p == provider.PropertyExposedPath && isText:
		c.props.ExposedPath = text
	case p == provider.PropertyAttributes && isAttributes:
		c.props.Attributes = attributes
	default:
		return vss.E("SetSnapshotProperty", vss.ErrInvalidArg,
			fmt.Errorf("property %d can't be set to a %T", p, value)).
			On(id.String())
	}
	return nil
}

// DeleteSnapshots implements provider.Software.
func (m *MemorySoftware) DeleteSnapshots(
	_ context.Context,
	copies []provider.Ref,
	_ bool,
) (int, vss.SnapshotID, error) {
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	for n, r := range copies {
		if _, err := m.find("DeleteSnapshots", r); err != nil {
			return n, r.ID, err
		}
		delete(m.host.copies, r.ID)
	}
	return len(copies), vss.SnapshotID{}, nil
}

// RevertToSnapshot implements provider.Software.
func (m *MemorySoftware) RevertToSnapshot(_ context.Context, r provider.Ref) error {
	m.host.mu.Lock()
	defer m.host.mu.Unlock()
	c, err := m.find("RevertToSnapshot", r)
	if err == nil {
		m.host.volumes[c.volume.UUID] = c.content
	}
	return err
}

// Events implements provider.Software.
func (m *MemorySoftware) Events(ctx context.Context) (<-chan provider.Event, error) {
	out := make(chan provider.Event)
	go func() {
		defer close(out)
		for {
			e, ok := m.host.next(ctx)
			if !ok {
				return
			}
			select {
			case out <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}
