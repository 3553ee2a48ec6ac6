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
	disks, err := vds.New(vds.Config{Host: "test", StateDir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	k, err := New(context.Background(), Config{
		Host: "test", RunDir: dir, DeviceDir: filepath.Join(dir, "dev"), StateDir: dir, HoldLimit: 10 * time.Second, Catalog: store, Disks: disks,
		Volumes: volume.New(volume.Options{}), Writers: func(context.Context) []*writer.Instance { return writers }, Quiet: loud{}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestIdle: a set that is left open is aborted after ten minutes, an event tells, and others can create again.
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
		past, _, _, err := k.Events(time.Time{}, false)
		if err != nil || len(past) != 1 || past[0].What != "set-expired" || past[0].Hint == "" {
			t.Errorf("events %+v, %v", past, err)
		}
	})
}
