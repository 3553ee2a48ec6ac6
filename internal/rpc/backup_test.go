package rpc

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

// TestBackup runs a backup through the socket and checks that what each call carries arrives on the other side.
func TestBackup(t *testing.T) {
	r, i := recorder()
	w := newWorld(t, i)
	b, ctx := w.open(), t.Context()
	c := requester.Component{Writer: i.Info.ID, Instance: i.ID, Type: "database", Name: "data"}
	must(t, b.InitializeForBackup(ctx, nil), b.SetContext(ctx, vss.ContextAppRollback),
		b.SetBackupState(ctx, true, true, vss.BackupIncremental, true), b.EnableWriterClasses(ctx, "db"),
		b.DisableWriterClasses(ctx, "none"), b.DisableWriterInstances(ctx, vss.WriterInstanceID{GUID: vss.NewGUID()}),
		ended(ctx)(b.GatherWriterMetadata(ctx)))
	meta, err := b.GetWriterMetadata(ctx)
	must(t, err)
	differ(t, "metadata", map[string][2]any{
		"writers": {len(meta), 1}, "ID": {meta[0].ID, i.Info.ID}, "Instance": {meta[0].Instance, i.ID},
		"Name":       {meta[0].Name, "db"},
		"components": {len(meta[0].Components), 2}, "Caption": {meta[0].Components[0].Caption, "Data"},
		"Selectable": {meta[0].Components[0].Selectable, true}, "Type": {meta[0].Components[0].Type, "database"},
		"LogicalPath": {meta[0].Components[1].LogicalPath, "data"},
		"XML":         {bytes.Contains(meta[0].XML, []byte("/srv/part")), true},
	})
	supported, err := b.IsVolumeSupported(ctx, "/srv", "")
	must(t, err, b.AddComponent(ctx, c), b.SetBackupOptions(ctx, c, "wish"), b.SetPreviousBackupStamp(ctx, c, "base"))
	set, err := b.StartSnapshotSet(ctx)
	must(t, err)
	id, err := b.AddToSnapshotSet(ctx, "/srv", "memory")
	must(t, err, ended(ctx)(b.PrepareForBackup(ctx)), ended(ctx)(b.DoSnapshotSet(ctx, 5*time.Second)),
		b.SetBackupSucceeded(ctx, c, true), ended(ctx)(b.GatherWriterStatus(ctx)), ended(ctx)(b.BackupComplete(ctx)))
	seen := r.Seen()
	session, err := b.GetSessionID(ctx)
	must(t, err)
	first := seen[0].Event
	k := first.Components.Component("", "data")
	differ(t, "PrepareBackup", map[string][2]any{
		"supported": {supported, true}, "events": {len(seen), 6}, "Session": {first.Session, session},
		"Bootable": {first.Bootable, true},
		"Partial":  {first.Partial, true}, "BackupType": {first.BackupType, vss.BackupIncremental},
		"SetID":   {first.SetID, set},
		"Context": {first.Context, vss.ContextAppRollback}, "BackupOptions": {k.BackupOptions, "wish"},
		"PreviousBackupStamp": {k.PreviousBackupStamp, "base"},
	})
	status, err := b.GetWriterStatus(ctx)
	must(t, err)
	differ(t, "status", map[string][2]any{
		"writers": {len(status), 1}, "State": {status[0].State, vss.WriterStable},
		"Failure": {status[0].Failure, vss.OK},
		"ID":      {status[0].ID, i.Info.ID}, "Instance": {status[0].Instance, i.ID},
		"Level":      {status[0].Level, "front-end"},
		"Components": {status[0].Components, 2}, "Name": {status[0].Name, "db"},
	})
	all, err := b.GetWriterComponents(ctx)
	must(t, err)
	saved := all[0].Component("", "data")
	differ(t, "component", map[string][2]any{"BackupSucceeded": {saved.BackupSucceeded, true},
		"BackupStamp": {saved.BackupStamp, set.String()}})
	if xml, err := b.SaveAsXML(ctx); err != nil || !bytes.Contains(xml, []byte(set.Plain())) ||
		!bytes.Contains(xml, []byte(id.Plain())) {
		t.Errorf("the document: %v\n%s", err, xml)
	}
	w.checkSet(set, id)
}

// checkSet checks the description of the set that TestBackup made.
func (w *world) checkSet(id vss.SnapshotSetID, copy vss.SnapshotID) {
	w.t.Helper()
	set, err := w.client.GetSnapshotSet(w.t.Context(), id)
	must(w.t, err)
	one := set.Snapshots[0]
	differ(w.t, "set", map[string][2]any{
		"ID": {set.ID, id}, "Context": {set.Context, vss.ContextAppRollback}, "copies": {len(set.Snapshots), 1},
		"writers": {len(set.Writers), 1},
		"Created": {set.Created.IsZero(), false}, "Consistency": {set.Consistency == "", false},
		"reason":    {set.ConsistencyReason == "", set.Consistency == "application"},
		"timeline":  {len(set.Timeline) > 10, true},
		"copy's ID": {one.ID, copy}, "copy's SetID": {one.SetID, id}, "State": {one.State, vss.StateCreated},
		"Count":          {one.Count, 1},
		"OriginalVolume": {one.OriginalVolume, "/srv"}, "ProviderID": {one.ProviderID, providerID},
		"ProviderName": {one.ProviderName, "memory"},
		"FileSystem":   {one.FileSystem, "xfs"}, "LUNs": {len(one.LUNs), 1},
		"DeviceObject": {one.DeviceObject != "", true},
	})
	committed := func(s requester.Step) bool { return s.Name == "commit" && s.End >= s.Start }
	if !slices.ContainsFunc(set.Timeline, committed) {
		w.t.Errorf("the timeline has no commit: %+v", set.Timeline)
	}
}

// TestCopies makes a copy and runs every call on copies.
func TestCopies(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	create := func() (*requester.BackupComponents, vss.SnapshotSetID, vss.SnapshotID) {
		b := w.open()
		must(t, b.InitializeForBackup(ctx, nil), b.SetContext(ctx, vss.ContextNASRollback))
		set, err := b.StartSnapshotSet(ctx)
		must(t, err)
		id, err := b.AddToSnapshotSet(ctx, "/srv", "")
		must(t, err, ended(ctx)(b.DoSnapshotSet(ctx, 0)))
		return b, set, id
	}
	b, set, id := create()
	p, err := b.GetSnapshotProperties(ctx, id)
	must(t, err)
	all, err := b.QuerySnapshots(ctx)
	must(t, err)
	providers, err := b.QueryProviders(ctx)
	must(t, err)
	yes, _, err := b.IsVolumeSnapshotted(ctx, "/srv")
	must(t, err)
	list, err := w.client.ListVolumes(ctx)
	must(t, err)
	differ(t, "queries", map[string][2]any{
		"ID": {p.ID, id}, "copies": {len(all), 1}, "the copy": {all[0].ID, id}, "providers": {len(providers), 1},
		"the provider": {providers[0].ID, providerID}, "its name": {providers[0].Name, "memory"},
		"its type":         {providers[0].Type, "hardware"},
		"its capabilities": {len(providers[0].Capabilities) > 0, true}, "snapshotted": {yes, true},
		"volumes":    {len(list), 1},
		"the volume": {list[0].Name, "/srv"}, "its providers": {len(list[0].Providers), 1},
		"its LUNs": {len(list[0].LUNs), 1},
	})
	mounted, err := b.MountSnapshot(ctx, id)
	must(t, err)
	folder := filepath.Join(w.dir, "exposed", "x") // where ordinary users may expose copies
	must(t, os.MkdirAll(folder, 0o755))
	exposed, err := b.ExposeSnapshot(ctx, id, "", vss.AttrExposedLocally, folder)
	must(t, err)
	hidden, err := b.UnexposeSnapshot(ctx, id)
	must(t, err)
	differ(t, "mounts", map[string][2]any{
		"private": {mounted.Path != "", true}, "exposed": {exposed.ExposedAt != "", true},
		"unexposed": {hidden.ExposedAt, ""},
	})
	deleted, stayed, err := b.DeleteSnapshots(ctx, set.GUID, vss.ObjectSnapshotSet, false)
	must(t, err)
	differ(t, "deletion", map[string][2]any{"deleted": {len(deleted), 1}, "stayed": {stayed.IsZero(), true}})

	b, set, _ = create()
	broken, err := b.BreakSnapshotSet(ctx, set)
	must(t, err)
	differ(t, "break", map[string][2]any{"LUNs": {len(broken), 1}, "volume": {broken[0].OriginalVolume, "/srv"},
		"masked": {broken[0].Masked, false}})
	b, set, _ = create()
	a, err := b.BreakSnapshotSetEx(ctx, set, vss.BreakMaskLUNs)
	must(t, ended(ctx)(a, err))
	broken, err = b.GetBreakResult(ctx, a)
	must(t, err)
	differ(t, "break with masking", map[string][2]any{"LUNs": {len(broken), 1}, "masked": {broken[0].Masked, true}})
}

// TestImport moves a transportable set with its document.
func TestImport(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	b := w.open()
	must(t, b.InitializeForBackup(ctx, nil),
		b.SetContext(ctx, vss.ContextNASRollback|vss.Context(vss.AttrTransportable)))
	_, err := b.StartSnapshotSet(ctx)
	must(t, err)
	_, err = b.AddToSnapshotSet(ctx, "/srv", "")
	must(t, err, ended(ctx)(b.DoSnapshotSet(ctx, 0)))
	xml, err := b.SaveAsXML(ctx)
	must(t, err)
	i := w.open()
	must(t, i.InitializeForBackup(ctx, xml), ended(ctx)(i.ImportSnapshots(ctx)), i.SetContext(ctx, vss.ContextAll))
	if all, err := i.QuerySnapshots(ctx); err != nil || len(all) != 1 || all[0].DeviceObject == "" {
		t.Errorf("after the import: %+v, %v", all, err)
	}
}

// TestAsync checks waiting, progress and cancellation of an operation.
func TestAsync(t *testing.T) {
	r, i := recorder()
	r.AtIdentify(writertest.Stall)
	w := newWorld(t, i)
	b, ctx := w.open(), t.Context()
	must(t, b.InitializeForBackup(ctx, nil))
	a, err := b.GatherWriterMetadata(ctx)
	must(t, err)
	s, err := a.QueryStatus(ctx)
	must(t, err)
	differ(t, "status", map[string][2]any{"Result": {s.Result, vss.SuccessAsyncPending},
		"Step": {s.Step == "" || s.Step == "identify", true}})
	if code, err := a.Cancel(ctx); err != nil || code != vss.OK {
		t.Errorf("Cancel: %v, %v", code, err)
	}
	if err := b.AbortBackup(ctx); err != nil {
		t.Errorf("AbortBackup: %v", err)
	}
}

// TestEvents checks that stored events and later ones reach a follower.
func TestEvents(t *testing.T) {
	w := newWorld(t)
	set := vss.SnapshotSetID{GUID: vss.NewGUID()}
	problem := vss.E("Commit", vss.ErrProviderVeto, errors.New("no")).Advise("hint")
	w.events.Problem(events.CreationFailed, events.Error, set, "/srv", problem)
	stop := errors.New("enough")
	var got []requester.Event
	follow := func(follow bool, want int) error {
		got = nil
		return w.client.Events(t.Context(), time.Time{}, follow, func(e requester.Event) error {
			if got = append(got, e); len(got) == want {
				return stop
			}
			w.events.Problem(events.Remains, events.Warning, vss.SnapshotSetID{}, "", problem)
			return nil
		})
	}
	if err := follow(false, 2); err != nil || len(got) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	e := got[0]
	differ(t, "event", map[string][2]any{
		"What": {e.What, "creation-failed"}, "Severity": {e.Severity, "error"}, "SetID": {e.SetID, set},
		"Object": {e.Object, "/srv"},
		"Result": {e.Result, "VSS_E_PROVIDER_VETO"}, "HRESULT": {e.HRESULT, vss.ErrProviderVeto.HRESULT()},
		"Hint": {e.Hint, "hint"}, "Message": {e.Message, problem.Error()}, "Time": {e.Time.IsZero(), false},
	})
	if err := follow(true, 4); !errors.Is(err, stop) || got[3].What != "remains" {
		t.Errorf("%+v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	err := w.client.Events(ctx, time.Now().Add(time.Hour), true, func(requester.Event) error { return nil })
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("a follower that leaves: %v", err)
	}
}

func TestCheck(t *testing.T) {
	w := newWorld(t)
	found, err := w.client.Check(t.Context(), false)
	if err != nil || len(found) != 0 {
		t.Errorf("%+v, %v", found, err)
	}
}

// TestSessions checks that sessions belong to their user and end with their stream.
func TestSessions(t *testing.T) {
	_, i := recorder()
	w := newWorld(t, i)
	b := w.open()
	must(t, b.InitializeForBackup(t.Context(), nil))
	b.Close()
	for end := time.Now().Add(10 * time.Second); !w.k.Idle(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the session did not end with its stream")
		}
	}
	if err := b.SetContext(t.Context(), vss.ContextBackup); err == nil {
		t.Error("a closed session takes calls")
	}
	_, err := w.rpc.SaveAsXML(t.Context(), &vssv1.SessionRequest{Session: "none"})
	if !errors.Is(err, vss.ErrBadState) {
		t.Errorf("a session that does not exist: %v", err)
	}
	if _, err := New(w.k, nil).SaveAsXML(t.Context(), &vssv1.SessionRequest{}); !errors.Is(err, vss.ErrAccessDenied) {
		t.Errorf("a caller that is not known: %v", err)
	}
}

// TestAbort checks that AbortBackup reaches writers.
func TestAbort(t *testing.T) {
	r, i := recorder()
	w := newWorld(t, i)
	b, ctx := w.open(), t.Context()
	must(t, b.InitializeForBackup(ctx, nil), b.SetBackupState(ctx, false, false, vss.BackupFull, false),
		ended(ctx)(b.GatherWriterMetadata(ctx)))
	_, err := b.StartSnapshotSet(ctx)
	must(t, err, ended(ctx)(b.PrepareForBackup(ctx)), b.AbortBackup(ctx))
	if s := r.Seen(); len(s) != 2 || s[1].Handler != writer.OnAbort {
		t.Errorf("the writer received %+v", s)
	}
}
