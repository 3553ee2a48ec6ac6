package coordinator

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/internal/hold"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Recover brings the host to a state in which every set either exists or never was. It is the first thing that the service
// does, and may itself be cut off and run again. What it can't mend now it leaves recorded and tells by an event: a service
// that doesn't start would help nobody.
func (k *Coordinator) Recover(ctx context.Context) error {
	thawed, err := hold.ThawAll(k.RunDir)
	if len(thawed) > 0 || err != nil {
		k.events.add(catalog.Event{Severity: "warning", What: "thawed", Code: vss.CodeOf(err), Message: "released at start: " + strings.Join(thawed, ", "), Hint: "the service had died while it held them; the set it made was dropped"})
	}
	_ = os.Remove(filepath.Join(k.RunDir, "creating"))
	if _, err := k.Disks.Rescan(ctx, vds.RescanOptions{}); err != nil {
		k.Logger.Warn("rescan at start", "error", err)
	}
	k.sweepPrivateMounts()
	state, err := k.recorded()
	if err != nil {
		return err
	}
	for _, c := range state.creations {
		k.mend("creation", c.Set, fault.Around("recover", "creation", func() error { return k.recoverCreation(ctx, c) }))
	}
	if len(state.creations) > 0 { // of an original and its half-made twin only one had partitions, whichever came first
		if _, err := k.Disks.Rescan(ctx, vds.RescanOptions{}); err != nil {
			k.Logger.Warn("rescan after creations were undone", "error", err)
		}
	}
	for _, b := range state.breaks {
		k.mend("break", b.Set, fault.Around("recover", "break", func() error { return k.recoverBreak(ctx, b) }))
	}
	if state, err = k.recorded(); err != nil {
		return err
	}
	for set, records := range state.imports() {
		k.mend("import", set.ID, fault.Around("recover", "import", func() error { return k.resumeImport(ctx, set, records) }))
	}
	for i := range state.copies {
		r := &state.copies[i]
		switch {
		case r.State == vss.StateDeleted:
			k.mend("deletion", r.SetID, fault.Around("recover", "deletion", func() error { return k.deleteCopy(ctx, r, true) }))
		case r.State == vss.StateCreated && !r.Attributes.Has(vss.AttrNoAutoRelease):
			k.autoRelease(ctx, r.SetID)
		case r.State == vss.StateCreated && r.Imported:
			k.mend("copy", r.SetID, fault.Around("recover", "copy", func() error { return k.restore(ctx, r) }))
		}
	}
	k.sweepLinks()
	return nil
}

// mend tells of one thing that recovery did, or could not do.
func (k *Coordinator) mend(what string, set vss.SnapshotSetID, err error) {
	if err != nil {
		k.events.add(catalog.Event{Severity: "error", What: "recovery-" + what, SetID: set, Code: vss.CodeOf(err), Message: err.Error(), Hint: "mend the cause and restart the service, or run `vss doctor`"})
	}
}

type recorded struct {
	creations []catalog.Creation
	breaks    []catalog.Break
	sets      []catalog.Set // with a copy that is committed and not created
	copies    []catalog.Snapshot
}

// imports are the sets whose import was under way, with the copies concerned.
func (r *recorded) imports() iter.Seq2[catalog.Set, []*catalog.Snapshot] {
	return func(yield func(catalog.Set, []*catalog.Snapshot) bool) {
		for _, set := range r.sets {
			var records []*catalog.Snapshot
			creating := slices.ContainsFunc(r.creations, func(c catalog.Creation) bool { return c.Set == set.ID })
			for i := range r.copies {
				if c := &r.copies[i]; c.SetID == set.ID && c.State == vss.StatePostCommitted && !creating {
					records = append(records, c)
				}
			}
			if len(records) > 0 && !yield(set, records) {
				return
			}
		}
	}
}

func (k *Coordinator) recorded() (r recorded, err error) {
	err = k.Catalog.View(func(tx *catalog.Tx) (err error) {
		if r.creations, err = tx.Creations(); err != nil {
			return err
		}
		if r.breaks, err = tx.Breaks(); err != nil {
			return err
		}
		if r.copies, err = tx.Snapshots(); err != nil {
			return err
		}
		for i := range r.copies {
			c := &r.copies[i]
			if c.State != vss.StatePostCommitted || slices.ContainsFunc(r.sets, func(s catalog.Set) bool { return s.ID == c.SetID }) {
				continue
			}
			set, ok, err := tx.Set(c.SetID)
			if err != nil {
				return err
			}
			if ok {
				r.sets = append(r.sets, set)
			}
		}
		return nil
	})
	return r, err
}

// recoverCreation undoes a creation that died with the process.
func (k *Coordinator) recoverCreation(ctx context.Context, c catalog.Creation) error {
	if err := fault.Around("recover", "clear-flags", func() error { return k.clearOriginals(ctx, c) }); err != nil {
		return err
	}
	if c.Writers {
		k.abortForDead(ctx, c.Set)
	}
	if err := fault.Around("recover", "drop-remains", func() error { return k.dropRemains(ctx, c) }); err != nil {
		return err
	}
	k.events.add(catalog.Event{Severity: "warning", What: "creation-dropped", SetID: c.Set, Code: vss.OK, Message: "a creation that the service had died in was undone", Hint: "start the backup again"})
	return nil
}

// clearOriginals puts the flags of the originals back. Which disks they are is told by their page 0x83, never by the flags.
func (k *Coordinator) clearOriginals(ctx context.Context, c catalog.Creation) error {
	var errs []error
	for _, f := range c.Flagged {
		d, ok := k.Disks.ByInformation(ctx, &f.LUN)
		if !ok {
			continue // the LUN itself is gone
		}
		if d.Device == "" {
			errs = append(errs, vss.E("ClearFlags", vss.ErrMissingDisk, errors.New("an original that may carry shadow copy flags isn't visible here")).On(d.LUN.Name).Advise("unmask it to this host and restart the service"))
			continue
		}
		errs = append(errs, k.clearOriginal(ctx, d.Device, f))
	}
	return errors.Join(errs...)
}

func (k *Coordinator) clearOriginal(ctx context.Context, device string, f catalog.Flagged) error {
	if err := disk.SetReadOnly(device, false); err != nil { // after a boot the kernel obeys the flags that are to go
		return err
	}
	e, err := disk.Open(ctx, device)
	if err != nil {
		return err
	}
	defer e.Close()
	if err := restoreFlags(e, f); err != nil {
		return err
	}
	ro := f.Disk&vss.FlagReadOnly != 0
	for _, b := range f.Before {
		ro = ro || b&vss.FlagReadOnly != 0
	}
	return disk.SetReadOnly(device, ro)
}

// dropRemains deletes whatever exists of an aborted set: its LUNs wherever they are, its records, and last the record that
// it was being made.
func (k *Coordinator) dropRemains(ctx context.Context, c catalog.Creation) error {
	var copies []catalog.Snapshot
	if err := k.Catalog.View(func(tx *catalog.Tx) (err error) {
		copies, err = tx.SnapshotsOf(c.Set)
		return err
	}); err != nil {
		return err
	}
	disks, err := k.Disks.Disks(ctx)
	if err != nil {
		return err
	}
	for _, d := range disks {
		if d.LUN.Set == c.Set && d.Device != "" {
			if err := k.Disks.Uninstall(ctx, d, true); err != nil {
				return err
			}
		}
	}
	for i := range copies {
		k.unlink(&copies[i])
		if hw, _, err := k.hardware(copies[i].ProviderID); err == nil {
			for _, l := range copies[i].LUNs {
				if err := hw.OnLUNEmpty(ctx, "", &l.Copy); err != nil && !errors.Is(err, vss.ErrObjectNotFound) {
					return err
				}
			}
		}
	}
	for _, id := range c.Providers {
		p, err := k.provider(id)
		if err != nil {
			return err
		}
		if err := p.AbortSnapshots(ctx, c.Set); err != nil && !errors.Is(err, vss.ErrObjectNotFound) {
			return err
		}
	}
	return k.Catalog.Update(func(tx *catalog.Tx) error {
		if err := tx.RemoveSet(c.Set); err != nil {
			return err
		}
		return tx.RemoveCreation(c.Set)
	})
}

// recoverBreak finishes a break that had begun to forget its set, and undoes any other.
func (k *Coordinator) recoverBreak(ctx context.Context, b catalog.Break) error {
	var copies []catalog.Snapshot
	if err := k.Catalog.View(func(tx *catalog.Tx) (err error) {
		copies, err = tx.SnapshotsOf(b.Set)
		return err
	}); err != nil {
		return err
	}
	if b.Forgetting {
		return k.finishBreak(ctx, b)
	}
	if b.MaskLUNs {
		return k.finishMask(ctx, b, copies)
	}
	return k.undoBreak(ctx, b, copies, nil)
}

// finishMask goes on with a break that masks: masking is idempotent, and a LUN that left this host is not brought back.
func (k *Coordinator) finishMask(ctx context.Context, b catalog.Break, copies []catalog.Snapshot) error {
	for i := range copies {
		r := &copies[i]
		k.withdraw(ctx, r)
		hw, props, err := k.hardware(r.ProviderID)
		if err != nil {
			return err
		}
		for _, l := range r.LUNs {
			err := hw.OnLUNStateChange(ctx, []vss.LUNInformation{l.Copy}, []vss.LUNInformation{l.Original}, vss.DoMaskLUNs)
			if err != nil && !errors.Is(err, vss.ErrObjectNotFound) {
				return k.said(props, "OnLunStateChange", b.Set, err)
			}
		}
	}
	return k.finishBreak(ctx, b)
}

// restore brings a persistent copy back to what the catalogue says of it: read-only, with its device object and exposure.
func (k *Coordinator) restore(ctx context.Context, r *catalog.Snapshot) error {
	if err := k.blockReadOnly(ctx, r, true); err != nil {
		return err
	}
	if err := k.link(ctx, r); err != nil {
		return err
	}
	if r.ExposedAt == "" || isMountPoint(r.ExposedAt) {
		return nil
	}
	if err := os.MkdirAll(r.ExposedAt, 0o755); err != nil {
		return err
	}
	return k.mount(ctx, r, r.ExposedAt, true)
}

func isMountPoint(path string) bool {
	var self, parent unix.Stat_t
	if unix.Lstat(path, &self) != nil || unix.Lstat(filepath.Dir(path), &parent) != nil {
		return false
	}
	return self.Dev != parent.Dev
}

// sweepPrivateMounts takes off what MountSnapshot of a dead service left.
func (k *Coordinator) sweepPrivateMounts() {
	left, _ := filepath.Glob(filepath.Join(k.RunDir, "mnt", "*"))
	k.unmountPrivate(left)
}

// sweepLinks removes device objects of copies that are no more.
func (k *Coordinator) sweepLinks() {
	state, err := k.recorded()
	if err != nil {
		return
	}
	known := map[string]bool{}
	for i := range state.copies {
		known[k.deviceObject(&state.copies[i])] = true
	}
	links, _ := filepath.Glob(filepath.Join(k.DeviceDir, "HarddiskVolumeShadowCopy*"))
	for _, l := range links {
		if !known[l] {
			_ = os.Remove(l)
		}
	}
}

// Shutdown releases every session; it waits for what is under way.
func (k *Coordinator) Shutdown() {
	k.mu.Lock()
	var open []*Session
	for _, s := range k.sessions {
		open = append(open, s)
	}
	k.mu.Unlock()
	for _, s := range open {
		s.Close()
	}
	for _, p := range k.providers {
		if err := p.OnUnload(context.Background(), true); err != nil {
			k.Logger.Warn("provider not unloaded cleanly", "provider", p.props.Name, "error", err)
		}
	}
}
