package remote_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/array/pool/pooltest"
	"github.com/stillpoint-vss/stillpoint/internal/array/remote"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func wantCode(t *testing.T, what string, err error, code vss.Code) {
	t.Helper()
	if vss.CodeOf(err) != code {
		t.Errorf("%s: %v, want %s", what, err, code.Name())
	}
}

func newSet() vss.SnapshotSetID { return vss.SnapshotSetID{GUID: vss.NewGUID()} }

// ask gives the error of everything that a host could try on a LUN. Those that work change it, so the order matters.
func ask(t *testing.T, a array.Array, self string, id vss.LUNID) map[string]error {
	ctx := t.Context()
	other, err := a.Create(ctx, array.CreateRequest{Name: "free of " + self, Size: 16 * mib})
	must(t, err)
	lun := func(_ array.LUN, err error) error { return err }
	can, canErr := a.CanCopy(ctx, []array.CopyRequest{{Origin: id}})
	if canErr == nil && !can {
		canErr = errors.New("no")
	}
	set := newSet()
	_, prepare := a.PrepareCopies(ctx, set, self, []array.CopyRequest{{Origin: id}})
	if prepare == nil {
		must(t, a.AbortCopies(ctx, set, self))
	}
	out := map[string]error{
		"CanCopy": canErr, "PrepareCopies": prepare,
		"LUN":     lun(a.LUN(ctx, id)),
		"Rename":  lun(a.Rename(ctx, id, "renamed by "+self)),
		"Extend":  lun(a.Extend(ctx, id, 1)), // E_INVALIDARG for a caller with the right
		"Flags":   lun(a.SetFlags(ctx, id, 0)),
		"Read":    a.Resync(ctx, id, other.ID, nil),
		"Write":   a.Resync(ctx, other.ID, id, nil),
		"Import":  a.MarkImported(ctx, self, []vss.LUNID{id}),
		"MapBack": lun(a.Map(ctx, id, self)),
	}
	_, _ = a.Unmap(ctx, id, self)
	out["Break"] = a.MakePlain(ctx, []vss.LUNID{id})
	out["Delete"] = a.Delete(ctx, id, true)
	must(t, a.Delete(ctx, other.ID, false))
	return out
}

// Host B calls every method for A's LUNs: it gets the answer of the table, and A's LUN is as it was.
func TestIntruder(t *testing.T) {
	lane.Host(t)
	w := newWorld(t, pooltest.Folder(t, "xfs", 1<<30))
	ctx, a, b := t.Context(), w.at("a"), w.at("b")
	live, err := a.Create(ctx, array.CreateRequest{Name: "live", Size: 16 * mib})
	must(t, err)
	_, err = a.Map(ctx, live.ID, "a")
	must(t, err)
	made := func(far int) (vss.SnapshotSetID, vss.LUNID) {
		set := newSet()
		copies, err := a.PrepareCopies(ctx, set, "a", []array.CopyRequest{{Origin: live.ID}})
		must(t, err)
		_, err = a.CommitCopies(ctx, set, "a")
		must(t, err)
		_, err = a.FinishCopies(ctx, set, "a")
		must(t, err)
		if far > 0 {
			must(t, a.KeepCopies(ctx, set, "a"))
		}
		if far > 1 {
			_, err = a.Map(ctx, copies[0].ID, "a")
			must(t, err)
			must(t, a.MarkImported(ctx, "a", []vss.LUNID{copies[0].ID}))
		}
		return set, copies[0].ID
	}
	halfSet, half := made(0)
	_, whole := made(1)
	_, imported := made(2)
	const no, none, state, yes = vss.ErrAccessDenied, vss.VDSErrObjectNotFound, vss.ErrBadState, vss.OK
	for _, c := range []struct {
		name string
		id   vss.LUNID
		want map[string]vss.Code // of what isn't E_ACCESSDENIED
	}{
		{"a LUN in use", live.ID, map[string]vss.Code{"LUN": yes}},
		{"a copy of a set in creation", half, map[string]vss.Code{
			"LUN": none, "PrepareCopies": vss.ErrObjectNotFound, "CanCopy": vss.ErrUnexpected,
			"Rename": none, "Extend": none, "Flags": none, "Read": none, "Write": none,
			"Import": none, "MapBack": none, "Break": none, "Delete": none}},
		{"a copy that waits for its import", whole, map[string]vss.Code{"LUN": yes, "Read": yes, "MapBack": yes}},
		{"an imported copy", imported, map[string]vss.Code{"LUN": yes, "MapBack": state, "Import": state}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, err := w.controller.LUN(ctx, c.id)
			must(t, err)
			for what, err := range ask(t, b, "b", c.id) {
				want, ok := c.want[what]
				if !ok {
					want = no
				}
				wantCode(t, what, err, want)
				if err != nil && want != vss.ErrUnexpected && vss.Hint(err) == "" && want == no {
					t.Errorf("%s: no advice", what)
				}
			}
			after, err := w.controller.LUN(ctx, c.id)
			must(t, err)
			if before.Name != after.Name || len(before.MappedTo) != len(after.MappedTo) || before.Kind != after.Kind ||
				before.Importer != after.Importer {
				t.Errorf("it was %+v and is %+v", before, after)
			}
		})
	}

	// Another host's name opens nothing.
	_, err = b.Mappings(ctx, "a")
	wantCode(t, "mappings of another host", err, no)
	_, err = b.Map(ctx, live.ID, "a")
	wantCode(t, "map to another host", err, no)
	_, err = b.Unmap(ctx, live.ID, "a")
	wantCode(t, "unmap from another host", err, no)
	wantCode(t, "abort in another host's name", b.AbortCopies(ctx, halfSet, "a"), no)
	wantCode(t, "abort by the set's id", b.AbortCopies(ctx, halfSet, "b"), vss.ErrObjectNotFound)
	wantCode(t, "keep in another host's name", b.KeepCopies(ctx, halfSet, "a"), no)
	wantCode(t, "import in another host's name", b.MarkImported(ctx, "a", []vss.LUNID{whole}), no)
	all, err := b.LUNs(ctx)
	must(t, err)
	for _, l := range all {
		if l.ID == half {
			t.Error("a set in creation is listed")
		}
	}

	// The importer has the copy from the import on, its maker no longer.
	_, err = b.Map(ctx, whole, "b")
	must(t, err)
	wantCode(
		t,
		"delete by a host that maps and hasn't imported",
		func() error { _, err := b.Rename(ctx, whole, "mine"); return err }(),
		no,
	)
	must(t, b.MarkImported(ctx, "b", []vss.LUNID{whole}))
	wantCode(t, "delete by the maker", a.Delete(ctx, whole, true), no)
	wantCode(t, "break by the maker", a.MakePlain(ctx, []vss.LUNID{whole}), no)
	_, err = b.Unmap(ctx, whole, "b")
	must(t, err)
	must(t, b.Delete(ctx, whole, false))

	// The administrator may all of it.
	root := w.at("")
	_, err = root.Map(ctx, live.ID, "b")
	must(t, err)
	for _, host := range []string{"a", "b"} {
		_, err = root.Unmap(ctx, live.ID, host)
		must(t, err)
	}
	must(t, root.AbortCopies(ctx, halfSet, "a"))
	_, err = root.Unmap(ctx, imported, "a")
	must(t, err)
	must(t, root.Delete(ctx, imported, false))
	must(t, b.Delete(ctx, live.ID, false)) // nobody's in particular by now
}

// A caller that the connection doesn't name is refused every call.
func TestWhoCalls(t *testing.T) {
	for _, name := range []string{"a/b", "a\x00", string(make([]byte, 200)), vss.NewGUID().String()} {
		a := connect(t, strangers(t, remote.UnixCaller), name)
		_, err := a.Info(t.Context())
		wantCode(t, "a host called "+name, err, vss.ErrAccessDenied)
	}
	for what, identify := range map[string]remote.Identify{
		"nobody": func(context.Context) (remote.Caller, error) { return remote.Caller{}, nil },
		"a refused certificate": func(context.Context) (remote.Caller, error) {
			return remote.Caller{Host: "a"}, errors.New("revoked")
		},
		"no unix socket at all": func(context.Context) (remote.Caller, error) {
			return remote.UnixCaller(context.Background())
		},
		"a code of its own kind": func(context.Context) (remote.Caller, error) {
			return remote.Caller{}, vss.ErrAccessDenied
		},
	} {
		a := connect(t, strangers(t, identify), "a")
		_, info := a.Info(t.Context())
		_, list := a.LUNs(t.Context())
		_, events := a.Events(t.Context())
		_, pause := a.PauseBackground(t.Context())
		_, paths := a.WritePaths(t.Context())
		_, maps := a.Map(t.Context(), vss.LUNID{}, "a")
		for _, err := range []error{
			info, list, events, pause, paths, maps, a.Resync(t.Context(), vss.LUNID{}, vss.LUNID{}, nil),
			a.AbortCopies(t.Context(), newSet(), "a"),
		} {
			wantCode(t, what, err, vss.ErrAccessDenied)
			if vss.Hint(err) == "" {
				t.Errorf("%s: no advice", what)
			}
		}
	}
}

// strangers serves a nil array: a call that isn't refused panics.
func strangers(t *testing.T, identify remote.Identify) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	t.Cleanup(serveAs(t, socket, nil, identify))
	return socket
}
