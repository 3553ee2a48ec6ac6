package volume

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Locator finds which of some volumes paths lie on. It compares device numbers, so that spelling and links don't
// matter; a btrfs subvolume has a number of its own. It remembers paths, and may be used by one goroutine at a time.
type Locator struct {
	volumes map[uint64]int // by device number
	known   map[string]int
}

// NewLocator returns a locator for the volumes with these root folders. One that can't be reached has no paths.
func NewLocator(roots []string) *Locator {
	l := &Locator{map[uint64]int{}, map[string]int{}}
	for i, root := range roots {
		var st unix.Stat_t
		if unix.Stat(root, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			l.volumes[st.Dev] = i
		}
	}
	return l
}

// Find returns the index of the volume that a path lies on, -1 if it lies on none of them. A path that doesn't exist
// lies where it would be created.
func (l *Locator) Find(path string) int {
	path = filepath.Clean(path)
	if i, ok := l.known[path]; ok {
		return i
	}
	found := -1
	for p := path; ; p = filepath.Dir(p) {
		var st unix.Stat_t
		if unix.Stat(p, &st) == nil {
			if i, ok := l.volumes[st.Dev]; ok {
				found = i
			}
			break
		}
		if p == "/" || p == "." {
			break
		}
	}
	l.known[path] = found
	return found
}
