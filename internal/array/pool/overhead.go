package pool

import (
	"os"
	"strconv"
	"strings"
)

// Overhead returns what the pool needs beside data: metadata.
func (p *Reflink) Overhead(data int64) int64 {
	if p.btrfs {
		return btrfsOverhead(data)
	}
	return data / 50
}

// Overhead returns what the pool needs beside data: metadata.
func (p *SelfMade) Overhead(data int64) int64 { return btrfsOverhead(data) }

// btrfsOverhead returns what btrfs needs beside data: metadata, and what the kernel sets aside for writes that it has
// in memory before it knows where they go. Without that, btrfs gives all of its space to data, and has none for
// metadata.
func btrfsOverhead(data int64) int64 { return min(data, inMemory()) + data/10 + 64<<20 }

// inMemory is how many bytes the kernel keeps in memory before their writers have to wait for the disk.
func inMemory() int64 {
	const fallback = 1 << 30
	b, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return fallback
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "nr_dirty_threshold "); ok {
			if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
				return n * int64(os.Getpagesize())
			}
		}
	}
	return fallback
}
