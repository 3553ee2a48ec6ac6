package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// TestOtherNamespace: a volume that is mounted in another mount namespace only is found by its device, and held there.
func TestOtherNamespace(t *testing.T) {
	w := newWorld(t)
	w.vss(nil, "lun", "create", "a", "--size", "64M")
	var l lunDoc
	w.vss(&l, "lun", "format", "a", "--fs", "ext4")
	node, point := l.Disk.Partitions[0].Device, filepath.Join(w.dir, "inside")
	if err := os.MkdirAll(point, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c",
		"mount "+node+" "+point+" && echo there > "+point+"/file && echo ready && exec sleep 300")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL,
		Unshareflags: unix.CLONE_NEWNS}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(point, "file")); err == nil {
		t.Fatal("the volume is mounted here, too")
	}
	s := w.create("--no-writers", node)
	if s.Consistency != "file-system" || s.HoldMS <= 0 {
		t.Errorf("the copy is %s consistent (%s), held for %v ms", s.Consistency, s.ConsistencyReason, s.HoldMS)
	}
	at := filepath.Join(w.run, "exposed", "x")
	w.vss(nil, "expose", s.ShadowCopies[0].ID, at)
	if b, err := os.ReadFile(filepath.Join(at, "file")); err != nil || string(b) != "there\n" {
		t.Errorf("the copy has %q, %v", b, err)
	}
}

// stranger starts a process with a mount namespace of its own, which has all mounts of now, in a folder. It ends with
// the test, or when end is called.
func (w *world) stranger(dir string) (end func()) {
	w.Helper()
	cmd := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-ec",
		"cd "+dir+"; echo ready; exec sleep 600")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	w.must(err)
	end = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	w.Cleanup(end)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		w.Fatalf("%q, %v", line, err)
	}
	return end
}

// TestStranger: a process with a mount namespace of its own, which has the mounts of the moment in which it was
// started, doesn't keep copies and LUNs from being taken off, unless it uses them.
func TestStranger(t *testing.T) {
	w := newWorld(t)
	point := w.volume("a", "64M", "ext4", "gpt")
	at := filepath.Join(w.run, "exposed", "x")
	for _, busy := range []bool{false, true} {
		s := w.create("--no-writers", point)
		w.vss(nil, "expose", s.ShadowCopies[0].ID, at)
		end := w.stranger(map[bool]string{false: "/", true: at}[busy])
		w.vss(nil, "unexpose", at)
		if busy {
			if r := w.try("delete", s.SetID); r.code != 1 || !bytes.Contains(r.stdout, []byte("VSS_E_VOLUME_IN_USE")) {
				t.Errorf("a copy that is in use was deleted: exit %d\n%s", r.code, r.stdout)
			}
			end()
		}
		w.vss(nil, "delete", s.SetID)
	}
	w.stranger("/")
	w.vss(nil, "lun", "unmount", "a")
	w.vss(nil, "lun", "mask", "a")
	w.vss(nil, "lun", "delete", "a")
	w.clean()
}

// TestPlex: a plex copy ends up sharing nothing with its origin, which can be destroyed then.
func TestPlex(t *testing.T) {
	w := newWorld(t)
	point := w.volume("a", "128M", "ext4", "gpt")
	w.write(filepath.Join(point, "file"), strings.Repeat("x", 20<<20))
	s := w.create("--no-writers", "--plex", point)
	if !slices.Contains(s.ShadowCopies[0].Attributes, "plex") ||
		slices.Contains(s.ShadowCopies[0].Attributes, "differential") {
		t.Errorf("attributes %v", s.ShadowCopies[0].Attributes)
	}
	id := s.ShadowCopies[0].LUNs[0]
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		l := w.lun(id)
		if l.Method != "plex" {
			t.Fatalf("method %s", l.Method)
		}
		if l.CompletePercent == 100 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("it stays at %v %%", l.CompletePercent)
		}
	}
	w.vss(nil, "lun", "delete", "a", "--force")
	at := filepath.Join(w.run, "exposed", "x")
	w.vss(nil, "expose", s.ShadowCopies[0].ID, at)
	if b, err := os.ReadFile(filepath.Join(at, "file")); err != nil || len(b) != 20<<20 {
		t.Errorf("the plex has %d bytes, %v", len(b), err)
	}
}

// TestDefaultContext: without SetContext a session makes backup copies, which go with it; they survive nothing.
func TestDefaultContext(t *testing.T) {
	w := newWorld(t)
	point := w.volume("a", "64M", "ext4", "gpt")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b, err := w.connect().Open(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	wait := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	wait(b.InitializeForBackup(ctx, nil))
	gather, err := b.GatherWriterMetadata(ctx)
	wait(err)
	_, err = gather.Wait(ctx, nil)
	wait(err)
	wait(b.SetBackupState(ctx, false, false, vss.BackupFull, false))
	_, err = b.StartSnapshotSet(ctx)
	wait(err)
	id, err := b.AddToSnapshotSet(ctx, point, "")
	wait(err)
	if _, err := b.DoSnapshotSet(ctx, 0); !errors.Is(err, vss.ErrBadState) {
		t.Errorf("DoSnapshotSet before PrepareForBackup: %v", err)
	}
	prepare, err := b.PrepareForBackup(ctx)
	wait(err)
	_, err = prepare.Wait(ctx, nil)
	wait(err)
	if _, err := b.GetSnapshotProperties(ctx, id); !errors.Is(err, vss.ErrObjectNotFound) {
		t.Errorf("properties of a copy that isn't made: %v", err)
	}
	do, err := b.DoSnapshotSet(ctx, 0)
	wait(err)
	_, err = do.Wait(ctx, nil)
	wait(err)
	s, err := b.GetSnapshotProperties(ctx, id)
	wait(err)
	if s.Attributes.ContextName() != "backup" || s.State != vss.StateCreated || s.Attributes.Has(vss.AttrPersistent) {
		t.Errorf("the copy is of context %s, %s, %v", s.Attributes.ContextName(), s.State, s.Attributes.Names())
	}
	b.Close()
	if left := w.shadows(); len(left) != 0 {
		t.Errorf("copies left: %+v", left)
	}
	w.clean()
}

// TestDeleteForms: the oldest, those of a volume, all; a set and single copies of it.
func TestDeleteForms(t *testing.T) {
	w := newWorld(t)
	a, b := w.volume("a", "64M", "ext4", "gpt"), w.volume("b", "64M", "ext4", "mbr")
	var sets []setDoc
	for range 3 {
		sets = append(sets, w.create("--no-writers", a, b))
	}
	deleted := func(want int, args ...string) []string {
		t.Helper()
		var d struct{ Deleted []string }
		w.vss(&d, append([]string{"delete"}, args...)...)
		if len(d.Deleted) != want {
			t.Errorf("delete %v: %v", args, d.Deleted)
		}
		return d.Deleted
	}
	if got := deleted(1, "--oldest", a); len(got) == 1 && got[0] != sets[0].ShadowCopies[0].ID {
		t.Errorf("the oldest of a is %s, not %s", sets[0].ShadowCopies[0].ID, got[0])
	}
	deleted(1, sets[0].ShadowCopies[1].ID)
	w.refused("VSS_E_OBJECT_NOT_FOUND", "show", sets[0].SetID)
	deleted(2, "--volume", a)
	deleted(1, sets[1].SetID)
	deleted(1, "--all")
	w.clean()
}
