package vds

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/atomicfile"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/internal/mount"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// persistentMount is a mount that is made whenever its LUN arrives.
type persistentMount struct {
	LUN       vss.LUNID `json:"lun"`
	Partition int       `json:"partition"` // 0: the entire disk
	Path      string    `json:"path"`
}

// mountsFormat is the version of the file below.
const mountsFormat = 1

type mountsFile struct {
	Format int               `json:"format"`
	Mounts []persistentMount `json:"mounts"`
}

// mountList is the list of persistent mounts, in a file.
type mountList struct {
	path string

	mu   sync.Mutex
	list []persistentMount
}

// openMounts reads the list. Errors: VSS_E_NOT_SUPPORTED for a newer format, VSS_E_UNEXPECTED for a damaged file.
func openMounts(dir string) (*mountList, error) {
	const op = "ReadMounts"
	l := &mountList{path: filepath.Join(dir, "mounts.json")}
	b, err := os.ReadFile(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	var f mountsFile
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	switch {
	case err != nil:
		return nil, vss.E(op, vss.ErrUnexpected, err).On(l.path).
			Advise("repair the file, or remove it to have no persistent mounts")
	case f.Format > mountsFormat:
		err = fmt.Errorf("it has format %d, this program reads formats up to %d", f.Format, mountsFormat)
		return nil, vss.E(op, vss.ErrNotSupported, err).On(l.path).
			Advise("use the newer program that wrote it; nothing was changed")
	}
	l.list = f.Mounts
	return l, nil
}

// all returns the mounts, outer folders first.
func (l *mountList) all() []persistentMount {
	l.mu.Lock()
	list := slices.Clone(l.list)
	l.mu.Unlock()
	slices.SortFunc(list, func(a, b persistentMount) int { return cmp.Compare(a.Path, b.Path) })
	return list
}

// add adds a mount, unless it is in the list.
func (l *mountList) add(p persistentMount) error {
	return l.change(func(list []persistentMount) []persistentMount {
		if slices.Contains(list, p) {
			return list
		}
		return append(list, p)
	})
}

// remove removes the mounts of a LUN, or of one partition of it; number -1 is all.
func (l *mountList) remove(id vss.LUNID, number int) error {
	return l.change(func(list []persistentMount) []persistentMount {
		return slices.DeleteFunc(list, func(p persistentMount) bool {
			return p.LUN == id && (number < 0 || p.Partition == number)
		})
	})
}

// change changes the list durably, or not at all.
func (l *mountList) change(f func([]persistentMount) []persistentMount) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := f(slices.Clone(l.list))
	if slices.Equal(list, l.list) {
		return nil
	}
	b, err := json.MarshalIndent(mountsFile{mountsFormat, list}, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(l.path), 0o700)
	}
	if err == nil {
		err = atomicfile.Write(l.path, b)
	}
	if err != nil {
		return vss.E("WriteMounts", vss.ErrUnexpected, err).On(l.path).
			Advise("is the file system of the state directory full?")
	}
	l.list = list
	return nil
}

// mountPersistent makes the persistent mounts that are missing, of all LUNs that are here.
func (m *Manager) mountPersistent(ctx context.Context) {
	for _, p := range m.mounts.all() {
		if err := m.mountAgain(ctx, p); err != nil {
			m.event(events.PersistentMount, events.Error, p.Path, err)
		}
	}
}

func (m *Manager) mountAgain(ctx context.Context, p persistentMount) error {
	defer m.lock(p.LUN)()
	d, err := m.byID(ctx, p.LUN)
	if errors.Is(err, vss.VDSErrObjectNotFound) {
		return m.mounts.remove(p.LUN, -1) // deleted elsewhere
	}
	if err != nil || d.Device == "" || d.LUN.Kind != array.KindPlain || mount.IsPoint(p.Path) {
		return err
	}
	v, err := m.volumeOf("MountLun", d, p.Partition)
	if err != nil {
		return err
	}
	return v.mount(p.Path)
}

// Start attaches what the arrays show to this host and makes its persistent mounts.
func (m *Manager) Start(ctx context.Context) error {
	_, err := m.Rescan(ctx, RescanOptions{})
	return err
}
