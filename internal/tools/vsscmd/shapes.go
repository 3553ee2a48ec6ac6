package vsscmd

import (
	"time"

	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// The JSON shapes of shadow copies. Fields are added, never renamed or dropped.

type copyJSON struct {
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

type writerJSON struct {
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

type stepJSON struct {
	Step    string  `json:"step"`
	StartMS float64 `json:"start_ms"`
	EndMS   float64 `json:"end_ms"`
}

type setJSON struct {
	Result            string            `json:"result,omitempty"` // a success code other than S_OK
	SetID             vss.SnapshotSetID `json:"set_id"`
	Context           string            `json:"context"`
	Attributes        []string          `json:"attributes"`
	Created           time.Time         `json:"created"`
	HoldMS            float64           `json:"hold_ms"`
	WriterWindowMS    float64           `json:"writer_window_ms"`
	Consistency       string            `json:"consistency"`
	ConsistencyReason string            `json:"consistency_reason,omitempty"`
	ShadowCopies      []copyJSON        `json:"shadow_copies"`
	Writers           []writerJSON      `json:"writers"`
	Timeline          []stepJSON        `json:"timeline"`
}

type providerJSON struct {
	ID           vss.ProviderID `json:"id"`
	Name         string         `json:"name"`
	Type         string         `json:"type"`
	Version      string         `json:"version"`
	Capabilities []string       `json:"capabilities"`
}

type volumeJSON struct {
	Volume      string   `json:"volume"`
	Device      string   `json:"device"`
	FileSystem  string   `json:"file_system"`
	UUID        string   `json:"uuid"`
	MountPoints []string `json:"mount_points"`
	LUNs        []string `json:"luns"`
	Providers   []string `json:"providers"`
	Supported   bool     `json:"supported"`
}

type exposedJSON struct {
	ID        vss.SnapshotID `json:"id"`
	ExposedAt string         `json:"exposed_at"`
}

type brokenJSON struct {
	SetID vss.SnapshotSetID `json:"set_id"`
	LUNs  []brokenLUNJSON   `json:"luns"`
}

type brokenLUNJSON struct {
	LUN            vss.LUNID `json:"lun"`
	OriginalVolume string    `json:"original_volume"`
	Device         string    `json:"device"`
	ReadWrite      bool      `json:"read_write"`
	Masked         bool      `json:"masked"`
	Identity       string    `json:"identity"`
}

// each converts a list; the result is never null in JSON.
func each[A, B any](in []A, one func(A) B) []B {
	out := make([]B, len(in))
	for i, a := range in {
		out[i] = one(a)
	}
	return out
}

func same[A any](a A) A { return a }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func copyShape(s requester.Snapshot) copyJSON {
	return copyJSON{
		ID: s.ID, SetID: s.SetID, State: s.State.String(), OriginalVolume: s.OriginalVolume, DeviceObject: s.DeviceObject, Path: s.Path,
		ProviderID: s.ProviderID, ProviderName: s.ProviderName, Context: s.Attributes.ContextName(), Attributes: s.Attributes.Names(),
		Created: s.Created, ExposedAt: s.ExposedAt, OriginatingMachine: s.OriginatingMachine, ServiceMachine: s.ServiceMachine,
		LUNs: each(s.LUNs, same), Consistency: s.Consistency, FileSystem: s.FileSystem,
	}
}

func writerShape(w requester.WriterStatus) writerJSON {
	return writerJSON{
		Name: w.Name, ID: w.ID, InstanceID: w.Instance, State: w.State.String(), StateCode: int32(w.State), LastError: w.Failure.Name(),
		LastErrorCode: hresult(w.Failure), Message: w.Message, Level: w.Level, FrozenMS: milliseconds(w.Frozen), Components: w.Components,
	}
}

func setShape(s requester.SnapshotSet) setJSON {
	return setJSON{
		SetID: s.ID, Context: s.Context.ContextName(), Attributes: s.Context.Names(), Created: s.Created, HoldMS: milliseconds(s.Hold),
		WriterWindowMS: milliseconds(s.WriterWindow), Consistency: s.Consistency, ConsistencyReason: s.ConsistencyReason,
		ShadowCopies: each(s.Snapshots, copyShape), Writers: each(s.Writers, writerShape),
		Timeline: each(s.Timeline, func(t requester.Step) stepJSON { return stepJSON{t.Name, milliseconds(t.Start), milliseconds(t.End)} }),
	}
}

func providerShape(p requester.Provider) providerJSON {
	return providerJSON{p.ID, p.Name, p.Type, p.Version, each(p.Capabilities, same)}
}

func volumeShape(v requester.Volume) volumeJSON {
	return volumeJSON{v.Name, v.Device, v.FileSystem, v.UUID, each(v.MountPoints, same), each(v.LUNs, same), each(v.Providers, same), v.Supported}
}

func brokenShape(set vss.SnapshotSetID, luns []requester.BrokenLUN) brokenJSON {
	return brokenJSON{set, each(luns, func(l requester.BrokenLUN) brokenLUNJSON {
		identity := "kept"
		if l.Reverted {
			identity = "reverted"
		}
		return brokenLUNJSON{l.LUN, l.OriginalVolume, l.Device, l.ReadWrite, l.Masked, identity}
	})}
}
