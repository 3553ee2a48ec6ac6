package rpc

import (
	"time"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/background"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/coordinator"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// each converts the elements of a list.
func each[A, B any](in []A, one func(A) B) []B {
	out := make([]B, len(in))
	for i, a := range in {
		out[i] = one(a)
	}
	return out
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func metadataOut(all []*document.WriterMetadata) (*vssv1.WriterMetadataList, error) {
	out := &vssv1.WriterMetadataList{}
	for _, m := range all {
		xml, err := m.XML()
		if err != nil {
			return nil, err
		}
		w := &vssv1.WriterMetadata{
			WriterId: m.WriterID.String(), InstanceId: m.InstanceID.String(), Name: m.Name, Xml: xml,
		}
		for _, c := range m.Components {
			w.Components = append(w.Components, &vssv1.ComponentInfo{
				Type: c.Type.String(), LogicalPath: c.LogicalPath, Name: c.Name, Caption: c.Caption,
				Selectable: c.Selectable,
			})
		}
		out.Writers = append(out.Writers, w)
	}
	return out, nil
}

// component is a message that names a component.
type component interface {
	GetWriterId() string
	GetInstanceId() string
	GetType() string
	GetLogicalPath() string
	GetName() string
}

func componentIn(c component) (name, error) {
	n := name{LogicalPath: c.GetLogicalPath(), Name: c.GetName()}
	g, err := vss.ParseGUID(c.GetWriterId())
	if err == nil {
		n.Writer.GUID, err = g, n.Type.UnmarshalText([]byte(c.GetType()))
	}
	if text := c.GetInstanceId(); err == nil && text != "" {
		n.Instance.GUID, err = vss.ParseGUID(text)
	}
	return n, err
}

func fileSetIn(r *vssv1.ComponentFilesRequest) document.FileSet {
	return document.FileSet{
		Path: r.GetPath(), FileSpec: r.GetFilespec(), Recursive: r.GetRecursive(), AlternatePath: r.GetAlternatePath(),
	}
}

func writerOut(w catalog.Writer) *vssv1.WriterStatus {
	return &vssv1.WriterStatus{
		Name: w.Name, WriterId: w.ID.String(), InstanceId: w.InstanceID.String(), Level: w.Level.String(),
		State: int32(w.State), Failure: w.Failure.HRESULT(), Message: w.Message, Application: w.Application,
		FrozenMs: milliseconds(w.Frozen), Components: int32(w.Components),
	}
}

func snapshotOut(p coordinator.Properties) *vssv1.Snapshot {
	out := &vssv1.Snapshot{
		Id: p.ID.String(), SetId: p.SetID.String(), State: int32(p.State), Count: int32(p.Count),
		OriginalVolume: p.OriginalVolume,
		DeviceObject:   p.DeviceObject, Path: p.Path, ProviderId: p.ProviderID.String(), ProviderName: p.ProviderName,
		Attributes: uint32(p.Attributes), CreatedUnixNano: p.Created.UnixNano(), ExposedAt: p.ExposedAt,
		OriginatingMachine: p.OriginatingMachine, ServiceMachine: p.ServiceMachine,
		Consistency: p.Consistency.String(), FileSystem: p.FileSystem,
	}
	for _, l := range p.LUNs {
		if !l.LUNID.IsZero() {
			out.Luns = append(out.Luns, l.LUNID.String())
		}
	}
	return out
}

func setOut(s catalog.Set, copies []coordinator.Properties) *vssv1.SnapshotSet {
	return &vssv1.SnapshotSet{
		SetId: s.ID.String(), Context: uint32(s.Context), CreatedUnixNano: s.Created.UnixNano(),
		HoldMs: milliseconds(s.Hold), WriterWindowMs: milliseconds(s.WriterWindow),
		Consistency: s.Consistency.String(), ConsistencyReason: s.ConsistencyReason,
		Snapshots: each(copies, snapshotOut), Writers: each(s.Writers, writerOut),
		Timeline: each(s.Timeline, func(t catalog.Step) *vssv1.TimelineStep {
			return &vssv1.TimelineStep{Step: t.Name, StartMs: milliseconds(t.Start), EndMs: milliseconds(t.End)}
		}),
	}
}

func providerOut(p provider.Properties) *vssv1.Provider {
	return &vssv1.Provider{Id: p.ID.String(), Name: p.Name, Type: p.Type.String(), Version: p.Version,
		Capabilities: each(p.Capabilities, func(c provider.Capability) string { return string(c) })}
}

func brokenOut(b copies.Broken) *vssv1.BrokenLun {
	return &vssv1.BrokenLun{
		Lun: b.LUN.String(), OriginalVolume: b.OriginalVolume, Device: b.Device,
		ReadWrite: b.ReadWrite, Masked: b.Masked, Reverted: b.Reverted,
	}
}

func statusOut(s background.Status) *vssv1.AsyncStatus {
	return &vssv1.AsyncStatus{
		Result: s.Result.HRESULT(), Error: wire.MarshalError(s.Err), Percent: s.Percent, Step: s.Step,
	}
}

func volumeOut(v coordinator.ListedVolume) *vssv1.Volume {
	return &vssv1.Volume{
		Volume: v.Name, Device: v.Device, FileSystem: v.FileSystem, Uuid: v.UUID,
		MountPoints: each(v.MountPoints, volume.Printable), Snapshots: each(v.Snapshots, vss.SnapshotID.String),
		Luns: each(v.LUNs, vss.LUNID.String), Providers: v.Providers, Supported: len(v.Providers) > 0,
	}
}

func eventOut(e catalog.Event) *vssv1.Event {
	out := &vssv1.Event{
		TimeUnixNano: e.Time.UnixNano(), Severity: e.Severity, What: e.What, Provider: e.Provider, Object: e.Object,
		Hresult: e.Code.HRESULT(), Result: e.Code.Name(), Message: e.Message, Hint: e.Hint,
	}
	if !e.SetID.IsZero() {
		out.SetId = e.SetID.String()
	}
	return out
}
