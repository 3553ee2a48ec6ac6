package remote

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// strict is an array that fails its test when it is asked what the server should have refused. It has a LUN of each
// standing: the last byte of an id says which.
type strict struct{ t testing.TB }

// Standings of LUNs before host "a".
const (
	free      = iota // a plain LUN, mapped to nobody
	foreign          // a plain LUN in use by b
	shared           // a plain LUN in use by a and b
	halfMade         // a copy that b is creating
	waiting          // a copy of b's that nobody imported
	taken            // a copy of a's that b imported
	own              // a copy of a's
	mapped           // a copy of b's that a maps
	standings        // how many there are; more is no LUN
)

func standing(id vss.LUNID) int { return int(id.GUID[15]) }

func withStanding(n int) vss.LUNID { return vss.LUNID{GUID: vss.GUID{0: 1, 15: byte(n)}} }

func record(id vss.LUNID) array.LUN {
	l := array.LUN{
		Format:   1,
		ID:       id,
		Name:     "l",
		Array:    "x",
		Pool:     "p",
		Size:     16 << 20,
		Serial:   strings.Repeat("0", 32),
		NAA:      "6" + strings.Repeat("0", 31),
		Kind:     array.KindPlain,
		State:    array.StateReady,
		MappedTo: []string{},
		Final:    true,
		Created:  time.Unix(1, 0),
	}
	if n := standing(id); n >= halfMade {
		l.Kind, l.Method, l.Host, l.Final = array.KindShadowCopy, array.MethodDifferential, "b", n != halfMade
	}
	switch standing(id) {
	case foreign:
		l.MappedTo = []string{"b"}
	case shared:
		l.MappedTo = []string{"b", "a"}
	case taken:
		l.Host, l.Imported, l.Importer, l.MappedTo = "a", true, "b", []string{"b"}
	case own:
		l.Host = "a"
	case mapped:
		l.MappedTo = []string{"a"}
	}
	return l
}

// only fails for a LUN that "a" has no right to.
func (s strict) only(what string, id vss.LUNID, may ...int) {
	if !slices.Contains(may, standing(id)) {
		s.t.Errorf("%s of a LUN of standing %d got through", what, standing(id))
	}
}

func (s strict) name(what, name string) {
	if len(name) > 128 {
		s.t.Errorf("%s: a name of %d bytes got through", what, len(name))
	}
}

func (s strict) host(what, host string) {
	if host != "a" {
		s.t.Errorf("%s for host %q got through", what, host)
	}
}

func (s strict) count(what string, n int) {
	if n > 1024 {
		s.t.Errorf("%s: %d entries got through", what, n)
	}
}

func (s strict) changed(what string, id vss.LUNID) (array.LUN, error) {
	s.only(what, id, free, shared, own)
	return record(id), nil
}

var errGone = vss.E("GetLun", vss.VDSErrObjectNotFound, nil).Advise("look again")

func (s strict) Info(context.Context) (array.Info, error) {
	return array.Info{Name: "x", Pools: []array.PoolInfo{{Name: "p"}}}, nil
}

func (s strict) LUNs(context.Context) ([]array.LUN, error) {
	var out []array.LUN
	for n := range standings {
		out = append(out, record(withStanding(n)))
	}
	return out, nil
}

func (s strict) LUN(_ context.Context, id vss.LUNID) (array.LUN, error) {
	if standing(id) >= standings {
		return array.LUN{}, errGone
	}
	return record(id), nil
}

func (s strict) Create(_ context.Context, r array.CreateRequest) (array.LUN, error) {
	s.name("Create", r.Name)
	s.name("Create", r.Pool)
	return record(withStanding(free)), nil
}

func (s strict) Delete(_ context.Context, id vss.LUNID, _ bool) error {
	_, err := s.changed("Delete", id)
	return err
}

func (s strict) Rename(_ context.Context, id vss.LUNID, name string) (array.LUN, error) {
	s.name("Rename", name)
	return s.changed("Rename", id)
}

func (s strict) Extend(_ context.Context, id vss.LUNID, _ int64) (array.LUN, error) {
	return s.changed("Extend", id)
}

func (s strict) Map(_ context.Context, id vss.LUNID, host string) (array.LUN, error) {
	s.host("Map", host)
	s.only("Map", id, free, shared, waiting, own, mapped)
	return record(id), nil
}

func (s strict) MapAll(_ context.Context, host string, ids []vss.LUNID) error {
	s.host("MapAll", host)
	s.count("MapAll", len(ids))
	for _, id := range ids {
		s.only("MapAll", id, free, shared, waiting, own, mapped)
	}
	return nil
}

func (s strict) Unmap(_ context.Context, id vss.LUNID, host string) (array.LUN, error) {
	s.host("Unmap", host)
	s.only("Unmap", id, free, foreign, shared, waiting, taken, own, mapped)
	return record(id), nil
}

func (s strict) SetFlags(_ context.Context, id vss.LUNID, f vss.DiskFlags) (array.LUN, error) {
	if f > 15 {
		s.t.Errorf("flags %d got through", f)
	}
	return s.changed("SetFlags", id)
}

func (s strict) MarkImported(_ context.Context, host string, ids []vss.LUNID) error {
	s.host("MarkImported", host)
	s.count("MarkImported", len(ids))
	for _, id := range ids {
		s.only("MarkImported", id, shared, taken, mapped) // that taken was imported before is the array's to say
	}
	return nil
}

func (s strict) MakePlain(_ context.Context, ids []vss.LUNID) error {
	s.count("MakePlain", len(ids))
	for _, id := range ids {
		s.only("MakePlain", id, free, shared, own)
	}
	return nil
}

func (s strict) Mappings(_ context.Context, host string) ([]array.Mapping, error) {
	s.host("Mappings", host)
	return []array.Mapping{{LUN: record(withStanding(mapped)), Address: array.Address{Type: "loop", Path: "/x"}}}, nil
}

func (s strict) copies(what string, r []array.CopyRequest) {
	s.count(what, len(r))
	for _, c := range r {
		s.name(what, c.Name)
		s.name(what, string(c.Method))
		s.only(what, c.Origin, free, shared, own)
	}
}

func (s strict) CanCopy(_ context.Context, r []array.CopyRequest) (bool, error) {
	s.copies("CanCopy", r)
	return true, nil
}

func (s strict) PrepareCopies(
	_ context.Context,
	_ vss.SnapshotSetID,
	host string,
	r []array.CopyRequest,
) ([]array.LUN, error) {
	s.host("PrepareCopies", host)
	s.copies("PrepareCopies", r)
	return nil, nil
}

func (s strict) CommitCopies(_ context.Context, _ vss.SnapshotSetID, host string) (time.Duration, error) {
	s.host("CommitCopies", host)
	return time.Millisecond, nil
}

func (s strict) FinishCopies(_ context.Context, _ vss.SnapshotSetID, host string) ([]array.LUN, error) {
	s.host("FinishCopies", host)
	return nil, nil
}

func (s strict) KeepCopies(_ context.Context, _ vss.SnapshotSetID, host string) error {
	s.host("KeepCopies", host)
	return nil
}

func (s strict) AbortCopies(_ context.Context, _ vss.SnapshotSetID, host string) error {
	s.host("AbortCopies", host)
	return nil
}

func (s strict) Resync(_ context.Context, source, target vss.LUNID, progress func(float64)) error {
	s.only("a resync", source, free, shared, waiting, own, mapped)
	s.only("a resync onto", target, free, shared, own)
	progress(100)
	return nil
}

func (s strict) PauseBackground(ctx context.Context) (func(), error) {
	return func() {}, ctx.Err()
}

func (s strict) WritePaths(context.Context) ([]string, error) { return []string{"/pool"}, nil }

// Events sends an event of every LUN, and one of the pool.
func (s strict) Events(context.Context) (<-chan array.Event, error) {
	ch := make(chan array.Event, standings+1)
	for n := range standings {
		ch <- array.Event{LUN: record(withStanding(n)), What: "dropped"}
	}
	ch <- array.Event{LUN: array.LUN{Pool: "p"}, What: "pool-low", Text: "text", Hint: "hint", Time: time.Unix(1, 2)}
	close(ch)
	return ch, nil
}

func (s strict) Close() error { return errors.New("a host closed the array") }

var _ array.Array = strict{}
