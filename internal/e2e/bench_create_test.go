package e2e

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/array/loopdev"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// createVolumes is how many volumes a set has at most.
const createVolumes = 64

// beyond are the steps that wait for the file systems of the originals to write what is dirty.
var beyond = []string{"preflush", "flush", "hold"}

// BenchmarkCreation is the creation of a set of 64 volumes without writers, less the time in which their file systems
// write what is dirty, beside a bare program that makes 64 disks of the same images: it clones each, attaches it, gives
// it a new identity and makes it read-only, all of them at once. Every round has the same dirty data, and the two take
// turns. Times are in milliseconds; the ratio is of the medians.
func BenchmarkCreation(b *testing.B) {
	w := newWorld(b)
	all := w.benchVolumes(createVolumes)
	var ours, bare, hold, deletion figures
	var creation stepFigures
	load := loadAverage(b)
	var cpu float64
	for b.Loop() {
		for range benchRounds {
			w.soil(all)
			cpu -= w.processorTime()
			set := w.measureCreation(all, &hold, &creation)
			cpu += w.processorTime()
			last := len(creation.wall.ms) - 1
			rest := creation.wall.ms[last]
			for _, step := range beyond {
				rest -= creation.steps[step].ms[last]
			}
			ours.ms = append(ours.ms, rest)
			began := time.Now()
			w.vss(nil, "delete", set)
			deletion.add(time.Since(began))
			w.settlePool()
			w.soil(all)
			bare.add(w.bareCopies(all))
			w.settlePool()
		}
	}
	ours.report(b, "beyond-flush")
	bare.report(b, "bare")
	creation.wall.report(b, "create")
	deletion.report(b, "delete")
	b.ReportMetric(ours.at(50)/bare.at(50), "ratio")
	b.ReportMetric(cpu/float64(len(ours.ms)), "create-cpu-ms")
	b.ReportMetric(0, "ns/op")
	b.Logf("load average %s before, %s after; median of each step in ms:%s", load, loadAverage(b), &creation)
}

// bareDisk is a disk of the bare program.
type bareDisk struct {
	source, image *os.File
	device        string
	err           error
}

// bareCopies is the bare program: it returns the time from just before the first clone until the last disk is
// read-only. What is dirty is written before.
func (w *world) bareCopies(all []*benchVolume) time.Duration {
	w.Helper()
	home := filepath.Join(w.pool(), "bare")
	if err := os.MkdirAll(home, 0o700); err != nil {
		w.Fatal(err)
	}
	w.tool("chattr", "+C", home) // as the images, which are written in place
	disks := make([]bareDisk, len(all))
	for i, v := range all {
		root := w.openDir(v.point)
		if err := unix.Syncfs(int(root.Fd())); err != nil {
			w.Fatal(err)
		}
		root.Close()
		source, err := os.Open(filepath.Join(v.data, "image"))
		if err != nil {
			w.Fatal(err)
		}
		disks[i].source = source
	}
	var done sync.WaitGroup
	began := time.Now()
	for i := range disks {
		done.Go(func() { disks[i].err = disks[i].make(filepath.Join(home, fmt.Sprint(i))) })
	}
	done.Wait()
	took := time.Since(began)
	for i := range disks {
		if err := disks[i].err; err != nil {
			w.Errorf("the bare program: %s: %v", all[i].point, err)
		}
		disks[i].close(w)
	}
	if err := os.RemoveAll(home); err != nil {
		w.Error(err)
	}
	return took
}

// make clones the image, attaches the clone, gives it a new identity and makes it read-only.
func (d *bareDisk) make(path string) (err error) {
	if d.image, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return err
	}
	if err := unix.IoctlFileClone(int(d.image.Fd()), int(d.source.Fd())); err != nil {
		return err
	}
	if d.device, err = loopdev.Attach(d.image, 0); err != nil { // as a LUN of this pool: without direct I/O
		return err
	}
	f, err := os.OpenFile(d.device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := renewGPT(f); err != nil {
		return err
	}
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.BLKROSET, 1)
}

func (d *bareDisk) close(w *world) {
	w.Helper()
	if d.device != "" {
		if err := loopdev.Detach(d.device); err != nil {
			w.Errorf("the bare program's disk %s: %v", d.device, err)
		}
	}
	d.source.Close()
	d.image.Close()
}

// renewGPT gives a disk and its partitions new GUIDs, in both copies of its table of 128 entries. They are durable when
// it returns. Source: UEFI specification, GPT header.
func renewGPT(f *os.File) error {
	const sector, entrySize, entries = 512, 128, 128
	le := binary.LittleEndian
	header, table := make([]byte, sector), make([]byte, entries*entrySize)
	if _, err := f.ReadAt(header, sector); err != nil {
		return err
	}
	if _, err := f.ReadAt(table, 2*sector); err != nil {
		return err
	}
	if string(header[:8]) != "EFI PART" || le.Uint32(header[80:]) != entries {
		return fmt.Errorf("%s has another table", f.Name())
	}
	id := vss.NewGUID()
	copy(header[56:], id[:])
	for e := table; len(e) > 0; e = e[entrySize:] {
		if [16]byte(e) != [16]byte{} {
			id := vss.NewGUID()
			copy(e[16:], id[:])
		}
	}
	le.PutUint32(header[88:], crc32.ChecksumIEEE(table))
	backup := le.Uint64(header[32:])
	for _, place := range []struct{ my, other, table uint64 }{
		{backup, 1, backup - entries*entrySize/sector}, {1, backup, 2},
	} {
		le.PutUint64(header[24:], place.my)
		le.PutUint64(header[32:], place.other)
		le.PutUint64(header[72:], place.table)
		le.PutUint32(header[16:], 0)
		le.PutUint32(header[16:], crc32.ChecksumIEEE(header[:le.Uint32(header[12:])]))
		if _, err := f.WriteAt(table, int64(place.table)*sector); err != nil {
			return err
		}
		if _, err := f.WriteAt(header, int64(place.my)*sector); err != nil {
			return err
		}
	}
	return f.Sync()
}
