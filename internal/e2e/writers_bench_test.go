package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

const (
	manyWriters    = 64
	manyComponents = 200
	gatherLimit    = 1000 // ms, for all of them to identify themselves
	freezeLimit    = 200  // ms, for all of them to be frozen, when they answer at once
)

// BenchmarkWriters is what 64 writers with 200 components each cost, each behind a socket of its own: how long the
// gathering of their metadata takes, and the Freeze of all of them, in component mode and without. On a machine that
// has other work, too, the figures are printed and not judged; cpu is what gathering costs all of this, writers
// included.
func BenchmarkWriters(b *testing.B) {
	w := newWorld(b)
	w.configure("[service]\nidle_exit = \"1h\"\n")
	volume := w.volume("a", "64M", "ext4", "gpt")
	classes := w.manyWriters(volume)
	client, err := requester.Connect(b.Context(), requester.ConnectOptions{State: w.state, Run: w.run,
		Config: w.config})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	for _, mode := range []struct {
		name   string
		rounds int
	}{{"all", 10}, {"components", 3}} {
		b.Run(mode.name, func(b *testing.B) {
			gather, cpu, freeze, thaw, window := &figures{}, &figures{}, &figures{}, &figures{}, &figures{}
			for b.Loop() {
				for range mode.rounds {
					took, used, set := w.manyBackup(b, client, classes, volume, mode.name == "components")
					gather.add(took)
					cpu.add(used)
					window.add(set.WriterWindow)
					for _, s := range set.Timeline {
						switch s.Name {
						case "freeze":
							freeze.add(s.End - s.Start)
						case "thaw":
							thaw.add(s.End - s.Start)
						}
					}
				}
			}
			gather.report(b, "gather")
			cpu.report(b, "gather-cpu")
			freeze.report(b, "freeze")
			thaw.report(b, "thaw")
			window.report(b, "window")
			if busy := loadAverage(b); !idle(busy) {
				b.Logf("not judged, the machine is busy: %s", busy)
				return
			}
			if ms := gather.at(50); ms > gatherLimit {
				b.Errorf("gathering takes %.0f ms, want at most %d", ms, gatherLimit)
			}
			if ms := freeze.at(50); ms > freezeLimit {
				b.Errorf("the freeze of all takes %.0f ms, want at most %d", ms, freezeLimit)
			}
		})
	}
}

// idle says whether nobody else works on this machine, by its load average of the last minute: the benchmark itself
// makes less than two.
func idle(load string) bool {
	var last float64
	_, err := fmt.Sscan(load, &last)
	return err == nil && last < 2+float64(runtime.NumCPU())/2
}

// used is the time that the service and this process have had of the processors.
func (w *world) used() (total time.Duration) {
	w.Helper()
	for _, pid := range []int{os.Getpid(), w.service()} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			w.Fatal(err)
		}
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // from state, the third field, on
		for _, f := range fields[11:13] {
			ticks, err := strconv.Atoi(f)
			if err != nil {
				w.Fatal(err)
			}
			total += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return total
}

// manyWriters serves the writers from this process and returns their classes.
func (w *world) manyWriters(volume string) (classes []string) {
	w.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, manyWriters)
	w.Cleanup(func() {
		stop()
		for range manyWriters {
			if err := <-ended; err != nil {
				w.Error(err)
			}
		}
	})
	for i := range manyWriters {
		r := writertest.NewRecorder(fmt.Sprintf("W%02d", i))
		r.Who.Level = vss.ApplicationLevel(1 + i%3)
		r.Metadata.Components = nil
		for n := range manyComponents {
			r.Metadata.Components = append(r.Metadata.Components, document.WMComponent{
				Type: vss.ComponentFileGroup, LogicalPath: fmt.Sprintf(`server\database%d`, n%10),
				Name: fmt.Sprintf("table%03d", n), Selectable: true,
				Files: []document.FileSet{{Path: filepath.Join(volume, r.Who.Name, fmt.Sprint(n)), FileSpec: "*",
					Recursive: true, Mask: vss.DefaultFileSpecBackupType}},
			})
		}
		l, err := writer.Listen(filepath.Join(w.run, "writers"), r.Who.Name)
		if err != nil {
			w.Fatal(err)
		}
		go func() { ended <- writer.Serve(ctx, l, r, slog.New(slog.NewTextHandler(io.Discard, nil))) }()
		classes = append(classes, r.Who.ID.String())
	}
	return classes
}

// manyBackup creates one set and returns how long gathering took, and its processor time.
func (w *world) manyBackup(b *testing.B, client *requester.Client, classes []string, volume string,
	components bool) (gather, cpu time.Duration, set requester.SnapshotSet) {
	b.Helper()
	ctx := b.Context()
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatalf("%v\n%s", err, w.log())
		}
	}
	wait := func(a *requester.Async, err error) {
		b.Helper()
		must(err)
		_, err = a.Wait(ctx, nil)
		must(err)
	}
	s, err := client.Open(ctx, "bench")
	must(err)
	defer s.Close()
	must(s.InitializeForBackup(ctx, nil))
	must(s.SetContext(ctx, vss.ContextBackup))
	must(s.SetBackupState(ctx, components, false, vss.BackupFull, false))
	must(s.EnableWriterClasses(ctx, classes...))
	began, used := time.Now(), w.used()
	wait(s.GatherWriterMetadata(ctx))
	all, err := s.GetWriterMetadata(ctx)
	must(err)
	gather, cpu = time.Since(began), w.used()-used
	if len(all) != manyWriters || len(all[0].Components) != manyComponents {
		b.Fatalf("%d writers", len(all))
	}
	if components {
		for _, m := range all {
			for _, c := range m.Components {
				must(s.AddComponent(ctx, c))
			}
		}
	}
	id, err := s.StartSnapshotSet(ctx)
	must(err)
	_, err = s.AddToSnapshotSet(ctx, volume, "")
	must(err)
	wait(s.PrepareForBackup(ctx))
	wait(s.DoSnapshotSet(ctx, 0))
	set, err = client.GetSnapshotSet(ctx, id)
	must(err)
	for _, m := range set.Writers {
		if m.Failure != vss.OK {
			b.Fatalf("%s is %s: %s", m.Name, m.State, m.Failure.Name())
		}
	}
	wait(s.BackupComplete(ctx))
	return gather, cpu, set
}
