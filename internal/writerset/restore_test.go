package writerset

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

// restoring returns a set that restores the documents, with these writers gathered.
func restoring(t *testing.T, doc []byte, metadata [][]byte, running ...*writer.Instance) *world {
	t.Helper()
	w := newWorld(t, running...)
	must(t, w.LoadRestore(doc, metadata), w.Gather(t.Context()))
	return w
}

// TestRestore checks what a writer receives in a restore, what it may change, and what the requester learns of it.
func TestRestore(t *testing.T) {
	r, i := recorder("db")
	silent, j := recorder("silent") // nothing of it is selected
	doc, meta := saved(t, i, r, "data", "other")
	w := restoring(t, doc, [][]byte{meta}, i, j)
	w.Document().RestoreType = vss.RestoreImport
	n := database(i, "", "data")
	must(t, w.SetSelectedForRestore(n, true, vss.WriterInstanceID{}), w.AddRestoreSubcomponent(n, "data", "part"),
		w.SetRestoreOptions(n, "fast"),
		w.SetAdditionalRestores(n, true), w.SetAuthoritativeRestore(n, true),
		w.SetRollForward(n, vss.RollForwardPartial, "lsn 7"),
		w.SetRestoreName(n, "data2"), w.SetPreviousBackupStamp(n, "stamp"),
		w.AddNewTarget(n, document.FileSet{Path: "/srv/part/", FileSpec: "*.db", AlternatePath: "/srv/new"}))
	r.At(writer.OnPreRestore, func(_ context.Context, e *writer.Event) error {
		c := e.Components.Component("", "data")
		c.RestoreTarget, c.PreRestoreFailure = vss.TargetOriginalLocation, "slow"
		c.RestoreOptions, c.BackupStamp = "mine", "mine"
		e.Components.Components = append(e.Components.Components,
			&document.Component{Type: vss.ComponentDatabase, Name: "new"})
		e.Failure = &writer.Failure{Code: vss.ErrWriterErrorRetryable, Application: 77, Message: "in use"}
		return c.SetRestoreMetadata("note")
	})
	w.PreRestore(t.Context(), Target{})
	status := w.Status()
	at := slices.IndexFunc(status, func(w catalog.Writer) bool { return w.InstanceID == i.ID })
	if s := status[at]; s.State != vss.WriterFailedAtPreRestore || s.Failure != vss.ErrWriterErrorRetryable ||
		s.Application != 77 ||
		s.Message != "in use" {
		t.Errorf("%+v", s)
	}
	all := w.Components()
	c := all[0].Component("", "data")
	if c.RestoreTarget != vss.TargetOriginalLocation || c.PreRestoreFailure != "slow" || c.RestoreMetadata != "note" {
		t.Errorf("the writer's changes: %+v", c)
	}
	if c.RestoreOptions != "fast" || c.BackupStamp != "" || len(all[0].Components) != 2 {
		t.Errorf("the writer changed what is not its own: %+v", c)
	}
	must(t, w.SetFileRestoreStatus(n, vss.RestoredFailed))
	r.At(writer.OnPostRestore, func(_ context.Context, e *writer.Event) error {
		c := e.Components.Component("", "data")
		c.PostRestoreFailure, c.RestoreMetadata, c.RestoreTarget = "broken", "mine", vss.TargetAlternate
		return nil
	})
	w.PostRestore(t.Context(), Target{})
	c = w.Components()[0].Component("", "data")
	if c.PostRestoreFailure != "broken" || c.RestoreMetadata != "note" ||
		c.RestoreTarget != vss.TargetOriginalLocation {
		t.Errorf("after PostRestore: %+v", c)
	}
	w.Shutdown(t.Context(), Target{})
	if got := r.Names(w.session); !slices.Equal(got, []string{"PreRestore", "PostRestore"}) {
		t.Errorf("the writer received %v", got)
	}
	if got := silent.Names(w.session); len(got) > 0 {
		t.Errorf("the writer without a selected component received %v", got)
	}
	for _, e := range r.Seen() {
		checkRestored(t, e)
	}
	if last := r.Seen()[1].Event.Components.Component("", "data"); last.FileRestoreStatus != vss.RestoredFailed {
		t.Errorf("PostRestore got the status %v", last.FileRestoreStatus)
	}
}

// checkRestored checks that what the requester set in TestRestore is what a writer received.
func checkRestored(t *testing.T, e writertest.Seen) {
	t.Helper()
	if e.Event.RestoreType != vss.RestoreImport {
		t.Errorf("%s got the restore type %v", e.Handler, e.Event.RestoreType)
	}
	c := e.Event.Components.Component("", "data")
	if c == nil {
		t.Fatalf("%s did not get the component", e.Handler)
	}
	for field, ok := range map[string]bool{
		"SelectedForRestore":   c.SelectedForRestore,
		"RestoreSubcomponents": len(c.RestoreSubcomponents) == 1,
		"RestoreOptions":       c.RestoreOptions == "fast",
		"AdditionalRestores":   c.AdditionalRestores,
		"AuthoritativeRestore": c.AuthoritativeRestore,
		"RollForward":          c.RollForward == vss.RollForwardPartial && c.RollForwardPoint == "lsn 7",
		"RestoreName":          c.RestoreName == "data2",
		"PreviousBackupStamp":  c.PreviousBackupStamp == "stamp",
		"NewTargets":           len(c.NewTargets) == 1,
		"BackupMetadata":       c.BackupMetadata == "as of the backup",
	} {
		if !ok {
			t.Errorf("%s got a wrong %s: %+v", e.Handler, field, c)
		}
	}
	if o := e.Event.Components.Component("", "other"); o == nil || o.SelectedForRestore {
		t.Errorf("%s got the other component as %+v", e.Handler, o)
	}
}

// TestRestoreStates checks the states of a writer that fails in neither, one or both events.
func TestRestoreStates(t *testing.T) {
	boom := writertest.Fail(vss.ErrWriterErrorNonRetryable, errors.New("boom"))
	veto := writertest.Veto(vss.ErrWriterErrorRetryable, "later")
	for _, c := range []struct {
		name        string
		pre, post   writertest.Act
		then, after vss.WriterState
		failure     vss.Code
	}{
		{"fine", nil, nil, vss.WriterStable, vss.WriterStable, vss.OK},
		{"PreRestore fails", boom, nil, vss.WriterFailedAtPreRestore, vss.WriterFailedAtPreRestore,
			vss.ErrWriterErrorNonRetryable},
		{"PreRestore vetoes", veto, nil, vss.WriterFailedAtPreRestore, vss.WriterFailedAtPreRestore,
			vss.ErrWriterErrorRetryable},
		{"PostRestore fails", nil, boom, vss.WriterStable, vss.WriterFailedAtPostRestore,
			vss.ErrWriterErrorNonRetryable},
		{"PostRestore vetoes", nil, veto, vss.WriterStable, vss.WriterFailedAtPostRestore, vss.ErrWriterErrorRetryable},
		{"both fail", veto, boom, vss.WriterFailedAtPreRestore, vss.WriterFailedAtPreRestore,
			vss.ErrWriterErrorRetryable},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, i := recorder("db")
			doc, _ := saved(t, i, r, "data")
			w := restoring(t, doc, nil, i)
			must(t, w.SetSelectedForRestore(database(i, "", "data"), true, vss.WriterInstanceID{}))
			r.At(writer.OnPreRestore, c.pre)
			r.At(writer.OnPostRestore, c.post)
			w.PreRestore(t.Context(), Target{})
			if s := w.status(); s.State != c.then {
				t.Errorf("after PreRestore: %+v, want %v", s, c.then)
			}
			w.PostRestore(t.Context(), Target{})
			if s := w.status(); s.State != c.after || s.Failure != c.failure {
				t.Errorf("after PostRestore: %+v, want %v, %v", s, c.after, c.failure.Name())
			}
			if got := r.Names(w.session); len(got) != 2 {
				t.Errorf("the writer received %v", got)
			}
		})
	}
}

// TestReceiver checks that a component goes to the instance it came from, to the one of its name, to another of the
// class, or to the one that the requester chose.
func TestReceiver(t *testing.T) {
	old, _ := recorder("db")
	named(old, "two")
	was := instanceOf(old)
	doc, meta := saved(t, was, old, "data")
	n := database(was, "", "data")
	another := func(name string) (*writertest.Recorder, *writer.Instance) {
		r, _ := recorder("db")
		r.Who.ID = old.Who.ID
		named(r, name)
		return r, instanceOf(r)
	}
	one, i1 := another("one")
	two, i2 := another("two")
	none := vss.WriterInstanceID{}
	for _, c := range []struct {
		name    string
		running []*writer.Instance
		to      []vss.WriterInstanceID // of one selection after the other
		want    *writertest.Recorder
		code    vss.Code
	}{
		{"itself", []*writer.Instance{i1, i2, was}, []vss.WriterInstanceID{none}, old, 0},
		{"its name", []*writer.Instance{i1, i2}, []vss.WriterInstanceID{none}, two, 0},
		{"its class", []*writer.Instance{i1}, []vss.WriterInstanceID{none}, one, 0},
		{"chosen", []*writer.Instance{i1, i2, was}, []vss.WriterInstanceID{i1.ID}, one, 0},
		{"chosen and taken back", []*writer.Instance{i1, i2, was}, []vss.WriterInstanceID{i1.ID, none}, old, 0},
		{"not running", []*writer.Instance{i2}, []vss.WriterInstanceID{i1.ID}, nil, vss.ErrObjectNotFound},
		{"none", nil, []vss.WriterInstanceID{none}, nil, vss.ErrObjectNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := restoring(t, doc, [][]byte{meta}, c.running...)
			for _, to := range c.to {
				if err := w.SetSelectedForRestore(n, true, to); vss.CodeOf(err) != c.code {
					t.Fatalf("%v, want %v", err, c.code)
				}
			}
			w.PreRestore(t.Context(), Target{})
			for _, r := range []*writertest.Recorder{old, one, two} {
				if got := len(r.Names(w.session)) > 0; got != (r == c.want) {
					t.Errorf("instance %q received an event: %v", r.Who.InstanceName, got)
				}
			}
		})
	}
}

// TestRestoreRefused checks the codes of what a restore refuses.
func TestRestoreRefused(t *testing.T) {
	r, i := recorder("db")
	doc, meta := saved(t, i, r, "data")
	r.Metadata.BackupSchema = 0
	poor, poorMeta := saved(t, i, r, "data")
	w, bare := restoring(t, doc, [][]byte{meta}, i), restoring(t, poor, [][]byte{poorMeta}, i)
	n, part, none := database(i, "", "data"), database(i, "data", "part"), database(i, "", "none")
	group := n
	group.Type = vss.ComponentFileGroup
	here := document.FileSet{Path: "/srv/data", FileSpec: "*.db", AlternatePath: "/srv/new"}
	other, wild, nowhere, unmapped, deep := here, here, here, here, here
	other.Path, wild.Path, nowhere.AlternatePath = "/srv/nowhere", "/srv/*", ""
	unmapped.Path, deep.FileSpec = "/srv/part", "a/*"
	must(t, w.AddNewTarget(n, here), w.AddAlternativeLocationMapping(n, here), w.SetRangesFilePath(n, 0, "/tmp/r"))
	self := vss.WriterInstanceID{}
	fresh := newWorld(t, i)
	must(t, fresh.LoadRestore(doc, nil))
	for _, c := range []struct {
		name string
		got  error
		want vss.Code
	}{
		{"an implicit component", w.SetSelectedForRestore(part, true, self), vss.ErrObjectNotFound},
		{"a component of another type", w.SetSelectedForRestore(group, true, self), vss.ErrObjectNotFound},
		{"a missing component", w.SetRestoreOptions(none, "x"), vss.ErrObjectNotFound},
		{"a component of a writer that does not run", fresh.SetRestoreOptions(n, "x"), vss.ErrObjectNotFound},
		{"a status before Gather", fresh.SetFileRestoreStatus(n, vss.RestoredAll), vss.ErrBadState},
		{"a status of a missing component", w.SetFileRestoreStatus(none, vss.RestoredAll), vss.ErrObjectNotFound},
		{"an invalid status", w.SetFileRestoreStatus(n, 9), vss.ErrInvalidArg},
		{"a subcomponent before its root", w.AddRestoreSubcomponent(n, "data", "part"), vss.ErrBadState},
		{"a new target twice", w.AddNewTarget(n, here), vss.ErrObjectAlreadyExists},
		{"a new target of no file set", w.AddNewTarget(n, other), vss.ErrObjectNotFound},
		{"a new target with a wildcard", w.AddNewTarget(n, wild), vss.ErrInvalidArg},
		{"a new target with a folder in its filespec", w.AddNewTarget(n, deep), vss.ErrInvalidArg},
		{"a new target without a destination", w.AddNewTarget(n, nowhere), vss.ErrInvalidArg},
		{"a mapping without a destination", w.AddAlternativeLocationMapping(n, nowhere), vss.ErrInvalidArg},
		{"a mapping that the writer does not have", w.AddAlternativeLocationMapping(n, unmapped),
			vss.ErrObjectNotFound},
		{"a mapping twice", w.AddAlternativeLocationMapping(n, here), vss.ErrObjectAlreadyExists},
		{"a missing partial file", w.SetRangesFilePath(n, 1, "/tmp/r"), vss.ErrObjectNotFound},
		{"a ranges file without an absolute path", w.SetRangesFilePath(n, 0, "r"), vss.ErrInvalidArg},
		{"an invalid roll forward type", w.SetRollForward(n, 9, ""), vss.ErrInvalidArg},
		{"the schema, new targets", bare.AddNewTarget(n, here), vss.ErrInvalidArg},
		{"the schema, instances", bare.SetSelectedForRestore(n, true, i.ID), vss.ErrInvalidArg},
		{"the schema, authoritative", bare.SetAuthoritativeRestore(n, true), vss.ErrInvalidArg},
		{"the schema, roll forward", bare.SetRollForward(n, vss.RollForwardAll, ""), vss.ErrInvalidArg},
		{"the schema, names", bare.SetRestoreName(n, "x"), vss.ErrInvalidArg},
	} {
		if vss.CodeOf(c.got) != c.want {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
	without := restoring(t, doc, nil, i) // no metadata: only the form is checked
	must(t, without.AddNewTarget(n, other), without.AddAlternativeLocationMapping(n, unmapped))
}

// TestRestoreIfReplaceFails checks that such a writer receives PostRestore only if files could not be replaced.
func TestRestoreIfReplaceFails(t *testing.T) {
	for status, want := range map[vss.FileRestoreStatus]int{vss.RestoredAll: 1, vss.RestoredFailed: 2,
		vss.RestoredNone: 2} {
		r, i := recorder("db")
		r.Metadata.RestoreMethod.WriterRestore = vss.WriterRestoreIfReplaceFails
		doc, _ := saved(t, i, r, "data")
		w, n := restoring(t, doc, nil, i), database(i, "", "data")
		must(t, w.SetSelectedForRestore(n, true, vss.WriterInstanceID{}))
		w.PreRestore(t.Context(), Target{})
		must(t, w.SetFileRestoreStatus(n, status))
		w.PostRestore(t.Context(), Target{})
		if got := r.Names(w.session); len(got) != want {
			t.Errorf("%v: the writer received %v", status, got)
		}
	}
}

// TestRestoreIsNotCutShort checks that the events of a restore go on when the requester leaves.
func TestRestoreIsNotCutShort(t *testing.T) {
	r, i := recorder("db")
	doc, _ := saved(t, i, r, "data")
	w := restoring(t, doc, nil, i)
	must(t, w.SetSelectedForRestore(database(i, "", "data"), true, vss.WriterInstanceID{}))
	ctx, cancel := context.WithCancel(t.Context())
	obeys := func(hctx context.Context, _ *writer.Event) error { cancel(); return hctx.Err() }
	r.At(writer.OnPreRestore, obeys)
	r.At(writer.OnPostRestore, obeys)
	w.PreRestore(ctx, Target{})
	w.PostRestore(ctx, Target{})
	if s := w.status(); s.State != vss.WriterStable || s.Failure != vss.OK || len(r.Seen()) != 2 {
		t.Errorf("%+v", s)
	}
}
