package lun

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// legal makes of an array's error one that may leave a provider.
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
		hint = "`vss array list` shows whether the array is well; then try again"
	}
	return vss.E(op, code, err).On(object).Advise(hint)
}

// lost is legal for arrays that work on the set under way: that one of them doesn't know the set, or a LUN of it, is a
// failure of the array, not the answer that the set is unknown.
func lost(op string, set vss.SnapshotSetID, err error) error {
	err = legal(op, set.String(), err)
	if vss.CodeOf(err) == vss.ErrObjectNotFound {
		return vss.E(op, vss.ErrProviderVeto, err).On(set.String()).
			Advise("the array has lost what it had of the set: was it restarted, or a LUN deleted? Create the set anew")
	}
	return err
}

// answer is the result of a method: legal, and where it is a veto also logged, which a veto demands.
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

// say logs what could not be logged while writes were held.
func (p *Provider) say() {
	p.mu.Lock()
	unsaid := p.unsaid
	p.unsaid = nil
	p.mu.Unlock()
	for _, err := range unsaid {
		p.log(err)
	}
}
