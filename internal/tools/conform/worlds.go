package conform

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/conformance"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/hold"
	"github.com/stillpoint-vss/stillpoint/internal/mount"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// cleanLimit is how long it may take to remove what a case has left.
const cleanLimit = time.Minute

// software returns the worlds of a software provider.
func (o options) software(volumes []provider.Volume) func(conformance.T) *providertest.SoftwareWorld {
	return func(t conformance.T) *providertest.SoftwareWorld {
		remote := o.connect(t)
		s := &softwareSets{Software: remote.(provider.Software), sets: map[vss.SnapshotSetID][]vss.SnapshotID{}}
		w := &providertest.SoftwareWorld{Storage: o.storage(t), Provider: s, Volumes: volumes}
		if o.restart != nil {
			w.Restart = func() provider.Software {
				remote = o.reconnect(t, remote)
				s.Software = remote.(provider.Software)
				return s
			}
		}
		f := &files{t}
		if mounted(volumes) {
			w.Write, w.Read, w.Hold = f.write, f.read, func() func() { return f.hold(volumes) }
			w.ReadAt, w.WriteAt = f.readAt, f.writeAt
		}
		t.Cleanup(func() {
			s.clean(t)
			_ = remote.Close()
		})
		return w
	}
}

func mounted(volumes []provider.Volume) bool {
	for _, v := range volumes {
		if v.Mount == "" {
			return false
		}
	}
	return true
}

// softwareSets is a software provider that remembers the sets of a case, to delete them in the end.
type softwareSets struct {
	provider.Software
	sets   map[vss.SnapshotSetID][]vss.SnapshotID
	copies []provider.Ref
}

func (s *softwareSets) BeginPrepareSnapshot(
	ctx context.Context, set vss.SnapshotSetID, id vss.SnapshotID, v provider.Volume, c vss.Context,
) error {
	s.sets[set] = append(s.sets[set], id)
	return s.Software.BeginPrepareSnapshot(ctx, set, id, v, c)
}

func (s *softwareSets) PostCommitSnapshots(ctx context.Context, set vss.SnapshotSetID, n int) error {
	err := s.Software.PostCommitSnapshots(ctx, set, n)
	if err != nil {
		return err
	}
	for _, id := range s.sets[set] {
		if c, err := s.Describe(ctx, set, id); err == nil {
			s.copies = append(s.copies, provider.Ref{ID: id, Payload: c.Payload})
		}
	}
	return nil
}

// clean deletes what the case has left.
func (s *softwareSets) clean(t conformance.T) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), cleanLimit)
	defer cancel()
	for set := range s.sets {
		_ = s.AbortSnapshots(ctx, set) // the cases check its results
	}
	for _, r := range s.copies {
		_, _, err := s.DeleteSnapshots(ctx, []provider.Ref{r}, true)
		if err != nil && !errors.Is(err, vss.ErrObjectNotFound) {
			t.Errorf("deleting the copy %s after the case: %v", r.ID, err)
		}
	}
}

// hardware returns the worlds of a hardware provider.
func (o options) hardware(luns []vss.LUNInformation) func(conformance.T) *providertest.HardwareWorld {
	return func(t conformance.T) *providertest.HardwareWorld {
		remote := o.connect(t)
		h := &hardwareSets{Hardware: remote.(provider.Hardware), originals: luns, sets: map[vss.SnapshotSetID]bool{}}
		w := &providertest.HardwareWorld{Storage: o.storage(t), Provider: h, Originals: luns}
		if o.restart != nil {
			w.Restart = func() provider.Hardware {
				remote = o.reconnect(t, remote)
				h.Hardware = remote.(provider.Hardware)
				return h
			}
		}
		t.Cleanup(func() {
			h.clean(t)
			_ = remote.Close()
		})
		return w
	}
}

// hardwareSets is a hardware provider that remembers the sets of a case, to delete them in the end.
type hardwareSets struct {
	provider.Hardware
	originals []vss.LUNInformation
	sets      map[vss.SnapshotSetID]bool
	copies    []vss.LUNInformation
}

func (h *hardwareSets) BeginPrepareSnapshot(
	ctx context.Context, set vss.SnapshotSetID, id vss.SnapshotID, c vss.Context, devices []string,
	luns []vss.LUNInformation,
) error {
	h.sets[set] = true
	return h.Hardware.BeginPrepareSnapshot(ctx, set, id, c, devices, luns)
}

func (h *hardwareSets) PostCommitSnapshots(ctx context.Context, set vss.SnapshotSetID, n int) error {
	err := h.Hardware.PostCommitSnapshots(ctx, set, n)
	if err != nil {
		return err
	}
	luns := h.originals[:2]
	if copies, err := h.GetTargetLUNs(ctx, set, make([]string, len(luns)), luns); err == nil {
		h.copies = append(h.copies, copies...)
	}
	return nil
}

// clean deletes what the case has left.
func (h *hardwareSets) clean(t conformance.T) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), cleanLimit)
	defer cancel()
	for set := range h.sets {
		_ = h.AbortSnapshots(ctx, set) // the cases check its results
	}
	for i := range h.copies {
		if err := h.OnLUNEmpty(ctx, "", &h.copies[i]); err != nil && !errors.Is(err, vss.ErrObjectNotFound) {
			t.Errorf("deleting the copy %s after the case: %v", h.copies[i].SerialNumber, err)
		}
	}
}

// files accesses volumes and copies by a file in them.
type files struct{ t conformance.T }

const fileName = ".vss-conform"

// put writes the file durably.
func put(folder string, b byte) error {
	f, err := os.OpenFile(filepath.Join(folder, fileName), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte{b})
	return errors.Join(err, f.Sync(), f.Close())
}

// get reads the file, 0 for none.
func (f *files) get(folder string) byte {
	b, err := os.ReadFile(filepath.Join(folder, fileName))
	if err != nil || len(b) != 1 {
		f.t.Errorf("the file %s in %s: %q %v", fileName, folder, b, err)
		return 0
	}
	return b[0]
}

func (f *files) write(v provider.Volume, b byte) {
	if err := put(v.Mount, b); err != nil {
		f.t.Fatal(err)
	}
}

func (f *files) read(v provider.Volume) byte { return f.get(v.Mount) }

// at calls do with a folder that shows a copy.
func (f *files) at(l provider.Location, readOnly bool, do func(folder string) error) error {
	if l.Folder != "" {
		return do(l.Folder)
	}
	folder, err := filepath.EvalSymlinks(f.t.TempDir())
	if err != nil {
		return err
	}
	fs, err := disk.ProbeFileSystem(l.Devices[0])
	if err != nil {
		return err
	}
	o := mount.Options{
		Device: l.Devices[0], Others: l.Devices[1:], ReadOnly: readOnly, NoSUID: true, NoDev: true, Type: fs.Type,
	}
	switch {
	case o.Type == "btrfs" && l.Subvolume != "":
		o.Data = []string{"subvol=" + l.Subvolume}
	case o.Type == "ext4" && readOnly:
		o.Data = []string{"noload"}
	case o.Type == "xfs" && readOnly:
		o.Data = []string{"nouuid,norecovery"}
	case o.Type == "xfs":
		o.Data = []string{"nouuid"}
	}
	id, err := mount.FileSystem(folder, o)
	if err != nil {
		return err
	}
	return errors.Join(do(folder), mount.Unmount(folder, mount.Owner{ID: id}, false))
}

func (f *files) readAt(l provider.Location) (b byte) {
	err := f.at(l, true, func(folder string) error {
		b = f.get(folder)
		return nil
	})
	if err != nil {
		f.t.Fatalf("reading the copy at %+v: %v", l, err)
	}
	return b
}

func (f *files) writeAt(l provider.Location, b byte) bool {
	return f.at(l, false, func(folder string) error { return put(folder, b) }) == nil
}

// hold freezes volumes until release is called or the limit is over. Guard processes thaw them if this program dies.
func (f *files) hold(volumes []provider.Volume) func() {
	run, err := os.MkdirTemp("/run", "vss-conform-") // in memory, never on a volume that is held
	if err != nil {
		f.t.Fatalf("a folder for the guards: %v", err)
	}
	var open []*os.File
	end := func() {
		for _, d := range open {
			_ = d.Close()
		}
		_ = os.RemoveAll(run)
	}
	var held []hold.Volume
	for _, v := range volumes {
		d, err := os.Open(v.Mount)
		if err != nil {
			end()
			f.t.Fatalf("opening %s: %v", v.Mount, err)
		}
		open = append(open, d)
		held = append(held, hold.Volume{Name: v.Mount, Root: d})
	}
	g, err := hold.Start(context.Background(), hold.Config{RunDir: run, Limit: hold.MaxLimit}, held)
	if err == nil {
		if err = g.Hold(context.Background()); err != nil {
			_ = g.Close()
		}
	}
	if err != nil {
		end()
		f.t.Fatalf("freezing the volumes: %v", err)
	}
	return sync.OnceFunc(func() {
		_, err := g.Release()
		if e := g.Close(); err == nil {
			err = e
		}
		end()
		if err != nil {
			f.t.Errorf("thawing the volumes: %v", err)
		}
	})
}
