package copiestest

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/mount"
)

var _ copies.Mounts = (*World)(nil)

// mounted is a mount.
type mounted struct {
	id      uint64
	path    string
	nodes   []string
	options mount.Options
	folder  string // that is shown, instead of devices
}

// on reports whether the mount shows a file system on a disk or one of its partitions.
func (m mounted) on(device string) bool {
	return slices.ContainsFunc(m.nodes, func(n string) bool { return within(n, device) })
}

// within reports whether a node is a disk or a partition of it.
func within(node, device string) bool {
	return node == device || strings.HasPrefix(node, device+"p")
}

// mountedOn reports whether a disk is mounted. The caller holds mu.
func (w *World) mountedOn(device string) bool {
	return slices.ContainsFunc(w.mounts, func(m mounted) bool { return m.on(device) })
}

// Mount implements copies.Mounts.
func (w *World) Mount(path string, o mount.Options) (uint64, error) {
	return w.mount(mounted{path: path, nodes: append([]string{o.Device}, o.Others...), options: o})
}

// Bind implements copies.Mounts.
func (w *World) Bind(folder, path string) (uint64, error) {
	return w.mount(mounted{path: path, folder: folder, options: mount.Options{ReadOnly: true}})
}

func (w *World) mount(m mounted) (uint64, error) {
	if err := w.fail("Mount", m.path); err != nil {
		return 0, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.numbers++
	m.id = uint64(w.numbers)
	w.mounts = append(w.mounts, m)
	return m.id, nil
}

// Unmount implements copies.Mounts.
func (w *World) Unmount(path string, o mount.Owner, force bool) error {
	if err := w.fail("Unmount", path); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.mounts, func(m mounted) bool { return m.path == path })
	if i < 0 {
		return nil
	}
	m := w.mounts[i]
	if !m.of(o) {
		return fmt.Errorf("unmount %s: %w", path, mount.ErrForeign)
	}
	if w.busy(path) && !force {
		return fmt.Errorf("unmount %s: %w", path, unix.EBUSY)
	}
	w.mounts = slices.Delete(w.mounts, i, i+1)
	return nil
}

// Owned implements copies.Mounts.
func (w *World) Owned(path string, o mount.Owner) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.mounts, func(m mounted) bool { return m.path == path })
	if i < 0 || !w.mounts[i].of(o) {
		return fmt.Errorf("at %s: %w", path, mount.ErrForeign)
	}
	return nil
}

// of reports whether the mount is the owner's.
func (m mounted) of(o mount.Owner) bool {
	return o.ID == m.id ||
		o.ID == 0 && slices.ContainsFunc(o.Devices, func(d string) bool { return slices.Contains(m.nodes, d) })
}

// IsPoint implements copies.Mounts.
func (w *World) IsPoint(path string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.mounts, func(m mounted) bool { return m.path == path })
}

// Below implements copies.Mounts.
func (w *World) Below(folder string) []mount.Info {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []mount.Info
	for _, m := range w.mounts {
		if strings.HasPrefix(m.path, folder+"/") {
			out = append(out, mount.Info{ID: m.id, Point: m.path})
		}
	}
	return out
}

// Of implements copies.Mounts.
func (w *World) Of(device string) ([]string, error) {
	if err := w.fail("Of", device); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, m := range w.mounts {
		if slices.Contains(m.nodes, device) {
			out = append(out, m.path)
		}
	}
	return out, nil
}

// Writable implements copies.Mounts.
func (w *World) Writable(path string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.mounts, func(m mounted) bool { return m.path == path && !m.options.ReadOnly })
}

// MountedAt returns the options of the mount at a path, or the folder that is shown there.
func (w *World) MountedAt(path string) (o mount.Options, folder string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.mounts {
		if m.path == path {
			return m.options, m.folder, true
		}
	}
	return o, "", false
}
