package array

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Config configures a Controller. A pool may be opened lazily: its methods are called when they are first needed.
type Config struct {
	Name     string
	Pools    []NamedPool
	Targets  []Target // at least one, each of another type
	LowWater int64    // bytes; 0: 256 MiB or 5 % of the pool, whichever is more, but a quarter at most
	// Reserve: copies are made only where the pool has room for all that their originals may still write, so that
	// they can be written without this process.
	Reserve bool
	Logger  *slog.Logger
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

// Close ends the background work and closes the pools. It may be repeated.
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

// WritePaths are the files and folders that a commit writes to.
func (c *Controller) WritePaths(context.Context) ([]string, error) {
	var out []string
	for _, p := range c.cfg.Pools {
		out = append(out, p.WritePaths()...)
	}
	return out, nil
}

var _ Array = (*Controller)(nil)
