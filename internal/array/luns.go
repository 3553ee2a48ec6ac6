package array

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// freeName returns an error for a name that another LUN than self has, or that isn't valid. The caller holds work.
func (c *Controller) freeName(op, name string, self vss.LUNID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.luns {
		if e.Name == name && e.ID != self {
			return nameTaken(op, name)
		}
	}
	if !NameOK(name) || strings.ContainsRune(name, ':') { // NAME:N is a partition
		return vss.E(
			op, vss.ErrInvalidArg,
			errors.New("a LUN's name has 1 to 128 printable characters, no slash or colon, and is not an id"),
		).
			On(strconv.QuoteToASCII(name)).
			Advise("choose another name")
	}
	return nil
}

func nameTaken(op, name string) error {
	return vss.E(op, vss.VDSErrInvalidOperation, errors.New("a LUN of this name exists")).On(name).
		Advise("choose another name")
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

// Rename gives a LUN another name.
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
