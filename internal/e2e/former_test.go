package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/lane"
)

// formerCommit is the version before catalogue format 2.
const formerCommit = "076ba50"

// formerProgram builds vss of formerCommit from this repository's history and returns its path.
func formerProgram(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	if err := os.Mkdir(source, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"git -C ../.. archive " + formerCommit + " | tar -xC " + source,
		"cd " + source + " && CGO_ENABLED=0 go build -buildvcs=false -o " + dir + "/ ./cmd/vss",
	} {
		if out, err := exec.Command("bash", "-euo", "pipefail", "-c", line).CombinedOutput(); err != nil {
			t.Fatalf("the program of %s can't be built; this needs the repository with its history, not a shallow "+
				"clone: %v\n%s", formerCommit, err, out)
		}
	}
	return filepath.Join(dir, "vss")
}

// TestFormerState checks that everything the program of formerCommit left on a host is taken over, with its catalogue,
// its pool and its copies in each state: each copy is listed, exposed, imported, broken and deleted.
func TestFormerState(t *testing.T) {
	lane.SoakOnly(t, "it builds a former version from the repository's history, which a shallow clone doesn't have")
	w := newWorld(t)
	w.program = formerProgram(t)
	a, b := w.volume("a", "64M", "ext4", "gpt"), w.volume("b", "320M", "xfs", "mbr")
	c := w.volume("c", "256M", "btrfs", "whole-disk")
	all := []string{a, b, c}
	for _, point := range all {
		w.write(filepath.Join(point, "file"), "before")
	}
	bc, imported := filepath.Join(w.dir, "bc.xml"), filepath.Join(w.dir, "imported.xml")
	one := w.create("--no-writers", a)
	three := w.create(all...)
	plex := w.create("--no-writers", "--plex", a)
	toBreak, toMask := w.create("--no-writers", a, b), w.create("--no-writers", a)
	w.create("--no-writers", "--transportable", "--bc", bc, a)
	w.create("--no-writers", "--transportable", "--bc", imported, b)
	w.vss(nil, "import", "--bc", imported)
	exposed := filepath.Join(w.run, "exposed", "kept")
	w.vss(nil, "expose", three.ShadowCopies[0].ID, exposed)
	want := w.shadows()
	for _, point := range all {
		w.write(filepath.Join(point, "file"), "after")
	}
	if pid := w.service(); pid != 0 { // as an upgrade may find it: not stopped in order
		_ = unix.Kill(pid, unix.SIGKILL)
		w.stop(unix.SIGKILL)
	}

	w.program = ""
	got := w.shadows()
	if len(got) != len(want) || len(got) < 8 {
		t.Fatalf("%d copies are listed, %d were", len(got), len(want))
	}
	for i, s := range want {
		g := got[i]
		if g.ID != s.ID || g.SetID != s.SetID || g.DeviceObject != s.DeviceObject ||
			g.OriginalVolume != s.OriginalVolume || g.Consistency != s.Consistency ||
			g.ExposedAt != s.ExposedAt || g.State != s.State {
			t.Errorf("copy %d is listed as %+v, was %+v", i, g, s)
		}
		w.vss(nil, "show", s.ID)
		if s.DeviceObject == "" { // it is imported below
			continue
		}
		at := s.ExposedAt
		if at == "" {
			at = filepath.Join(w.run, "exposed", "x")
			w.vss(nil, "expose", s.ID, at)
		}
		if text, err := os.ReadFile(filepath.Join(at, "file")); err != nil || string(text) != "before" {
			t.Errorf("the copy of %s has %q, %v", s.OriginalVolume, text, err)
		}
		w.vss(nil, "unexpose", s.ID)
	}
	w.clean()
	var s setDoc
	w.vss(&s, "import", "--bc", bc)
	w.vss(nil, "delete", s.SetID)
	for _, args := range [][]string{{"break", toBreak.SetID, "--read-write"}, {"break", toMask.SetID, "--mask"}} {
		var d breakDoc
		w.vss(&d, args...)
		for _, l := range d.LUNs {
			w.vss(nil, "lun", "delete", l.LUN, "--force")
		}
	}
	w.vss(nil, "delete", one.ShadowCopies[0].ID)
	w.vss(nil, "delete", three.SetID)
	w.vss(nil, "delete", plex.SetID)
	w.create(all...) // and the host goes on
	w.vss(nil, "delete", "--all")
	w.clean()
}
