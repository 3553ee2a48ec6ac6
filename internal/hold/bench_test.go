package hold

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkHold measures Hold and Release of quiet volumes beside what the kernel takes for it: FIFREEZE of all at
// once in threads that are there, then FITHAW of all at once. Both are done in turn, and the medians reported.
func BenchmarkHold(b *testing.B) {
	scratch := setUp(b)
	var all []*fileSystem
	for i := range 8 {
		all = append(all, makeFS(b, scratch, kinds[i%len(kinds)], 320))
	}
	for _, n := range []int{1, 8} {
		b.Run(fmt.Sprintf("%d", n), func(b *testing.B) {
			var ours, floor, window []time.Duration
			for b.Loop() {
				floor = append(floor, bare(b, all[:n]))
				call, held := once(b, scratch, all[:n])
				ours, window = append(ours, call), append(window, held)
			}
			slices.Sort(ours)
			slices.Sort(floor)
			slices.Sort(window)
			b.ReportMetric(float64(ours[len(ours)/2].Microseconds()), "hold-µs")
			b.ReportMetric(float64(floor[len(floor)/2].Microseconds()), "floor-µs")
			b.ReportMetric(float64(window[len(window)/2].Microseconds()), "window-µs") // first ioctl to last
			b.ReportMetric(0, "ns/op")
		})
	}
}

func once(b *testing.B, run string, all []*fileSystem) (call, window time.Duration) {
	g, err := Start(b.Context(), Config{RunDir: run, Limit: MaxLimit}, volumes(all...))
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	if err := g.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	if err := g.Hold(b.Context()); err != nil {
		b.Fatal(err)
	}
	r, err := g.Release()
	if err != nil {
		b.Fatal(err)
	}
	return time.Since(began), r.End.Sub(r.Start)
}

func bare(b *testing.B, all []*fileSystem) time.Duration {
	var ready, frozen, thawed sync.WaitGroup
	begin, release := make(chan struct{}), make(chan struct{})
	ready.Add(len(all))
	frozen.Add(len(all))
	thawed.Add(len(all))
	for _, fs := range all {
		go func() {
			fd := int(fs.root.Fd())
			ready.Done()
			<-begin
			if err := freezeSuper(fd); err != nil {
				b.Error(err)
			}
			frozen.Done()
			<-release
			if err := thawSuper(fd); err != nil {
				b.Error(err)
			}
			thawed.Done()
		}()
	}
	ready.Wait()
	began := time.Now()
	close(begin)
	frozen.Wait()
	close(release)
	thawed.Wait()
	return time.Since(began)
}
