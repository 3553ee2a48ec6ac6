package cli

import (
	"time"

	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Copy is the JSON form of a shadow copy.
type Copy struct {
	ID                 vss.SnapshotID    `json:"id"`
	SetID              vss.SnapshotSetID `json:"set_id"`
	State              string            `json:"state"`
	OriginalVolume     string            `json:"original_volume"`
	DeviceObject       string            `json:"device_object"`
	Path               string            `json:"path"`
	ProviderID         vss.ProviderID    `json:"provider_id"`
	ProviderName       string            `json:"provider_name"`
	Context            string            `json:"context"`
	Attributes         []string          `json:"attributes"`
	Created            time.Time         `json:"created"`
	ExposedAt          string            `json:"exposed_at"`
	OriginatingMachine string            `json:"originating_machine"`
	ServiceMachine     string            `json:"service_machine"`
	LUNs               []vss.LUNID       `json:"luns"`
	Consistency        string            `json:"consistency"`
	FileSystem         string            `json:"file_system"`
}

// Writer is the JSON form of the status of a writer.
type Writer struct {
	Name          string               `json:"name"`
	ID            vss.WriterID         `json:"id"`
	InstanceID    vss.WriterInstanceID `json:"instance_id"`
	State         string               `json:"state"`
	StateCode     int32                `json:"state_code"`
	LastError     string               `json:"last_error"`
	LastErrorCode string               `json:"last_error_code"`
	Message       string               `json:"message"`
	Level         string               `json:"level"`
	FrozenMS      float64              `json:"frozen_ms"`
	Components    int                  `json:"components"`
}

// Step is the JSON form of a step of a creation.
type Step struct {
	Step    string  `json:"step"`
	StartMS float64 `json:"start_ms"`
	EndMS   float64 `json:"end_ms"`
}

// Set is the JSON form of a shadow copy set.
type Set struct {
	Result            string            `json:"result,omitempty"` // success code, if it is not S_OK
	SetID             vss.SnapshotSetID `json:"set_id"`
	Context           string            `json:"context"`
	Attributes        []string          `json:"attributes"`
	Created           time.Time         `json:"created"`
	HoldMS            float64           `json:"hold_ms"`
	WriterWindowMS    float64           `json:"writer_window_ms"`
	Consistency       string            `json:"consistency"`
	ConsistencyReason string            `json:"consistency_reason,omitempty"`
	ShadowCopies      []Copy            `json:"shadow_copies"`
	Writers           []Writer          `json:"writers"`
	Timeline          []Step            `json:"timeline"`
}

// Provider is the JSON form of a provider.
type Provider struct {
	ID           vss.ProviderID `json:"id"`
	Name         string         `json:"name"`
	Type         string         `json:"type"`
	Version      string         `json:"version"`
	Capabilities []string       `json:"capabilities"`
}

// Volume is the JSON form of a volume.
type Volume struct {
	Volume      string   `json:"volume"`
	Device      string   `json:"device"`
	FileSystem  string   `json:"file_system"`
	UUID        string   `json:"uuid"`
	MountPoints []string `json:"mount_points"`
	LUNs        []string `json:"luns"`
	Providers   []string `json:"providers"`
	Supported   bool     `json:"supported"`
}

// Exposed is the JSON form of the exposure of a copy.
type Exposed struct {
	ID        vss.SnapshotID `json:"id"`
	ExposedAt string         `json:"exposed_at"`
}

// Broken is the JSON form of the result of a break.
type Broken struct {
	SetID vss.SnapshotSetID `json:"set_id"`
	LUNs  []BrokenLUN       `json:"luns"`
}

// BrokenLUN is the JSON form of a LUN of a set that was broken.
type BrokenLUN struct {
	LUN            vss.LUNID `json:"lun"`
	OriginalVolume string    `json:"original_volume"`
	Device         string    `json:"device"`
	ReadWrite      bool      `json:"read_write"`
	Masked         bool      `json:"masked"`
	Identity       string    `json:"identity"`
}

// Each returns the results of f for the elements of a list. It is never nil, which JSON would print as null.
func Each[A, B any](in []A, f func(A) B) []B {
	out := make([]B, len(in))
	for i, a := range in {
		out[i] = f(a)
	}
	return out
}

// List returns a list that is never nil.
func List[A any](in []A) []A { return Each(in, func(a A) A { return a }) }

// Milliseconds returns a duration as JSON documents have it.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// NewCopy returns the JSON form of a shadow copy.
func NewCopy(s requester.Snapshot) Copy {
	return Copy{
		ID: s.ID, SetID: s.SetID, State: s.State.String(), OriginalVolume: s.OriginalVolume,
		DeviceObject: s.DeviceObject, Path: s.Path,
		ProviderID: s.ProviderID, ProviderName: s.ProviderName, Context: s.Attributes.ContextName(),
		Attributes: s.Attributes.Names(),
		Created:    s.Created, ExposedAt: s.ExposedAt, OriginatingMachine: s.OriginatingMachine,
		ServiceMachine: s.ServiceMachine,
		LUNs:           List(s.LUNs), Consistency: s.Consistency, FileSystem: s.FileSystem,
	}
}

// NewWriter returns the JSON form of the status of a writer.
func NewWriter(w requester.WriterStatus) Writer {
	return Writer{
		Name: w.Name, ID: w.ID, InstanceID: w.Instance, State: w.State.String(), StateCode: int32(w.State),
		LastError:     w.Failure.Name(),
		LastErrorCode: HRESULT(w.Failure), Message: w.Message, Level: w.Level, FrozenMS: Milliseconds(w.Frozen),
		Components: w.Components,
	}
}

// NewSet returns the JSON form of a shadow copy set.
func NewSet(s requester.SnapshotSet) Set {
	return Set{
		SetID: s.ID, Context: s.Context.ContextName(), Attributes: s.Context.Names(), Created: s.Created,
		HoldMS:         Milliseconds(s.Hold),
		WriterWindowMS: Milliseconds(s.WriterWindow), Consistency: s.Consistency,
		ConsistencyReason: s.ConsistencyReason,
		ShadowCopies:      Each(s.Snapshots, NewCopy), Writers: Each(s.Writers, NewWriter),
		Timeline: Each(s.Timeline, func(t requester.Step) Step {
			return Step{t.Name, Milliseconds(t.Start),
				Milliseconds(t.End)}
		}),
	}
}

// NewProvider returns the JSON form of a provider.
func NewProvider(p requester.Provider) Provider {
	return Provider{p.ID, p.Name, p.Type, p.Version, List(p.Capabilities)}
}

// NewVolume returns the JSON form of a volume.
func NewVolume(v requester.Volume) Volume {
	return Volume{v.Name, v.Device, v.FileSystem, v.UUID, List(v.MountPoints), List(v.LUNs), List(v.Providers),
		v.Supported}
}

// NewBroken returns the JSON form of the result of a break.
func NewBroken(set vss.SnapshotSetID, luns []requester.BrokenLUN) Broken {
	return Broken{set, Each(luns, func(l requester.BrokenLUN) BrokenLUN {
		identity := "kept"
		if l.Reverted {
			identity = "reverted"
		}
		return BrokenLUN{l.LUN, l.OriginalVolume, l.Device, l.ReadWrite, l.Masked, identity}
	})}
}
