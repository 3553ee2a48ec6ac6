package coordinator

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

type loud struct{}

func (loud) Hold()    {}
func (loud) Release() {}

// bare makes a coordinator of a host that has nothing but these writers.
func bare(t *testing.T, writers ...*writer.Instance) *Coordinator {
	t.Helper()
	dir := t.TempDir()
	store, err := catalog.Open(filepath.Join(dir, "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	logger := slog.New(slog.DiscardHandler)
	disks, err := vds.New(vds.Config{Host: "test", StateDir: dir, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	log := events.New(store, logger)
	host, err := copies.NewHost(
		copies.Config{Name: "test", RunDir: dir, DeviceDir: filepath.Join(dir, "dev"), Catalog: store, Events: log,
			Disks: copies.Manager(disks), Logger: logger},
	)
	if err != nil {
		t.Fatal(err)
	}
	k, err := New(context.Background(), Config{
		Name: "test", HoldLimit: 10 * time.Second, Catalog: store, Events: log,
		Volumes: volume.New(volume.Options{}), Holder: &fakeHolder{}, Host: host,
		Writers: func(context.Context) []*writer.Instance { return writers }, Quiet: loud{}, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestIdle: a set that is left open is aborted after ten minutes, with an event, and others can create again.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := bare(t)
		stuck, other := k.OpenSession(0), k.OpenSession(0)
		defer stuck.Close()
		defer other.Close()
		for _, s := range []*Session{stuck, other} {
			if err := errors.Join(s.InitializeForBackup(nil), s.SetContext(vss.ContextFileShareBackup)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := stuck.StartSnapshotSet(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(IdleLimit - time.Second)
		if _, err := other.StartSnapshotSet(); !errors.Is(err, vss.ErrSnapshotSetInProgress) {
			t.Errorf("a second creation before the limit: %v", err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if _, err := other.StartSnapshotSet(); err != nil {
			t.Errorf("a creation after the limit: %v", err)
		}
		if _, err := stuck.DoSnapshotSet(0); !errors.Is(err, vss.ErrBadState) {
			t.Errorf("the aborted set: %v", err)
		}
		past, err := k.Config.Events.List(time.Time{})
		if err != nil || len(past) != 1 || past[0].What != "set-expired" || past[0].Hint == "" {
			t.Errorf("events %+v, %v", past, err)
		}
	})
}

// TestIdleMeansWithoutCalls: a set whose session still calls isn't aborted, and a backup without copies takes as long
// as it takes, without keeping others from creating (spec 4).
func TestIdleMeansWithoutCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := bare(t)
		busy, other := k.OpenSession(0), k.OpenSession(0)
		defer busy.Close()
		defer other.Close()
		for _, s := range []*Session{busy, other} {
			if err := errors.Join(s.InitializeForBackup(nil), s.SetBackupState(false, false, vss.BackupFull, false),
				ended(s.GatherWriterMetadata())); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := busy.StartSnapshotSet(); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			time.Sleep(IdleLimit - time.Second)
			if _, err := k.Session(busy.Token, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := ended(busy.PrepareForBackup()); err != nil {
			t.Fatalf("PrepareForBackup of a session that calls: %v", err)
		}
		time.Sleep(3 * IdleLimit)
		synctest.Wait()
		if _, err := other.StartSnapshotSet(); err != nil {
			t.Errorf("another creation meanwhile: %v", err)
		}
		if _, err := busy.DoSnapshotSet(0); !errors.Is(err, vss.ErrBadState) {
			t.Errorf("DoSnapshotSet beside another creation: %v", err)
		}
		if err := ended(busy.BackupComplete()); err != nil {
			t.Errorf("BackupComplete after a long backup: %v", err)
		}
	})
}

// TestOldComponents: a document of a former backup, loaded for a new one, doesn't claim its components for it; nor does
// one whose component mode was switched off (spec 7).
func TestOldComponents(t *testing.T) {
	k := bare(t)
	s := k.OpenSession(0)
	defer s.Close()
	old := &document.Components{SelectComponents: true, Writers: []*document.WriterComponents{{
		WriterID: vss.WriterID{GUID: vss.NewGUID()}, InstanceID: vss.WriterInstanceID{GUID: vss.NewGUID()},
		Components: []*document.Component{{Type: vss.ComponentDatabase, Name: "db"}},
	}}}
	text, err := old.XML()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.InitializeForBackup(text); err != nil {
		t.Fatal(err)
	}
	if n := len(s.writers.Document().Writers); n != 1 {
		t.Fatalf("%d writers in the loaded document", n)
	}
	if _, err := s.StartSnapshotSet(); err != nil {
		t.Fatal(err)
	}
	if n := len(s.writers.Document().Writers); n != 0 {
		t.Errorf("%d writers of the former backup in the document of the new one", n)
	}
	off := k.OpenSession(0)
	defer off.Close()
	if err := off.InitializeForBackup(text); err != nil {
		t.Fatal(err)
	}
	if err := off.SetBackupState(false, false, vss.BackupFull, false); err != nil {
		t.Fatal(err)
	}
	if n := len(off.writers.Document().Writers); n != 0 {
		t.Errorf("%d writers without component mode", n)
	}
}

// TestLimitsOfUsers: an ordinary user has a limited number of sessions, and can't keep others from creating for longer
// than an hour, however often the session calls (trust 14).
func TestLimitsOfUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := bare(t)
		var all []*Session
		for range maxSessions {
			s, err := k.Admit(1000)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			all = append(all, s)
		}
		if _, err := k.Admit(1000); !errors.Is(err, vss.ErrBadState) || vss.Hint(err) == "" {
			t.Errorf("one session too many: %v", err)
		}
		root, err := k.Admit(0)
		if err != nil {
			t.Fatalf("another user: %v", err)
		}
		defer root.Close()
		for _, s := range []*Session{all[0], root} {
			if err := errors.Join(s.InitializeForBackup(nil), s.SetContext(vss.ContextFileShareBackup)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := all[0].StartSnapshotSet(); err != nil {
			t.Fatal(err)
		}
		for range 14 {
			time.Sleep(5 * time.Minute)
			if _, err := k.Session(all[0].Token, 1000); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if _, err := root.StartSnapshotSet(); err != nil {
			t.Errorf("a creation of another user after 70 minutes: %v", err)
		}
	})
}
