package vds_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/array/pool/pooltest"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func TestFormat(t *testing.T) {
	w := newWorld(t)
	w.create("a")
	for _, style := range []disk.Style{disk.StyleGPT, disk.StyleMBR, disk.StyleNone} {
		for _, fs := range []string{"ext4", "xfs", "btrfs"} {
			t.Run(style.String()+" "+fs, func(t *testing.T) {
				d, err := w.Format(ctx, "a", style, fs, "label")
				must(t, err)
				table, err := disk.Read(d.Device)
				must(t, err)
				node := d.Device
				if style != disk.StyleNone {
					node = disk.PartitionNode(d.Device, 1)
				}
				got, err := disk.ProbeFileSystem(node)
				must(t, err)
				if table.Style != style || got.Type != fs || got.Label != "label" {
					t.Errorf("%s with %+v", table.Style, got)
				}
				if out, err := exec.Command("blkid", "-p", node).CombinedOutput(); err != nil {
					t.Errorf("blkid is in doubt: %v %s", err, out)
				}
				p := w.mount("a", false)
				write(t, p, fs)
				wantFile(t, p, fs)
				_, err = w.Format(ctx, "a", disk.StyleGPT, "ext4", "")
				wantCode(t, err, vss.VDSErrDeviceInUse)
				wantFile(t, p, fs)
				_, err = w.Unmount(ctx, "a", 0)
				must(t, err)
			})
		}
	}
}

func TestFormatRefused(t *testing.T) {
	w := newWorld(t)
	d := w.formatted("a", disk.StyleGPT, "ext4")
	before, err := w.Identity(ctx, d)
	must(t, err)
	c := w.imported(d)
	_, err = w.Create(ctx, "", array.CreateRequest{Name: "small", Size: 64 * mib}, false)
	must(t, err)
	_, err = w.Create(ctx, "", array.CreateRequest{Name: "masked", Size: lunSize}, true)
	must(t, err)
	for _, bad := range []struct {
		name, lun, fs, label string
		code                 vss.Code
	}{
		{"file system", "a", "ntfs", "", vss.ErrInvalidArg},
		{"label", "a", "xfs", "longer than twelve", vss.ErrInvalidArg},
		{"label with a line", "a", "ext4", "a\nb", vss.ErrInvalidArg},
		{"a copy", c.LUN.ID.String(), "ext4", "", vss.VDSErrInvalidOperation},
		{"too small for XFS", "small", "xfs", "", vss.VDSErrNotEnoughSpace},
		{"too small for btrfs", "small", "btrfs", "", vss.VDSErrNotEnoughSpace},
		{"masked", "masked", "ext4", "", vss.VDSErrInvalidOperation},
		{"nothing", "nothing", "ext4", "", vss.VDSErrObjectNotFound},
	} {
		_, err := w.Format(ctx, bad.lun, disk.StyleGPT, bad.fs, bad.label)
		if vss.CodeOf(err) != bad.code {
			t.Errorf("%s: %v", bad.name, err)
		}
	}
	_, err = w.SetReadOnly(ctx, "a", true)
	must(t, err)
	_, err = w.Format(ctx, "a", disk.StyleMBR, "ext4", "")
	wantCode(t, err, vss.VDSErrInvalidOperation)
	t.Setenv("PATH", "/nowhere")
	_, err = w.Format(ctx, "small", disk.StyleMBR, "ext4", "")
	wantCode(t, err, vss.VDSErrNotSupported)
	after, err := w.Identity(ctx, d)
	must(t, err)
	if before.Disk != after.Disk {
		t.Error("refused, and formatted")
	}
}

// A tool that fails says why.
func TestFormatFails(t *testing.T) {
	w := newWorld(t)
	w.create("a")
	bin := t.TempDir()
	must(t, os.WriteFile(bin+"/mkfs.ext4", []byte("#!/bin/sh\necho no such luck >&2\nexit 1\n"), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	_, err := w.Format(ctx, "a", disk.StyleGPT, "ext4", "")
	wantCode(t, err, vss.VDSErrObjectStatusFailed)
	if err == nil || !strings.Contains(err.Error(), "no such luck") {
		t.Error(err)
	}
}

func TestMask(t *testing.T) {
	w := newWorld(t)
	d := w.formatted("a", disk.StyleGPT, "ext4")
	p := w.mount("a", false)
	write(t, p, "x")
	_, err := w.Mask(ctx, "a", "", false)
	wantCode(t, err, vss.VDSErrDeviceInUse)
	wantFile(t, p, "x")
	release := hold(t, p)
	_, err = w.Unmount(ctx, "a", 0)
	wantCode(t, err, vss.VDSErrDeviceInUse)
	release()
	d, err = w.Mask(ctx, "a", "", true)
	must(t, err)
	if mounted(p) || d.Device != "" || len(d.LUN.MappedTo) != 0 {
		t.Errorf("masked: %+v", d)
	}
	d, err = w.Mask(ctx, "a", "here", false) // again
	must(t, err)
	d, err = w.Unmask(ctx, "a", "db2")
	must(t, err)
	if d.Device != "" || len(d.LUN.MappedTo) != 1 {
		t.Errorf("unmasked to another host: %+v", d)
	}
	d, err = w.Unmask(ctx, d.LUN.ID.String(), "")
	must(t, err)
	if len(disk.Nodes(d.Device)) != 2 {
		t.Errorf("unmasked: %+v", d)
	}
	_, err = w.Delete(ctx, d.Device, false)
	wantCode(t, err, vss.VDSErrDeviceInUse) // mapped to db2
	d, err = w.Mask(ctx, disk.PartitionNode(d.Device, 1), "db2", false)
	must(t, err)
	if len(d.LUN.MappedTo) != 1 {
		t.Errorf("masked from another host: %+v", d)
	}
	wantFile(t, w.mount("a", false), "x")
}

// A device that lies on a LUN keeps it, forced or not.
func TestHolders(t *testing.T) {
	w := newWorld(t)
	d := w.formatted("a", disk.StyleGPT, "ext4")
	f, err := os.OpenFile(disk.PartitionNode(d.Device, 1), os.O_RDWR|os.O_EXCL, 0)
	must(t, err)
	defer f.Close()
	_, err = w.Mask(ctx, "a", "", false)
	wantCode(t, err, vss.VDSErrDeviceInUse)
	err = w.Uninstall(ctx, d, true)
	if !errors.Is(err, vss.ErrVolumeInUse) {
		t.Errorf("uninstalled: %v", err)
	}
	if len(disk.Nodes(d.Device)) != 2 {
		t.Error("its partition is gone")
	}
	_, err = w.Delete(ctx, "a", true)
	wantCode(t, err, vss.VDSErrDeviceInUse)
	f.Close()
	must(t, w.Uninstall(ctx, d, false))
}

// What a lazy unmount leaves keeps a read-only disk, and it stays read-only.
func TestBusyStaysReadOnly(t *testing.T) {
	w := newWorld(t)
	c := w.imported(w.formatted("a", disk.StyleGPT, "ext4"))
	p := w.folder("copy")
	must(t, unix.Mount(disk.PartitionNode(c.Device, 1), p, "ext4", unix.MS_RDONLY, "noload"))
	f, err := os.Open(p)
	must(t, err)
	defer f.Close()
	if err := w.Uninstall(ctx, c, false); !errors.Is(err, vss.ErrVolumeInUse) || !mounted(p) {
		t.Errorf("uninstalled: %v", err)
	}
	if err := w.Uninstall(ctx, c, true); err == nil || mounted(p) {
		t.Errorf("uninstalled by force: %v, mounted %v", err, mounted(p))
	}
	for _, n := range disk.Nodes(c.Device) {
		if !disk.ReadOnly(n) {
			t.Errorf("%s takes writes", n)
		}
	}
	f.Close()
	must(t, w.Uninstall(ctx, c, true))
}

func TestReadOnlyMounted(t *testing.T) {
	w := newWorld(t)
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(fs, func(t *testing.T) {
			w.formatted(fs, disk.StyleMBR, fs)
			p := w.mount(fs, false)
			write(t, p, "1")
			release := hold(t, p)
			_, err := w.SetReadOnly(ctx, fs, true)
			wantCode(t, err, vss.VDSErrDeviceInUse)
			write(t, p, "2")
			release()
			d, err := w.SetReadOnly(ctx, fs, true)
			must(t, err)
			if err := os.WriteFile(p+"/file", nil, 0o600); !errors.Is(err, unix.EROFS) || !disk.ReadOnly(d.Device) {
				t.Errorf("written: %v; the disk is read-only: %v", err, disk.ReadOnly(d.Device))
			}
			wantFile(t, p, "2")
			_, err = w.SetReadOnly(ctx, fs, false)
			must(t, err)
			write(t, p, "3")
			wantFile(t, p, "3")
		})
	}
}

func TestChangeFlags(t *testing.T) {
	w := newWorld(t)
	w.formatted("a", disk.StyleGPT, "ext4")
	d, err := w.ChangeFlags(ctx, "a", 1, vss.FlagHidden|vss.FlagNoAutoMount, 0)
	must(t, err)
	d, err = w.ChangeFlags(ctx, "a", 0, vss.FlagReadOnly, vss.FlagHidden)
	must(t, err)
	table, err := disk.Read(d.Device)
	must(t, err)
	if f := table.Partitions[0].Flags; f != vss.FlagReadOnly|vss.FlagNoAutoMount ||
		!disk.ReadOnly(disk.PartitionNode(d.Device, 1)) {
		t.Errorf("flags %v", f.Names())
	}
	_, err = w.ChangeFlags(ctx, "a", 7, vss.FlagHidden, 0)
	wantCode(t, err, vss.VDSErrObjectNotFound)
	_, err = w.ChangeFlags(ctx, "a", 0, vss.FlagHidden, vss.FlagHidden)
	if vss.CodeOf(err) != vss.ErrInvalidArg {
		t.Error(err)
	}
	w.formatted("none", disk.StyleNone, "ext4")
	d, err = w.ChangeFlags(ctx, "none", 0, vss.FlagReadOnly, 0)
	must(t, err)
	if d.LUN.Flags != vss.FlagReadOnly || !disk.ReadOnly(d.Device) {
		t.Errorf("flags %v", d.LUN.Flags.Names())
	}
	_, err = w.ChangeFlags(ctx, "none", 1, vss.FlagReadOnly, 0)
	wantCode(t, err, vss.VDSErrObjectNotFound)
}

// Flags of one partition of several are its own, in the kernel too.
func TestFlagsOfOnePartition(t *testing.T) {
	w := newWorld(t)
	d := w.create("a")
	must(t, exec.Command("sgdisk", "-n", "1:2048:+64M", "-n", "2:0:+64M", d.Device).Run())
	_, err := w.Rescan(ctx, vds.RescanOptions{})
	must(t, err)
	one, two := disk.PartitionNode(d.Device, 1), disk.PartitionNode(d.Device, 2)
	_, err = w.ChangeFlags(ctx, "a", 2, vss.FlagReadOnly, 0)
	must(t, err)
	if disk.ReadOnly(one) || !disk.ReadOnly(two) || disk.ReadOnly(d.Device) {
		t.Errorf("read-only: %v %v %v", disk.ReadOnly(one), disk.ReadOnly(two), disk.ReadOnly(d.Device))
	}
	_, err = w.Mount(ctx, "a", 0, w.folder("x"), false)
	wantCode(t, err, vss.ErrInvalidArg)
	_, err = w.Mount(ctx, "a", 1, w.folder("x"), false)
	wantCode(t, err, vss.VDSErrInvalidOperation)
}

func TestPersistentMounts(t *testing.T) {
	w := newWorld(t)
	for i, style := range []disk.Style{disk.StyleGPT, disk.StyleNone} {
		name := style.String()
		d := w.formatted(name, style, []string{"xfs", "btrfs"}[i])
		p := w.mount(name, true)
		write(t, p, name)
		_, err := w.Mount(ctx, name, 0, p, true) // again
		must(t, err)
		must(t, unix.Unmount(p, 0))
		must(t, w.Uninstall(ctx, d, false)) // the machine starts anew
		w.restart()
		must(t, w.Start(ctx))
		wantFile(t, p, name)
		must(t, w.Start(ctx))
		must(t, unix.Unmount(p, 0))
		if mounted(p) {
			t.Error("mounted twice")
		}
	}
	_, err := w.Unmount(ctx, "gpt", 0)
	must(t, err)
	_, err = w.Mask(ctx, "none", "", false)
	must(t, err)
	w.restart()
	must(t, w.Start(ctx))
	if p := filepath.Join(w.state, "gpt"); mounted(p) {
		t.Error("unmounted for good, and mounted")
	}
	if p := filepath.Join(w.state, "none"); mounted(p) {
		t.Error("masked, and mounted")
	}
	_, err = w.Unmask(ctx, "none", "")
	must(t, err)
	wantFile(t, filepath.Join(w.state, "none"), "none")
	must(t, unix.Unmount(filepath.Join(w.state, "none"), 0))
	must(t, os.Remove(filepath.Join(w.state, "none")))
	must(t, w.Start(ctx))
	if !w.heard("persistent-mount") {
		t.Errorf("a folder is gone, and nobody is told: %+v", w.events)
	}
	_, err = w.Delete(ctx, "none", false)
	must(t, err)
	if b, err := os.ReadFile(w.state + "/mounts.json"); err != nil || strings.Contains(string(b), "path") {
		t.Errorf("%s %v", b, err)
	}
	must(t, os.WriteFile(w.state+"/mounts.json", []byte(`{"format":2}`), 0o600))
	_, err = vds.New(w.config)
	wantCode(t, err, vss.ErrNotSupported)
}

func TestMountRefused(t *testing.T) {
	w := newWorld(t)
	d := w.formatted("a", disk.StyleGPT, "xfs")
	blank := w.create("blank")
	c := w.imported(d)
	p := w.mount("a", false)
	must(t, os.Symlink(p, w.state+"/link"))
	write(t, w.state, "")
	for _, bad := range []struct {
		lun, path string
		persist   bool
		code      vss.Code
	}{
		{"a", "relative", false, vss.ErrInvalidArg},
		{"a", w.state + "/missing", false, vss.ErrInvalidArg},
		{"a", w.state + "/file", false, vss.ErrInvalidArg},
		{"a", w.state + "/link", false, vss.ErrInvalidArg},
		{"a", p, false, vss.VDSErrVolumeHasPath},
		{blank.LUN.Name, w.folder("x"), false, vss.VDSErrInvalidOperation},
		{c.LUN.Name, w.folder("x"), true, vss.VDSErrInvalidOperation},
		{"nothing", w.folder("x"), true, vss.VDSErrObjectNotFound},
	} {
		_, err := w.Mount(ctx, bad.lun, 0, bad.path, bad.persist)
		wantCode(t, err, bad.code)
	}
	_, err := w.Mount(ctx, c.LUN.Name, 0, w.folder("x"), false) // beside its mounted original
	must(t, err)
	_, err = w.Mount(ctx, "a", 3, w.folder("y"), false)
	wantCode(t, err, vss.VDSErrObjectNotFound)
}

func TestExtend(t *testing.T) {
	w := newWorld(t)
	for style, fs := range map[disk.Style]string{disk.StyleGPT: "xfs", disk.StyleMBR: "btrfs", disk.StyleNone: "xfs"} {
		t.Run(style.String(), func(t *testing.T) {
			name := style.String()
			d := w.formatted(name, style, fs)
			before, err := disk.Read(d.Device)
			must(t, err)
			p := w.mount(name, false)
			write(t, p, "x")
			_, err = w.Extend(ctx, name, lunSize/2)
			wantCode(t, err, vss.VDSErrInvalidOperation)
			d, err = w.Extend(ctx, name, 2*lunSize)
			must(t, err)
			table, err := disk.Read(d.Device)
			must(t, err)
			if style != disk.StyleNone {
				last := table.Partitions[0]
				if _, err := w.PartitionAt(ctx, d, vss.Extent{Start: last.Start, Length: last.Size}); err != nil ||
					last.Size < before.Partitions[0].Size+lunSize-2*mib {
					t.Errorf("the partition is %+v: %v", last, err)
				}
			}
			if d.LUN.Size != 2*lunSize || table.Size != 2*lunSize {
				t.Errorf("sizes %d and %d", d.LUN.Size, table.Size)
			}
			grow := exec.Command("xfs_growfs", p)
			if fs == "btrfs" {
				grow = exec.Command("btrfs", "filesystem", "resize", "max", p)
			}
			if out, err := grow.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
			wantFile(t, p, "x")
			_, err = w.Extend(ctx, name, 2*lunSize) // as after an extension that was cut off
			must(t, err)
			_, err = w.Unmount(ctx, name, 0)
			must(t, err)
			if style == disk.StyleGPT {
				if out, err := exec.Command("sgdisk", "-v", d.Device).CombinedOutput(); err != nil ||
					!strings.Contains(string(out), "No problems found") {
					t.Errorf("sgdisk: %v %s", err, out)
				}
			}
			_, err = w.Extend(ctx, name, 1<<50)
			wantCode(t, err, vss.VDSErrNotEnoughSpace)
			_, err = w.SetReadOnly(ctx, name, true)
			must(t, err)
			_, err = w.Extend(ctx, name, 3*lunSize)
			wantCode(t, err, vss.VDSErrInvalidOperation)
		})
	}
}

func TestDelete(t *testing.T) {
	w := newWorld(t)
	d := w.formatted("a", disk.StyleGPT, "ext4")
	c := w.imported(d)
	_, err := w.Delete(ctx, "a", false)
	wantCode(t, err, vss.VDSErrDeviceInUse) // a copy depends on it
	if n := disk.Nodes(w.get("a").Device); len(n) != 2 {
		t.Errorf("refused, and changed: %v", n)
	}
	p := w.mount("a", false)
	w.inUse[c.LUN.ID] = "it is a shadow copy of a set"
	for _, f := range []func() error{
		func() error { _, err := w.Delete(ctx, c.LUN.Name, true); return err },
		func() error { _, err := w.Mask(ctx, c.LUN.Name, "", true); return err },
		func() error { _, err := w.Format(ctx, c.LUN.Name, disk.StyleGPT, "ext4", ""); return err },
		func() error { _, err := w.SetReadOnly(ctx, c.LUN.Name, false); return err },
		func() error { _, err := w.Mount(ctx, c.LUN.Name, 0, w.folder("x"), false); return err },
		func() error { _, err := w.Extend(ctx, c.LUN.Name, 2*lunSize); return err },
	} {
		wantCode(t, f(), vss.VDSErrDeviceInUse)
	}
	delete(w.inUse, c.LUN.ID)
	_, err = w.Delete(ctx, c.LUN.Name, false)
	must(t, err)
	_, err = w.Delete(ctx, "a", false)
	wantCode(t, err, vss.VDSErrDeviceInUse) // mounted
	release := hold(t, p)
	_, err = w.Delete(ctx, "a", true)
	wantCode(t, err, vss.VDSErrDeviceInUse)
	release()
	was, err := w.Delete(ctx, "a", true)
	must(t, err)
	if was.LUN.ID != d.LUN.ID {
		t.Errorf("it was %+v", was)
	}
	_, err = w.Find(ctx, "a")
	wantCode(t, err, vss.VDSErrObjectNotFound)
}

// masking runs a function before a LUN is masked.
type masking struct {
	array.Array
	before func(vss.LUNID)
}

func (m masking) Unmap(ctx context.Context, id vss.LUNID, host string) (array.LUN, error) {
	m.before(id)
	return m.Array.Unmap(ctx, id, host)
}

// Nothing is left of the table of a LUN that is deleted.
func TestDeleteWipes(t *testing.T) {
	w := newWorld(t)
	looked := false
	o := &world{t: t, dir: w.dir, array: w.array}
	o.host("there", masking{w.array, func(id vss.LUNID) {
		image := w.dir + "/luns/" + id.Plain() + "/data/image"
		pooltest.Want(t, image, 0, 0, mib)
		pooltest.Want(t, image, lunSize-mib, 0, mib)
		looked = true
	}})
	o.formatted("a", disk.StyleGPT, "xfs")
	_, err := o.SetReadOnly(ctx, "a", true)
	must(t, err)
	_, err = o.Delete(ctx, "a", false)
	must(t, err)
	if !looked {
		t.Error("not masked")
	}
}

func TestCreateAndRename(t *testing.T) {
	w := newWorld(t)
	w.create("a")
	_, err := w.Create(ctx, "", array.CreateRequest{Name: "a", Size: lunSize}, false)
	wantCode(t, err, vss.VDSErrInvalidOperation)
	_, err = w.Create(ctx, "nowhere", array.CreateRequest{Name: "b", Size: lunSize}, false)
	wantCode(t, err, vss.VDSErrObjectNotFound)
	d, err := w.Create(ctx, "local", array.CreateRequest{Name: "b", Size: lunSize}, true)
	must(t, err)
	if d.Device != "" || len(d.LUN.MappedTo) != 0 {
		t.Errorf("masked, and %+v", d)
	}
	_, err = w.Rename(ctx, "b", "a")
	wantCode(t, err, vss.VDSErrInvalidOperation)
	d, err = w.Rename(ctx, "b", "c")
	must(t, err)
	if d.LUN.Name != "c" {
		t.Errorf("%+v", d)
	}
}
