package remote

import (
	"errors"
	"time"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func infoOut(i array.Info) *vssv1.ArrayInfoReply {
	o := &vssv1.ArrayInfoReply{Name: i.Name, Targets: i.Targets}
	for _, p := range i.Pools {
		o.Pools = append(o.Pools, &vssv1.ArrayPool{Name: p.Name, Type: p.Type, Size: p.Size, Free: p.Free})
	}
	return o
}

func infoIn(m *vssv1.ArrayInfoReply, address string) array.Info {
	o := array.Info{Name: m.GetName(), Address: address, Targets: m.GetTargets()}
	for _, p := range m.GetPools() {
		o.Pools = append(
			o.Pools,
			array.PoolInfo{Name: p.GetName(), Type: p.GetType(), Size: p.GetSize(), Free: p.GetFree()},
		)
	}
	return o
}

func lunOut(l *array.LUN) *vssv1.ArrayLun {
	return &vssv1.ArrayLun{
		Format: int32(l.Format), Id: l.ID.String(), Name: l.Name, Array: l.Array, Pool: l.Pool, Size: l.Size,
		Serial: l.Serial, Naa: l.NAA, Bus: uint32(l.Bus), Kind: string(l.Kind), State: string(l.State),
		Origin: l.Origin.String(), Method: string(l.Method), Percent: l.Percent,
		MappedTo: l.MappedTo, Flags: uint32(l.Flags), Imported: l.Imported, Importer: l.Importer,
		SetId: l.Set.String(), Host: l.Host, Final: l.Final,
		CreatedUnixNano: unixNano(l.Created), SkewNanoseconds: int64(l.Skew),
	}
}

func lunsOut(luns []array.LUN) []*vssv1.ArrayLun {
	var out []*vssv1.ArrayLun
	for i := range luns {
		out = append(out, lunOut(&luns[i]))
	}
	return out
}

func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func timeIn(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// reply reads what an array answered and keeps the first thing that no array of ours answers.
type reply struct{ err error }

func (p *reply) guid(s string) vss.GUID {
	var g vss.GUID
	if err := g.UnmarshalText([]byte(clip(s))); err != nil && p.err == nil {
		p.err = vss.E("ReadReply", vss.ErrUnexpected, err).
			Advise("the array answers nonsense: is it of another version?")
	}
	return g
}

func (p *reply) lun(m *vssv1.ArrayLun) array.LUN {
	l := array.LUN{
		Format: int(m.GetFormat()), ID: vss.LUNID{GUID: p.guid(m.GetId())}, Name: m.GetName(),
		Array: m.GetArray(), Pool: m.GetPool(), Size: m.GetSize(), Serial: m.GetSerial(), NAA: m.GetNaa(),
		Bus: bus(m.GetBus()), Kind: array.Kind(m.GetKind()), State: array.State(m.GetState()),
		Origin: vss.LUNID{GUID: p.guid(m.GetOrigin())}, Method: array.Method(m.GetMethod()), Percent: m.GetPercent(),
		MappedTo: append([]string{}, m.GetMappedTo()...), Flags: vss.DiskFlags(m.GetFlags()),
		Imported: m.GetImported(), Importer: m.GetImporter(), Set: vss.SnapshotSetID{GUID: p.guid(m.GetSetId())},
		Host: m.GetHost(), Final: m.GetFinal(),
		Created: timeIn(m.GetCreatedUnixNano()), Skew: time.Duration(m.GetSkewNanoseconds()),
	}
	err := l.Check()
	if err == nil && m.GetFlags() > 255 {
		err = errors.New("flags out of range")
	}
	if err != nil && p.err == nil {
		p.err = vss.E("ReadReply", vss.CodeOf(err), err).Advise("the array answers nonsense: is it of another version?")
	}
	return l
}

// bus reads a bus type. A number that no bus type has is an unknown one: nothing depends on it.
func bus(n uint32) vss.BusType {
	if b := vss.BusType(n); n <= uint32(vss.BusUFS) {
		return b
	}
	return vss.BusUnknown
}

func (p *reply) luns(all []*vssv1.ArrayLun) []array.LUN {
	out := []array.LUN{}
	for _, m := range all {
		out = append(out, p.lun(m))
	}
	return out
}

func eventOut(e array.Event) *vssv1.ArrayEvent {
	o := &vssv1.ArrayEvent{TimeUnixNano: unixNano(e.Time), What: e.What, Text: e.Text, Hint: e.Hint, Pool: e.LUN.Pool}
	if !e.LUN.ID.IsZero() {
		o.Lun = lunOut(&e.LUN)
	}
	return o
}

func (p *reply) event(m *vssv1.ArrayEvent) array.Event {
	e := array.Event{
		Time: timeIn(m.GetTimeUnixNano()),
		What: m.GetWhat(),
		Text: m.GetText(),
		Hint: m.GetHint(),
		LUN:  array.LUN{Pool: m.GetPool()},
	}
	if m.GetLun() != nil {
		e.LUN = p.lun(m.GetLun())
	}
	return e
}
