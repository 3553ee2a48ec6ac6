package vds

import (
	"fmt"
	"os"
	"strings"

	"github.com/stillpoint-vss/stillpoint/internal/disk"
)

// content is what was read from a disk: its table, and the file systems by the numbers of their partitions (0: the whole
// disk). It holds until something is written to the disk, which the kernel counts: hundreds of copies are listed without
// reading them again.
type content struct {
	state string
	table *disk.Table
	fs    map[int]disk.FileSystem
}

// stateOf changes whenever a disk may hold something else. "" where the kernel doesn't count.
func stateOf(device string) string {
	b, _ := os.ReadFile(sysPath(device) + "/stat")
	f := strings.Fields(string(b)) // Documentation/block/stat.rst: reads, .., writes (5th), .., discards (12th)
	if len(f) < 12 || f[0] == "0" && f[4] == "0" {
		return ""
	}
	return fmt.Sprint(sequence(device), f[4], f[11], sizeOf(device))
}

// contentOf reads a disk, or knows what it holds.
func (m *Manager) contentOf(device string) (content, error) {
	state := stateOf(device)
	m.mu.Lock()
	c, ok := m.contents[device]
	m.mu.Unlock()
	if ok && state != "" && c.state == state {
		return c, nil
	}
	t, err := disk.Read(device)
	if err != nil {
		return content{}, err
	}
	c = content{state, t, map[int]disk.FileSystem{}}
	whole := true
	probe := func(number int, node string) {
		fs, err := disk.ProbeFileSystem(node)
		c.fs[number] = fs
		whole = whole && err == nil
	}
	if t.Style == disk.StyleNone {
		probe(0, device)
	}
	for _, p := range t.Partitions {
		if node, ok := partitionAt(device, p.Start, p.Size); ok {
			probe(p.Number, node)
		} else if p.Data {
			whole = false // the kernel may get to know it without a write
		}
	}
	if whole && state != "" {
		m.mu.Lock()
		m.contents[device] = c
		m.mu.Unlock()
	}
	return c, nil
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }
