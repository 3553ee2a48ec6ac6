package copies

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// findings collects what differs.
type findings []Finding

func (f *findings) add(severity, what, hint string, repair func(context.Context) error) {
	*f = append(*f, Finding{severity, what, hint, repair})
}

// lost adds that a copy is lost.
func (f *findings) lost(r *catalog.Snapshot, why string) {
	f.add("error", fmt.Sprintf("copy %s of %s is lost: %s", r.ID, r.OriginalVolume, why),
		"`vss events` may say why; `vss delete "+r.ID.String()+"` forgets it", nil)
}

const (
	repairHint = "run `vss doctor --repair`"
	rescanHint = "run `vss lun rescan`"
)

// Kinds finds the kind of a copy. Errors: VSS_E_PROVIDER_NOT_REGISTERED.
type Kinds func(id vss.ProviderID) (Kind, error)

// checks are the invariants of a host at rest, each with what breaks it.
var checks = []func(*inspection, context.Context) []Finding{
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
	Known
	h     *Host
	kinds Kinds
	disks []vds.Disk
}

// Inspect compares the disks, device objects, exposures and pools of this host with what is known of copies. Errors:
// those of looking.
func (h *Host) Inspect(ctx context.Context, known Known, kinds Kinds) ([]Finding, error) {
	i := &inspection{Known: known, h: h, kinds: kinds}
	var err error
	if i.disks, err = h.cfg.Disks.Disks(ctx); err != nil {
		return nil, err
	}
	var found []Finding
	for _, check := range checks {
		found = append(found, check(i, ctx)...)
	}
	return found, nil
}

// onLUN reports whether a copy of the catalogue lies on the LUN.
func (i *inspection) onLUN(id vss.LUNID) bool {
	return slices.ContainsFunc(i.Copies, func(r catalog.Snapshot) bool { return On(&r, id) })
}

// orphans: every shadow copy LUN that this host had made is in the catalogue, unless its set is transportable and was
// handed on.
func (i *inspection) orphans(context.Context) []Finding {
	var out findings
	for _, d := range i.disks {
		l := d.LUN
		if l.Kind != array.KindShadowCopy || l.Host != i.h.cfg.Name || i.Busy[l.Set] || i.onLUN(l.ID) {
			continue
		}
		if l.Final && !slices.Contains(l.MappedTo, i.h.cfg.Name) {
			continue // a transportable copy whose record went with its session, or was imported by another host
		}
		out.add("warning", fmt.Sprintf("LUN %s is a shadow copy of set %s that is not recorded here", l.Name, l.Set),
			"if no other host needs it: `vss lun delete "+l.ID.String()+" --force`", nil)
	}
	return out
}

// lostCopies: the LUNs of every copy exist, and are here if the copy is. A deletion that was begun is finished.
func (i *inspection) lostCopies(context.Context) []Finding {
	var out findings
	for n := range i.Copies {
		r := &i.Copies[n]
		if i.Busy[r.SetID] {
			continue
		}
		if r.State == vss.StateDeleted {
			out.add("warning", "copy "+r.ID.String()+" is deleted, but its data still exists", repairHint,
				i.repair(r, func(ctx context.Context, c Copy) error { return i.h.Delete(ctx, c, true) }))
			continue
		}
		for _, l := range r.LUNs {
			at := slices.IndexFunc(i.disks, func(d vds.Disk) bool { return d.LUN.ID == l.LUNID })
			switch {
			case at < 0:
				out.lost(r, "its LUN "+l.LUNID.String()+" doesn't exist in its array any more")
			case r.Imported && i.disks[at].Device == "":
				out.add("error", fmt.Sprintf("LUN %s of copy %s is not on this host", i.disks[at].LUN.Name, r.ID),
					rescanHint, i.h.Rescan)
			}
		}
	}
	return out
}

// repair returns a repair of one copy.
func (i *inspection) repair(r *catalog.Snapshot, f func(context.Context, Copy) error) func(context.Context) error {
	return func(ctx context.Context) error {
		k, err := i.kinds(r.ProviderID)
		if err != nil {
			return err
		}
		return f(ctx, k.Open(r))
	}
}

// absent: an ordinary LUN that is shown to this host has a device here.
func (i *inspection) absent(context.Context) []Finding {
	var out findings
	for _, d := range i.disks {
		if d.LUN.Kind == array.KindPlain && d.Device == "" && slices.Contains(d.LUN.MappedTo, i.h.cfg.Name) {
			out.add("error", "LUN "+d.LUN.Name+" is shown to this host and has no device here", rescanHint, i.h.Rescan)
		}
	}
	return out
}

// flaggedOriginals: only copies carry the shadow copy flag.
func (i *inspection) flaggedOriginals(context.Context) []Finding {
	var out findings
	for _, d := range i.disks {
		if d.LUN.Kind != array.KindPlain || d.Device == "" || i.Creating {
			continue
		}
		t, err := i.h.cfg.Disks.Table(d.Device)
		if err != nil {
			out.add("warning", fmt.Sprintf("the partition table of LUN %s can't be read: %v", d.LUN.Name, err),
				vss.Hint(err), nil)
			continue
		}
		if len(t.Partitions) > 0 && !i.h.cfg.Disks.Partitioned(d.Device) {
			out.add("error", "LUN "+d.LUN.Name+" is on this host without its partitions",
				"mask the disk that has the same identity, if there is one; then `vss lun rescan`", i.h.Rescan)
		}
		flags := t.Flags | d.LUN.Flags
		for _, p := range t.Partitions {
			flags |= p.Flags
		}
		if flags&vss.FlagShadowCopy != 0 {
			out.add("error", "LUN "+d.LUN.Name+" is not a shadow copy, but carries the flags of one",
				"`vss lun flags "+d.LUN.Name+" --clear shadow-copy,hidden,read-only,no-auto-mount`",
				func(ctx context.Context) error {
					return i.h.cfg.Disks.SetFlags(ctx, d, 0, vss.FlagsShadowCopy)
				})
		}
	}
	return out
}

// twins: no two visible disks have one identity.
func (i *inspection) twins(ctx context.Context) []Finding {
	seen := map[vss.GUID]string{}
	var out findings
	for _, d := range i.disks {
		if d.Device == "" {
			continue
		}
		id, err := i.h.cfg.Disks.Identity(ctx, d)
		if err != nil || id.Style == disk.StyleNone || id.Disk.IsZero() {
			continue
		}
		if other, ok := seen[id.Disk]; ok {
			out.add("error", fmt.Sprintf("LUNs %s and %s have the same disk identity %s", other, d.LUN.Name, id.Disk),
				"mask one of the two: `vss lun mask`", nil)
		}
		seen[id.Disk] = d.LUN.Name
	}
	return out
}

// access: device objects and exposures are where the records say, and none leads to a copy that doesn't exist.
func (i *inspection) access(ctx context.Context) []Finding {
	known := map[string]bool{}
	var out findings
	for n := range i.Copies {
		r := &i.Copies[n]
		if r.State != vss.StateCreated || i.Busy[r.SetID] {
			known[i.h.DeviceObject(r)] = true
			continue
		}
		restore := i.repair(r, i.h.Restore)
		if object := i.h.DeviceObject(r); object != "" {
			known[object] = true
			if _, err := os.Stat(object); err != nil {
				out.add("warning", fmt.Sprintf("device object %s of copy %s leads nowhere", object, r.ID),
					repairHint, restore)
			}
		}
		if r.ExposedAt != "" && i.h.cfg.Mounts.IsPoint(r.ExposedAt) {
			if k, err := i.kinds(r.ProviderID); err == nil {
				if err := i.h.checkExposure(ctx, k.Open(r)); err != nil {
					out.add("error", fmt.Sprintf("copy %s is exposed at %s: %v", r.ID, r.ExposedAt, err),
						"unmount what is there, then `vss unexpose "+r.ID.String()+"`", nil)
				}
			}
		}
		if r.ExposedAt != "" && !i.h.cfg.Mounts.IsPoint(r.ExposedAt) {
			out.add("warning", fmt.Sprintf("copy %s is not mounted at %s, where it is exposed", r.ID, r.ExposedAt),
				"run `vss doctor --repair`, or `vss unexpose "+r.ID.String()+"`", restore)
		}
	}
	for _, l := range i.h.links() {
		// the device object of a copy that was broken works until the next start
		if _, err := os.Stat(l); !known[l] && err != nil {
			out.add("info", "device object "+l+" is of no copy and leads nowhere", repairHint,
				func(context.Context) error { return os.Remove(l) })
		}
	}
	return out
}

// pools: there is room for the originals to be written.
func (i *inspection) pools(ctx context.Context) []Finding {
	var out findings
	for _, a := range i.h.cfg.Disks.Arrays(ctx) {
		if a.Err != nil {
			out.add("error", "an array doesn't answer: "+a.Err.Error(), "`vss array list`", nil)
			continue
		}
		for _, p := range a.Pools {
			if p.Size > 0 && p.Free < p.Size/10 {
				out.add("warning",
					fmt.Sprintf("pool %s of array %s has %d MiB left of %d", p.Name, a.Name, p.Free>>20, p.Size>>20),
					"delete copies (`vss delete --oldest VOLUME`) or give the pool more room", nil)
			}
		}
	}
	return out
}
