package vds

import (
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/stillpoint-vss/stillpoint/internal/disk"
)

// content is what was read from a disk: its table, and the file systems by the numbers of their partitions (0: the
// entire disk). It is valid until something is written to the disk, which the kernel counts, so that hundreds of
// copies are listed without reading them again.
type content struct {
	state string
	table *disk.Table
	fs    map[int]disk.FileSystem
}

// stateOf returns a text that changes whenever the content of a disk may have changed, "" if the kernel doesn't count.
func stateOf(device string) string {
	b, _ := os.ReadFile(sysPath(device) + "/stat")
	f := strings.Fields(string(b)) // Documentation/block/stat.rst: reads, .., writes (5th), .., discards (12th)
	if len(f) < 12 || f[0] == "0" && f[4] == "0" {
		return ""
	}
	return fmt.Sprint(sequence(device), f[4], f[11], sizeOf(device))
}

// contents keeps the contents of disks, by their devices.
type contents struct {
	mu    sync.Mutex
	known map[string]content
}

func (c *contents) drop(device string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, device)
}

// of returns the content of a disk, which it reads unless nothing has changed since the last time.
func (c *contents) of(device string) (content, error) {
	state := stateOf(device)
	c.mu.Lock()
	known, ok := c.known[device]
	c.mu.Unlock()
	if ok && state != "" && known.state == state {
		return known, nil
	}
	now, complete, err := readContent(device)
	if err != nil {
		return content{}, err
	}
	if now.state = state; complete && state != "" {
		c.mu.Lock()
		c.known[device] = now
		c.mu.Unlock()
	}
	return now, nil
}

// readContent reads a disk. The content is complete unless a file system could not be read.
func readContent(device string) (c content, complete bool, err error) {
	t, err := disk.Read(device)
	if err != nil {
		return c, false, err
	}
	c = content{table: t, fs: map[int]disk.FileSystem{}}
	complete = true
	probe := func(number int, node string) {
		fs, err := disk.ProbeFileSystem(node)
		c.fs[number] = fs
		complete = complete && err == nil
	}
	if t.Style == disk.StyleNone {
		probe(0, device)
	}
	for _, p := range t.Partitions {
		if node, ok := partitionAt(device, p.Start, p.Size); ok {
			probe(p.Number, node)
		} else if p.Data {
			complete = false // the kernel may get the partition without a write
		}
	}
	return c, complete, nil
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }
