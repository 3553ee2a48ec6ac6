package e2e

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSpaceIsReserved: the originals of copies can be overwritten while no service runs, again and again, because the
// room was reserved before each cut; and the service stays while a LUN is attached, however short its idle time
// (users A).
func TestSpaceIsReserved(t *testing.T) {
	w := newWorld(t)
	w.configure("[service]\nidle_exit = \"200ms\"\n")
	point := w.volume("data", "400M", "xfs", "whole-disk")
	time.Sleep(time.Second)
	if w.service() == 0 {
		t.Error("the service ended while a LUN is attached")
	}
	for round := range 3 {
		if round > 0 {
			w.create("--context", "nas-rollback", point)
			w.stop(unix.SIGKILL)
		}
		fillVolume(t, point, 260)
	}
	var luns []lunDoc
	w.vss(&luns, "lun", "list")
	if len(luns) != 3 {
		t.Errorf("%d LUNs, want the original and two copies", len(luns))
	}
	if r := w.try("doctor"); r.code != 0 {
		t.Errorf("doctor: exit %d\n%s", r.code, r.stdout)
	}
}

// fillVolume overwrites a file of so many MiB in place, in pieces that are far apart, and waits until it is on disk.
func fillVolume(t *testing.T, point string, mib int) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(point, "data"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	piece := make([]byte, 64<<10)
	_, _ = rand.Read(piece)
	n := mib * 16
	for i := range n {
		at := (i*397 + i/n) % n
		copy(piece, fmt.Sprint(time.Now().UnixNano()))
		if _, err := f.WriteAt(piece, int64(at)*int64(len(piece))); err != nil {
			t.Fatalf("piece %d: %v", i, err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatalf("sync: %v", err)
	}
}
