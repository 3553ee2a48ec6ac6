package coordinator

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/hold"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Finding is something that is not as it should be. Mend puts it right where that is safe; nil leaves it to people.
type Finding struct {
	Severity string // "info", "warning", "error"
	What     string
	Hint     string
	Mend     func(context.Context) error
}

// checks are the invariants of a host at rest, each with what breaks it. What is being created, imported, broken or deleted
// at this moment is left out of account.
var checks = []func(*inspection) []Finding{
	(*inspection).heldVolumes,
	(*inspection).underway,
	(*inspection).orphans,
	(*inspection).lostCopies,
	(*inspection).absent,
	(*inspection).flaggedOriginals,
	(*inspection).twins,
	(*inspection).access,
	(*inspection).pools,
}

// inspection is the state of the host that the checks look at, as of one moment.
type inspection struct {
	ctx   context.Context
	k     *Coordinator
	state recorded
	disks []vds.Disk
	busy  map[vss.SnapshotSetID]bool
}

// Check compares what is recorded with what is there (vss doctor). With repair it mends what is safe to mend, and tells
// what it did; the rest is told with what to do. Errors: those of looking.
func (k *Coordinator) Check(ctx context.Context, repair bool) ([]Finding, error) {
	i := &inspection{ctx: ctx, k: k, busy: map[vss.SnapshotSetID]bool{}}
	k.mu.Lock()
	for id := range k.busySets {
		i.busy[id] = true
	}
	if k.creating != nil {
		i.busy[k.creating.id] = true
	}
	k.mu.Unlock()
	var err error
	if i.state, err = k.recorded(); err != nil {
		return nil, err
	}
	if i.disks, err = k.Disks.Disks(ctx); err != nil {
		return nil, err
	}
	var found []Finding
	for _, check := range checks {
		for _, f := range check(i) {
			if repair && f.Mend != nil {
				if err := f.Mend(ctx); err != nil {
					f.Hint = fmt.Sprintf("mending it failed: %v; %s", err, f.Hint)
				} else {
					f.Severity, f.Hint = "info", "mended"
				}
			}
			found = append(found, f)
		}
	}
	return found, nil
}

// heldVolumes: nothing stays held whose holder is dead.
func (i *inspection) heldVolumes() []Finding {
	names, err := hold.Left(i.k.RunDir)
	var out []Finding
	for _, n := range names {
		out = append(out, Finding{"error", n + " is held by a creation that is dead", "run `vssd thaw`", func(context.Context) error {
			_, err := hold.ThawAll(i.k.RunDir)
			return err
		}})
	}
	if err != nil {
		out = append(out, Finding{"warning", "the list of held volumes can't be read: " + err.Error(), "look into " + i.k.RunDir + "/held", nil})
	}
	return out
}

// underway: a creation or a break without anybody at it was left by a service that died and could not be mended.
func (i *inspection) underway() []Finding {
	var out []Finding
	for _, c := range i.state.creations {
		if !i.busy[c.Set] {
			out = append(out, Finding{"error", "the creation of set " + c.Set.String() + " was cut off and is not undone", "`vss events` says why; mend that, then run `vss doctor --repair`",
				func(ctx context.Context) error { return i.k.recoverCreation(ctx, c) }})
		}
	}
	for _, b := range i.state.breaks {
		if !i.busy[b.Set] {
			out = append(out, Finding{"error", "the break of set " + b.Set.String() + " was cut off and is neither done nor undone", "`vss events` says why; mend that, then run `vss doctor --repair`",
				func(ctx context.Context) error { return i.k.recoverBreak(ctx, b) }})
		}
	}
	return out
}

// known says whether a copy of the catalogue lies on the LUN.
func (i *inspection) known(id vss.LUNID) bool {
	return slices.ContainsFunc(i.state.copies, func(r catalog.Snapshot) bool {
		return slices.ContainsFunc(r.LUNs, func(l catalog.LUN) bool { return l.LUNID == id })
	})
}

// orphans: every shadow copy LUN that this host had made is in the catalogue, unless its set is transportable and was handed
// on.
func (i *inspection) orphans() []Finding {
	var out []Finding
	for _, d := range i.disks {
		l := d.LUN
		if l.Kind != array.KindShadowCopy || l.Host != i.k.Host || i.busy[l.Set] || i.known(l.ID) {
			continue
		}
		if l.Final && !slices.Contains(l.MappedTo, i.k.Host) {
			continue // a transportable copy whose record went with its session, or was imported by another host
		}
		out = append(out, Finding{"warning", fmt.Sprintf("LUN %s is a shadow copy of set %s that nobody knows", l.Name, l.Set), "if no other host needs it: `vss lun delete " + l.ID.String() + " --force`", nil})
	}
	return out
}

// lostCopies: the LUNs of every copy exist, and are here if the copy is.
func (i *inspection) lostCopies() []Finding {
	var out []Finding
	for n := range i.state.copies {
		r := &i.state.copies[n]
		if i.busy[r.SetID] {
			continue
		}
		if r.State == vss.StateDeleted {
			out = append(out, Finding{"warning", "copy " + r.ID.String() + " is deleted but not gone", "run `vss doctor --repair`", func(ctx context.Context) error { return i.k.deleteCopy(ctx, r, true) }})
			continue
		}
		for _, l := range r.LUNs {
			at := slices.IndexFunc(i.disks, func(d vds.Disk) bool { return d.LUN.ID == l.LUNID })
			switch {
			case at < 0:
				out = append(out, Finding{"error", fmt.Sprintf("copy %s of %s is lost: its LUN %s is gone from the array", r.ID, r.OriginalVolume, l.LUNID), "`vss events` may say why; `vss delete " + r.ID.String() + "` forgets it", nil})
			case r.Imported && i.disks[at].Device == "":
				out = append(out, Finding{"error", fmt.Sprintf("LUN %s of copy %s is not on this host", i.disks[at].LUN.Name, r.ID), "run `vss lun rescan`", i.rescan})
			}
		}
	}
	return out
}

// absent: an ordinary LUN that is shown to this host has a device here.
func (i *inspection) absent() []Finding {
	var out []Finding
	for _, d := range i.disks {
		if d.LUN.Kind == array.KindPlain && d.Device == "" && slices.Contains(d.LUN.MappedTo, i.k.Host) {
			out = append(out, Finding{"error", "LUN " + d.LUN.Name + " is shown to this host and has no device here", "run `vss lun rescan`", i.rescan})
		}
	}
	return out
}

func (i *inspection) rescan(ctx context.Context) error {
	_, err := i.k.Disks.Rescan(ctx, vds.RescanOptions{})
	return err
}

// flaggedOriginals: only copies carry the shadow copy flag.
func (i *inspection) flaggedOriginals() []Finding {
	var out []Finding
	i.k.mu.Lock()
	creating := i.k.creating != nil
	i.k.mu.Unlock()
	for _, d := range i.disks {
		if d.LUN.Kind != array.KindPlain || d.Device == "" || creating {
			continue
		}
		t, err := disk.Read(d.Device)
		if err != nil {
			out = append(out, Finding{"warning", fmt.Sprintf("the partition table of LUN %s can't be read: %v", d.LUN.Name, err), vss.Hint(err), nil})
			continue
		}
		if len(t.Partitions) > 0 && len(disk.Nodes(d.Device)) == 1 {
			out = append(out, Finding{"error", "LUN " + d.LUN.Name + " is on this host without its partitions", "mask the disk that has the same identity, if there is one; then `vss lun rescan`", i.rescan})
		}
		flags := t.Flags | d.LUN.Flags
		for _, p := range t.Partitions {
			flags |= p.Flags
		}
		if flags&vss.FlagShadowCopy != 0 {
			out = append(out, Finding{"error", "LUN " + d.LUN.Name + " is no shadow copy and carries the flags of one", "`vss lun flags " + d.LUN.Name + " --clear shadow-copy,hidden,read-only,no-auto-mount`",
				func(ctx context.Context) error { return i.k.Disks.SetLUNFlags(ctx, d, 0, vss.FlagsShadowCopy) }})
		}
	}
	return out
}

// twins: no two visible disks have one identity.
func (i *inspection) twins() []Finding {
	seen := map[vss.GUID]string{}
	var out []Finding
	for _, d := range i.disks {
		if d.Device == "" {
			continue
		}
		id, err := i.k.Disks.Identity(i.ctx, d)
		if err != nil || id.Style == disk.StyleNone || id.Disk.IsZero() {
			continue
		}
		if other, ok := seen[id.Disk]; ok {
			out = append(out, Finding{"error", fmt.Sprintf("LUNs %s and %s have the same disk identity %s", other, d.LUN.Name, id.Disk), "mask one of the two: `vss lun mask`", nil})
		}
		seen[id.Disk] = d.LUN.Name
	}
	return out
}

// access: device objects and exposures are where they are said to be, and none is left of what is gone.
func (i *inspection) access() []Finding {
	known := map[string]bool{}
	var out []Finding
	for n := range i.state.copies {
		r := &i.state.copies[n]
		if r.State != vss.StateCreated || i.busy[r.SetID] {
			known[i.k.deviceObject(r)] = true
			continue
		}
		restore := func(ctx context.Context) error { return i.k.restore(ctx, r) }
		if object := i.k.deviceObject(r); object != "" {
			known[object] = true
			if _, err := os.Stat(object); err != nil {
				out = append(out, Finding{"warning", fmt.Sprintf("device object %s of copy %s leads nowhere", object, r.ID), "run `vss doctor --repair`", restore})
			}
		}
		if r.ExposedAt != "" && !isMountPoint(r.ExposedAt) {
			out = append(out, Finding{"warning", fmt.Sprintf("copy %s is not mounted at %s, where it is exposed", r.ID, r.ExposedAt), "run `vss doctor --repair`, or `vss unexpose " + r.ID.String() + "`", restore})
		}
	}
	links, _ := filepath.Glob(filepath.Join(i.k.DeviceDir, "HarddiskVolumeShadowCopy*"))
	for _, l := range links {
		if _, err := os.Stat(l); !known[l] && err != nil { // that of a copy that was broken works on until the next start
			out = append(out, Finding{"info", "device object " + l + " is of no copy and leads nowhere", "run `vss doctor --repair`", func(context.Context) error { return os.Remove(l) }})
		}
	}
	return out
}

// pools: there is room for the originals to be written.
func (i *inspection) pools() []Finding {
	var out []Finding
	for _, a := range i.k.Disks.Arrays() {
		info, err := a.Info(i.ctx)
		if err != nil {
			out = append(out, Finding{"error", "an array doesn't answer: " + err.Error(), "`vss array list`", nil})
			continue
		}
		for _, p := range info.Pools {
			if p.Size > 0 && p.Free < p.Size/10 {
				out = append(out, Finding{"warning", fmt.Sprintf("pool %s of array %s has %d MiB left of %d", p.Name, info.Name, p.Free>>20, p.Size>>20), "delete copies (`vss delete --oldest VOLUME`) or give the pool more room", nil})
			}
		}
	}
	return out
}
