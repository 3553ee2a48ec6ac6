package vds_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/array/loopdev"
	"github.com/stillpoint-vss/stillpoint/internal/array/pool/pooltest"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func TestArrival(t *testing.T) {
	w := newWorld(t)
	for _, style := range []disk.Style{disk.StyleGPT, disk.StyleMBR, disk.StyleNone} {
		t.Run(style.String(), func(t *testing.T) {
			name := style.String()
			d := w.formatted(name, style, "ext4")
			p := w.mount(name, false)
			write(t, p, name)
			_, err := w.Unmount(ctx, name, 0)
			must(t, err)
			nodes := disk.Nodes(d.Device)
			if want := map[disk.Style]int{disk.StyleNone: 1}[style]; want == 0 && len(nodes) != 2 {
				t.Errorf("nodes %v", nodes)
			}
			_, err = w.SetReadOnly(ctx, name, true)
			must(t, err)
			must(t, w.Uninstall(ctx, w.get(name), false))
			if b := loopdev.Backing(d.Device); strings.HasPrefix(b, w.dir) && strings.Contains(b, d.LUN.ID.Plain()) {
				t.Errorf("%s is still there", d.Device)
			}
			if d := w.get(name); d.Device != "" {
				t.Errorf("uninstalled, and at %s", d.Device)
			}
			arrived, err := w.Rescan(ctx, vds.RescanOptions{})
			must(t, err)
			if len(arrived) != 1 || arrived[0].LUN.ID != d.LUN.ID {
				t.Fatalf("arrived %+v", arrived)
			}
			for _, n := range disk.Nodes(arrived[0].Device) {
				if !disk.ReadOnly(n) {
					t.Errorf("%s takes writes", n)
				}
			}
			if len(disk.Nodes(arrived[0].Device)) != len(nodes) {
				t.Errorf("nodes %v, were %v", disk.Nodes(arrived[0].Device), nodes)
			}
			p = w.mount(name, false)
			wantFile(t, p, name)
			if err := os.WriteFile(p+"/file", nil, 0o600); err == nil {
				t.Error("the file system takes writes")
			}
			_, err = w.Unmount(ctx, name, 0)
			must(t, err)
			_, err = w.SetReadOnly(ctx, name, false)
			must(t, err)
			if disk.ReadOnly(w.get(name).Device) {
				t.Error("still read-only")
			}
			if again, err := w.Rescan(ctx, vds.RescanOptions{}); err != nil || len(again) != 0 {
				t.Errorf("a second rescan: %v %v", again, err)
			}
		})
	}
}

// A service that died with LUNs attached finds them again, and adds partitions that it had not added.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	d := w.formatted("a", disk.StyleGPT, "ext4")
	must(t, disk.DeletePartitions(d.Device))
	for _, lost := range []bool{false, true} {
		if lost {
			must(t, os.Remove(w.state+"/attached.json"))
		}
		w.restart()
		if again := w.get("a"); again.Device != d.Device {
			t.Errorf("at %s, was at %s", again.Device, d.Device)
		}
		arrived, err := w.Rescan(ctx, vds.RescanOptions{})
		must(t, err)
		if len(arrived) != 0 || len(disk.Nodes(d.Device)) != 2 {
			t.Errorf("arrived %v, nodes %v", arrived, disk.Nodes(d.Device))
		}
	}
}

// What isn't mapped to this host any more goes, if nothing uses it.
func TestDeparture(t *testing.T) {
	w := newWorld(t)
	d := w.formatted("a", disk.StyleGPT, "ext4")
	p := w.mount("a", false)
	_, err := w.array.Unmap(ctx, d.LUN.ID, "here")
	must(t, err)
	_, err = w.Rescan(ctx, vds.RescanOptions{})
	must(t, err)
	if !mounted(p) || !w.heard("departure") {
		t.Errorf("mounted %v, events %+v", mounted(p), w.events)
	}
	info := d.LUN.Information()
	if !w.VisibleOriginal(ctx, &info) {
		t.Error("masked behind the host's back, and not visible")
	}
	must(t, exec.Command("umount", p).Run())
	w.restart()
	_, err = w.Rescan(ctx, vds.RescanOptions{})
	must(t, err)
	if b := loopdev.Backing(d.Device); strings.Contains(b, d.LUN.ID.Plain()) {
		t.Errorf("%s is still there", d.Device)
	}
	if w.VisibleOriginal(ctx, &info) {
		t.Error("gone, and visible")
	}
}

// Copies of a creation that isn't finished are left alone, unless they are imported.
func TestUnfinished(t *testing.T) {
	w := newWorld(t)
	d := w.formatted("a", disk.StyleGPT, "ext4")
	l, set := w.copy(d, false)
	_, err := w.array.Map(ctx, l.ID, "here")
	must(t, err)
	if arrived, err := w.Rescan(ctx, vds.RescanOptions{}); err != nil || len(arrived) != 0 {
		t.Errorf("arrived %v, %v", arrived, err)
	}
	must(t, w.Uninstall(ctx, w.create("b"), false)) // somebody else is about to mask it
	arrived, err := w.Rescan(ctx, vds.RescanOptions{Import: []vss.LUNID{l.ID}})
	must(t, err)
	if len(arrived) != 1 || arrived[0].LUN.ID != l.ID {
		t.Fatalf("arrived %v", arrived)
	}
	if others, err := w.Rescan(ctx, vds.RescanOptions{}); err != nil || len(others) != 1 || others[0].LUN.Name != "b" {
		t.Errorf("meanwhile arrived %v, %v", others, err)
	}
	if n := disk.Nodes(arrived[0].Device); len(n) != 1 {
		t.Errorf("partitions before it has an identity: %v", n)
	}
	must(t, w.Uninstall(ctx, arrived[0], false))
	must(t, w.array.AbortCopies(ctx, set, "here"))
}

// A pool that was copied shows LUNs with the identities of those that are here already.
func TestTwins(t *testing.T) {
	w := newWorld(t)
	for _, style := range []disk.Style{disk.StyleGPT, disk.StyleMBR, disk.StyleNone} {
		w.formatted(style.String(), style, "btrfs")
	}
	there := pooltest.Folder(t, "xfs", 4<<30)
	must(t, exec.Command("cp", "-a", w.dir+"/.", there).Run())
	second := openArray(t, "second", there)
	o := &world{t: t, dir: there, array: second}
	o.host("here", second)
	arrived, err := o.Rescan(ctx, vds.RescanOptions{})
	wantCode(t, err, vss.VDSErrInvalidOperation)
	if !o.heard("arrival") || len(arrived) != 2 {
		t.Errorf("arrived %+v, events %+v", arrived, o.events)
	}
	for _, d := range arrived {
		if n := disk.Nodes(d.Device); len(n) != 1 {
			t.Errorf("%s is usable: %v", d.LUN.Name, n)
		}
	}
	if d := o.get("none"); d.Device != "" {
		t.Errorf("a twin btrfs is at %s", d.Device)
	}
	must(t, exec.Command("sgdisk", "-G", o.get("gpt").Device).Run())
	_, err = o.Rescan(ctx, vds.RescanOptions{})
	wantCode(t, err, vss.VDSErrInvalidOperation) // the others
	if n := disk.Nodes(o.get("gpt").Device); len(n) != 2 {
		t.Errorf("after new ids %v", n)
	}
	for _, d := range []string{"mbr", "none"} {
		_, err := w.Mask(ctx, d, "", false)
		must(t, err)
	}
	if _, err := o.Rescan(ctx, vds.RescanOptions{}); err != nil {
		t.Errorf("the originals are out of sight: %v", err)
	}
	if n := disk.Nodes(o.get("mbr").Device); len(n) != 2 || o.get("none").Device == "" {
		t.Errorf("mbr %v, none at %q", n, o.get("none").Device)
	}
}

// Two hosts of one array on one kernel.
func TestVisibleOriginal(t *testing.T) {
	w := newWorld(t)
	o := w.other("there")
	d := w.formatted("a", disk.StyleGPT, "ext4")
	info := d.LUN.Information()
	if x := o.get("a"); x.Device != "" {
		t.Errorf("masked from this host, and at %s", x.Device)
	}
	if _, ok := o.ByDevice(ctx, d.Device); ok {
		t.Error("another host's disk is this host's")
	}
	if _, ok := o.Inquiry(ctx, d.Device); ok {
		t.Error("another host's disk answers")
	}
	for _, x := range []*world{w, o} {
		if !x.VisibleOriginal(ctx, &info) {
			t.Errorf("not visible to %s", x.config.Host)
		}
	}
	stranger := vss.LUNInformation{
		DeviceIDs: []vss.StorageIdentifier{{CodeSet: 1, Type: vss.IdentifierNAA, ID: []byte{6, 1}}},
	}
	if w.VisibleOriginal(ctx, &stranger) {
		t.Error("a LUN that nobody knows is visible")
	}
	c := o.importCopy(w, d)
	id, err := w.Identity(ctx, d)
	must(t, err)
	wantCode(t, o.SetIdentity(ctx, c, id), vss.ErrCannotRevertDiskID)
	_, err = w.Mask(ctx, "a", "", false)
	must(t, err)
	for _, x := range []*world{w, o} {
		if x.VisibleOriginal(ctx, &info) {
			t.Errorf("visible to %s", x.config.Host)
		}
	}
	must(t, o.SetIdentity(ctx, c, id))
}

// importCopy brings a copy of another host's disk to this one.
func (w *world) importCopy(from *world, d vds.Disk) vds.Disk {
	w.t.Helper()
	l, _ := from.copy(d, true)
	_, err := w.array.Map(ctx, l.ID, w.config.Host)
	must(w.t, err)
	arrived, err := w.Rescan(ctx, vds.RescanOptions{Import: []vss.LUNID{l.ID}})
	must(w.t, err)
	i := slices.IndexFunc(arrived, func(d vds.Disk) bool { return d.LUN.ID == l.ID })
	if i < 0 {
		w.t.Fatalf("arrived %v", arrived)
	}
	_, err = w.RenewIdentity(ctx, arrived[i])
	must(w.t, err)
	return arrived[i]
}
