package disk

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// recorder is a disk in memory that remembers its writes, sector by sector, and what was flushed when.
type recorder struct {
	sector  int
	content []byte
	batches [][]sectorWrite // the last may not be durable
	failAt  int             // the write that fails, from 1; 0: none
	writes  int
}

type sectorWrite struct {
	at   int
	data []byte
}

func (r *recorder) WriteAt(p []byte, off int64) (int, error) {
	if r.writes++; r.writes == r.failAt {
		return 0, errors.New("the disk fails")
	}
	copy(r.content[off:], p)
	if len(r.batches) == 0 {
		r.batches = [][]sectorWrite{nil}
	}
	last := &r.batches[len(r.batches)-1]
	for at := int(off) / r.sector * r.sector; at < int(off)+len(p); at += r.sector {
		*last = append(*last, sectorWrite{at, bytes.Clone(r.content[at : at+r.sector])})
	}
	return len(p), nil
}

func (r *recorder) Sync() error {
	r.batches = append(r.batches, nil)
	return nil
}

// crashes calls f with each disk that a power cut may leave: what was flushed, and of what wasn't every beginning and
// some other choices of sectors, since a disk writes them in any order.
func (r *recorder) crashes(before []byte, f func(name string, disk []byte)) {
	random := rand.New(rand.NewPCG(3, 4))
	durable, disk := bytes.Clone(before), bytes.Clone(before)
	for b, batch := range r.batches {
		crash := func(name string, lands func(i int) bool) {
			for i, w := range batch {
				if lands(i) {
					copy(disk[w.at:], w.data)
				}
			}
			f(fmt.Sprintf("batch %d, %s", b, name), disk)
			for _, w := range batch {
				copy(disk[w.at:], durable[w.at:w.at+len(w.data)])
			}
		}
		for n := range len(batch) + 1 {
			crash(fmt.Sprintf("first %d of %d sectors", n, len(batch)), func(i int) bool { return i < n })
		}
		for i := range 50 {
			crash(fmt.Sprintf("choice %d", i), func(int) bool { return random.IntN(2) == 0 })
		}
		for _, w := range batch {
			copy(durable[w.at:], w.data)
			copy(disk[w.at:], w.data)
		}
	}
}

func parseBytes(b []byte, sector int) (*onDisk, error) {
	return parse(bytes.NewReader(b), int64(len(b)), []int64{int64(sector)})
}

func mustParse(t testing.TB, b []byte, sector int) *onDisk {
	t.Helper()
	d, err := parseBytes(b, sector)
	must(t, err)
	return d
}

// gptImage is a disk with a table of ours that sgdisk's differs from in nothing that counts here.
func gptImage(t testing.TB, size int64, sector int) []byte {
	t.Helper()
	r := &recorder{sector: sector, content: make([]byte, size)}
	copy(r.content, protectiveMBR(size, int64(sector)))
	must(t, newGPT(size, int64(sector), "data").write(r))
	return r.content
}

// A power cut at any moment of an edit leaves a table that reads as it was or as it was to be, and can be edited again.
func TestTornWrites(t *testing.T) {
	flags := func(g *gpt, _ int64) { g.setFlags(0, vss.FlagsShadowCopy, 0) }
	renew := func(g *gpt, _ int64) {
		g.setIdentity(Identity{StyleGPT, vss.NewGUID(), []PartitionID{{1, vss.NewGUID()}}})
	}
	grow := func(g *gpt, size int64) { g.grow(size) }
	for _, sector := range []int{512, 4096} {
		spoil := func(at int) func([]byte) []byte {
			return func(b []byte) []byte {
				b[(len(b)+at)%len(b)] ^= 0xff
				return b
			}
		}
		for _, c := range []struct {
			name   string
			before func([]byte) []byte
			change func(*gpt, int64)
		}{
			{"flags", nil, flags},
			{"identity", nil, renew},
			{"flags, primary header corrupt", spoil(sector + hdrDiskGUID), flags},
			{"flags, primary header gone", func(b []byte) []byte { clear(b[sector : 2*sector]); return b }, flags},
			{"flags, primary array corrupt", spoil(2*sector + 100), flags},
			{"flags, backup header corrupt", spoil(-sector + hdrDiskGUID), flags},
			{"identity, backup array corrupt", spoil(-2*sector + 5), renew},
			{"flags on a disk that grew", func(b []byte) []byte { return append(b, make([]byte, mib)...) }, flags},
			{"grow", func(b []byte) []byte { return append(b, make([]byte, mib)...) }, grow},
			{"grow by less than a table", func(b []byte) []byte { return append(b, make([]byte, sector)...) }, grow},
			{"grow where nothing changed", nil, grow},
		} {
			t.Run(fmt.Sprintf("%s, sectors of %d", c.name, sector), func(t *testing.T) {
				disk := gptImage(t, 4*mib, sector)
				if c.before != nil {
					disk = c.before(disk)
				}
				old := mustParse(t, disk, sector)
				must(t, old.editable())
				g := old.gpt.clone()
				c.change(g, int64(len(disk)))
				must(t, g.editable(int64(len(disk))))
				r := &recorder{sector: sector, content: bytes.Clone(disk)}
				must(t, g.write(r))
				was, is := fmt.Sprint(old.table()), fmt.Sprint(mustParse(t, r.content, sector).table())
				if (was == is) != (c.name == "grow where nothing changed" || c.name == "grow by less than a table") {
					t.Fatalf("the edit made %s of %s", is, was)
				}
				states := 0
				r.crashes(disk, func(name string, disk []byte) {
					states++
					d, err := parseBytes(disk, sector)
					if err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					if now := fmt.Sprint(d.table()); now != was && now != is {
						t.Fatalf("%s: it reads as %s", name, now)
					}
					if err := d.editable(); err != nil {
						t.Fatalf("%s: it can't be edited any more: %v", name, err)
					}
					if states%7 != 0 {
						return
					}
					g := d.gpt.clone()
					c.change(g, int64(len(disk)))
					after := &recorder{sector: sector, content: bytes.Clone(disk)}
					must(t, g.write(after))
					if again := mustParse(t, after.content, sector).table(); c.name != "identity" &&
						fmt.Sprint(again) != is &&
						again.Identity.Disk == old.table().Identity.Disk {
						t.Fatalf("%s: done again it reads as %v, want %s", name, again, is)
					}
				})
				if states < 100 {
					t.Errorf("only %d states were looked at", states)
				}
			})
		}
	}
}

// A record of flags in an MBR's gap is one sector: a power cut leaves the former or the new.
func TestTornRecord(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		disk := make([]byte, 8*mib)
		copy(disk, newMBR(8*mib, int64(sector)))
		r := &recorder{sector: sector, content: bytes.Clone(disk)}
		must(t, mustParse(t, disk, sector).mbr.setFlags(r, vss.FlagsShadowCopy))
		r.crashes(disk, func(name string, disk []byte) {
			if f := mustParse(t, disk, sector).table().Flags; f != 0 && f != vss.FlagsShadowCopy {
				t.Errorf("%s: flags %v", name, f.Names())
			}
		})
	}
}

// A disk that fails in the middle of a write leaves a table too, and the editor knows which.
func TestFailingWrite(t *testing.T) {
	disk := gptImage(t, 8*mib, 512)
	for failAt := 1; failAt <= 4; failAt++ {
		d := mustParse(t, disk, 512)
		g := d.gpt.clone()
		g.setFlags(0, vss.FlagHidden, 0)
		r := &recorder{sector: 512, content: bytes.Clone(disk), failAt: failAt}
		if g.write(r) == nil {
			t.Fatalf("write %d failed unnoticed", failAt)
		}
		if f := mustParse(t, r.content, 512).table().Flags; f != 0 && f != vss.FlagHidden {
			t.Errorf("after write %d failed: flags %v", failAt, f.Names())
		}
	}
	r := &recorder{sector: 512, content: bytes.Clone(disk), failAt: 5}
	if err := mustParse(t, disk, 512).gpt.write(r); err != nil || r.writes != 4 {
		t.Errorf("an edit takes %d writes, this test knows of 4: %v", r.writes, err)
	}
}

// A disk that refuses writes fails the edit; what the editor says stays true, and it goes on when the disk takes
// writes again.
func TestReadOnlyDiskIsNotEdited(t *testing.T) {
	lane.Host(t)
	for _, style := range []Style{StyleGPT, StyleMBR} {
		d := device(t, 8*mib, 512)
		_, err := Create(d, style, "")
		must(t, err)
		before := content(t, d)
		edit(t, d, func(e *Editor) {
			id := e.Table().Identity
			must(t, SetReadOnly(d, true))
			wantCode(t, e.SetFlags(vss.FlagsShadowCopy, 0), vss.ErrUnexpected)
			_, err := e.RenewIdentity()
			wantCode(t, err, vss.ErrCannotRevertDiskID)
			if now := e.Table(); now.Flags != 0 || !now.Identity.equal(id) {
				t.Errorf("%v: the editor believes in %+v", style, now)
			}
			if !bytes.Equal(before, content(t, d)) {
				t.Error("the disk was changed")
			}
			must(t, SetReadOnly(d, false))
			must(t, e.SetFlags(vss.FlagsShadowCopy, 0))
			fresh, err := e.RenewIdentity()
			must(t, err)
			if now := e.Table(); now.Flags != vss.FlagsShadowCopy || !now.Identity.equal(fresh) {
				t.Errorf("%v: afterwards %+v", style, now)
			}
		})
	}
}
