package array

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Config is what a controller is made of. A pool may be opened lazily: Pools are asked when they are first needed.
type Config struct {
	Name     string
	Pools    []NamedPool
	Targets  []Target // at least one, each of another type
	LowWater int64    // bytes; 0: 256 MiB or 5 % of the pool, whichever is more, but a quarter at most
	Logger   *slog.Logger
}

// NamedPool is a pool and the name it has in this array.
type NamedPool struct {
	Name string
	Pool
}

// Controller is our storage array.
type Controller struct {
	cfg Config

	work sync.Mutex // one change of LUNs at a time; a commit needs none
	mu   sync.Mutex // the fields below
	luns map[vss.LUNID]*entry
	cuts map[hostSet]*cutting

	background sync.WaitGroup
	stop       context.CancelFunc
	life       context.Context
	pause      pauser
	hydrating  map[vss.LUNID]*hydration
	events     subscribers
}

type entry struct {
	LUN
	pool NamedPool
}

// hostSet names a set of one host. A host that learns another one's set id can do nothing with it.
type hostSet struct {
	id   vss.SnapshotSetID
	host string
}

// cutting is a set whose copies are prepared or cut.
type cutting struct {
	cutters []Cutter
	copies  []vss.LUNID
	cut     bool          // CommitCopies was called
	done    chan struct{} // closed when it has ended; then the fields below are set
	err     error
	skew    time.Duration
	flags   map[vss.LUNID]vss.DiskFlags // what each copy's origin had at the cut, as its table would have it
}

// Open reads the records of all pools, and finishes or removes what an earlier process left incomplete.
func Open(ctx context.Context, cfg Config) (*Controller, error) {
	if err := checkTargets(cfg.Targets); err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(context.Background())
	c := &Controller{
		cfg:       cfg,
		luns:      map[vss.LUNID]*entry{},
		cuts:      map[hostSet]*cutting{},
		hydrating: map[vss.LUNID]*hydration{},
		life:      life,
		stop:      stop,
	}
	for _, p := range cfg.Pools {
		if err := c.load(ctx, p); err != nil {
			stop()
			return nil, err
		}
	}
	c.background.Go(c.watch)
	return c, nil
}

func (c *Controller) load(ctx context.Context, p NamedPool) error {
	records, err := readRecords(p.RecordDir())
	if err != nil {
		return err
	}
	stored, err := p.Stored()
	if err != nil {
		return err
	}
	for _, l := range records {
		l.Array, l.Pool, l.Bus = c.cfg.Name, p.Name, c.cfg.Targets[0].Bus()
		e := &entry{l, p}
		c.luns[l.ID] = e
		switch l.State {
		case StateCreating, StatePreparing, StateDeleting:
			if err := c.erase(e); err != nil {
				return err
			}
			delete(stored, l.ID)
			continue
		}
		size, ok := stored[l.ID]
		if l.Kind == KindShadowCopy &&
			size < l.Size { // it was being dropped when its record couldn't be written any more
			c.cfg.Logger.Warn("a shadow copy that was being dropped is removed", "lun", l.Name, "pool", p.Name)
			if err := c.erase(e); err != nil {
				return err
			}
			delete(stored, l.ID)
			continue
		}
		if !ok {
			return vss.E(
				"OpenPool", vss.VDSErrProviderCacheCorrupt,
				errors.New("the LUN's record is there and its data is not"),
			).
				On(l.Name).
				Advise("restore the pool's files completely, or remove the record " + recordPath(p.RecordDir(), l.ID))
		}
		if l.State == StateResyncing ||
			size != l.Size { // a resync or an extend was cut off: before its end, or just after
			if _, err := c.change(e, func(l *LUN) { l.Size, l.State = size, settled(l.State) }); err != nil {
				return err
			}
		}
		if err := c.exportAll(ctx, e); err != nil {
			return err
		}
		if l.Method == MethodPlex && l.Percent < 100 {
			c.hydrate(e)
		}
	}
	for id := range stored {
		if c.luns[id] == nil {
			c.cfg.Logger.Warn("data of a LUN without a record is left alone", "lun", id, "pool", p.Name)
		}
	}
	return nil
}

// settled is the state of a LUN after a change of its content that is over, done or not.
func settled(s State) State {
	if s == StateResyncing {
		return StateReady
	}
	return s
}

// Close ends the background work and lets the pools go. It may be repeated.
func (c *Controller) Close() error {
	c.stop()
	c.background.Wait()
	c.mu.Lock()
	for _, s := range c.cuts {
		for _, k := range s.cutters {
			_ = k.Close() // the copies weren't finished: the next Open removes them
		}
		s.cutters = nil
	}
	c.mu.Unlock()
	var errs []error
	for _, p := range c.cfg.Pools {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// Info describes the array.
func (c *Controller) Info(context.Context) (Info, error) {
	out := Info{Name: c.cfg.Name}
	for _, t := range c.cfg.Targets {
		out.Targets = append(out.Targets, t.Type())
	}
	for _, p := range c.cfg.Pools {
		s, err := p.Space()
		if err != nil {
			return out, err
		}
		out.Pools = append(out.Pools, PoolInfo{p.Name, p.Type(), s.Size + s.Growth, s.Free + s.Growth})
	}
	return out, nil
}

// LUNs lists all LUNs, by name.
func (c *Controller) LUNs(context.Context) ([]LUN, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := []LUN{}
	for _, e := range c.luns {
		if e.exists() {
			out = append(out, e.copy())
		}
	}
	slices.SortFunc(out, func(a, b LUN) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (e *entry) copy() LUN {
	l := e.LUN
	l.MappedTo = slices.Clone(l.MappedTo)
	return l
}

// exists reports whether the LUN can be seen from outside.
func (e *entry) exists() bool {
	return e.State != StateDeleting && e.State != StateCreating && e.State != StatePreparing
}

// find returns a LUN that exists. Errors: VDS_E_OBJECT_NOT_FOUND.
func (c *Controller) find(op string, id vss.LUNID) (*entry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.luns[id]
	if e == nil || !e.exists() {
		return nil, vss.E(op, vss.VDSErrObjectNotFound, nil).
			On(id.String()).
			Advise("`vss lun list` shows which LUNs exist")
	}
	return e, nil
}

// LUN finds one LUN.
func (c *Controller) LUN(_ context.Context, id vss.LUNID) (LUN, error) {
	e, err := c.find("GetLun", id)
	if err != nil {
		return LUN{}, err
	}
	return c.snapshot(e), nil
}

// snapshot is an entry's record as it is now.
func (c *Controller) snapshot(e *entry) LUN {
	c.mu.Lock()
	defer c.mu.Unlock()
	return e.copy()
}

// change alters a record durably, or not at all. The caller holds work.
func (c *Controller) change(e *entry, f func(*LUN)) (LUN, error) {
	l := c.snapshot(e)
	f(&l)
	if err := writeRecord(e.pool.RecordDir(), &l); err != nil {
		return LUN{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l.Percent = max(l.Percent, e.Percent)
	e.LUN = l
	return e.copy(), nil
}

func (c *Controller) changeByID(op string, id vss.LUNID, f func(*LUN)) (LUN, error) {
	c.work.Lock()
	defer c.work.Unlock()
	e, err := c.find(op, id)
	if err != nil {
		return LUN{}, err
	}
	return c.change(e, f)
}

func (c *Controller) pool(name string) (NamedPool, error) {
	for _, p := range c.cfg.Pools {
		if name == "" || p.Name == name {
			return p, nil
		}
	}
	return NamedPool{}, vss.E("FindPool", vss.VDSErrObjectNotFound, nil).
		On(name).
		Advise("`vss array list` shows the pools")
}

// freeName returns an error for a name that another LUN than self has, or that isn't valid. The caller holds work.
func (c *Controller) freeName(op, name string, self vss.LUNID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.luns {
		if e.Name == name && e.ID != self {
			return vss.E(op, vss.VDSErrInvalidOperation, errors.New("a LUN of this name exists")).
				On(name).
				Advise("choose another name")
		}
	}
	if !NameOK(name) {
		return vss.E(
			op, vss.ErrInvalidArg,
			errors.New("a LUN's name has 1 to 128 printable characters, no slash, and is not an id"),
		).
			On(strconv.QuoteToASCII(name)).
			Advise("choose another name")
	}
	return nil
}

// Sizes of LUNs, in bytes.
const (
	sizeUnit = 1 << 20 // what they are rounded up to
	minSize  = 4 << 20
	maxSize  = 1 << 50
)

// roundSize rounds a size up. Errors: E_INVALIDARG.
func roundSize(op, name string, size int64) (int64, error) {
	if size < minSize || size > maxSize {
		return 0, vss.E(op, vss.ErrInvalidArg, fmt.Errorf("a LUN of %d bytes", size)).
			On(name).
			Advise("sizes go from 4M to 1024T")
	}
	return (size + sizeUnit - 1) / sizeUnit * sizeUnit, nil
}

// Create makes a LUN.
func (c *Controller) Create(_ context.Context, r CreateRequest) (LUN, error) {
	const op = "CreateLun"
	c.work.Lock()
	defer c.work.Unlock()
	p, err := c.pool(r.Pool)
	if err != nil {
		return LUN{}, err
	}
	size, err := roundSize(op, r.Name, r.Size)
	if err != nil {
		return LUN{}, err
	}
	if err := c.freeName(op, r.Name, vss.LUNID{}); err != nil {
		return LUN{}, err
	}
	if err := c.promise(p, size); err != nil {
		return LUN{}, err
	}
	serial, naa := newIdentity()
	e := &entry{
		LUN{
			Format:   Format,
			ID:       vss.LUNID{GUID: vss.NewGUID()},
			Name:     r.Name,
			Array:    c.cfg.Name,
			Pool:     p.Name,
			Bus:      c.cfg.Targets[0].Bus(),
			Size:     size,
			Serial:   serial,
			NAA:      naa,
			Kind:     KindPlain,
			State:    StateCreating,
			Percent:  100,
			MappedTo: []string{},
			Final:    true,
			Created:  time.Now(),
		},
		p,
	}
	if err := c.introduce(e); err != nil {
		return LUN{}, err
	}
	if err := fault.Around("array", "create-data", func() error { return p.Create(e.ID, size) }); err != nil {
		return LUN{}, errors.Join(err, c.erase(e))
	}
	return c.change(e, func(l *LUN) { l.State = StateReady })
}

// introduce makes a record durable before its LUN exists.
func (c *Controller) introduce(e *entry) error {
	c.mu.Lock()
	for _, o := range c.luns {
		e.Order = max(e.Order, o.Order+1)
	}
	c.mu.Unlock()
	if err := writeRecord(e.pool.RecordDir(), &e.LUN); err != nil {
		return err
	}
	c.mu.Lock()
	c.luns[e.ID] = e
	c.mu.Unlock()
	return nil
}

// erase deletes a LUN's data, then its record. The caller holds work, or the controller is being opened.
func (c *Controller) erase(e *entry) error {
	c.stopHydrating(e)
	if e.State != StateDeleting {
		_, err := c.change(e, func(l *LUN) { l.State = StateDeleting })
		switch {
		case errors.Is(err, unix.ENOSPC) && e.Kind == KindShadowCopy:
			c.mu.Lock() // a full file system can still delete
			e.State = StateDeleting
			c.mu.Unlock()
		case err != nil:
			return err
		}
	}
	for _, h := range e.MappedTo {
		if err := c.withdraw(context.Background(), e.LUN, h); err != nil {
			return err
		}
	}
	if err := fault.Around("array", "delete-data", func() error { return e.pool.Delete(e.ID) }); err != nil {
		return err
	}
	if err := removeRecord(e.pool.RecordDir(), e.ID); err != nil {
		return err
	}
	c.mu.Lock()
	delete(c.luns, e.ID)
	c.mu.Unlock()
	return nil
}

// Delete frees a LUN.
func (c *Controller) Delete(_ context.Context, id vss.LUNID, force bool) error {
	const op = "DeleteLun"
	c.work.Lock()
	defer c.work.Unlock()
	e, err := c.find(op, id)
	if err != nil {
		return err
	}
	if len(e.MappedTo) > 0 {
		return vss.E(op, vss.VDSErrDeviceInUse, fmt.Errorf("it is mapped to %v", e.MappedTo)).
			On(e.Name).
			Advise("mask it from its hosts first: vss lun mask")
	}
	if c.beingCopied(id) {
		return vss.E(op, vss.VDSErrDeviceInUse, errors.New("a copy of it is being made")).
			On(e.Name).
			Advise("try again when the shadow copy set is there")
	}
	if names := c.dependents(id); len(names) > 0 && !force {
		return vss.E(op, vss.VDSErrDeviceInUse, fmt.Errorf("differential shadow copies depend on it: %v", names)).
			On(e.Name).
			Advise("delete or break them first; --force deletes the LUN all the same, the copies live on in the pool")
	}
	return c.erase(e)
}

// beingCopied reports whether a copy of the LUN is prepared and not cut yet.
func (c *Controller) beingCopied(id vss.LUNID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.luns {
		if e.Origin == id && e.State == StatePreparing {
			return true
		}
	}
	return false
}

// dependents are the differential shadow copies of a LUN.
func (c *Controller) dependents(id vss.LUNID) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, e := range c.luns {
		if e.Origin == id && e.Kind == KindShadowCopy && e.Method == MethodDifferential {
			out = append(out, e.Name)
		}
	}
	return out
}

// Rename returns a LUN another name.
func (c *Controller) Rename(_ context.Context, id vss.LUNID, name string) (LUN, error) {
	const op = "RenameLun"
	c.work.Lock()
	defer c.work.Unlock()
	e, err := c.find(op, id)
	if err != nil {
		return LUN{}, err
	}
	if err := c.freeName(op, name, id); err != nil {
		return LUN{}, err
	}
	return c.change(e, func(l *LUN) { l.Name = name })
}

// Extend makes a LUN larger.
func (c *Controller) Extend(_ context.Context, id vss.LUNID, size int64) (LUN, error) {
	const op = "ExtendLun"
	c.work.Lock()
	defer c.work.Unlock()
	e, err := c.find(op, id)
	if err != nil {
		return LUN{}, err
	}
	if size, err = roundSize(op, e.Name, size); err != nil {
		return LUN{}, err
	}
	if size <= e.Size {
		return LUN{}, vss.E(op, vss.VDSErrInvalidOperation, fmt.Errorf("it has %d bytes already", e.Size)).
			On(e.Name).
			Advise("give a size that is larger")
	}
	if err := c.promise(e.pool, size-e.Size); err != nil {
		return LUN{}, err
	}
	if err := e.pool.Extend(id, size); err != nil {
		return LUN{}, err
	}
	return c.change(e, func(l *LUN) { l.Size = size })
}

// WritePaths are the files and folders that a commit writes to.
func (c *Controller) WritePaths(context.Context) ([]string, error) {
	var out []string
	for _, p := range c.cfg.Pools {
		out = append(out, p.WritePaths()...)
	}
	return out, nil
}

var _ Array = (*Controller)(nil)
