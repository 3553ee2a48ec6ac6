package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// BenchmarkManyCopies is what 512 copies of a volume cost: the creation of the last one beside that of the first one of
// another host, in turn; then with 10,000 records in the catalogue the list of all of them, and the service's memory.
func BenchmarkManyCopies(b *testing.B) {
	const copies, records = 512, 10_000
	w, other := newWorld(b), newWorld(b)
	other.configure("[host]\nname = \"other\"\n")
	load := loadAverage(b)
	many := w.benchVolume("v", "64M", "ext4")
	client := w.connect()
	for range copies - 1 {
		w.createAgain(client, many, nil)
	}
	few := other.benchVolume("v", "64M", "ext4")
	otherClient := other.connect()
	var last, first stepFigures
	for range benchRounds {
		for _, turn := range []struct {
			w *world
			c *requester.Client
			v *benchVolume
			f *stepFigures
		}{{w, client, many, &last}, {other, otherClient, few, &first}} {
			turn.w.vss(nil, "delete", turn.w.createAgain(turn.c, turn.v, turn.f))
			turn.w.settlePool()
		}
	}
	w.createAgain(client, many, nil)
	client.Close()
	w.stop(unix.SIGTERM)
	w.fill(records - copies)
	b.ReportMetric(first.wall.at(50), "create-first-ms")
	b.ReportMetric(last.wall.at(50), "create-last-ms")
	b.ReportMetric(last.wall.at(50)/first.wall.at(50), "ratio")
	start, cpu, list := w.listTimes(records)
	b.ReportMetric(start, "start-ms")
	b.ReportMetric(cpu, "list-cpu-ms")
	b.ReportMetric(list.at(50), "list-p50-ms")
	b.ReportMetric(list.at(100), "list-max-ms")
	b.ReportMetric(w.resident(), "resident-MB")
	b.ReportMetric(0, "ns/op")
	b.Logf("load average %s before, %s after; median of each step in ms:\nfirst:%s\nlast: %s", load, loadAverage(b),
		&first, &last)
}

// createAgain makes a persistent set of a volume, as a program does, and gives its id.
func (w *world) createAgain(c *requester.Client, v *benchVolume, f *stepFigures) string {
	w.Helper()
	w.soil([]*benchVolume{v})
	began := time.Now()
	made, err := c.Create(context.Background(), requester.Options{Program: "bench", Context: vss.ContextNASRollback,
		Volumes: []string{v.point}}, nil)
	if err != nil {
		w.Fatalf("create: %v\n%s", err, w.log())
	}
	if f != nil {
		f.wall.add(time.Since(began))
		for _, t := range made.Set.Timeline {
			f.add(t.Name, float64((t.End-t.Start).Microseconds())/1000)
		}
	}
	made.Session.Close()
	return made.Set.ID.String()
}

// listTimes starts the service and asks for all copies as often as everything is measured, each time from the call to
// the last copy received. In milliseconds it also gives how long the start took, and the processor time of the service
// for one list, which says more than its duration where others keep the machine busy.
func (w *world) listTimes(want int) (start, cpu float64, list *figures) {
	w.Helper()
	began := time.Now()
	client := w.connect()
	start = float64(time.Since(began).Milliseconds())
	ctx := context.Background()
	s, err := client.Open(ctx, "bench")
	if err == nil {
		err = s.InitializeForBackup(ctx, nil)
	}
	if err == nil {
		err = s.SetContext(ctx, vss.ContextAll)
	}
	if err != nil {
		w.Fatal(err)
	}
	list = &figures{}
	cpu = -w.processorTime()
	for range benchRounds {
		began := time.Now()
		all, err := s.QuerySnapshots(ctx)
		list.add(time.Since(began))
		if err != nil || len(all) != want {
			w.Fatalf("%d copies, %v; want %d", len(all), err, want)
		}
	}
	return start, (cpu + w.processorTime()) / benchRounds, list
}

// processorTime is what the service has used of it, in milliseconds.
func (w *world) processorTime() float64 {
	w.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.service()))
	if err != nil {
		w.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	var user, system float64
	if _, err := fmt.Sscan(f[11]+" "+f[12], &user, &system); err != nil { // utime and stime, in ticks of 10 ms
		w.Fatal(err)
	}
	return 10 * (user + system)
}

// fill adds so many records of copies to the catalogue of a service that isn't running: sets of one volume that
// another host shall import, as like to a real one as its own. At the end of the test the catalogue is what it was.
func (w *world) fill(n int) {
	w.Helper()
	path := filepath.Join(w.state, "catalog.db")
	before, err := os.ReadFile(path)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		w.stop(unix.SIGTERM)
		if err := os.WriteFile(path, before, 0o600); err != nil {
			w.Error(err)
		}
	})
	store, err := catalog.Open(path)
	if err != nil {
		w.Fatal(err)
	}
	defer store.Close()
	if err := store.Update(func(tx *catalog.Tx) error {
		all, err := tx.Snapshots()
		if err != nil {
			return err
		}
		set, _, err := tx.Set(all[0].SetID)
		if err != nil {
			return err
		}
		for range n {
			r := all[0]
			r.ID, r.SetID = vss.SnapshotID{GUID: vss.NewGUID()}, vss.SnapshotSetID{GUID: vss.NewGUID()}
			r.Attributes |= vss.AttrTransportable
			r.Imported, r.DeviceNumber = false, 0
			if err := tx.PutSnapshot(r); err != nil {
				return err
			}
			set.ID, set.Context = r.SetID, r.Attributes
			if err := tx.PutSet(set); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		w.Fatal(err)
	}
}

// resident is the service's resident memory, in MB.
func (w *world) resident() float64 {
	w.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.service()))
	if err != nil {
		w.Fatal(err)
	}
	var kib float64
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		w.Fatal(err)
	}
	return kib * 1024 / 1e6
}
