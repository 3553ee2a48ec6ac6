// Package copiestest is a host in memory: disks whose LUNs are those of providertest's arrays, and mounts. With it
// kinds of copies, and all that is built on them, run as an ordinary user and without a device.
package copiestest

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Name is the name of the host.
const Name = "memory-host"

// World is the host. Its exported fields may be changed between two calls.
type World struct {
	// Fail is called before each operation on disks and mounts, with its name ("Rescan", "SetReadOnly", "Mount", ...)
	// and the device, path or LUN concerned. An error becomes the operation's result. Nil fails nothing.
	Fail func(op, object string) error
	// Busy reports whether something uses a mount point or a device.
	Busy func(object string) bool
	// Paused is how many callers have the arrays' background work paused.
	Paused int
	// Pools are those of every array.
	Infos []copies.ArrayInfo

	mu       sync.Mutex
	arrays   []*providertest.Array
	tables   map[vss.LUNID]*disk.Table
	flags    map[vss.LUNID]vss.DiskFlags // of disks without a table, in the array
	devices  map[vss.LUNID]string        // what is attached
	parted   map[string]bool             // devices whose partitions the kernel knows
	readOnly map[string]bool
	locked   map[string]bool
	fsids    map[string]string // what file systems were given, by device
	mounts   []mounted
	numbers  int
}

// New returns a host without disks.
func New() *World {
	return &World{
		tables: map[vss.LUNID]*disk.Table{}, flags: map[vss.LUNID]vss.DiskFlags{}, devices: map[vss.LUNID]string{},
		parted: map[string]bool{}, readOnly: map[string]bool{}, locked: map[string]bool{}, fsids: map[string]string{},
	}
}

// Config returns the configuration of a copies.Host in a folder of the test's own.
func (w *World) Config(dir string, store *catalog.Store, log *events.Log) copies.Config {
	return copies.Config{
		Name: Name, RunDir: filepath.Join(dir, "run"), DeviceDir: filepath.Join(dir, "dev"),
		LettersRoot: filepath.Join(dir, "letters"), Letters: func(string) bool { return false },
		ExposeRoots: []string{filepath.Join(dir, "exposed")},
		Catalog:     store, Events: log, Disks: w, Mounts: w, Logger: slog.New(slog.DiscardHandler),
	}
}

const (
	start = 1 << 20   // of a disk's only partition
	size  = 100 << 20 // of it
)

// Array adds an array with originals. Each is a disk of this host with one partition, or none if style is
// disk.StyleNone.
func (w *World) Array(originals int, style disk.Style) (*providertest.Array, []vss.LUNInformation) {
	a, luns := providertest.NewArray(originals)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arrays = append(w.arrays, a)
	for _, l := range luns {
		w.tables[id(&l)] = table(style)
		w.attach(id(&l), true)
	}
	return a, luns
}

func table(style disk.Style) *disk.Table {
	t := &disk.Table{Style: style, SectorSize: 512, Size: start + size + 1<<20, Identity: disk.Identity{Style: style}}
	if style == disk.StyleNone {
		return t
	}
	t.Identity.Disk = vss.NewGUID()
	p := disk.Partition{Number: 1, Start: start, Size: size, Data: true}
	if style == disk.StyleGPT {
		p.ID = vss.NewGUID()
		t.Identity.Partitions = []disk.PartitionID{{Number: 1, ID: p.ID}}
	}
	t.Partitions = []disk.Partition{p}
	return t
}

func clone(t *disk.Table) *disk.Table {
	c := *t
	c.Partitions, c.Identity.Partitions = slices.Clone(t.Partitions), slices.Clone(t.Identity.Partitions)
	return &c
}

// Volume returns a mounted volume on originals: the first partition of each.
func (w *World) Volume(name, fileSystem string, originals ...vss.LUNInformation) *volume.Volume {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := &volume.Volume{
		Name:        name,
		Key:         name,
		SuperKey:    name,
		FileSystem:  fileSystem,
		UUID:        vss.NewGUID().Plain(),
		Mounted:     true,
		MountPoints: []string{name},
		Reach:       name,
	}
	for i, l := range originals {
		dev := w.devices[id(&l)]
		e := vss.Extent{LUN: i, Start: start, Length: size}
		node := disk.PartitionNode(dev, 1)
		if t := w.tables[id(&l)]; t.Style == disk.StyleNone {
			e, node = vss.Extent{LUN: i, Length: t.Size}, dev
		}
		v.Disks, v.Extents, v.Devices = append(v.Disks, dev), append(v.Extents, e), append(v.Devices, node)
	}
	v.Device = v.Devices[0]
	return v
}

// Local returns a mounted volume that a software provider over a providertest.Host copies.
func (w *World) Local(p provider.Volume) *volume.Volume {
	return &volume.Volume{
		Name:       p.Name,
		Key:        p.Name,
		SuperKey:   p.Name,
		FileSystem: p.FileSystem,
		UUID:       p.UUID,
		Mounted:    true,
		MountPoints: []string{
			p.Mount,
		},
		Reach:   p.Mount,
		Device:  p.Device,
		Devices: []string{p.Device},
		Disks:   p.Devices,
		Extents: p.Extents,
	}
}

// Hardware returns a provider over an array of this host. Copies are born with the partition table, flags included,
// that their original has at the moment of CommitSnapshots.
func (w *World) Hardware(id vss.ProviderID, name string, a *providertest.Array) provider.Hardware {
	m := providertest.NewMemory(a)
	m.ID, m.Name = id, name
	return &hardware{m, w, a}
}

type hardware struct {
	*providertest.Memory
	w *World
	a *providertest.Array
}

func (h *hardware) CommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	err := h.Memory.CommitSnapshots(ctx, set)
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	for _, l := range h.a.LUNs() {
		if err == nil && l.Set == set && l.Origin != nil {
			h.w.tables[id(&l.Info)] = clone(h.w.tables[id(l.Origin)])
		}
	}
	return err
}

// id returns the id of a LUN: the bytes of its page 0x83.
func id(l *vss.LUNInformation) (out vss.LUNID) {
	copy(out.GUID[:], l.DeviceIDs[0].ID)
	return out
}

// attach makes a LUN a disk. The caller holds mu.
func (w *World) attach(id vss.LUNID, partitions bool) {
	if w.devices[id] == "" {
		w.numbers++
		w.devices[id] = fmt.Sprintf("/dev/mem%d", w.numbers)
	}
	dev := w.devices[id]
	w.parted[dev] = partitions && len(w.tables[id].Partitions) > 0
}

// detach takes a disk away. The caller holds mu.
func (w *World) detach(id vss.LUNID) {
	dev := w.devices[id]
	delete(w.devices, id)
	delete(w.parted, dev)
	delete(w.readOnly, dev)
}

// Device returns where a LUN is attached, "" for nowhere.
func (w *World) Device(l vss.LUNInformation) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.devices[id(&l)]
}

// TableOf returns the partition table of a LUN.
func (w *World) TableOf(l vss.LUNInformation) *disk.Table {
	w.mu.Lock()
	defer w.mu.Unlock()
	return clone(w.tables[id(&l)])
}

// RefusesWrites reports whether a disk is read-only.
func (w *World) RefusesWrites(device string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.readOnly[device]
}

// FileSystemID returns the identity that the file system on a device was given, "" for none.
func (w *World) FileSystemID(node string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fsids[node]
}

// Locked returns the disks whose lock is held.
func (w *World) Locked() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for d, on := range w.locked {
		if on {
			out = append(out, d)
		}
	}
	slices.Sort(out)
	return out
}

// fail returns what Fail says.
func (w *World) fail(op, object string) error {
	if w.Fail == nil {
		return nil
	}
	return w.Fail(op, object)
}

func (w *World) busy(object string) bool { return w.Busy != nil && w.Busy(object) }

// RemoveLUN removes a LUN from its array, and its disk from the host.
func (w *World) RemoveLUN(lun vss.LUNID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.arrays {
		for _, l := range a.LUNs() {
			if id(&l.Info) == lun {
				a.Remove(l.Info)
			}
		}
	}
	w.detach(lun)
}

// Show makes a LUN visible to this host, or hides it: a rescan attaches or detaches its disk.
func (w *World) Show(l vss.LUNInformation, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.arrays {
		a.Show(l, on)
	}
}

// Unpartition makes the kernel forget the partitions of a LUN's disk.
func (w *World) Unpartition(l vss.LUNInformation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.parted, w.devices[id(&l)])
}
