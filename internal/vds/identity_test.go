package vds_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// An import renews a copy's identity, a break reverts it, on a mounted volume and on a read-only disk.
func TestIdentity(t *testing.T) {
	w := newWorld(t)
	for _, style := range []disk.Style{disk.StyleGPT, disk.StyleMBR, disk.StyleNone} {
		t.Run(style.String(), func(t *testing.T) {
			name := style.String()
			d := w.formatted(name, style, "ext4")
			original, err := w.Identity(ctx, d)
			must(t, err)
			c := w.imported(d)
			id, err := w.Identity(ctx, c)
			must(t, err)
			if style != disk.StyleNone && id.Disk == original.Disk || id.Style != style {
				t.Errorf("identity %+v, the original's is %+v", id, original)
			}
			if style == disk.StyleGPT && id.Partitions[0].ID == original.Partitions[0].ID {
				t.Errorf("the partition has its original's id %v", id.Partitions[0].ID)
			}
			node := c.Device
			if style != disk.StyleNone {
				node = disk.PartitionNode(c.Device, 1)
				if n := disk.Nodes(c.Device); len(n) != 2 {
					t.Errorf("nodes %v", n)
				}
				if err := w.SetIdentity(ctx, c, original); err == nil {
					t.Error("two disks of one identity")
				} else {
					wantCode(t, err, vss.ErrCannotRevertDiskID)
				}
			}
			table, err := disk.Read(c.Device)
			must(t, err)
			e := vss.Extent{Length: table.Size}
			if style != disk.StyleNone {
				e.Start, e.Length = table.Partitions[0].Start, table.Partitions[0].Size
			}
			if n, err := w.PartitionAt(ctx, c, e); err != nil || n != node {
				t.Errorf("partition at %+v: %s, %v", e, n, err)
			}
			_, err = w.PartitionAt(ctx, c, vss.Extent{Start: e.Start, Length: e.Length - 512})
			wantCode(t, err, vss.ErrMissingVolume)
			p := w.mount(name, false)
			_, err = w.Mask(ctx, name, "", true)
			must(t, err)
			if mounted(p) {
				t.Error("masked, and mounted")
			}
			must(t, w.SetIdentity(ctx, c, original))
			must(t, w.SetIdentity(ctx, c, original))
			got, err := w.Identity(ctx, c)
			must(t, err)
			if diff := cmp.Diff(original, got); diff != "" {
				t.Error(diff)
			}
			if !disk.ReadOnly(c.Device) || !disk.ReadOnly(node) {
				t.Error("the copy takes writes now")
			}
			if n, err := w.PartitionAt(ctx, c, e); err != nil || n != node {
				t.Errorf("after the change the partition is %s, %v", n, err)
			}
			must(t, w.SetIdentity(ctx, c, id))
		})
	}
}

// The identity of a disk can be changed under its mounts.
func TestIdentityMounted(t *testing.T) {
	w := newWorld(t)
	d := w.formatted("a", disk.StyleGPT, "xfs")
	p := w.mount("a", false)
	release := hold(t, p)
	before, err := w.Identity(ctx, d)
	must(t, err)
	after, err := w.RenewIdentity(ctx, d)
	must(t, err)
	if after.Disk == before.Disk || !mounted(p) {
		t.Errorf("identity %+v, mounted %v", after, mounted(p))
	}
	write(t, p, "x")
	wantFile(t, p, "x")
	release()
}

func TestSetLUNFlags(t *testing.T) {
	w := newWorld(t)
	for _, style := range []disk.Style{disk.StyleGPT, disk.StyleMBR, disk.StyleNone} {
		t.Run(style.String(), func(t *testing.T) {
			d := w.formatted(style.String(), style, "ext4")
			flags := func() vss.DiskFlags {
				table, err := disk.Read(d.Device)
				must(t, err)
				if style == disk.StyleNone {
					return w.get(style.String()).LUN.Flags
				}
				return table.Flags
			}
			must(t, disk.SetReadOnly(d.Device, true))
			must(t, w.SetLUNFlags(ctx, d, vss.FlagsShadowCopy, 0))
			if f := flags(); f != vss.FlagsShadowCopy || !disk.ReadOnly(d.Device) {
				t.Errorf("flags %v, read-only %v", f.Names(), disk.ReadOnly(d.Device))
			}
			must(t, w.SetLUNFlags(ctx, d, 0, vss.FlagHidden|vss.FlagShadowCopy))
			if f := flags(); f != vss.FlagReadOnly|vss.FlagNoAutoMount {
				t.Errorf("flags %v", f.Names())
			}
			wantCode(t, w.SetLUNFlags(ctx, vds.Disk{LUN: d.LUN, Array: d.Array}, 0, 0), vss.ErrMissingDisk)
		})
	}
}
