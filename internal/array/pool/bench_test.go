package pool

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/array/loopdev"
	"github.com/stillpoint-vss/stillpoint/internal/array/pool/pooltest"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// The figures of docs/array.md: go test -run '^$' -bench . -benchtime 1x ./internal/array/pool
var benchKinds = []string{"btrfs", "btrfs-mixed", "xfs"}

// scatter writes every second block of an image, so that it has so many extents.
func scatter(b *testing.B, path string, extents int) {
	b.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 4096)
	for i := range extents {
		if _, err := f.WriteAt(buf, int64(i)*8192); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkCut is the hold: the time of one cut of an image with few extents and with 100,000.
func BenchmarkCut(b *testing.B) {
	lane.Host(b)
	for _, kind := range benchKinds {
		for _, extents := range []int{10, 100_000} {
			b.Run(fmt.Sprintf("%s/%d extents", kind, extents), func(b *testing.B) {
				p, err := Open(pooltest.Folder(b, kind, 4<<30))
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = p.Close() })
				o := vss.LUNID{GUID: vss.NewGUID()}
				if err := p.Create(o, 1<<30); err != nil {
					b.Fatal(err)
				}
				scatter(b, p.image(o), extents)
				all, _ := pooltest.Extents(b, p.image(o))
				var worst, sum time.Duration
				const rounds = 5
				for range rounds {
					id := vss.LUNID{GUID: vss.NewGUID()}
					c, err := p.Prepare([]array.Cut{{Origin: o, Copy: id}})
					if err != nil {
						b.Fatal(err)
					}
					start := time.Now()
					if _, _, err := c.Cut(); err != nil {
						b.Fatal(err)
					}
					took := time.Since(start)
					worst, sum = max(worst, took), sum+took
					if err := c.Close(); err != nil {
						b.Fatal(err)
					}
					if err := p.Delete(id); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(sum.Microseconds())/rounds/1000, "ms/cut")
				b.ReportMetric(float64(worst.Microseconds())/1000, "ms-worst")
				b.ReportMetric(float64(all), "extents")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkRandomWrite is the throughput of direct random 4 KiB writes to a full LUN on its loop device, before a
// copy is taken and after.
func BenchmarkRandomWrite(b *testing.B) {
	lane.Host(b)
	const size = 512 << 20
	for _, kind := range benchKinds {
		for _, direct := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/direct=%v", kind, direct), func(b *testing.B) {
				p, err := Open(pooltest.Folder(b, kind, 4<<30))
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = p.Close() })
				o := vss.LUNID{GUID: vss.NewGUID()}
				if err := p.Create(o, size); err != nil {
					b.Fatal(err)
				}
				pooltest.Write(b, p.image(o), 0, 'a', size)
				image, err := os.OpenFile(p.image(o), os.O_RDWR, 0)
				if err != nil {
					b.Fatal(err)
				}
				defer image.Close()
				var flags uint32
				if direct {
					flags = unix.LO_FLAGS_DIRECT_IO
				}
				device, err := loopdev.Attach(image, flags)
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = loopdev.Detach(device) })
				b.ReportMetric(randomWrites(b, device, size), "iops-alone")
				id := vss.LUNID{GUID: vss.NewGUID()}
				c, err := p.Prepare([]array.Cut{{Origin: o, Copy: id}})
				if err != nil {
					b.Fatal(err)
				}
				if _, _, err := c.Cut(); err != nil {
					b.Fatal(err)
				}
				if err := c.Close(); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(randomWrites(b, device, size), "iops-with-copy")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// randomWrites writes for 5 s, with a flush every 64 writes as a database's log has, and returns the writes a second.
func randomWrites(b *testing.B, device string, size int64) float64 {
	b.Helper()
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	raw := make([]byte, 8192)
	buf := raw[4096-uintptr(unsafe.Pointer(&raw[0]))%4096:][:4096]
	start, n := time.Now(), 0
	for time.Since(start) < 5*time.Second {
		if _, err := f.WriteAt(buf, rand.Int64N(size/4096)*4096); err != nil {
			b.Fatal(err)
		}
		if n++; n%64 == 0 {
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
		}
	}
	return float64(n) / time.Since(start).Seconds()
}
