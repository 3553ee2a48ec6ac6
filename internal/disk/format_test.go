package disk

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/stillpoint-vss/stillpoint/vss"
)

func TestCreate(t *testing.T) {
	for _, style := range []Style{StyleGPT, StyleMBR} {
		for _, sector := range []uint32{512, 4096} {
			for _, size := range []int64{smallest, 16*mib + 4096, 1 << 42} {
				t.Run(fmt.Sprintf("%v, sectors of %d, %d bytes", style, sector, size), func(t *testing.T) {
					t.Parallel()
					d := device(t, size, sector)
					made, err := Create(d, style, "dâta")
					must(t, err)
					if fmt.Sprint(made) != fmt.Sprint(table(t, d)) || made.Style != style || made.Flags != 0 ||
						len(made.Partitions) != 1 {
						t.Fatalf("made %+v", made)
					}
					p := made.Partitions[0]
					end := size/mib*mib - mib // a GPT's backup needs what is behind it
					if style == StyleMBR {
						end = min(size/mib*mib, mib+math.MaxUint32*int64(sector))
					}
					if p.Number != 1 || p.Start != mib || p.Start+p.Size != end || !p.Data {
						t.Errorf("partition %+v, it should end at %d", p, end)
					}
					if style == StyleGPT {
						sound(t, d)
						if p.Name != "dâta" || p.TypeGUID != typeLinux {
							t.Errorf("partition %+v", p)
						}
					}
					seen := sfdiskOf(t, d)
					if len(seen.Partitions) != 1 || seen.Partitions[0].Start*int64(sector) != p.Start ||
						seen.Partitions[0].Size*int64(sector) != p.Size {
						t.Errorf("sfdisk sees %+v, made %+v", seen, p)
					}
				})
			}
		}
	}
}

func TestCreateRefused(t *testing.T) {
	for _, size := range []int64{0, 511, mib, smallest - 1} {
		d := temp(t, size)
		before := content(t, d)
		for _, style := range []Style{StyleGPT, StyleMBR} {
			_, err := Create(d, style, "")
			wantCode(t, err, vss.ErrInvalidArg)
		}
		if !bytes.Equal(before, content(t, d)) {
			t.Errorf("a disk of %d bytes was changed", size)
		}
	}
}

// A table replaces what was there: the other kind, a file system, the remains at the disk's end.
func TestCreateOverOthers(t *testing.T) {
	d := temp(t, 16*mib)
	for _, style := range []Style{StyleGPT, StyleMBR, StyleNone, StyleMBR, StyleGPT, StyleNone} {
		run(t, "mkfs.ext4", "-q", "-F", d)
		made, err := Create(d, style, strings.Repeat("long", 20))
		must(t, err)
		if made.Style != style {
			t.Errorf("made %v, want %v", made.Style, style)
		}
		if fs, err := ProbeFileSystem(d); err != nil || fs.Type != "" {
			t.Errorf("%v: a file system of type %q is left (%v)", style, fs.Type, err)
		}
		if style == StyleGPT && len(made.Partitions[0].Name) != nameUnits {
			t.Errorf("name %q", made.Partitions[0].Name)
		}
	}
}

func TestWipe(t *testing.T) {
	for _, size := range []int64{0, 1, 4096, mib, mib + 4096, 2 * mib, 8 * mib} {
		d := filepath.Join(t.TempDir(), "disk")
		must(t, os.WriteFile(d, bytes.Repeat([]byte{0xaa}, int(size)), 0o600))
		must(t, Wipe(d))
		b := content(t, d)
		if int64(len(b)) != size {
			t.Fatalf("%d bytes became %d", size, len(b))
		}
		for i, c := range b {
			wiped := int64(i) < mib || int64(i) >= size-mib
			if wiped != (c == 0) {
				t.Fatalf("byte %d of %d is %#x", i, size, c)
			}
		}
	}
}

func TestGrow(t *testing.T) {
	each(t, func(t *testing.T, d string, style Style) {
		edit(t, d, func(e *Editor) { must(t, e.SetFlags(vss.FlagHidden, 0)) })
		was := table(t, d)
		same, err := Grow(d)
		must(t, err)
		if style == StyleMBR && same.Identity.Disk != was.Identity.Disk || len(same.Partitions) != len(was.Partitions) {
			t.Errorf("grown by nothing: %+v, was %+v", same, was)
		}
		enlarge(t, d, 64*mib)
		got, err := Grow(d)
		must(t, err)
		if !got.Identity.equal(was.Identity) || got.Size != 64*mib || got.Flags != vss.FlagHidden ||
			len(got.Partitions) != len(was.Partitions) {
			t.Errorf("grown to %+v, was %+v", got, was)
		}
		last := 0
		for i, p := range got.Partitions {
			if p.Start != was.Partitions[i].Start || p.Size < was.Partitions[i].Size {
				t.Errorf("partition %+v was %+v", p, was.Partitions[i])
			}
			if p.Start > got.Partitions[last].Start {
				last = i
			}
		}
		p := got.Partitions[last]
		switch end := p.Start + p.Size; {
		case style == StyleGPT && end != 63*mib, style == StyleMBR && len(got.Partitions) < 3 && end != 64*mib:
			t.Errorf("the last partition ends at %d", end)
		case style == StyleMBR && len(got.Partitions) > 2 && p.Size != was.Partitions[last].Size:
			t.Errorf("a logical partition was stretched: %+v", p)
		}
		if style == StyleGPT {
			sound(t, d)
		}
	})
}

// enlarge makes an image, or the file behind a device, larger.
func enlarge(t testing.TB, d string, size int64) {
	t.Helper()
	st, err := os.Stat(d)
	must(t, err)
	if st.Mode().IsRegular() {
		must(t, os.Truncate(d, size))
		return
	}
	back, err := os.ReadFile("/sys/block/" + filepath.Base(d) + "/loop/backing_file")
	must(t, err)
	must(t, os.Truncate(strings.TrimSpace(string(back)), size))
	run(t, "losetup", "-c", d)
}

// Tables with any partitions, and any changes of their flags, read back as they were written; the rest stays.
func TestAnyTable(t *testing.T) {
	d := temp(t, 16*mib)
	rapid.Check(t, func(r *rapid.T) {
		g := newGPT(16*mib, 512, rapid.StringN(0, nameUnits, -1).Draw(r, "name"))
		clear(g.entry(0))
		starts := rapid.SliceOfNDistinct(rapid.IntRange(1, 14), 0, 10, rapid.ID[int]).Draw(r, "starts")
		numbers := rapid.Permutation(starts).Draw(r, "numbers")
		want := map[int]vss.DiskFlags{}
		other := map[int]uint64{}
		for i, at := range starts {
			e := g.entry(numbers[i] * 9)
			kind := rapid.SampledFrom(append([]vss.GUID{typeLinux, vss.NewGUID()}, notData...)).Draw(r, "type")
			putGUID(e, kind)
			putGUID(e[16:], vss.NewGUID())
			le.PutUint64(e[32:], uint64(at*mib/512))
			le.PutUint64(e[40:], uint64((at+1)*mib/512-1))
			attrs := rapid.Uint64().Draw(r, "attributes")
			le.PutUint64(e[48:], attrs)
			n := numbers[i]*9 + 1
			other[n] = attrs &^ (0xf << 60)
			for _, b := range gptBits {
				if attrs>>b.bit&1 == 1 {
					want[n] |= b.flag
				}
			}
		}
		var b recorder
		b.sector, b.content = 512, make([]byte, 16*mib)
		copy(b.content, protectiveMBR(16*mib, 512))
		must(t, g.write(&b))
		must(t, os.WriteFile(d, b.content, 0o600))
		e, err := Open(t.Context(), d)
		must(t, err)
		defer e.Close()
		for range rapid.IntRange(1, 5).Draw(r, "edits") {
			set := vss.DiskFlags(rapid.IntRange(0, 15).Draw(r, "set"))
			clr := vss.DiskFlags(rapid.IntRange(0, 15).Draw(r, "clear")) &^ set
			must(t, e.SetFlags(set, clr))
			for _, p := range e.Table().Partitions {
				if p.Data {
					want[p.Number] = want[p.Number]&^clr | set
				}
			}
		}
		now := table(t, d)
		if len(now.Partitions) != len(starts) {
			r.Fatalf("%d partitions of %d", len(now.Partitions), len(starts))
		}
		_, raw := e.Table(), e.disk.gpt
		for _, p := range now.Partitions {
			if p.Flags != want[p.Number] || le.Uint64(raw.entry(p.Number - 1)[48:])&^(0xf<<60) != other[p.Number] {
				r.Fatalf(
					"partition %d has flags %v, want %v; or its other attributes changed",
					p.Number,
					p.Flags.Names(),
					want[p.Number].Names(),
				)
			}
		}
	})
}
