package disk

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// mbrDisk is an image partitioned by sfdisk.
func mbrDisk(t testing.TB, layout string) string {
	t.Helper()
	d := temp(t, 16*mib)
	script(t, "label: dos\n"+layout, "sfdisk", "-q", d)
	return d
}

// The record lies in the last sector before the first partition, or before 1 MiB.
func TestRecordPlace(t *testing.T) {
	for layout, at := range map[string]int64{
		"1M,2M,L\n":                     mib - 512,
		"4M,2M,L\n":                     mib - 512,
		"start=63,size=4096\n":          62 * 512,
		"start=2,size=4096\n":           512,
		"4M,2M,L\nstart=40,size=100\n":  39 * 512, // the first by place is the second by number
		"start=63,size=8192,type=5\n":   62 * 512,
		"start=128,size=8192,type=ef\n": 127 * 512,
	} {
		t.Run(layout, func(t *testing.T) {
			d := mbrDisk(t, layout)
			before := content(t, d)
			edit(t, d, func(e *Editor) { must(t, e.SetFlags(vss.FlagHidden|vss.FlagShadowCopy, 0)) })
			after := content(t, d)
			if string(after[at:at+16]) != recordMagic {
				t.Errorf("no record at %d", at)
			}
			copy(after[at:], make([]byte, 512))
			if !bytes.Equal(before, after) {
				t.Error("more than the record was changed")
			}
		})
	}
}

// The record outlives what happens to the partitions behind it: the flags are the disk's.
func TestRecordSurvivesRepartitioning(t *testing.T) {
	d := mbrDisk(t, "1M,2M,L\n")
	edit(t, d, func(e *Editor) { must(t, e.SetFlags(vss.FlagReadOnly, 0)) })
	script(t, "4M,2M,L\n", "sfdisk", "-q", "-a", d)
	got := table(t, d)
	if got.Flags != vss.FlagReadOnly || len(got.Partitions) != 2 || got.Partitions[1].Flags != vss.FlagReadOnly {
		t.Errorf("table %+v", got)
	}
}

func TestGapThatIsNotOurs(t *testing.T) {
	record := func(format uint32, flags vss.DiskFlags) []byte {
		b := make([]byte, recordSize)
		copy(b, recordMagic)
		le.PutUint32(b[recFormat:], format)
		le.PutUint32(b[recFlags:], uint32(flags))
		le.PutUint32(b[recCRC:], crc32.ChecksumIEEE(b[:recCRC]))
		return b
	}
	spoilt := record(recordFormat, vss.FlagHidden)
	spoilt[recFlags] ^= 0xff
	for _, c := range []struct {
		name, layout string
		poke         func(t *testing.T, d string)
		flags        vss.DiskFlags
	}{
		{"boot loader in the gap", "1M,2M,L\n", func(t *testing.T, d string) {
			poke(t, d, 0, 0xeb, 0x63, 0x90)
			poke(t, d, 512, []byte("GRUB core image")...)
		}, 0},
		{"other data where the record would be", "1M,2M,L\n", func(t *testing.T, d string) { poke(t, d, mib-1, 7) }, 0},
		{
			"a record with a wrong checksum", "1M,2M,L\n",
			func(t *testing.T, d string) { poke(t, d, mib-512, spoilt...) }, 0,
		},
		{
			"a newer record", "1M,2M,L\n",
			func(t *testing.T, d string) { poke(t, d, mib-512, record(recordFormat+1, vss.FlagHidden)...) },
			vss.FlagHidden,
		},
		{
			"a much newer record", "1M,2M,L\n",
			func(t *testing.T, d string) { poke(t, d, mib-512, record(1<<31, 0xff)...) }, vss.FlagsShadowCopy,
		},
		{"no gap", "start=1,size=4096\n", func(*testing.T, string) {}, 0},
		{"no gap before the extended partition", "start=1,size=8192,type=5\n", func(*testing.T, string) {}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := mbrDisk(t, c.layout)
			c.poke(t, d)
			got := table(t, d)
			if got.Style != StyleMBR || got.Flags != c.flags {
				t.Errorf("table %+v", got)
			}
			untouched(t, d, vss.ErrNotSupported, vss.ErrCannotRevertDiskID)
		})
	}
}

// Boot code in sector 0 that needs no gap (syslinux), or an empty sector 0 with something else in the gap, leaves room.
func TestGapWithRoom(t *testing.T) {
	for name, change := range map[string]func(d string){
		"boot code in sector 0":      func(d string) { poke(t, d, 0, 0x33, 0xc0) },
		"something early in the gap": func(d string) { poke(t, d, 4096, 1) },
		"our own record and boot code": func(d string) {
			edit(t, d, func(e *Editor) { must(t, e.SetFlags(vss.FlagHidden, 0)) })
			poke(t, d, 0, 1)
			poke(t, d, 4096, 1)
		},
	} {
		d := mbrDisk(t, "1M,2M,L\n")
		change(d)
		before := content(t, d)
		edit(t, d, func(e *Editor) { must(t, e.SetFlags(vss.FlagsShadowCopy, 0)) })
		if f := table(t, d).Flags; f != vss.FlagsShadowCopy {
			t.Errorf("%s: flags %v", name, f.Names())
		}
		edit(t, d, func(e *Editor) { must(t, e.SetFlags(0, vss.FlagsShadowCopy)) })
		clear(before[mib-512 : mib])
		if !bytes.Equal(before, content(t, d)) {
			t.Errorf("%s: the disk isn't as it was", name)
		}
	}
}

func TestLogicalPartitions(t *testing.T) {
	d := mbrDisk(t, "1M,2M,L\n4M,10M,E\n5M,1M,L\n7M,1M,27\n9M,1M,8e\n")
	numbers := func() string {
		s := ""
		for _, p := range table(t, d).Partitions {
			s += fmt.Sprintf("%d:%d", p.Number, p.Start/mib)
			if p.Data {
				s += "d"
			}
			s += " "
		}
		return s
	}
	if got, want := numbers(), "1:1d 2:4 5:5d 6:7 7:9d "; got != want {
		t.Errorf("partitions %q, want %q", got, want)
	}
	edit(t, d, func(e *Editor) {
		wantCode(t, e.SetPartitionFlags(2, vss.FlagHidden, 0), vss.ErrNotSupported)
		wantCode(t, e.SetPartitionFlags(6, vss.FlagHidden, 0), vss.ErrNotSupported)
		must(t, e.SetPartitionFlags(7, vss.FlagHidden, 0))
	})

	// A link that goes back is followed; one that goes in a circle ends.
	b := content(t, d)
	links := []int64{4 * mib}
	for next := links[0]; ; {
		e := entryOf(b[next:], 1)
		if !e.used() {
			break
		}
		next = 4*mib + e.start()*512
		links = append(links, next)
	}
	if len(links) != 3 {
		t.Fatalf("links at %v", links)
	}
	link := func(from int, to int64) {
		e := slices.Clone(entryOf(b[links[0]:], 1))
		le.PutUint32(e[8:], uint32((to-4*mib)/512))
		poke(t, d, links[from]+mbrTable+16, e...)
	}
	link(0, links[2]) // first, last, middle, and round
	link(2, links[1])
	link(1, links[2])
	if got, want := numbers(), "1:1d 2:4 5:5d 6:9d 7:7 "; got != want {
		t.Errorf("links that go back: partitions %q, want %q", got, want)
	}
	link(1, links[0])
	if got, want := numbers(), "1:1d 2:4 5:5d 6:9d 7:7 "; got != want {
		t.Errorf("a circle: partitions %q, want %q", got, want)
	}
	link(0, 15*mib) // into nothing
	if got, want := numbers(), "1:1d 2:4 5:5d "; got != want {
		t.Errorf("a link into nothing: partitions %q, want %q", got, want)
	}
}
