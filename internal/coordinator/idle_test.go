package coordinator

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

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
