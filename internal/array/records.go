package array

import (
	"encoding/json"
	"errors"
	"sync"

	"github.com/stillpoint-vss/stillpoint/internal/atomicfile"
	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// recordsAtOnce is how many records are written at the same time: the file system flushes its log once for several.
const recordsAtOnce = 16

// writeRecords writes the records of LUNs, which are durable when it returns. It returns an error for each that may not
// be.
func writeRecords(entries []*entry) []error {
	errs := make([]error, len(entries))
	slots := make(chan struct{}, recordsAtOnce)
	var all sync.WaitGroup
	for i, e := range entries {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			errs[i] = writeRecord(e.pool.RecordDir(), &e.LUN)
		})
	}
	all.Wait()
	synced := map[string]error{}
	for i, e := range entries {
		dir := e.pool.RecordDir()
		if _, ok := synced[dir]; !ok {
			synced[dir] = recordError(e.Name, atomicfile.SyncFolders(dir))
		}
		if errs[i] == nil {
			errs[i] = synced[dir]
		}
	}
	return errs
}

// writeRecord writes one record, but for making its name durable.
func writeRecord(dir string, l *LUN) error {
	b, err := json.MarshalIndent(l, "", "  ")
	if err == nil {
		err = fault.Around("array", "write-record", func() error {
			return atomicfile.WriteOne(recordPath(dir, l.ID), b)
		})
	}
	return recordError(l.Name, err)
}

func recordError(name string, err error) error {
	if err == nil {
		return nil
	}
	return vss.E("WriteRecord", vss.ErrUnexpected, err).On(name).Advise("is the pool full?")
}

// changeMany alters records, each durably or not at all. The caller holds work. It returns the records as they are
// then, and an error for each that isn't changed.
func (c *Controller) changeMany(entries []*entry, f func(*LUN)) (out []LUN, errs []error) {
	after := make([]*entry, len(entries))
	for i, e := range entries {
		after[i] = &entry{c.snapshot(e), e.pool}
		f(&after[i].LUN)
	}
	errs = writeRecords(after)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, e := range entries {
		if errs[i] == nil {
			after[i].Percent = max(after[i].Percent, e.Percent)
			e.LUN = after[i].LUN
		}
		out = append(out, e.copy())
	}
	return out, errs
}

// change is changeMany of one record.
func (c *Controller) change(e *entry, f func(*LUN)) (LUN, error) {
	out, errs := c.changeMany([]*entry{e}, f)
	if errs[0] != nil {
		return LUN{}, errs[0]
	}
	return out[0], nil
}

// changeAll alters all of these records or, unless the controller dies in the middle, none. The caller holds work.
func (c *Controller) changeAll(op string, ids []vss.LUNID, f func(*LUN) error) error {
	var entries []*entry
	before, after := map[vss.LUNID]LUN{}, map[vss.LUNID]LUN{}
	for _, id := range ids {
		if _, ok := after[id]; ok {
			continue // named twice
		}
		e, err := c.find(op, id)
		if err != nil {
			return err
		}
		l := c.snapshot(e)
		if err := f(&l); err != nil {
			return err
		}
		entries = append(entries, e)
		before[id], after[id] = c.snapshot(e), l
	}
	_, errs := c.changeMany(entries, func(l *LUN) { *l = after[l.ID] })
	err := errors.Join(errs...)
	if err == nil {
		return nil
	}
	var changed []*entry
	for i, e := range entries {
		if errs[i] == nil {
			changed = append(changed, e)
		}
	}
	_, undo := c.changeMany(changed, func(l *LUN) { *l = before[l.ID] })
	return errors.Join(append(undo, err)...)
}

// introduce makes records durable before their LUNs exist. The caller holds work, and deletes what was introduced if
// there is an error.
func (c *Controller) introduce(entries ...*entry) error {
	c.mu.Lock()
	next := uint64(0)
	for _, o := range c.luns {
		next = max(next, o.Order+1)
	}
	c.mu.Unlock()
	for i, e := range entries {
		e.Order = max(e.Order, next+uint64(i))
	}
	errs := writeRecords(entries)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, e := range entries {
		if errs[i] == nil {
			c.luns[e.ID] = e
		}
	}
	return errors.Join(errs...)
}
