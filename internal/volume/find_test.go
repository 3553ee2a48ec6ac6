package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Every spelling of one volume has one key, and the same canonical name.
func TestSpellingsOfOneVolume(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			dir := scratch(t)
			device, point := fresh(t, dir, "Data", kind)
			folder := filepath.Join(point, "a folder\nof\ttwo \\040lines")
			if err := os.MkdirAll(folder, 0o755); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(folder, "file")
			link, devLink := filepath.Join(dir, "link"), filepath.Join(dir, "by-id")
			node := filepath.Join(dir, "node")
			var st unix.Stat_t
			err := errors.Join(
				os.WriteFile(file, nil, 0o600),
				os.Symlink(folder, link),
				os.Symlink(device, devLink),
				unix.Stat(device, &st),
				unix.Mknod(node, unix.S_IFBLK|0o600, int(st.Rdev)),
			)
			if err != nil {
				t.Fatal(err)
			}
			whole := bind(t, point, filepath.Join(dir, "whole again"))
			part := bind(t, folder, filepath.Join(dir, "a\npart"))
			h := New(
				Options{
					Names: map[string]string{
						"C:":             point,
						`\\?\Volume{x}\`: "LABEL=Data",
						"exact":          "/proc",
						"Exact":          device,
					},
				},
			)
			want := find(t, h, point)
			if want.Name != point || want.Label != "Data" || want.FileSystem != kind || !want.Mounted ||
				want.ReadOnly ||
				want.Device != device {
				t.Fatalf("Find(%q) = %+v", point, want)
			}
			if diff := cmp.Diff([]string{point, whole, part}, want.MountPoints); diff != "" {
				t.Errorf("mount points (-want +got):\n%s", diff)
			}
			spellings := map[string]string{
				"mount point": point, "trailing slash": point + "/", "folder": folder, "file": file,
				"symlink to a folder": link,
				"device":              device, "symlink to the device": devLink, "another node of the device": node,
				"number": fmt.Sprintf("/dev/block/%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)),
				"uuid":   "UUID=" + want.UUID, "uuid in quotes and capitals": `uuid="` + strings.ToUpper(want.UUID) +
					`"`, "label": "LABEL=Data", "label in quotes": "LABEL='Data'",
				"name": "C:", "name in lower case": "c:", "guid name": `\\?\Volume{x}\`,
				"guid name without slash": `\\?\volume{x}`, "exact name first": "Exact",
				"bind of the root": whole, "bind of a folder": part, "in a bind": filepath.Join(part, "file"),
			}
			for how, s := range spellings {
				if how == "number" {
					if _, err := os.Stat(s); err != nil {
						continue // this machine has no udev to make the links
					}
				}
				t.Run(how, func(t *testing.T) {
					diff := cmp.Diff(want, find(t, h, s), cmpopts.IgnoreUnexported(Volume{}))
					if diff != "" {
						t.Errorf("Find(%q) (-by mount point +got):\n%s", s, diff)
					}
				})
			}
		})
	}
}

func TestFindRefuses(t *testing.T) {
	dir := scratch(t)
	_, point := fresh(t, dir, "Label", "ext4")
	tmpfs := mountAt(t, "none", filepath.Join(dir, "tmpfs"), "tmpfs", 0, "")
	for _, d := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(point, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	overlay := mountAt(
		t,
		"none",
		filepath.Join(dir, "overlay"),
		"overlay",
		0,
		fmt.Sprintf("lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", point, point, point),
	)
	// Nobody serves this one: looking at it must not wait for an answer.
	serve, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	fuse := mountAt(
		t,
		"dead",
		filepath.Join(dir, "fuse"),
		"fuse",
		0,
		fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", serve.Fd()),
	)
	t.Cleanup(func() { serve.Close() })
	table := attach(t, image(t, filepath.Join(dir, "gpt.img"), 8<<20))
	if _, err := disk.Create(table, disk.StyleGPT, "data"); err != nil {
		t.Fatal(err)
	}
	unsupported := vss.ErrVolumeNotSupported
	for _, c := range []struct {
		name, object, says string
		code               vss.Code
	}{
		{"tmpfs", tmpfs, "tmpfs", unsupported},
		{"overlay", overlay, "overlay", unsupported},
		{"fuse", fuse, "fuse", unsupported},
		{"proc", "/proc", "proc", unsupported},
		{"devices", "/dev/null", "devtmpfs", unsupported},
		{"disk with a table, unknown to the kernel", table, table + "p1", unsupported},
		{"no such path", filepath.Join(point, "none"), "", vss.ErrObjectNotFound},
		{"empty", "", "", vss.ErrObjectNotFound},
		{"label in another case", "LABEL=label", "", vss.ErrObjectNotFound},
		{"empty label", "LABEL=", "", vss.ErrObjectNotFound},
		{"unknown uuid", "UUID=00000000-0000-0000-0000-000000000000", "", vss.ErrObjectNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := New(Options{}).Find(t.Context(), c.object)
			if !errors.Is(err, c.code) {
				t.Fatalf("Find(%q) = %+v, %v; want %v", c.object, v, err, c.code)
			}
			if text := err.Error() + vss.Hint(err); !strings.Contains(text, c.says) || vss.Hint(err) == "" {
				t.Errorf("%q, hint %q: want %q in it, and a hint", err, vss.Hint(err), c.says)
			}
		})
	}
	if _, err := disk.AddPartitions(table, mustRead(t, table)); err != nil {
		t.Fatal(err)
	}
	if v, err := New(Options{}).Find(t.Context(), table); !errors.Is(err, unsupported) {
		t.Errorf("a disk with partitions: %+v, %v", v, err)
	}
}

func mustRead(t *testing.T, device string) *disk.Table {
	t.Helper()
	table, err := disk.Read(device)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestPartition(t *testing.T) {
	dir := scratch(t)
	device := attach(t, image(t, filepath.Join(dir, "gpt.img"), 32<<20))
	table, err := disk.Create(device, disk.StyleGPT, "data")
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := disk.AddPartitions(device, table)
	if err != nil {
		t.Fatal(err)
	}
	mkfs(t, "ext4", "part", nodes[0])
	p := table.Partitions[0]
	want := []vss.Extent{{LUN: 0, Start: p.Start, Length: p.Size}}
	h := New(Options{})
	unmounted := find(t, h, nodes[0])
	if unmounted.Mounted || unmounted.Reach != "" || unmounted.Name != nodes[0] || unmounted.FileSystem != "ext4" {
		t.Errorf("not mounted: %+v", unmounted)
	}
	point := mountAt(t, nodes[0], filepath.Join(dir, "m"), "ext4", 0, "")
	v := find(t, h, point)
	if v.Key != unmounted.Key || !v.Mounted {
		t.Errorf("mounted: %+v, not mounted: %+v", v, unmounted)
	}
	if diff := cmp.Diff(want, v.Extents); diff != "" || !slices.Equal(v.Disks, []string{device}) {
		t.Errorf("extents on %v (-want +got):\n%s", v.Disks, diff)
	}
	got, err := MountsOf(nodes[0])
	if err != nil || !slices.Equal(got, []string{point}) {
		t.Errorf("MountsOf = %q, %v", got, err)
	}
}

// btrfs: one mounted subvolume is a volume; all of one file system are one super block on the same disks.
func TestBtrfsSubvolumes(t *testing.T) {
	dir := scratch(t)
	var devices []string
	for _, n := range []string{"a.img", "b.img"} {
		devices = append(devices, attach(t, image(t, filepath.Join(dir, n), 128<<20)))
	}
	slices.Reverse(devices) // the order in the file system is not that of the numbers
	mkfs(t, "btrfs", "two", devices...)
	command(t, "btrfs", "device", "scan", devices[0], devices[1])
	h := New(Options{})
	cold := find(t, h, devices[1])
	if cold.Mounted || !slices.Equal(cold.Devices, devices) {
		t.Errorf("not mounted: %+v", cold)
	}
	top := mountAt(t, devices[0], filepath.Join(dir, "top"), "btrfs", 0, "")
	odd := "odd, name with\nnewline"
	command(t, "btrfs", "subvolume", "create", filepath.Join(top, "one"))
	command(t, "btrfs", "subvolume", "create", filepath.Join(top, odd))
	one := mountAt(t, devices[1], filepath.Join(dir, "one"), "btrfs", 0, "subvol=one")
	two := bind(t, filepath.Join(top, odd), filepath.Join(dir, "two"))
	if err := os.Mkdir(filepath.Join(one, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	folder := bind(t, filepath.Join(one, "folder"), filepath.Join(dir, "folder"))
	vt, v1, v2, vf := find(t, h, top), find(t, h, one), find(t, h, two), find(t, h, folder)
	for _, v := range []*Volume{v1, v2, vf} {
		if v.SuperKey != vt.SuperKey || !slices.Equal(v.Devices, devices) || !slices.Equal(v.Disks, devices) ||
			len(v.Extents) != 2 {
			t.Errorf("%s: %+v\nwant the super block of %+v", v.Name, v, vt)
		}
	}
	if vt.Key == v1.Key || vt.Key == v2.Key || v1.Key == v2.Key {
		t.Errorf("keys %q %q %q are not of three volumes", vt.Key, v1.Key, v2.Key)
	}
	if vf.Key != v1.Key || vf.Name != one {
		t.Errorf("a bind of a folder is %q (%s), not %q (%s)", vf.Key, vf.Name, v1.Key, v1.Name)
	}
	if !strings.HasPrefix(v1.Key, "btrfs:"+v1.UUID+":2") {
		t.Errorf("key %q has no subvolume id of %s", v1.Key, v1.UUID)
	}
	if got := strings.TrimPrefix(v2.Subvolume, "/"); got != odd {
		t.Errorf("subvolume %q", got)
	}
	for _, d := range devices {
		if v := find(t, h, d); v.SuperKey != vt.SuperKey || !v.Mounted {
			t.Errorf("by device %s: %+v", d, v)
		}
		mounts, err := MountsOf(d)
		if err != nil || len(mounts) != 4 {
			t.Errorf("MountsOf(%s) = %q, %v", d, mounts, err)
		}
	}
	if err := h.CheckNesting(t.Context(), []*Volume{vt, v1, v2}, nil); err != nil {
		t.Errorf("subvolumes beside each other: %v", err)
	}
	for _, v := range []*Volume{vt, v1, v2} {
		f, err := h.Open(v)
		if err != nil {
			t.Error(err)
			continue
		}
		f.Close()
	}
}

func TestReadOnly(t *testing.T) {
	dir := scratch(t)
	device, point := fresh(t, dir, "ro", "ext4")
	h := New(Options{})
	if err := unix.Mount("", point, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if v := find(t, h, point); !v.ReadOnly || v.DeviceReadOnly {
		t.Errorf("mounted read-only: %+v", v)
	}
	if err := disk.SetReadOnly(device, true); err != nil {
		t.Fatal(err)
	}
	if v := find(t, h, point); !v.ReadOnly || !v.DeviceReadOnly {
		t.Errorf("device read-only: %+v", v)
	}
	if err := disk.SetReadOnly(device, false); err != nil {
		t.Fatal(err)
	}
	blank := attach(t, image(t, filepath.Join(dir, "blank.img"), 4<<20))
	if v := find(t, h, blank); v.FileSystem != "" || v.Mounted || v.ReadOnly ||
		!cmp.Equal(v.Extents, []vss.Extent{{Length: 4 << 20}}) {
		t.Errorf("blank device: %+v", v)
	}
}

// A volume under another mount is still that volume, and the path that hides it is not.
func TestHiddenMount(t *testing.T) {
	dir := scratch(t)
	first, point := fresh(t, dir, "first", "ext4")
	if err := os.Mkdir(filepath.Join(point, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	bind(t, filepath.Join(point, "in"), filepath.Join(point, "in"))
	second := attach(t, image(t, filepath.Join(dir, "second.img"), 16<<20))
	mkfs(t, "ext4", "second", second)
	mountAt(t, second, point, "ext4", 0, "")
	if err := os.Mkdir(filepath.Join(point, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	h := New(Options{})
	for _, p := range []string{point, filepath.Join(point, "in")} {
		if v := find(t, h, p); v.Device != second {
			t.Errorf("%s is on %s, not %s", p, v.Device, second)
		}
	}
	v := find(t, h, first)
	if !v.Mounted {
		t.Errorf("the hidden one: %+v", v)
	}
	if f, err := h.Open(v); !errors.Is(err, vss.ErrObjectNotFound) {
		f.Close()
		t.Errorf("opened %s through %s: %v", first, v.Reach, err)
	}
	elsewhere := filepath.Join(dir, "elsewhere")
	mountAt(t, first, elsewhere, "ext4", 0, "")
	f, err := h.Open(find(t, h, first))
	if err != nil {
		t.Fatalf("it can be reached at %s: %v", elsewhere, err)
	}
	f.Close()
}

// Two file systems with one UUID: an imported copy beside its original. The one that takes writes is meant.
func TestTwinUUID(t *testing.T) {
	dir := scratch(t)
	one, two := image(t, filepath.Join(dir, "1.img"), 16<<20), filepath.Join(dir, "2.img")
	mkfs(t, "ext4", "twin", one)
	command(t, "cp", one, two)
	original, shadow := attach(t, one), attach(t, two)
	h := New(Options{})
	if _, err := h.Find(t.Context(), "LABEL=twin"); !errors.Is(err, vss.ErrInvalidArg) {
		t.Errorf("two that take writes: %v", err)
	}
	if err := disk.SetReadOnly(shadow, true); err != nil {
		t.Fatal(err)
	}
	if v := find(t, h, "LABEL=twin"); v.Device != original {
		t.Errorf("found %s, want %s", v.Device, original)
	}
}
