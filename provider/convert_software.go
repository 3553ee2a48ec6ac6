package provider

import (
	"fmt"
	"time"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func volumeOut(v Volume) *vssv1.ProviderVolume {
	o := &vssv1.ProviderVolume{
		Name: v.Name, Mount: v.Mount, FileSystem: v.FileSystem, Uuid: v.UUID, Subvolume: v.Subvolume,
		Device: v.Device, Devices: v.Devices, Size: v.Size,
	}
	for _, e := range v.Extents {
		o.Extents = append(o.Extents, &vssv1.ProviderExtent{Device: int32(e.LUN), Start: e.Start, Length: e.Length})
	}
	return o
}

func (p *parser) volume(m *vssv1.ProviderVolume) Volume {
	if m == nil && p.err == nil {
		p.err = badMessage("Volume", "the volume is missing")
	}
	v := Volume{
		Name: m.GetName(), Mount: m.GetMount(), FileSystem: m.GetFileSystem(), UUID: m.GetUuid(),
		Subvolume: m.GetSubvolume(),
		Device:    m.GetDevice(), Devices: m.GetDevices(), Size: m.GetSize(),
	}
	for _, e := range m.GetExtents() {
		if d := int(e.GetDevice()); (d < 0 || d >= len(v.Devices)) && p.err == nil {
			p.err = badMessage("Volume", fmt.Sprintf("an extent lies on device %d of %d", d, len(v.Devices)))
		}
		v.Extents = append(v.Extents, vss.Extent{LUN: int(e.GetDevice()), Start: e.GetStart(), Length: e.GetLength()})
	}
	return v
}

func (p *parser) offer(m *vssv1.ProviderOffer) Offer {
	o := Offer{Hold: HoldMode(m.GetHold()), Suspends: m.GetSuspends(), Cost: m.GetCost()}
	if _, ok := holdModes[o.Hold]; !ok && p.err == nil {
		p.err = badMessage("Consider", fmt.Sprintf("unknown hold mode %d", o.Hold))
	}
	return o
}

// checkPayload returns E_INVALIDARG for a payload that is too large for a record.
func checkPayload(op string, payload []byte) error {
	if len(payload) <= MaxPayload {
		return nil
	}
	return badMessage(op, fmt.Sprintf("a copy's payload has at most %d bytes, not %d", MaxPayload, len(payload)))
}

func copyOut(c Copy) *vssv1.ProviderCopy {
	return &vssv1.ProviderCopy{
		Payload: c.Payload, Version: int32(c.Version), Attributes: uint32(c.Attributes),
		FirstCutUnixNano: nanos(c.FirstCut), LastCutUnixNano: nanos(c.LastCut),
	}
}

func (p *parser) copy(m *vssv1.ProviderCopy) Copy {
	if err := checkPayload("Describe", m.GetPayload()); err != nil && p.err == nil {
		p.err = err
	}
	return Copy{
		Payload: m.GetPayload(), Version: int(m.GetVersion()), Attributes: vss.Attributes(m.GetAttributes()),
		FirstCut: moment(m.GetFirstCutUnixNano()), LastCut: moment(m.GetLastCutUnixNano()),
	}
}

func refOut(r Ref) *vssv1.ProviderRef {
	return &vssv1.ProviderRef{SnapshotId: r.ID.String(), Payload: r.Payload}
}

func (p *parser) ref(m *vssv1.ProviderRef) Ref {
	return Ref{ID: p.snapshot(m.GetSnapshotId()), Payload: m.GetPayload()}
}

func locationOut(l Location) *vssv1.ProviderLocation {
	return &vssv1.ProviderLocation{Devices: l.Devices, Folder: l.Folder, Subvolume: l.Subvolume}
}

func locationIn(m *vssv1.ProviderLocation) Location {
	return Location{Devices: m.GetDevices(), Folder: m.GetFolder(), Subvolume: m.GetSubvolume()}
}

func eventOut(e Event) *vssv1.ProviderEvent {
	return &vssv1.ProviderEvent{
		UnixNano: nanos(e.Time), Kind: string(e.Kind), SnapshotId: e.Snapshot.String(), Object: e.Object,
		Percent: e.Percent, Text: e.Text, Hint: e.Hint,
	}
}

func (p *parser) event(m *vssv1.ProviderEvent) Event {
	return Event{
		Time: moment(m.GetUnixNano()), Kind: EventKind(m.GetKind()), Snapshot: p.snapshot(m.GetSnapshotId()),
		Object: m.GetObject(), Percent: m.GetPercent(), Text: m.GetText(), Hint: m.GetHint(),
	}
}

// nanos returns a time as it is sent: 0 for none.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func moment(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

func snapshotOut(s SnapshotProperties) *vssv1.ProviderSnapshot {
	return &vssv1.ProviderSnapshot{
		Id: s.ID.String(), SetId: s.SetID.String(), Count: int32(s.Count), DeviceObject: s.DeviceObject,
		OriginalVolume: s.OriginalVolume, OriginatingHost: s.OriginatingHost, ServiceHost: s.ServiceHost,
		ExposedName: s.ExposedName, ExposedPath: s.ExposedPath, ProviderId: s.ProviderID.String(),
		Attributes: uint32(s.Attributes), CreatedUnixNano: nanos(s.Created), State: int32(s.State),
	}
}

func (p *parser) snapshotProperties(m *vssv1.ProviderSnapshot) SnapshotProperties {
	return SnapshotProperties{
		ID: p.snapshot(
			m.GetId(),
		), SetID: p.set(m.GetSetId()), Count: int(m.GetCount()), DeviceObject: m.GetDeviceObject(),
		OriginalVolume: m.GetOriginalVolume(), OriginatingHost: m.GetOriginatingHost(), ServiceHost: m.GetServiceHost(),
		ExposedName: m.GetExposedName(), ExposedPath: m.GetExposedPath(),
		ProviderID: vss.ProviderID{GUID: p.guid(m.GetProviderId())},
		Attributes: vss.Attributes(
			m.GetAttributes(),
		), Created: moment(m.GetCreatedUnixNano()), State: vss.SnapshotState(m.GetState()),
	}
}
