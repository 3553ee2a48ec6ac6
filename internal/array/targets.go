package array

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// checkTargets returns an error unless addresses tell the targets apart.
func checkTargets(targets []Target) error {
	if len(targets) == 0 {
		return vss.E("OpenArray", vss.ErrInvalidArg, errors.New("no target"))
	}
	for i, t := range targets {
		if slices.ContainsFunc(targets[:i], func(o Target) bool { return o.Type() == t.Type() }) {
			return vss.E("OpenArray", vss.ErrInvalidArg, fmt.Errorf("two targets of type %s", t.Type()))
		}
	}
	return nil
}

// target returns the target that shows LUNs to a host. Errors: VDS_E_NOT_SUPPORTED.
func (c *Controller) target(op, host string) (Target, error) {
	for _, t := range c.cfg.Targets {
		if t.Serves(host) {
			return t, nil
		}
	}
	return nil, vss.E(op, vss.VDSErrNotSupported, errors.New("no target of the array reaches this host")).On(host).
		Advise("`vss array list` shows the targets")
}

// exportAll exports a LUN to all hosts that it is mapped to, after a start.
func (c *Controller) exportAll(ctx context.Context, e *entry) error {
	for _, host := range e.MappedTo {
		t, err := c.target("OpenArray", host)
		if err != nil {
			c.cfg.Logger.Warn("a LUN is mapped to a host that no target reaches", "lun", e.Name, "host", host)
			continue
		}
		if err := t.Export(ctx, e.LUN, e.pool.Backing(e.ID), host); err != nil {
			return err
		}
	}
	return nil
}

// withdraw ends the export of a LUN to a host. The caller holds work.
func (c *Controller) withdraw(ctx context.Context, l LUN, host string) error {
	t, err := c.target("MaskLun", host)
	if err != nil {
		return nil // a host that no target reaches has no export
	}
	return t.Withdraw(ctx, l, host)
}

// Mappings lists the LUNs that a host may see.
func (c *Controller) Mappings(ctx context.Context, host string) ([]Mapping, error) {
	luns, err := c.LUNs(ctx)
	if err != nil {
		return nil, err
	}
	t, err := c.target("ListMappings", host)
	if err != nil {
		return nil, nil // it sees none
	}
	var out []Mapping
	for _, l := range luns {
		if !slices.Contains(l.MappedTo, host) {
			continue
		}
		p, err := c.pool(l.Pool)
		if err != nil {
			return nil, err
		}
		if a, ok := t.Address(ctx, l, p.Backing(l.ID), host); ok {
			l.Bus = t.Bus()
			out = append(out, Mapping{l, a})
		}
	}
	return out, nil
}
