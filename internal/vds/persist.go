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

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/atomicfile"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/internal/mount"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// persistentMount is a mount that is made again whenever its LUN is here.
type persistentMount struct {
	LUN       vss.LUNID `json:"lun"`
	Partition int       `json:"partition"` // 0: the whole disk
	Path      string    `json:"path"`
}

// mountsFormat is the version of the file below.
const mountsFormat = 1

type mountsFile struct {
	Format int               `json:"format"`
	Mounts []persistentMount `json:"mounts"`
}

func (m *Manager) mountsPath() string { return filepath.Join(m.cfg.StateDir, "mounts.json") }

func (m *Manager) loadMounts() error {
	const op = "ReadMounts"
	b, err := os.ReadFile(m.mountsPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var f mountsFile
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	switch {
	case err != nil:
		return vss.E(op, vss.ErrUnexpected, err).On(m.mountsPath()).Advise("mend the file, or remove it to have no persistent mounts")
	case f.Format > mountsFormat:
		return vss.E(op, vss.ErrNotSupported, fmt.Errorf("it has format %d, this program knows up to %d", f.Format, mountsFormat)).On(m.mountsPath()).Advise("use the newer program that wrote it; nothing was changed")
	}
	m.mounts = f.Mounts
	return nil
}

// changeMounts alters the list of persistent mounts, durably or not at all.
func (m *Manager) changeMounts(change func([]persistentMount) []persistentMount) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := change(slices.Clone(m.mounts))
	if slices.Equal(list, m.mounts) {
		return nil
	}
	b, err := json.MarshalIndent(mountsFile{mountsFormat, list}, "", "  ")
	if err == nil {
		err = os.MkdirAll(m.cfg.StateDir, 0o700)
	}
	if err == nil {
		err = atomicfile.Write(m.mountsPath(), b)
	}
	if err != nil {
		return vss.E("WriteMounts", vss.ErrUnexpected, err).On(m.mountsPath()).Advise("is the file system of the state directory full?")
	}
	m.mounts = list
	return nil
}

// forgetMounts ends the persistence of mounts of a LUN, or of one partition of it; number -1 is all.
func (m *Manager) forgetMounts(id vss.LUNID, number int) error {
	return m.changeMounts(func(list []persistentMount) []persistentMount {
		return slices.DeleteFunc(list, func(p persistentMount) bool {
			return p.LUN == id && (number < 0 || p.Partition == number)
		})
	})
}

// mountPersistent makes the persistent mounts of all LUNs that are here and have theirs not yet, outer folders first.
func (m *Manager) mountPersistent(ctx context.Context) {
	m.mu.Lock()
	list := slices.Clone(m.mounts)
	m.mu.Unlock()
	slices.SortFunc(list, func(a, b persistentMount) int { return cmp.Compare(a.Path, b.Path) })
	for _, p := range list {
		if err := m.mountAgain(ctx, p); err != nil {
			m.event(events.PersistentMount, events.Error, p.Path, err)
		}
	}
}

func (m *Manager) mountAgain(ctx context.Context, p persistentMount) error {
	defer m.lock(p.LUN)()
	d, err := m.byID(ctx, p.LUN)
	if errors.Is(err, vss.VDSErrObjectNotFound) {
		return m.forgetMounts(p.LUN, -1) // deleted elsewhere
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
