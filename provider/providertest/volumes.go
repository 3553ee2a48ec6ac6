package providertest

import (
	"context"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/conformance"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// softwareCases are the cases for software providers.
var softwareCases = append(of[*SoftwareWorld](orderCases), []worldCase[*SoftwareWorld]{
	{"HappyPath", softwareHappyPath},
	{"Contexts", contexts},
	{"ConsiderChangesNothing", considerChangesNothing},
	{"UnknownVolume", unknownVolume},
	{"UnknownCopy", unknownCopy},
	{"SurfaceAndWithdraw", surfaceAndWithdraw},
	{"ReadOnly", readOnly},
	{"Delete", deleteInOrder},
	{"SnapshotProperties", snapshotProperties},
	{"AfterRestart", softwareAfterRestart},
	{"Revert", revert},
	{"Events", events},
}...)

// volumeSet is a set of a software provider.
type volumeSet struct {
	*creation
	w *SoftwareWorld
	p provider.Software
}

func (w *SoftwareWorld) creation() *volumeSet {
	return &volumeSet{w.subject().creation(), w, w.Provider}
}

// created returns a created set and its copies.
func (w *SoftwareWorld) created(t conformance.T) (*volumeSet, []provider.Ref) {
	t.Helper()
	c := w.creation()
	c.reach(t, taken)
	refs := c.described(t)
	c.advance(t, taken, final)
	return c, refs
}

// described describes the copies of a set that is committed.
func (c *volumeSet) described(t conformance.T) []provider.Ref {
	t.Helper()
	var out []provider.Ref
	for i, id := range c.ids {
		d, err := c.p.Describe(t.Context(), c.set, id)
		must(t, "Describe", err)
		if len(d.Payload) > provider.MaxPayload {
			t.Errorf("the payload of copy %d has %d bytes, more than %d", i, len(d.Payload), provider.MaxPayload)
		}
		if d.FirstCut.After(d.LastCut) || d.FirstCut.IsZero() != d.LastCut.IsZero() {
			t.Errorf("copy %d was cut between %v and %v", i, d.FirstCut, d.LastCut)
		}
		if method := d.Attributes & (vss.AttrDifferential | vss.AttrPlex); method == vss.AttrDifferential|vss.AttrPlex {
			t.Errorf("copy %d claims to be differential and plex", i)
		}
		again, err := c.p.Describe(t.Context(), c.set, id)
		must(t, "Describe", err)
		if diff := cmp.Diff(d, again); diff != "" {
			t.Errorf("Describe returns something else when called again:\n%s", diff)
		}
		out = append(out, provider.Ref{ID: id, Payload: d.Payload})
	}
	return out
}

// fill gives the first two volumes content.
func (w *SoftwareWorld) fill(first byte) {
	if w.Write == nil {
		return
	}
	for i, v := range w.Volumes[:2] {
		w.Write(v, first+byte(i))
	}
}

// content checks the content of a volume.
func (w *SoftwareWorld) content(t conformance.T, i int, want byte) {
	t.Helper()
	if w.Read == nil {
		return
	}
	if got := w.Read(w.Volumes[i]); got != want {
		t.Errorf("volume %d has content %q, want %q", i, got, want)
	}
}

// surface surfaces a copy and checks its content.
func (c *volumeSet) surface(t conformance.T, r provider.Ref, want byte) provider.Location {
	t.Helper()
	l, err := c.p.Surface(t.Context(), r)
	must(t, "Surface", err)
	if (len(l.Devices) == 0) == (l.Folder == "") {
		t.Fatalf("Surface returns devices %q and folder %q: want one of them", l.Devices, l.Folder)
	}
	if c.w.ReadAt != nil && want != 0 {
		if got := c.w.ReadAt(l); got != want {
			t.Errorf("the copy at %+v has content %q, want %q", l, got, want)
		}
	}
	return l
}

// delete deletes copies.
func (c *volumeSet) delete(t conformance.T, refs ...provider.Ref) {
	t.Helper()
	n, failed, err := c.p.DeleteSnapshots(t.Context(), refs, false)
	if err != nil || n != len(refs) || !failed.IsZero() {
		t.Errorf("DeleteSnapshots: %d of %d, failed %s: %v", n, len(refs), failed, err)
	}
}

// softwareHappyPath creates a set of two volumes, recovers it, reads it and deletes it.
func softwareHappyPath(t conformance.T, w *SoftwareWorld) {
	c := w.creation()
	must(t, "OnLoad", c.p.OnLoad(t.Context()))
	w.fill('a')
	for _, v := range w.Volumes[:2] {
		if ok, err := c.p.IsVolumeSupported(t.Context(), v, vss.ContextAppRollback); err != nil || !ok {
			t.Fatalf("IsVolumeSupported of %s: %v %v", v.Name, ok, err)
		}
		o, err := c.p.Consider(t.Context(), v, vss.ContextAppRollback)
		must(t, "Consider", err)
		if o.Hold.String() == "unknown" {
			t.Errorf("Consider: unknown hold mode %d", o.Hold)
		}
	}
	c.reach(t, 1)
	_, err := c.p.WritePaths(t.Context(), c.set)
	must(t, "WritePaths", err)
	c.advance(t, 1, 2)
	w.fill('c') // the copy shows the moment of CommitSnapshots, not of the preparation
	c.advance(t, 2, 3)
	w.fill('e')
	c.advance(t, 3, taken)
	refs := c.described(t)
	c.left(t, "committed", 2)
	locations := make([]provider.Location, len(refs))
	for i, r := range refs {
		locations[i] = c.surface(t, r, byte('c'+i))
		must(t, "SetWritable", c.p.SetWritable(t.Context(), r, true))
		if w.WriteAt != nil && !w.WriteAt(locations[i], byte('r'+i)) {
			t.Errorf("copy %d can't be written during recovery", i)
		}
	}
	c.advance(t, taken, taken+1)
	for _, r := range refs {
		must(t, "SetWritable", c.p.SetWritable(t.Context(), r, false))
	}
	c.advance(t, taken+1, final)
	for i, r := range refs {
		want := byte('c' + i)
		if w.WriteAt != nil {
			want = byte('r' + i)
		}
		c.surface(t, r, want)
		w.content(t, i, byte('e'+i))
	}
	c.delete(t, refs...)
	c.left(t, "deleted", 0)
	for i := range refs {
		w.content(t, i, byte('e'+i))
	}
}

// contexts asks for every context: a provider must honour or refuse it, and must keep what it promised.
func contexts(t conformance.T, w *SoftwareWorld) {
	p, err := w.Provider.Properties(t.Context())
	must(t, "Properties", err)
	transportable := contextCase{"transportable", vss.ContextAppRollback | vss.AttrTransportable, false}
	for _, x := range append(contextCases(p), transportable) {
		v := w.Volumes[0]
		_, err := w.Provider.Consider(t.Context(), v, x.c)
		if (err == nil) != x.want {
			t.Errorf("Consider with context %s: %v, want success %v", x.name, err, x.want)
		}
		c := w.creation()
		err = c.p.BeginPrepareSnapshot(t.Context(), c.set, c.ids[0], v, x.c)
		x.begun(t, err)
		c.abort(t, x.name)
	}
}

// considerChangesNothing asks for offers at every moment: the set under way and the storage stay as they are.
func considerChangesNothing(t conformance.T, w *SoftwareWorld) {
	c := w.creation()
	ask := func() {
		for _, v := range w.Volumes[:2] {
			_, err := c.p.Consider(t.Context(), v, vss.ContextAppRollback)
			wants(t, "Consider", err, vss.OK, vss.ErrVolumeNotSupportedByProvider, vss.ErrInsufficientStorage)
			_, err = c.p.IsVolumeSupported(t.Context(), v, vss.ContextAppRollback)
			must(t, "IsVolumeSupported", err)
			_, _, err = c.p.IsVolumeSnapshotted(t.Context(), v)
			must(t, "IsVolumeSnapshotted", err)
		}
	}
	ask()
	c.left(t, "after Consider", 0)
	must(t, begin.name, begin.do(t.Context(), c.creation))
	for _, s := range steps {
		ask()
		must(t, s.name, s.do(t.Context(), c.creation))
	}
	ask()
	c.left(t, "created", 2)
	if ok, _, err := c.p.IsVolumeSnapshotted(t.Context(), w.Volumes[0]); err != nil || !ok {
		t.Errorf("IsVolumeSnapshotted: %v %v, want true", ok, err)
	}
}

// unknownVolume names a volume that this host doesn't have.
func unknownVolume(t conformance.T, w *SoftwareWorld) {
	v := NewVolume(99)
	if ok, err := w.Provider.IsVolumeSupported(t.Context(), v, vss.ContextBackup); ok ||
		vss.CodeOf(err) != vss.OK && vss.CodeOf(err) != vss.ErrObjectNotFound {
		t.Errorf("IsVolumeSupported: %v %v, want false or VSS_E_OBJECT_NOT_FOUND", ok, err)
	}
	refused := []vss.Code{vss.ErrVolumeNotSupportedByProvider, vss.ErrObjectNotFound}
	_, err := w.Provider.Consider(t.Context(), v, vss.ContextBackup)
	wants(t, "Consider", err, refused...)
	c := w.creation()
	err = c.p.BeginPrepareSnapshot(t.Context(), c.set, c.ids[0], v, vss.ContextBackup)
	wants(t, "BeginPrepareSnapshot", err, refused...)
	c.abort(t, "of an unknown volume")
	_, err = w.Provider.QueryRevertStatus(t.Context(), v)
	wants(t, "QueryRevertStatus", err, vss.ErrObjectNotFound, vss.ErrVolumeNotSupported)
}

// unknownCopy makes every call about a copy with an unknown id.
func unknownCopy(t conformance.T, w *SoftwareWorld) {
	c, refs := w.created(t)
	r := provider.Ref{ID: vss.SnapshotID{GUID: vss.NewGUID()}, Payload: refs[0].Payload}
	ctx, unknown := t.Context(), []vss.Code{vss.ErrObjectNotFound, vss.ErrInvalidArg}
	_, err := c.p.Describe(ctx, c.set, r.ID)
	wants(t, "Describe", err, vss.ErrObjectNotFound)
	_, err = c.p.Surface(ctx, r)
	wants(t, "Surface", err, unknown...)
	wants(t, "SetWritable", c.p.SetWritable(ctx, r, true), unknown...)
	wants(t, "Withdraw", c.p.Withdraw(ctx, r, true), append(unknown, vss.OK)...)
	_, err = c.p.GetSnapshotProperties(ctx, r.ID)
	wants(t, "GetSnapshotProperties", err, vss.ErrObjectNotFound)
	wants(
		t,
		"SetSnapshotProperty",
		c.p.SetSnapshotProperty(ctx, r.ID, provider.PropertyExposedName, "x"),
		vss.ErrObjectNotFound,
	)
	n, failed, err := c.p.DeleteSnapshots(ctx, []provider.Ref{r}, true)
	wants(t, "DeleteSnapshots", err, unknown...)
	if n != 0 || failed != r.ID {
		t.Errorf("DeleteSnapshots: %d deleted, failed %s, want 0 and %s", n, failed, r.ID)
	}
	wants(t, "RevertToSnapshot", c.p.RevertToSnapshot(ctx, r), append(unknown, vss.ErrNotImpl)...)
	c.left(t, "after calls about an unknown copy", 2)
}

// surfaceAndWithdraw makes both calls twice; the copies are kept.
func surfaceAndWithdraw(t conformance.T, w *SoftwareWorld) {
	w.fill('a')
	c, refs := w.created(t)
	for range 2 {
		for i, r := range refs {
			first := c.surface(t, r, byte('a'+i))
			if again := c.surface(t, r, byte('a'+i)); !cmp.Equal(first, again) {
				t.Errorf("the copy moved from %+v to %+v", first, again)
			}
		}
		for _, r := range refs {
			must(t, "Withdraw", c.p.Withdraw(t.Context(), r, false))
			must(t, "second Withdraw", c.p.Withdraw(t.Context(), r, false))
		}
		c.left(t, "withdrawn", 2)
	}
	c.delete(t, refs...)
	c.left(t, "deleted while withdrawn", 0)
}

// readOnly writes to surfaced copies, which must fail.
func readOnly(t conformance.T, w *SoftwareWorld) {
	if w.WriteAt == nil {
		t.Skipf("copies can't be written to here")
	}
	w.fill('a')
	c := w.creation()
	c.reach(t, taken)
	refs := c.described(t)
	if w.WriteAt(c.surface(t, refs[0], 'a'), 'x') {
		t.Error("a copy is writable before SetWritable")
	}
	must(t, "SetWritable", c.p.SetWritable(t.Context(), refs[0], true))
	must(t, "SetWritable", c.p.SetWritable(t.Context(), refs[0], false))
	if w.WriteAt(c.surface(t, refs[0], 'a'), 'x') {
		t.Error("a copy is writable after SetWritable(false)")
	}
	c.advance(t, taken, final)
	if w.WriteAt(c.surface(t, refs[1], 'b'), 'x') {
		t.Error("a created copy is writable")
	}
}

// deleteInOrder deletes a list with an unknown copy in the middle: what comes before it is deleted, what comes after
// is not.
func deleteInOrder(t conformance.T, w *SoftwareWorld) {
	c, refs := w.created(t)
	unknown := provider.Ref{ID: vss.SnapshotID{GUID: vss.NewGUID()}, Payload: refs[0].Payload}
	n, failed, err := c.p.DeleteSnapshots(t.Context(), []provider.Ref{refs[0], unknown, refs[1]}, false)
	wants(t, "DeleteSnapshots", err, vss.ErrObjectNotFound, vss.ErrInvalidArg)
	if n != 1 || failed != unknown.ID {
		t.Errorf("DeleteSnapshots: %d deleted, failed %s, want 1 and %s", n, failed, unknown.ID)
	}
	c.left(t, "one of two deleted", 1)
	c.delete(t, refs[1])
	c.left(t, "both deleted", 0)
	_, failed, err = c.p.DeleteSnapshots(t.Context(), refs[:1], false)
	wants(t, "DeleteSnapshots of a deleted copy", err, vss.ErrObjectNotFound)
	if failed != refs[0].ID {
		t.Errorf("failed %s, want %s", failed, refs[0].ID)
	}
}

// snapshotProperties queries copies: only created ones are shown, with all their properties.
func snapshotProperties(t conformance.T, w *SoftwareWorld) {
	c := w.creation()
	before, err := c.p.Query(t.Context())
	must(t, "Query", err)
	must(t, begin.name, begin.do(t.Context(), c.creation))
	for _, s := range steps {
		_, err := c.p.GetSnapshotProperties(t.Context(), c.ids[0])
		wants(t, "GetSnapshotProperties before "+s.name, err, vss.ErrObjectNotFound)
		if all, err := c.p.Query(t.Context()); err != nil || len(all) != len(before) {
			t.Errorf("Query before %s: %d copies, %v", s.name, len(all), err)
		}
		must(t, s.name, s.do(t.Context(), c.creation))
	}
	id := c.ids[0]
	p, err := c.p.GetSnapshotProperties(t.Context(), id)
	must(t, "GetSnapshotProperties", err)
	properties, err := c.p.Properties(t.Context())
	must(t, "Properties", err)
	if p.ID != id || p.SetID != c.set || p.Count != 2 || p.OriginalVolume == "" || p.ProviderID != properties.ID ||
		p.State != vss.StateCreated ||
		p.Created.IsZero() || time.Since(p.Created) > time.Hour ||
		p.OriginatingHost == "" ||
		p.ServiceHost == "" {
		t.Errorf("incomplete: %+v", p)
	}
	all, err := c.p.Query(t.Context())
	must(t, "Query", err)
	if len(all) != len(before)+2 {
		t.Errorf("Query: %d copies more than before, want 2", len(all)-len(before))
	}
	must(t, "SetSnapshotProperty", c.p.SetSnapshotProperty(t.Context(), id, provider.PropertyExposedPath, "/mnt/x"))
	p.ExposedPath = "/mnt/x"
	if got, err := c.p.GetSnapshotProperties(t.Context(), id); err != nil || !cmp.Equal(got, p) {
		t.Errorf("after SetSnapshotProperty: %v\n%s", err, cmp.Diff(p, got))
	}
	wants(t, "SetSnapshotProperty with a value of the wrong type",
		c.p.SetSnapshotProperty(t.Context(), id, provider.PropertyExposedPath, vss.AttrPlex), vss.ErrInvalidArg)
}

// softwareAfterRestart uses copies at the next process, which gets their payloads back.
func softwareAfterRestart(t conformance.T, w *SoftwareWorld) {
	w.fill('a')
	c, refs := w.created(t)
	before, err := c.p.GetSnapshotProperties(t.Context(), refs[0].ID)
	must(t, "GetSnapshotProperties", err)
	c.p = c.newProcess(t).(provider.Software)
	must(t, "OnLoad", c.p.OnLoad(t.Context()))
	c.left(t, "created, at the next process", 2)
	after, err := c.p.GetSnapshotProperties(t.Context(), refs[0].ID)
	must(t, "GetSnapshotProperties", err)
	if d := cmp.Diff(before, after); d != "" {
		t.Errorf("the properties differ after a restart:\n%s", d)
	}
	for i, r := range refs {
		c.surface(t, r, byte('a'+i))
		must(t, "Withdraw", c.p.Withdraw(t.Context(), r, false))
	}
	c.delete(t, refs...)
	c.left(t, "deleted by the next process", 0)
}

// revert brings a volume back to its copy, if the provider claims it.
func revert(t conformance.T, w *SoftwareWorld) {
	p, err := w.Provider.Properties(t.Context())
	must(t, "Properties", err)
	w.fill('a')
	c, refs := w.created(t)
	if !p.Can(provider.CanRevert) {
		wants(t, "RevertToSnapshot, which it doesn't claim", c.p.RevertToSnapshot(t.Context(), refs[0]), vss.ErrNotImpl)
		return
	}
	w.fill('c')
	must(t, "RevertToSnapshot", c.p.RevertToSnapshot(t.Context(), refs[0]))
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		s, err := c.p.QueryRevertStatus(t.Context(), w.Volumes[0])
		if vss.CodeOf(err) == vss.ErrObjectNotFound || s.Done {
			must(t, "the revert", s.Err)
			break
		}
		must(t, "QueryRevertStatus", err)
		if time.Now().After(end) {
			t.Fatalf("the revert is at %v %% after a minute", s.Percent)
		}
	}
	w.content(t, 0, 'a')
	w.content(t, 1, 'd')
}

// events subscribes, and ends the subscription.
func events(t conformance.T, w *SoftwareWorld) {
	ctx, cancel := context.WithCancel(t.Context())
	ch, err := w.Provider.Events(ctx)
	must(t, "Events", err)
	cancel()
	for end := time.After(10 * time.Second); ; {
		select {
		case e, ok := <-ch:
			if !ok {
				return
			}
			t.Logf("event %+v", e)
		case <-end:
			t.Fatal("the channel is still open 10 s after its context ended")
		}
	}
}
