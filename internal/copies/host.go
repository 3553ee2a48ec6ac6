package copies

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/internal/mount"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Config is what a Host needs.
type Config struct {
	Name        string   // of this host, in masks and records
	RunDir      string   // private mounts and the list of disks in creation; a tmpfs
	DeviceDir   string   // where device objects are linked
	LettersRoot string   // a free letter is exposed at LettersRoot/X
	ExposeRoots []string // below these, callers other than root may expose
	Letters     func(name string) bool
	Catalog     *catalog.Store
	Events      *events.Log
	Disks       Disks
	Mounts      Mounts // nil: those of this host
	Logger      *slog.Logger
}

// Host keeps what is the same for copies of all kinds: device objects, mounts, exposures, deletion. Its methods may be
// called from many goroutines; the caller makes sure that only one operation at a time works on a set.
type Host struct {
	cfg Config

	mu       sync.Mutex
	mounted  map[string]mount.Owner      // the mounts that this process made, by path
	private  map[vss.SnapshotID][]string // where MountPrivate shows copies, the newest last
	creating map[string]int              // disks whose flags change, by device
}

// NewHost makes a Host and the folder of device objects.
func NewHost(c Config) (*Host, error) {
	const op = "Configure"
	if c.Mounts == nil {
		c.Mounts = hostMounts{}
	}
	for _, dir := range []string{c.DeviceDir, c.RunDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, vss.E(op, vss.ErrUnexpected, err).On(dir)
		}
	}
	real, err := filepath.EvalSymlinks(c.RunDir) // nothing is mounted where a symbolic link leads to
	if err != nil {
		return nil, vss.E(op, vss.ErrUnexpected, err).On(c.RunDir)
	}
	c.RunDir = real
	h := &Host{
		cfg: c, mounted: map[string]mount.Owner{}, private: map[vss.SnapshotID][]string{}, creating: map[string]int{},
	}
	return h, nil
}

// Load loads a provider and returns the kind of its copies. The error is the provider's own, or E_NOTIMPL for one that
// is neither Hardware nor Software.
func (h *Host) Load(ctx context.Context, p provider.Provider) (Kind, error) {
	c := &caller{events: h.cfg.Events, logger: h.cfg.Logger}
	props, err := c.await(ctx, callProperties, func(ctx context.Context) (any, error) { return p.Properties(ctx) })
	if err != nil {
		return nil, err
	}
	c.props = props.(provider.Properties)
	if err := c.plain(ctx, callOnLoad, p.OnLoad); err != nil {
		return nil, err
	}
	b := &base{caller: c, host: h, provider: p}
	switch p := p.(type) {
	case provider.Hardware:
		return &lunKind{b, p}, nil
	case provider.Software:
		return &localKind{b, p}, nil
	}
	return nil, vss.E("LoadProvider", vss.ErrNotImpl, errors.New("neither a hardware nor a software provider")).
		On(c.props.Name)
}

// base is what both kinds have.
type base struct {
	*caller
	host     *Host
	provider provider.Provider
}

// Properties implements Kind.
func (b *base) Properties() provider.Properties { return b.props }

// Unload implements Kind.
func (b *base) Unload(ctx context.Context, force bool) error {
	return b.plain(ctx, callOnUnload, func(ctx context.Context) error { return b.provider.OnUnload(ctx, force) })
}

// LUNs returns the LUNs that a volume lies on.
func (h *Host) LUNs(ctx context.Context, v *volume.Volume) []vss.LUNID {
	ids := []vss.LUNID{}
	for _, dev := range v.Disks {
		if d, ok := h.cfg.Disks.ByDevice(ctx, dev); ok {
			ids = append(ids, d.LUN.ID)
		}
	}
	return ids
}

// Keep informs the arrays that a set is created. Recovery finishes a set in this way, since restarted providers don't
// know it.
func (h *Host) Keep(ctx context.Context, set vss.SnapshotSetID) error {
	return h.cfg.Disks.KeepCopies(ctx, set, h.cfg.Name)
}

// Rescan makes the disks of this host what the arrays show.
func (h *Host) Rescan(ctx context.Context) error {
	_, err := h.cfg.Disks.Rescan(ctx, vds.RescanOptions{})
	return err
}

// objectPrefix begins the names of device objects; a number follows.
const objectPrefix = "HarddiskVolumeShadowCopy"

func (h *Host) object(number int) string {
	return filepath.Join(h.cfg.DeviceDir, objectPrefix+strconv.Itoa(number))
}

// DeviceObject returns the path of a copy's device object, "" while the copy isn't on this host.
func (h *Host) DeviceObject(r *catalog.Snapshot) string {
	if r.DeviceNumber == 0 || !r.Imported {
		return ""
	}
	return h.object(r.DeviceNumber)
}

// Path returns where a copy can be read now, "" for nowhere.
func (h *Host) Path(r *catalog.Snapshot) string {
	if r.ExposedAt != "" {
		return r.ExposedAt
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if all := h.private[r.ID]; len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}

// Place gives copies that have surfaced their device objects, and notes in their records that they are here. The
// numbers are reserved in one transaction; the caller stores the records.
func (h *Host) Place(ctx context.Context, here []Copy) error {
	if len(here) == 0 {
		return nil
	}
	numbers := make([]int, len(here))
	if err := h.cfg.Catalog.Update(func(tx *catalog.Tx) (err error) {
		for i := range numbers {
			if numbers[i], err = tx.NextDevice(); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	for i, c := range here {
		r := c.Record()
		r.DeviceNumber = numbers[i]
		if err := fault.Around("import", "link", func() error { return h.link(ctx, c) }); err != nil {
			return err
		}
		r.Imported = true
		r.ServiceMachine = h.cfg.Name
	}
	return nil
}

// link makes the device object lead to where the copy is now.
func (h *Host) link(ctx context.Context, c Copy) error {
	at, err := c.Source(ctx)
	if err != nil {
		return err
	}
	target := at.Folder
	if target == "" {
		target = at.Devices[0]
	}
	name := h.object(c.Record().DeviceNumber)
	temp := name + ".new"
	_ = os.Remove(temp)
	if err = os.Symlink(target, temp); err == nil {
		err = os.Rename(temp, name)
	}
	if err != nil {
		return vss.E("LinkDevice", vss.ErrUnexpected, err).On(name)
	}
	return nil
}

func (h *Host) unlink(r *catalog.Snapshot) {
	if r.DeviceNumber != 0 {
		_ = os.Remove(h.object(r.DeviceNumber))
	}
}

// Withdraw removes the copy of an aborted set from this host, even if it is in use. Errors are logged.
func (h *Host) Withdraw(ctx context.Context, c Copy) {
	h.unlink(c.Record())
	if err := c.Withdraw(ctx, true); err != nil {
		h.cfg.Logger.Warn("copy not taken off this host", "copy", c.Record().ID, "error", err)
	}
}

// Restore makes a persistent copy what its record says: on this host, read-only, with its device object and exposure.
func (h *Host) Restore(ctx context.Context, c Copy) error {
	if err := c.Restore(ctx); err != nil {
		return err
	}
	if err := h.link(ctx, c); err != nil {
		return err
	}
	at := c.Record().ExposedAt
	if at == "" {
		return nil
	}
	if h.cfg.Mounts.IsPoint(at) {
		return h.checkExposure(ctx, c)
	}
	if err := h.exposeFolder(at); err != nil {
		return err
	}
	return h.Mount(ctx, c, at, true)
}

// Sweep removes what a former service that died left of its work: private mounts and the list of disks in creation.
func (h *Host) Sweep() error {
	h.sweepPrivate()
	err := os.Remove(h.creatingList())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// SweepLinks removes the device objects of copies that don't exist any more.
func (h *Host) SweepLinks(known []catalog.Snapshot) {
	objects := map[string]bool{}
	for i := range known {
		objects[h.DeviceObject(&known[i])] = true
	}
	for _, l := range h.links() {
		if !objects[l] {
			_ = os.Remove(l)
		}
	}
}

func (h *Host) links() []string {
	links, _ := filepath.Glob(filepath.Join(h.cfg.DeviceDir, objectPrefix+"*"))
	return links
}

func (h *Host) creatingList() string { return filepath.Join(h.cfg.RunDir, "creating") }

// listCreating adds disks to, or takes them from, the list by which udev's rules know which disks to leave alone. An
// empty list is removed.
func (h *Host) listCreating(devices []string, add bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range devices {
		if add {
			h.creating[d]++
		} else if h.creating[d]--; h.creating[d] <= 0 {
			delete(h.creating, d)
		}
	}
	path := h.creatingList()
	if len(h.creating) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	var lines []string
	for d := range h.creating {
		lines = append(lines, d)
	}
	slices.Sort(lines)
	var text []byte
	for _, l := range lines {
		text = append(text, l+"\n"...)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return vss.E("ListCreating", vss.ErrUnexpected, err).On(path).Advise("make room in the run folder")
	}
	return nil
}
