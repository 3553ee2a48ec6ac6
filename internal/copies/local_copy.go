package copies

import (
	"context"
	"errors"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// localCopy is a copy that a software provider keeps on this host.
type localCopy struct {
	k  *localKind
	r  *catalog.Snapshot
	at provider.Location // the zero value until it is looked up
}

// Record implements Copy.
func (c *localCopy) Record() *catalog.Snapshot { return c.r }

// Kind implements Copy.
func (c *localCopy) Kind() Kind { return c.k }

// Source implements Copy: the provider makes the copy accessible and returns where it is.
func (c *localCopy) Source(ctx context.Context) (provider.Location, error) {
	if c.at.Folder != "" || len(c.at.Devices) > 0 {
		return c.at, nil
	}
	at, err := call(ctx, c.k.caller, callSurface, c.r.SetID, func(ctx context.Context) (provider.Location, error) {
		at, err := c.k.sw.Surface(ctx, ref(c.r))
		if err == nil && (at.Folder == "") == (len(at.Devices) == 0) {
			err = vss.E("Surface", vss.ErrUnexpectedProviderError, errors.New("a copy is on devices or in a folder"))
		}
		return at, err
	})
	if err != nil {
		return at, err
	}
	c.at = at
	return at, nil
}

// ReadOnly implements Copy.
func (c *localCopy) ReadOnly(ctx context.Context, on bool) error {
	return c.k.do(
		ctx,
		callSetWritable,
		c.r.SetID,
		func(ctx context.Context) error { return c.k.sw.SetWritable(ctx, ref(c.r), !on) },
	)
}

func (c *localCopy) withdraw(ctx context.Context, force bool) error {
	c.at = provider.Location{}
	return c.k.plain(
		ctx,
		callWithdraw,
		func(ctx context.Context) error { return c.k.sw.Withdraw(ctx, ref(c.r), force) },
	)
}

// Withdraw implements Copy. A copy that doesn't exist any more is not here.
func (c *localCopy) Withdraw(ctx context.Context, force bool) error {
	err := c.withdraw(ctx, force)
	if errors.Is(err, vss.ErrObjectNotFound) {
		return nil
	}
	return c.k.translate(ctx, callWithdraw, c.r.SetID, err)
}

// Restore implements Copy.
func (c *localCopy) Restore(ctx context.Context) error {
	c.at = provider.Location{}
	_, err := c.Source(ctx)
	return err
}

// TakeAway implements Copy.
func (c *localCopy) TakeAway(ctx context.Context, _ Kept, force bool) error {
	return c.Withdraw(ctx, force)
}

// Remove implements Copy.
func (c *localCopy) Remove(ctx context.Context, _ Kept, _ bool) error {
	return c.k.translate(ctx, callDelete, c.r.SetID, c.k.delete(ctx, c.r))
}
