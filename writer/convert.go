package writer

import (
	"time"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func infoOut(i Info) *vssv1.WriterInfo {
	return &vssv1.WriterInfo{
		Id: i.ID.String(), Name: i.Name, InstanceName: i.InstanceName, Usage: int32(i.Usage), Source: int32(i.Source),
		Level:           int32(i.Level),
		FreezeTimeoutMs: i.FreezeTimeout.Milliseconds(),
	}
}

func infoIn(m *vssv1.WriterInfo) (Info, error) {
	id, err := vss.ParseGUID(m.GetId())
	if err != nil {
		return Info{}, err
	}
	timeout := min(m.GetFreezeTimeoutMs(), DefaultFreezeTimeout.Milliseconds())
	i := Info{
		ID: vss.WriterID{GUID: id}, Name: m.GetName(), InstanceName: m.GetInstanceName(),
		Usage:  vss.UsageType(m.GetUsage()),
		Source: vss.SourceType(m.GetSource()), Level: vss.ApplicationLevel(m.GetLevel()),
		FreezeTimeout: time.Duration(timeout) * time.Millisecond,
	}
	return i.normal()
}

func eventOut(e *Event) (*vssv1.WriterEvent, error) {
	m := &vssv1.WriterEvent{
		Session: e.Session.String(), SetId: e.SetID.String(), Context: uint32(e.Context),
		Volumes: e.Volumes, Devices: e.Devices, Writable: e.Writable,
		BackupType: int32(e.BackupType), RestoreType: int32(e.RestoreType), Partial: e.Partial, Bootable: e.Bootable,
	}
	var err error
	m.Components, err = componentsOut(e.Components)
	return m, err
}

func eventIn(m *vssv1.WriterEvent) (*Event, error) {
	e := &Event{
		Volumes: m.GetVolumes(), Devices: m.GetDevices(), Writable: m.GetWritable(),
		Context: vss.Context(m.GetContext()), Partial: m.GetPartial(), Bootable: m.GetBootable(),
		BackupType: vss.BackupType(m.GetBackupType()), RestoreType: vss.RestoreType(m.GetRestoreType()),
	}
	if err := e.Session.UnmarshalText([]byte(m.GetSession())); err != nil {
		return nil, err
	}
	if err := e.SetID.UnmarshalText([]byte(m.GetSetId())); err != nil {
		return nil, err
	}
	var err error
	e.Components, err = componentsIn(m.GetComponents())
	return e, err
}

// componentsOut returns the components as XML; nil for nil, when the requester is not in component mode.
func componentsOut(c *document.WriterComponents) ([]byte, error) {
	if c == nil {
		return nil, nil
	}
	return c.XML()
}

func componentsIn(xml []byte) (*document.WriterComponents, error) {
	if len(xml) == 0 {
		return nil, nil
	}
	return document.ParseWriterComponents(xml)
}

func failureOut(f *Failure) *vssv1.WriterFailure {
	if f == nil {
		return nil
	}
	return &vssv1.WriterFailure{Hresult: f.Code.HRESULT(), Application: f.Application, Message: f.Message}
}

func failureIn(m *vssv1.WriterFailure) *Failure {
	if m == nil {
		return nil
	}
	return &Failure{Code: vss.Code(m.GetHresult()), Application: m.GetApplication(), Message: m.GetMessage()}
}
