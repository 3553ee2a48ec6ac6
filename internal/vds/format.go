package vds

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// maker is how a file system is made.
type maker struct {
	command  []string
	pkg      string // Debian's package that has the command
	maxLabel int    // bytes
	smallest int64  // bytes, that the command accepts
}

var makers = map[string]maker{
	"ext4":  {[]string{"mkfs.ext4", "-q", "-F"}, "e2fsprogs", 16, 1 << 20},
	"xfs":   {[]string{"mkfs.xfs", "-q", "-f"}, "xfsprogs", 12, 300 << 20},
	"btrfs": {[]string{"mkfs.btrfs", "-q", "-f"}, "btrfs-progs", 255, 109 << 20},
}

// Format writes a partition table with one partition, or none, and a file system. What was on the LUN is lost.
// Errors: E_INVALIDARG for the arguments; VDS_E_NOT_ENOUGH_SPACE for a LUN too small for the file system;
// VDS_E_INVALID_OPERATION for a shadow copy, a read-only LUN or one that isn't here; VDS_E_DEVICE_IN_USE;
// VDS_E_NOT_SUPPORTED where the tool is missing: nothing was changed then. VDS_E_OBJECT_STATUS_FAILED when the tool
// fails. Source: IVdsVolumeMF::Format.
func (m *Manager) Format(ctx context.Context, name string, style disk.Style, fileSystem, label string) (Disk, error) {
	const op = "FormatLun"
	return m.change(ctx, op, name, func(d Disk) error {
		mk, err := checkFormat(op, d, style, fileSystem, label)
		if err != nil {
			return err
		}
		if err := m.checkPlain(op, d); err != nil {
			return err
		}
		if d.Device == "" {
			return notHere(op, d)
		}
		if disk.ReadOnly(d.Device) {
			return vss.E(op, vss.VDSErrInvalidOperation, errors.New("the LUN is read-only")).On(d.LUN.Name).
				Advise("make it writable first: `vss lun set " + d.LUN.Name + " --read-write`")
		}
		if err := checkIdle(op, d, "unmount it first: `vss lun unmount "+d.LUN.Name+"`"); err != nil {
			return err
		}
		forgetBtrfs(d.Device)
		if err := whenIdle(func() error { return disk.DeletePartitions(d.Device) }); err != nil {
			return err
		}
		if err := m.mounts.remove(d.LUN.ID, -1); err != nil {
			return err
		}
		t, err := disk.Create(d.Device, style, label)
		if err != nil {
			return err
		}
		nodes, err := disk.AddPartitions(d.Device, t)
		if err != nil {
			return err
		}
		node := d.Device
		if len(nodes) > 0 {
			node = nodes[0]
		}
		if d.LUN.Flags != 0 { // those of its former life
			if _, err := d.Array.SetFlags(ctx, d.LUN.ID, 0); err != nil {
				return err
			}
		}
		if err := disk.Wipe(node); err != nil { // a former file system's superblock, where the new one has none
			return err
		}
		args := append(append([]string{}, mk.command[1:]...), "-L", label, node)
		out, err := exec.CommandContext(ctx, mk.command[0], args...).CombinedOutput()
		if err != nil {
			return vss.E(op, vss.VDSErrObjectStatusFailed,
				fmt.Errorf("%s: %w: %s", mk.command[0], err, bytes.TrimSpace(out))).On(node).
				Advise("the LUN has no file system now; correct what " + mk.command[0] + " reports and format it again")
		}
		tellUdev(node)
		return nil
	})
}

// tellUdev has udevd look at a device again: it misses the end of mkfs where that falls into its look at the new
// partition. Without udevd nothing happens.
func tellUdev(node string) {
	_ = os.WriteFile(filepath.Join("/sys/class/block", filepath.Base(node), "uevent"), []byte("change"), 0)
}

// tableRoom is what a partition table and the alignment take of a disk, in bytes.
const tableRoom = 2 << 20

func checkFormat(op string, d Disk, style disk.Style, fileSystem, label string) (maker, error) {
	bad := func(code vss.Code, why, hint string) (maker, error) {
		return maker{}, vss.E(op, code, errors.New(why)).On(d.LUN.Name).Advise(hint)
	}
	mk, ok := makers[fileSystem]
	if !ok {
		return bad(vss.ErrInvalidArg, fmt.Sprintf("no file system %q", fileSystem), "file systems are ext4, xfs, btrfs")
	}
	if len(label) > mk.maxLabel || !utf8.ValidString(label) ||
		strings.ContainsFunc(label, func(r rune) bool { return r == '/' || !unicode.IsPrint(r) }) {
		return bad(
			vss.ErrInvalidArg,
			"the label doesn't suit "+fileSystem,
			fmt.Sprintf("a label of %s has at most %d bytes, all of them printable, no slash", fileSystem, mk.maxLabel),
		)
	}
	room := d.LUN.Size
	if style != disk.StyleNone {
		room -= tableRoom
	}
	if room < mk.smallest {
		return bad(
			vss.VDSErrNotEnoughSpace,
			fmt.Sprintf("%s needs %d MiB", fileSystem, mk.smallest>>20),
			"choose another file system, or `vss lun extend` first",
		)
	}
	if _, err := exec.LookPath(mk.command[0]); err != nil {
		return bad(vss.VDSErrNotSupported, err.Error(), "install it: apt install "+mk.pkg)
	}
	return mk, nil
}
