package lun

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// legal turns an error of an array into one that a provider may return.
func legal(op, object string, err error) error {
	if err == nil {
		return nil
	}
	code := vss.CodeOf(err)
	switch code {
	case vss.ErrOutOfMemory,
		vss.ErrInvalidArg,
		vss.ErrAccessDenied,
		vss.ErrBadState,
		vss.ErrObjectNotFound,
		vss.ErrInsufficientStorage,
		vss.ErrVolumeNotSupportedByProvider,
		vss.ErrUnsupportedContext,
		vss.ErrProviderVeto:
		return err
	case vss.VDSErrObjectNotFound, vss.VDSErrObjectDeleted:
		code = vss.ErrObjectNotFound
	case vss.VDSErrNotEnoughSpace, vss.VDSErrNotEnoughDrive:
		code = vss.ErrInsufficientStorage
	default:
		code = vss.ErrProviderVeto
		if errors.Is(err, unix.ENOSPC) {
			code = vss.ErrInsufficientStorage
		}
	}
	hint := vss.Hint(err)
	if hint == "" {
		hint = "`vss array list` shows the state of the array; try again when it is ready"
	}
	return vss.E(op, code, err).On(object).Advise(hint)
}

// lost is legal for the arrays of the set that is being created: if one of them doesn't know the set, or a LUN of it,
// that is a failure of the array and not an unknown set.
func lost(op string, set vss.SnapshotSetID, err error) error {
	err = legal(op, set.String(), err)
	if vss.CodeOf(err) == vss.ErrObjectNotFound {
		return vss.E(op, vss.ErrProviderVeto, err).On(set.String()).
			Advise("the array was restarted, or a LUN was deleted; create the set again")
	}
	return err
}

// answer returns the result of a method: a legal error, which is logged if it is a veto.
func (p *Provider) answer(op, object string, err error) error {
	err = legal(op, object, err)
	if vss.CodeOf(err) == vss.ErrProviderVeto {
		p.log(err)
	}
	return err
}

func (p *Provider) log(err error) {
	p.cfg.Logger.Error(err.Error(), "provider", Name, "hint", vss.Hint(err))
}

// flushDeferredErrors logs the errors that could not be logged while writes were held.
func (p *Provider) flushDeferredErrors() {
	p.mu.Lock()
	deferred := p.deferredErrors
	p.deferredErrors = nil
	p.mu.Unlock()
	for _, err := range deferred {
		p.log(err)
	}
}
