package requester

import (
	"errors"
	"fmt"
	"time"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Snapshot is one shadow copy (VSS_SNAPSHOT_PROP, and what Linux adds).
type Snapshot struct {
	ID                 vss.SnapshotID
	SetID              vss.SnapshotSetID
	State              vss.SnapshotState
	Count              int // copies in the set when it was created
	OriginalVolume     string
	DeviceObject       string // "" while the copy isn't on this host
	Path               string // where it can be read now, "" for nowhere
	ProviderID         vss.ProviderID
	ProviderName       string
	Attributes         vss.Attributes
	Created            time.Time
	ExposedAt          string
	OriginatingMachine string
	ServiceMachine     string
	LUNs               []vss.LUNID
	Consistency        string // "application", "file-system", "crash"
	FileSystem         string
}

// SnapshotSet is one shadow copy set and how its creation went.
type SnapshotSet struct {
	ID                vss.SnapshotSetID
	Context           vss.Context // as given to SetContext
	Created           time.Time
	Hold              time.Duration // just before the first freeze to the return of the last thaw
	WriterWindow      time.Duration // first Freeze sent to last Thaw answered
	Consistency       string
	ConsistencyReason string
	Snapshots         []Snapshot
	Writers           []WriterStatus
	Timeline          []Step
}

// Step is one step of a creation, in time since it began.
type Step struct {
	Name       string
	Start, End time.Duration
}

// WriterStatus is how a writer is. Failure is S_OK where nothing is wrong.
type WriterStatus struct {
	Name       string
	ID         vss.WriterID
	Instance   vss.WriterInstanceID
	State      vss.WriterState
	Failure    vss.Code
	Message    string // the writer's own words
	Level      string // "front-end", "back-end", "system"
	Frozen     time.Duration
	Components int
	// Application is the application's own code (GetWriterStatusEx); 0 where it gave none.
	Application uint32
}

// WriterMetadata is what a writer told of itself.
type WriterMetadata struct {
	ID         vss.WriterID
	Instance   vss.WriterInstanceID
	Name       string
	XML        []byte // Writer Metadata Document
	Components []Component
}

// Component is a component of a writer.
type Component struct {
	Writer      vss.WriterID
	Instance    vss.WriterInstanceID
	Type        string // "database" or "filegroup"
	LogicalPath string
	Name        string
	Caption     string
	Selectable  bool
}

// Provider is a registered provider.
type Provider struct {
	ID           vss.ProviderID
	Name         string
	Type         string // "hardware", "software", "system", "fileshare"
	Version      string
	Capabilities []string
}

// BrokenLUN is what a break did to one LUN.
type BrokenLUN struct {
	LUN            vss.LUNID
	OriginalVolume string
	Device         string // "" when masked
	ReadWrite      bool
	Masked         bool
	Reverted       bool // it has its original's identity; else it kept the one it got at import
}

// guid reads an id of the service; the empty text is GUID_NULL.
func guid(s string) (vss.GUID, error) {
	if s == "" {
		return vss.GUID{}, nil
	}
	g, err := vss.ParseGUID(s)
	if err != nil {
		return g, vss.E("Requester", vss.ErrUnexpected, fmt.Errorf("the service sent a wrong id: %w", err))
	}
	return g, nil
}

func convert[A, B any](in []A, one func(A) (B, error)) ([]B, error) {
	out := make([]B, len(in))
	for i, a := range in {
		var err error
		if out[i], err = one(a); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func snapshotReply(p *vssv1.Snapshot, err error) (Snapshot, error) {
	if err != nil {
		return Snapshot{}, err
	}
	return snapshot(p)
}

func snapshot(p *vssv1.Snapshot) (Snapshot, error) {
	s := Snapshot{
		State: vss.SnapshotState(p.GetState()), Count: int(p.GetCount()), OriginalVolume: p.GetOriginalVolume(), DeviceObject: p.GetDeviceObject(),
		Path: p.GetPath(), ProviderName: p.GetProviderName(), Attributes: vss.Attributes(p.GetAttributes()), Created: moment(p.GetCreatedUnixNano()),
		ExposedAt: p.GetExposedAt(), OriginatingMachine: p.GetOriginatingMachine(), ServiceMachine: p.GetServiceMachine(),
		Consistency: p.GetConsistency(), FileSystem: p.GetFileSystem(),
	}
	var e1, e2, e3, e4 error
	s.ID.GUID, e1 = guid(p.GetId())
	s.SetID.GUID, e2 = guid(p.GetSetId())
	s.ProviderID.GUID, e3 = guid(p.GetProviderId())
	s.LUNs, e4 = convert(p.GetLuns(), func(t string) (id vss.LUNID, err error) {
		id.GUID, err = guid(t)
		return id, err
	})
	return s, errors.Join(e1, e2, e3, e4)
}

func snapshotSet(p *vssv1.SnapshotSet) (SnapshotSet, error) {
	s := SnapshotSet{
		Context: vss.Context(p.GetContext()), Created: moment(p.GetCreatedUnixNano()), Hold: milliseconds(p.GetHoldMs()),
		WriterWindow: milliseconds(p.GetWriterWindowMs()), Consistency: p.GetConsistency(), ConsistencyReason: p.GetConsistencyReason(),
	}
	for _, t := range p.GetTimeline() {
		s.Timeline = append(s.Timeline, Step{t.GetStep(), milliseconds(t.GetStartMs()), milliseconds(t.GetEndMs())})
	}
	var e1, e2, e3 error
	s.ID.GUID, e1 = guid(p.GetSetId())
	s.Snapshots, e2 = convert(p.GetSnapshots(), snapshot)
	s.Writers, e3 = convert(p.GetWriters(), writerStatus)
	return s, errors.Join(e1, e2, e3)
}

func writerStatus(p *vssv1.WriterStatus) (WriterStatus, error) {
	w := WriterStatus{
		Name: p.GetName(), State: vss.WriterState(p.GetState()), Failure: vss.Code(p.GetFailure()), Message: p.GetMessage(), Level: p.GetLevel(),
		Frozen: milliseconds(p.GetFrozenMs()), Components: int(p.GetComponents()), Application: p.GetApplication(),
	}
	var e1, e2 error
	w.ID.GUID, e1 = guid(p.GetWriterId())
	w.Instance.GUID, e2 = guid(p.GetInstanceId())
	return w, errors.Join(e1, e2)
}

func writerMetadata(p *vssv1.WriterMetadata) (WriterMetadata, error) {
	w := WriterMetadata{Name: p.GetName(), XML: p.GetXml()}
	var e1, e2 error
	w.ID.GUID, e1 = guid(p.GetWriterId())
	w.Instance.GUID, e2 = guid(p.GetInstanceId())
	for _, c := range p.GetComponents() {
		w.Components = append(w.Components, Component{w.ID, w.Instance, c.GetType(), c.GetLogicalPath(), c.GetName(), c.GetCaption(), c.GetSelectable()})
	}
	return w, errors.Join(e1, e2)
}

func provider(p *vssv1.Provider) (Provider, error) {
	id, err := guid(p.GetId())
	return Provider{vss.ProviderID{GUID: id}, p.GetName(), p.GetType(), p.GetVersion(), p.GetCapabilities()}, err
}

func brokenReply(p *vssv1.BreakReply, err error) ([]BrokenLUN, error) {
	if err != nil {
		return nil, err
	}
	return convert(p.GetLuns(), func(l *vssv1.BrokenLun) (BrokenLUN, error) {
		id, err := guid(l.GetLun())
		return BrokenLUN{vss.LUNID{GUID: id}, l.GetOriginalVolume(), l.GetDevice(), l.GetReadWrite(), l.GetMasked(), l.GetReverted()}, err
	})
}

func moment(nano int64) time.Time {
	if nano == 0 {
		return time.Time{}
	}
	return time.Unix(0, nano)
}

func milliseconds(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }
