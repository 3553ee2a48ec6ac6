package requester

import (
	"errors"
	"fmt"
	"time"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Snapshot is one shadow copy (VSS_SNAPSHOT_PROP with additions for Linux).
type Snapshot struct {
	ID                 vss.SnapshotID
	SetID              vss.SnapshotSetID
	State              vss.SnapshotState
	Count              int // copies in the set when it was created
	OriginalVolume     string
	DeviceObject       string // "" if the copy is not on this host
	Path               string // where it is mounted; "" if it isn't
	ProviderID         vss.ProviderID
	ProviderName       string
	Attributes         vss.Attributes
	Created            time.Time
	ExposedAt          string // directory or drive letter; "" if it isn't exposed
	OriginatingMachine string
	ServiceMachine     string
	LUNs               []vss.LUNID // none for copies of software providers
	Consistency        string      // "application", "file-system", "crash"
	FileSystem         string
}

// SnapshotSet is one shadow copy set with the statistics of its creation.
type SnapshotSet struct {
	ID                vss.SnapshotSetID
	Context           vss.Context // as given to SetContext
	Created           time.Time
	Hold              time.Duration // from just before the first freeze until the last thaw returned
	WriterWindow      time.Duration // from the first Freeze sent until the last Thaw was answered
	Consistency       string        // "application", "file-system", "crash"
	ConsistencyReason string        // why it isn't application consistent; may be ""
	Snapshots         []Snapshot
	Writers           []WriterStatus
	Timeline          []Step
}

// Step is one step of a creation. Start and End are relative to the start of the creation.
type Step struct {
	Name       string
	Start, End time.Duration
}

// WriterStatus is the status of a writer. Failure is S_OK if it has not failed.
type WriterStatus struct {
	Name       string
	ID         vss.WriterID
	Instance   vss.WriterInstanceID
	State      vss.WriterState
	Failure    vss.Code
	Message    string        // the writer's explanation of Failure
	Level      string        // "front-end", "back-end", "system"
	Frozen     time.Duration // how long it was frozen in the last set
	Components int           // components in its metadata
	// Application is an error code of the application (GetWriterStatusEx), 0 if it set none.
	Application uint32
}

// WriterMetadata is the metadata of a writer.
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
	Capabilities []string // such as "differential", "plex", "transportable"
}

// BrokenLUN is the result of a break for one LUN.
type BrokenLUN struct {
	LUN            vss.LUNID
	OriginalVolume string
	Device         string // "" if masked
	ReadWrite      bool
	Masked         bool
	Reverted       bool // has the identity of its original; otherwise it keeps its own
}

// guid parses an id sent by the service. The empty string is GUID_NULL.
func guid(s string) (vss.GUID, error) {
	if s == "" {
		return vss.GUID{}, nil
	}
	g, err := vss.ParseGUID(s)
	if err != nil {
		return g, vss.E("Requester", vss.ErrUnexpected, fmt.Errorf("the service sent an invalid id: %w", err))
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
		State: vss.SnapshotState(p.GetState()), Count: int(p.GetCount()), OriginalVolume: p.GetOriginalVolume(),
		DeviceObject: p.GetDeviceObject(),
		Path:         p.GetPath(), ProviderName: p.GetProviderName(), Attributes: vss.Attributes(p.GetAttributes()),
		Created:   moment(p.GetCreatedUnixNano()),
		ExposedAt: p.GetExposedAt(), OriginatingMachine: p.GetOriginatingMachine(),
		ServiceMachine: p.GetServiceMachine(),
		Consistency:    p.GetConsistency(), FileSystem: p.GetFileSystem(),
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
		Context: vss.Context(p.GetContext()), Created: moment(p.GetCreatedUnixNano()),
		Hold:         milliseconds(p.GetHoldMs()),
		WriterWindow: milliseconds(p.GetWriterWindowMs()), Consistency: p.GetConsistency(),
		ConsistencyReason: p.GetConsistencyReason(),
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
		Name: p.GetName(), State: vss.WriterState(p.GetState()), Failure: vss.Code(p.GetFailure()),
		Message: p.GetMessage(), Level: p.GetLevel(),
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
		w.Components = append(w.Components, Component{w.ID, w.Instance, c.GetType(), c.GetLogicalPath(), c.GetName(),
			c.GetCaption(), c.GetSelectable()})
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
		return BrokenLUN{vss.LUNID{GUID: id}, l.GetOriginalVolume(), l.GetDevice(), l.GetReadWrite(), l.GetMasked(),
			l.GetReverted()}, err
	})
}

func moment(nano int64) time.Time {
	if nano == 0 {
		return time.Time{}
	}
	return time.Unix(0, nano)
}

func milliseconds(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }
