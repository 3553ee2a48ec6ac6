package disk

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// untouched checks that a disk can be read but that no edit, of any kind, is made, nor anything written.
func untouched(t *testing.T, d string, edits vss.Code, identity vss.Code) {
	t.Helper()
	before := content(t, d)
	e, err := Open(t.Context(), d)
	must(t, err)
	defer e.Close()
	err = CanFlag(d)
	wantCode(t, err, vss.ErrVolumeNotSupported)
	if vss.Hint(err) == "" {
		t.Errorf("%v doesn't say what to do", err)
	}
	wantCode(t, e.SetFlags(vss.FlagsShadowCopy, 0), edits)
	wantCode(t, e.SetPartitionFlags(1, vss.FlagHidden, 0), edits)
	_, err = e.RenewIdentity()
	wantCode(t, err, identity)
	if !bytes.Equal(before, content(t, d)) {
		t.Error("a disk that is left alone was changed")
	}
}

// Boards with a boot loader behind the header have the array elsewhere: an edit at LBA 2 would destroy the loader.
func TestArrayElsewhere(t *testing.T) {
	for _, at := range []string{"3", "16", "2000"} {
		d := temp(t, 16*mib)
		run(t, "sgdisk", "-j", at, "-n", "1:2M:+4M", d)
		poke(t, d, 2*512, []byte("boot loader")...)
		got := table(t, d)
		if got.Style != StyleGPT || len(got.Partitions) != 1 || got.Partitions[0].Start != 2*mib {
			t.Fatalf("array at %s: table %+v", at, got)
		}
		untouched(t, d, vss.ErrNotSupported, vss.ErrCannotRevertDiskID)
		before := content(t, d)
		_, err := Grow(d)
		wantCode(t, err, vss.ErrNotSupported)

		// Nor with a corrupt primary, when only its remains tell where the array was.
		poke(t, d, 512+hdrFirst, 0xff)
		if got := table(t, d); len(got.Partitions) != 1 {
			t.Errorf("array at %s, corrupt: %+v", at, got)
		}
		untouched(t, d, vss.ErrNotSupported, vss.ErrCannotRevertDiskID)
		poke(t, d, 512+hdrFirst, before[512+hdrFirst])
		poke(t, d, 512, bytes.Repeat([]byte{0}, 512)...) // no header left, and a loader where the array might have been
		untouched(t, d, vss.ErrNotSupported, vss.ErrCannotRevertDiskID)
	}
}

// One good copy is used, and the next edit makes the other good as well.
func TestOneCorruptCopy(t *testing.T) {
	for _, sector := range []int64{512, 4096} {
		for name, at := range map[string]int64{
			"primary signature": sector, "primary checksum": sector + hdrCRC, "primary array": 2*sector + 56,
			"primary's own place": sector + hdrMyLBA,
			"primary entry size":  sector + hdrEntrySize + 1, "backup signature": -sector,
			"backup checksum": -sector + hdrCRC, "backup array": -sector - 128*128 + 56,
		} {
			t.Run(fmt.Sprintf("%s, sectors of %d", name, sector), func(t *testing.T) {
				t.Parallel()
				d := device(t, 16*mib, uint32(sector))
				makers[0].make(t, d)
				want := table(t, d)
				if at < 0 {
					at += 16 * mib
				}
				poke(t, d, at, content(t, d)[at]^0x5a)
				got := table(t, d)
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("it reads as %v, was %v", got, want)
				}
				edit(t, d, func(e *Editor) { must(t, e.SetFlags(vss.FlagsShadowCopy, 0)) })
				sound(t, d)
				if f := table(t, d).Flags; f != vss.FlagsShadowCopy {
					t.Errorf("flags %v", f.Names())
				}
			})
		}
	}
}

func TestBothCopiesCorrupt(t *testing.T) {
	for name, spoil := range map[string]func(b []byte){
		"headers":                      func(b []byte) { b[512+hdrDiskGUID]++; b[len(b)-512+hdrDiskGUID]++ },
		"arrays":                       func(b []byte) { b[1024+56]++; b[len(b)-512-128*128+56]++ },
		"primary header, backup array": func(b []byte) { b[512]++; b[len(b)-512-128*128]++ },
		"both gone":                    func(b []byte) { clear(b[512:mib]); clear(b[len(b)-mib:]) },
		"a million entries": func(b []byte) {
			le.PutUint32(b[512+hdrEntries:], 1<<20)
			b[len(b)-1024]++
			b[len(b)-512]++
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := gptImage(t, 16*mib, 512)
			spoil(b)
			d := temp(t, 16*mib)
			poke(t, d, 0, b...)
			_, err := Read(d)
			wantCode(t, err, vss.ErrVolumeNotSupported)
			if vss.Hint(err) == "" {
				t.Errorf("%v doesn't say what to do", err)
			}
			_, err = Open(t.Context(), d)
			wantCode(t, err, vss.ErrVolumeNotSupported)
			wantCode(t, CanFlag(d), vss.ErrVolumeNotSupported)
			_, err = Grow(d)
			wantCode(t, err, vss.ErrVolumeNotSupported)
			if !bytes.Equal(b, content(t, d)) {
				t.Error("it was changed")
			}
		})
	}
}

// Sector 0 of a disk with a hybrid MBR lists some partitions twice. It is a GPT disk all the same, and sector 0 stays.
func TestHybridMBR(t *testing.T) {
	d := temp(t, 16*mib)
	makers[0].make(t, d)
	run(t, "sgdisk", "-h", "1:7", d)
	sector0 := content(t, d)[:512]
	if kinds := []byte{sector0[450], sector0[466], sector0[482]}; !slices.Contains(kinds, 0xee) ||
		!slices.Contains(kinds, 0x83) {
		t.Fatalf("sgdisk made no hybrid MBR, its types are %x", kinds)
	}
	edit(t, d, func(e *Editor) {
		must(t, e.SetFlags(vss.FlagsShadowCopy, 0))
		_, err := e.RenewIdentity()
		must(t, err)
	})
	if got := table(t, d); got.Style != StyleGPT || len(got.Partitions) != 3 || got.Flags != vss.FlagsShadowCopy {
		t.Errorf("table %+v", got)
	}
	if _, err := Grow(d); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(sector0, content(t, d)[:512]) {
		t.Error("sector 0 was changed")
	}
}

// The remains of a GPT on a disk that has an MBR now, or none, are no table.
func TestRemainsOfGPT(t *testing.T) {
	b := gptImage(t, 16*mib, 512)
	d := temp(t, 16*mib)
	poke(t, d, 0, b...)
	poke(t, d, 0, newMBR(16*mib, 512)...)
	if got := table(t, d); got.Style != StyleMBR || len(got.Partitions) != 1 {
		t.Errorf("under an MBR: %+v", got)
	}
	edit(t, d, func(e *Editor) { must(t, e.SetFlags(vss.FlagHidden, 0)) })
	if after := content(t, d); !bytes.Equal(b[512:mib-512], after[512:mib-512]) || !bytes.Equal(b[mib:], after[mib:]) {
		t.Error("the remains were changed")
	}
	poke(t, d, 0, make([]byte, 1024)...)
	if got := table(t, d); got.Style != StyleNone {
		t.Errorf("with the backup alone: %+v", got)
	}
}

// Some partitions never carry flags.
func TestSystemPartitions(t *testing.T) {
	d := temp(t, 32*mib)
	run(
		t,
		"sgdisk",
		"-n",
		"1:1M:+1M",
		"-t",
		"1:ef00",
		"-n",
		"2:2M:+1M",
		"-t",
		"2:ef02",
		"-n",
		"3:3M:+1M",
		"-t",
		"3:0c01",
		"-n",
		"4:4M:+1M",
		"-t",
		"4:2700",
		"-n",
		"5:5M:+1M",
		"-t",
		"5:8300",
		"-n",
		"6:6M:+1M",
		"-t",
		"6:0700",
		"-n",
		"7:7M:+1M",
		"-t",
		"7:8e00",
		"-n",
		"8:8M:+1M",
		"-t",
		"8:8200",
		"-n",
		"9:9M:+1M",
		"-t",
		"9:8304",
		"-A",
		"1:set:0",
		d,
	)
	before := content(t, d)
	edit(t, d, func(e *Editor) {
		must(t, e.SetFlags(vss.FlagsShadowCopy, 0))
		for _, n := range []int{1, 2, 3, 4} {
			wantCode(t, e.SetPartitionFlags(n, vss.FlagHidden, 0), vss.ErrNotSupported)
		}
		if f := e.Table().Flags; f != vss.FlagsShadowCopy {
			t.Errorf("the disk's flags are %v", f.Names())
		}
	})
	for _, p := range table(t, d).Partitions {
		want := vss.FlagsShadowCopy
		if p.Number <= 4 {
			want = 0
		}
		if p.Flags != want || p.Data != (want != 0) {
			t.Errorf("partition %d: data %v, flags %v", p.Number, p.Data, p.Flags.Names())
		}
	}
	sound(t, d)
	if a := sfdiskOf(t, d).Partitions[0].Attrs; a != "RequiredPartition" {
		t.Errorf("the attributes of the EFI system partition became %q", a)
	}
	edit(t, d, func(e *Editor) { must(t, e.SetFlags(0, vss.FlagsShadowCopy)) })
	if !bytes.Equal(before, content(t, d)) {
		t.Error("the disk isn't as it was")
	}

	only := temp(t, 8*mib)
	run(t, "sgdisk", "-n", "1:1M:0", "-t", "1:ef00", only)
	edit(t, only, func(e *Editor) {
		must(t, e.SetFlags(vss.FlagsShadowCopy, 0))
		if f := e.Table().Flags; f != 0 {
			t.Errorf("a disk with no data partition has %v", f.Names())
		}
	})
}

// Tables whose copies have no place of their own are read and left alone.
func TestTableWithoutRoom(t *testing.T) {
	for name, spoil := range map[string]func(g *gpt){
		"partition over the primary array": func(g *gpt) { le.PutUint64(g.entry(0)[32:], 20) },
		"partition over the backup array":  func(g *gpt) { le.PutUint64(g.entry(0)[40:], g.backup-2) },
		"partition over the backup header": func(g *gpt) {
			le.PutUint64(g.entry(0)[32:], g.backup)
			le.PutUint64(g.entry(0)[40:], g.backup)
		},
		"partition from sector 0":    func(g *gpt) { le.PutUint64(g.entry(0)[32:], 0) },
		"backup outside of the disk": func(g *gpt) { g.backup += 1 << 40 },
		"backup in sector 0":         func(g *gpt) { g.backup = 0 },
		"backup over the primary":    func(g *gpt) { g.backup = 1 },
		"one array for both":         func(g *gpt) { g.backupArray = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			b := gptImage(t, 16*mib, 512)
			g := mustParse(t, b, 512).gpt
			spoil(g)
			copies := &recorder{sector: 512, content: bytes.Clone(b)}
			if g.backup < uint64(len(b)/512) && g.backup > 1 {
				must(t, g.write(copies))
			} else {
				writePrimary(t, g, copies.content)
			}
			d := temp(t, 16*mib)
			poke(t, d, 0, copies.content...)
			if got := table(t, d); got.Style != StyleGPT {
				t.Fatalf("table %+v", got)
			}
			untouched(t, d, vss.ErrNotSupported, vss.ErrCannotRevertDiskID)
		})
	}
}

// writePrimary writes a primary that names a backup which can't be written.
func writePrimary(t *testing.T, g *gpt, disk []byte) {
	t.Helper()
	h := disk[512 : 512+92]
	le.PutUint64(h[hdrAltLBA:], g.backup)
	reseal(disk, 512, 1)
}

// TestOtherSectorSize: the table of a disk with larger sectors is named as such, not as a damaged one (storage 17).
func TestOtherSectorSize(t *testing.T) {
	for _, c := range []struct{ table, has int64 }{{4096, 512}, {512, 4096}} {
		b := gptImage(t, 16*mib, int(c.table))
		_, err := parse(bytes.NewReader(b), 16*mib, []int64{c.has})
		var sector *sectorError
		if !errors.As(err, &sector) || sector.table != c.table || sector.has != c.has {
			t.Errorf("sectors of %d on a disk with %d: %v", c.table, c.has, err)
		}
	}
}
