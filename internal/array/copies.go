package array

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// CanCopy reports whether these copies could be made now.
func (c *Controller) CanCopy(_ context.Context, r []CopyRequest) (bool, error) {
	need := map[string]int64{}
	for _, q := range r {
		e, err := c.find("CanCopy", q.Origin)
		if errors.Is(err, vss.VDSErrObjectNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		n, err := c.copyNeed(e.pool, c.snapshot(e), q.Method)
		if err != nil {
			return false, err
		}
		need[e.pool.Name] += n
	}
	for name, n := range need {
		p, err := c.pool(name)
		if err != nil {
			return false, err
		}
		if err := c.checkRoom(p, n); errors.Is(err, vss.ErrInsufficientStorage) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
	return true, nil
}

// copyNeed is the room that a copy must find: all of its data for a plex; for a differential one what its origin may
// overwrite before the space is checked again.
func (c *Controller) copyNeed(p NamedPool, l LUN, m Method) (int64, error) {
	n, err := p.Allocated(l.ID)
	if m != MethodPlex {
		n = max(n/10, 64<<20)
		n = min(n, l.Size)
	}
	return n, err
}

// PrepareCopies does all slow work for the copies of a set.
func (c *Controller) PrepareCopies(
	ctx context.Context,
	set vss.SnapshotSetID,
	host string,
	r []CopyRequest,
) ([]LUN, error) {
	const op = "PrepareCopies"
	if !NameOK(host) {
		return nil, vss.E(op, vss.ErrInvalidArg, errors.New("no host name")).
			On(set.String()).
			Advise("name the host that makes the set")
	}
	c.work.Lock()
	defer c.work.Unlock()
	c.mu.Lock()
	known := c.cuts[hostSet{set, host}] != nil
	c.mu.Unlock()
	if known {
		return nil, vss.E(op, vss.ErrBadState, errors.New("the set's copies are prepared already")).On(set.String())
	}
	origins, err := c.origins(op, r)
	if err != nil {
		return nil, err
	}
	s := &cutting{done: make(chan struct{}), flags: map[vss.LUNID]vss.DiskFlags{}}
	out, err := c.introduceCopies(ctx, hostSet{set, host}, s, origins, r)
	if err != nil {
		return nil, errors.Join(vss.E(op, prepareCode(err), err).On(set.String()).Advise(vss.Hint(err)), c.drop(s))
	}
	c.mu.Lock()
	c.cuts[hostSet{set, host}] = s
	c.mu.Unlock()
	return out, nil
}

// origins finds the LUNs to be copied, and makes room for their copies. The caller holds work.
func (c *Controller) origins(op string, r []CopyRequest) ([]*entry, error) {
	out := make([]*entry, len(r))
	need, plexes := map[string]int64{}, map[string]int64{}
	for i, q := range r {
		e, err := c.find(op, q.Origin)
		if err != nil {
			return nil, vss.E(op, vss.ErrObjectNotFound, err).On(q.Origin.String())
		}
		n, err := c.copyNeed(e.pool, c.snapshot(e), q.Method)
		if err != nil {
			return nil, err
		}
		out[i] = e
		need[e.pool.Name] += n
		if q.Method == MethodPlex {
			plexes[e.pool.Name] += n
		}
	}
	for name, n := range need {
		p, err := c.pool(name)
		if err != nil {
			return nil, err
		}
		if err := c.roomForCopies(p, n); err != nil {
			return nil, err
		}
		own := slices.DeleteFunc(slices.Clone(out), func(e *entry) bool { return e.pool.Name != name })
		if err := c.reserve(p, own, plexes[name]); err != nil {
			return nil, err
		}
	}
	for _, e := range out {
		if e.Copied || e.Kind != KindPlain {
			continue
		}
		if _, err := c.change(e, func(l *LUN) { l.Copied = true }); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// introduceCopies makes the records of a set's copies durable and prepares their cutters, which s then has, also
// after an error. The caller holds work.
func (c *Controller) introduceCopies(
	ctx context.Context, of hostSet, s *cutting, origins []*entry, r []CopyRequest,
) ([]LUN, error) {
	out := make([]LUN, len(r))
	cuts := map[string][]Cut{}
	var added []*entry
	for i, q := range r {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e, err := c.newCopy("PrepareCopies", origins[i], q)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(added, func(o *entry) bool { return o.Name == e.Name }) {
			return nil, nameTaken("PrepareCopies", e.Name)
		}
		e.Set, e.Host = of.id, of.host
		added = append(added, e)
		s.copies = append(s.copies, e.ID)
		cuts[e.Pool] = append(cuts[e.Pool], Cut{e.Origin, e.ID})
	}
	if err := c.introduce(added...); err != nil {
		return nil, err
	}
	for i, e := range added {
		out[i] = e.copy()
	}
	for name, k := range cuts {
		p, err := c.pool(name)
		if err != nil {
			return nil, err
		}
		cutter, err := p.Prepare(k)
		if err != nil {
			return nil, err
		}
		s.cutters = append(s.cutters, cutter)
	}
	return out, ctx.Err()
}

// prepareCode is what a requester hears of a failed preparation.
func prepareCode(err error) vss.Code {
	if errors.Is(err, unix.ENOSPC) {
		return vss.ErrInsufficientStorage
	}
	return vss.CodeOf(err)
}

// newCopy is the record of a copy to be.
func (c *Controller) newCopy(op string, o *entry, q CopyRequest) (*entry, error) {
	serial, naa := newIdentity()
	e := &entry{
		LUN{
			Format:   Format,
			ID:       vss.LUNID{GUID: vss.NewGUID()},
			Name:     q.Name,
			Array:    c.cfg.Name,
			Pool:     o.pool.Name,
			Bus:      o.Bus,
			Size:     o.Size,
			Serial:   serial,
			NAA:      naa,
			Kind:     KindShadowCopy,
			State:    StatePreparing,
			Origin:   o.ID,
			Method:   q.Method,
			MappedTo: []string{},
			Flags:    o.Flags,
			Created:  time.Now(),
		},
		o.pool,
	}
	switch e.Method {
	case "":
		e.Method = MethodDifferential
	case MethodDifferential, MethodPlex:
	default:
		return nil, vss.E(op, vss.ErrInvalidArg, fmt.Errorf("no method %q", e.Method)).
			On(o.Name).
			Advise("methods are differential and plex")
	}
	if e.Method == MethodDifferential {
		e.Percent = 100
	}
	if e.Name == "" {
		e.Name = strings.ToValidUTF8(o.Name[:min(len(o.Name), 100)], "") + "-" + serial[:8]
	}
	return e, c.freeName(op, e.Name, vss.LUNID{})
}

// drop deletes the copies of a set that is not kept. The caller holds work.
func (c *Controller) drop(s *cutting) error {
	for _, k := range s.cutters {
		_ = k.Close() // what it couldn't make durable is deleted now
	}
	var errs []error
	for _, id := range s.copies {
		c.mu.Lock()
		e := c.luns[id]
		c.mu.Unlock()
		if e != nil {
			errs = append(errs, c.erase(e))
		}
	}
	return errors.Join(errs...)
}

// CommitCopies cuts the copies. It takes no lock that is held during I/O, and issues ioctls on open descriptors only.
func (c *Controller) CommitCopies(_ context.Context, set vss.SnapshotSetID, host string) (time.Duration, error) {
	const op = "CommitCopies"
	c.mu.Lock()
	s := c.cuts[hostSet{set, host}]
	switch {
	case s == nil:
		c.mu.Unlock()
		return 0, vss.E(op, vss.ErrObjectNotFound, nil).On(set.String())
	case s.cut:
		c.mu.Unlock()
		return 0, vss.E(op, vss.ErrBadState, errors.New("the set's copies are cut already")).On(set.String())
	}
	s.cut = true
	for _, id := range s.copies {
		if o := c.luns[c.luns[id].Origin]; o != nil {
			s.flags[id] = o.Flags
		}
	}
	c.mu.Unlock()
	defer close(s.done)
	type times struct {
		first, last time.Time
		err         error
	}
	t := make([]times, len(s.cutters))
	var wg sync.WaitGroup
	for i, k := range s.cutters {
		wg.Go(func() { t[i].first, t[i].last, t[i].err = k.Cut() })
	}
	wg.Wait()
	var first, last time.Time
	for _, x := range t {
		if x.err != nil {
			s.err = vss.E(op, vss.ErrProviderVeto, x.err).
				On(set.String()).
				Advise("the pool refused a copy; `vss array list` shows its space, the kernel's log its errors")
			return 0, s.err
		}
		if first.IsZero() || x.first.Before(first) {
			first = x.first
		}
		if x.last.After(last) {
			last = x.last
		}
	}
	s.skew = last.Sub(first)
	return s.skew, nil
}

// FinishCopies makes the cut copies durable and begins to hydrate plexes. It may be repeated.
func (c *Controller) FinishCopies(_ context.Context, set vss.SnapshotSetID, host string) ([]LUN, error) {
	const op = "FinishCopies"
	c.mu.Lock()
	s := c.cuts[hostSet{set, host}]
	cut := s != nil && s.cut
	c.mu.Unlock()
	switch {
	case s == nil:
		return nil, vss.E(op, vss.ErrObjectNotFound, nil).On(set.String())
	case !cut:
		return nil, vss.E(op, vss.ErrBadState, errors.New("the set's copies are not cut")).On(set.String())
	}
	<-s.done
	if s.err != nil {
		return nil, s.err
	}
	c.work.Lock()
	defer c.work.Unlock()
	var unsaved []error
	for _, k := range s.cutters {
		unsaved = append(unsaved, k.Close())
	}
	s.cutters = nil
	if err := errors.Join(unsaved...); err != nil {
		return nil, vss.E(op, vss.ErrProviderVeto, fmt.Errorf("a copy could not be made durable: %w", err)).
			On(set.String())
	}
	entries := make([]*entry, len(s.copies))
	c.mu.Lock()
	for i, id := range s.copies {
		entries[i] = c.luns[id]
	}
	c.mu.Unlock()
	if i := slices.Index(entries, nil); i >= 0 {
		return nil, vss.E(op, vss.ErrObjectNotFound, errors.New("a copy of the set no longer exists")).
			On(s.copies[i].String())
	}
	out, errs := c.changeMany(entries, func(l *LUN) {
		if l.State == StatePreparing {
			l.State, l.Skew, l.Flags = StateCommitted, s.skew, s.flags[l.ID]
		}
	})
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for i, l := range out {
		if l.Method == MethodPlex && l.Percent < 100 {
			c.hydrate(entries[i])
		}
	}
	return out, nil
}
