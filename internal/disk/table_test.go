package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// makers are the programs that make tables, and the disks that they can make them on.
var makers = []struct {
	name   string
	style  Style
	images bool // also in an image file of 512-byte sectors
	make   func(t testing.TB, disk string)
}{
	{"sgdisk", StyleGPT, true, func(t testing.TB, d string) {
		run(
			t,
			"sgdisk",
			"-n",
			"1:1M:+2M",
			"-t",
			"1:8300",
			"-c",
			"1:dâta",
			"-n",
			"7:4M:+1M",
			"-t",
			"7:0700",
			"-n",
			"128:6M:0",
			"-t",
			"128:8e00",
			d,
		)
	}},
	{
		"sfdisk gpt",
		StyleGPT,
		true,
		func(t testing.TB, d string) { script(t, "label: gpt\n1M,2M,L\n4M,1M,L\n", "sfdisk", "-q", d) },
	},
	{"ours gpt", StyleGPT, true, func(t testing.TB, d string) {
		_, err := Create(d, StyleGPT, "data")
		must(t, err)
	}},
	{
		"sfdisk mbr",
		StyleMBR,
		true,
		func(t testing.TB, d string) { script(t, "label: dos\n1M,2M,L\n4M,1M,8e,*\n", "sfdisk", "-q", d) },
	},
	{"sfdisk mbr with logical partitions", StyleMBR, true, func(t testing.TB, d string) {
		script(t, "label: dos\n1M,2M,L\n4M,8M,E\n5M,1M,L\n7M,1M,7\n9M,1M,ef\n", "sfdisk", "-q", d)
	}},
	{"ours mbr", StyleMBR, true, func(t testing.TB, d string) {
		_, err := Create(d, StyleMBR, "")
		must(t, err)
	}},
}

// each runs a test on every table, in an image and on devices of both sector sizes.
func each(t *testing.T, f func(t *testing.T, disk string, style Style)) {
	for _, m := range makers {
		for _, place := range []string{"image", "device 512", "device 4096"} {
			t.Run(m.name+" "+place, func(t *testing.T) {
				t.Parallel() // sgdisk and sfdisk sleep while they wait for udev
				var d string
				switch place {
				case "image":
					d = temp(t, 16*mib)
				case "device 512":
					d = device(t, 16*mib, 512)
				default:
					d = device(t, 16*mib, 4096)
				}
				m.make(t, d)
				f(t, d, m.style)
			})
		}
	}
}

// What we read is what sfdisk reads.
func TestRead(t *testing.T) {
	each(t, func(t *testing.T, d string, style Style) {
		got, want := table(t, d), sfdiskOf(t, d)
		sector := got.SectorSize
		if got.Style != style || got.Identity.Style != style || got.Size != 16*mib || got.Flags != 0 {
			t.Errorf("table %+v", got)
		}
		var ours, theirs []string
		for _, p := range got.Partitions {
			ours = append(
				ours,
				fmt.Sprintf("%d+%d %s %s", p.Start/sector, p.Size/sector, p.Name, strings.ToUpper(p.ID.Plain())),
			)
		}
		for _, p := range want.Partitions {
			id := p.UUID
			if style == StyleMBR {
				id = vss.GUID{}.Plain()
			}
			theirs = append(theirs, fmt.Sprintf("%d+%d %s %s", p.Start, p.Size, p.Name, id))
		}
		if d := cmp.Diff(theirs, ours); d != "" {
			t.Errorf("-sfdisk +ours:\n%s", d)
		}
		if id := diskID(got.Identity); !strings.EqualFold(id, want.ID) {
			t.Errorf("disk id %s, sfdisk has %s", id, want.ID)
		}
	})
}

// diskID is the id as sfdisk prints it.
func diskID(i Identity) string {
	if i.Style == StyleMBR {
		return fmt.Sprintf("0x%08x", le.Uint32(i.Disk[:]))
	}
	return i.Disk.Plain()
}

// Flags come and go, and afterwards the disk is, byte for byte, as it was.
func TestFlags(t *testing.T) {
	each(t, func(t *testing.T, d string, style Style) {
		before, was := content(t, d), table(t, d)
		must(t, CanFlag(d))
		edit(t, d, func(e *Editor) {
			must(t, e.SetFlags(vss.FlagsShadowCopy, 0))
			if f := e.Table().Flags; f != vss.FlagsShadowCopy {
				t.Errorf("flags %v", f.Names())
			}
		})
		flagged := table(t, d)
		for i, p := range flagged.Partitions {
			if want := vss.FlagsShadowCopy; style == StyleMBR && p.Flags != want || p.Data && p.Flags != want {
				t.Errorf("partition %d has flags %v", p.Number, p.Flags.Names())
			}
			p.Flags = 0
			if d := cmp.Diff(was.Partitions[i], p); d != "" {
				t.Errorf("more than the flags changed: %s", d)
			}
		}
		tools := sfdiskOf(t, d)
		if style == StyleGPT {
			sound(t, d)
			for _, p := range tools.Partitions {
				if p.Attrs != "GUID:60,61,62,63" {
					t.Errorf("sfdisk sees attributes %q", p.Attrs)
				}
			}
		}
		edit(t, d, func(e *Editor) {
			must(t, e.SetFlags(vss.FlagReadOnly, vss.FlagShadowCopy|vss.FlagHidden))
			if f := e.Table().Flags; f != vss.FlagReadOnly|vss.FlagNoAutoMount {
				t.Errorf("flags %v", f.Names())
			}
			must(t, e.SetFlags(0, vss.FlagsShadowCopy))
		})
		if f := table(t, d).Flags; f != 0 {
			t.Errorf("flags %v are left", f.Names())
		}
		if !slices.Equal(before, content(t, d)) {
			t.Error("the disk isn't as it was")
		}
	})
}

func TestPartitionFlags(t *testing.T) {
	each(t, func(t *testing.T, d string, style Style) {
		edit(t, d, func(e *Editor) {
			must(t, e.SetPartitionFlags(1, vss.FlagHidden, 0))
			for _, p := range e.Table().Partitions {
				want := vss.DiskFlags(0)
				if p.Number == 1 || style == StyleMBR {
					want = vss.FlagHidden
				}
				if p.Flags != want {
					t.Errorf("partition %d has %v", p.Number, p.Flags.Names())
				}
			}
			wantCode(t, e.SetPartitionFlags(99, vss.FlagHidden, 0), vss.ErrObjectNotFound)
		})
	})
}

func TestIdentity(t *testing.T) {
	each(t, func(t *testing.T, d string, style Style) {
		before, was := content(t, d), table(t, d)
		edit(t, d, func(e *Editor) { must(t, e.SetFlags(vss.FlagHidden, 0)) })
		var fresh Identity
		edit(t, d, func(e *Editor) {
			var err error
			fresh, err = e.RenewIdentity()
			must(t, err)
		})
		got := table(t, d)
		if !got.Identity.equal(fresh) || got.Flags != vss.FlagHidden {
			t.Errorf("read back %+v, renewed to %+v", got, fresh)
		}
		if fresh.Disk == was.Identity.Disk || len(fresh.Partitions) != len(was.Identity.Partitions) {
			t.Errorf("renewed %+v to %+v", was.Identity, fresh)
		}
		for i, p := range fresh.Partitions {
			if p.ID == was.Identity.Partitions[i].ID || p.Number != was.Identity.Partitions[i].Number {
				t.Errorf("partition %+v became %+v", was.Identity.Partitions[i], p)
			}
		}
		if id := sfdiskOf(t, d).ID; !strings.EqualFold(id, diskID(fresh)) {
			t.Errorf("sfdisk sees %s, want %s", id, diskID(fresh))
		}
		if style == StyleGPT {
			sound(t, d)
		}
		edit(t, d, func(e *Editor) {
			must(t, e.SetIdentity(was.Identity))
			must(t, e.SetFlags(0, vss.FlagHidden))
		})
		if !slices.Equal(before, content(t, d)) {
			t.Error("with its former identity the disk isn't as it was")
		}
	})
}

// An identity of another disk is refused before anything is written.
func TestForeignIdentity(t *testing.T) {
	each(t, func(t *testing.T, d string, style Style) {
		before := content(t, d)
		edit(t, d, func(e *Editor) {
			own := e.Table().Identity
			other := own
			other.Style = StyleGPT + StyleMBR - style
			fewer, more, others := own, own, own
			fewer.Partitions = nil
			more.Partitions = append(slices.Clone(own.Partitions), PartitionID{Number: 100})
			others.Partitions = slices.Clone(own.Partitions)
			bad := []Identity{{}, other, more}
			if style == StyleGPT {
				others.Partitions[0].Number = 99
				bad = append(bad, fewer, others)
			}
			for _, id := range bad {
				wantCode(t, e.SetIdentity(id), vss.ErrCannotRevertDiskID)
			}
		})
		if !slices.Equal(before, content(t, d)) {
			t.Error("a refused identity changed the disk")
		}
	})
}

func TestDiskWithoutTable(t *testing.T) {
	dir := t.TempDir()
	fs := image(t, filepath.Join(dir, "ext4"), 8*mib)
	run(t, "mkfs.ext4", "-q", "-F", fs)
	fat := image(t, filepath.Join(dir, "boot sector"), 8*mib) // as FAT and NTFS: code where the entries would be
	sector := slices.Repeat([]byte{0xeb, 0x3c, 0x90, 0xc3}, 128)
	sector[510], sector[511] = 0x55, 0xaa
	poke(t, fat, 0, sector...)
	signature := image(t, filepath.Join(dir, "signature"), 8*mib) // and as FAT without code has it
	poke(t, signature, 510, 0x55, 0xaa)
	for _, d := range []string{
		image(t, filepath.Join(dir, "zeros"), 8*mib), image(t, filepath.Join(dir, "nothing"), 0),
		image(t, filepath.Join(dir, "tiny"), 100), fs, fat, signature,
	} {
		t.Run(filepath.Base(d), func(t *testing.T) {
			before := content(t, d)
			got := table(t, d)
			if got.Style != StyleNone || len(got.Partitions) > 0 || got.Flags != 0 || !got.Identity.equal(Identity{}) {
				t.Errorf("table %+v", got)
			}
			must(t, CanFlag(d))
			edit(t, d, func(e *Editor) {
				wantCode(t, e.SetFlags(vss.FlagHidden, 0), vss.ErrNotSupported)
				wantCode(t, e.SetPartitionFlags(1, vss.FlagHidden, 0), vss.ErrNotSupported)
				id, err := e.RenewIdentity()
				must(t, err)
				if id.Style != StyleNone {
					t.Errorf("identity %+v", id)
				}
			})
			_, err := Grow(d)
			must(t, err)
			if !slices.Equal(before, content(t, d)) {
				t.Error("it was changed")
			}
		})
	}
}

func TestOpenErrors(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "x")
	_, err := Read(nowhere)
	wantCode(t, err, vss.ErrObjectNotFound)
	_, err = Open(t.Context(), nowhere)
	wantCode(t, err, vss.ErrObjectNotFound)
	_, err = Create(nowhere, StyleGPT, "")
	wantCode(t, err, vss.ErrObjectNotFound)
	wantCode(t, Wipe(nowhere), vss.ErrObjectNotFound)
	_, err = Read(t.TempDir())
	if err == nil {
		t.Error("a directory was read as a disk")
	}

	d := temp(t, 8*mib)
	holder, err := os.Open(d)
	must(t, err)
	defer holder.Close()
	must(t, unix.Flock(int(holder.Fd()), unix.LOCK_EX))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = Open(ctx, d)
	wantCode(t, err, vss.ErrVolumeInUse)
	time.AfterFunc(30*time.Millisecond, func() { _ = unix.Flock(int(holder.Fd()), unix.LOCK_UN) })
	e, err := Open(t.Context(), d)
	must(t, err)
	if err := unix.Flock(int(holder.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("the disk isn't locked while it is edited: %v", err)
	}
	must(t, e.Close())
	must(t, unix.Flock(int(holder.Fd()), unix.LOCK_EX|unix.LOCK_NB))
}

func TestStyleNames(t *testing.T) {
	for _, s := range []Style{StyleNone, StyleGPT, StyleMBR} {
		if got, err := StyleByName(s.String()); got != s || err != nil {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	_, err := StyleByName("dos")
	wantCode(t, err, vss.ErrInvalidArg)
	if a, b := Style(-1).String(), Style(77).String(); a != "-1" || b != "77" {
		t.Errorf("styles %q, %q", a, b)
	}
}
