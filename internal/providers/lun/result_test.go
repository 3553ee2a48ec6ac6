package lun

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Any error of an array reaches the requester as a code that a provider may return, with a hint.
func TestLegal(t *testing.T) {
	for _, x := range []struct{ in, want vss.Code }{
		{vss.ErrInvalidArg, vss.ErrInvalidArg}, {vss.ErrAccessDenied, vss.ErrAccessDenied},
		{vss.ErrBadState, vss.ErrBadState},
		{vss.ErrObjectNotFound, vss.ErrObjectNotFound}, {vss.ErrInsufficientStorage, vss.ErrInsufficientStorage},
		{vss.ErrProviderVeto, vss.ErrProviderVeto},
		{vss.VDSErrObjectNotFound, vss.ErrObjectNotFound}, {vss.VDSErrObjectDeleted, vss.ErrObjectNotFound},
		{vss.VDSErrNotEnoughSpace, vss.ErrInsufficientStorage}, {vss.VDSErrNotEnoughDrive, vss.ErrInsufficientStorage},
		{vss.VDSErrDeviceInUse, vss.ErrProviderVeto}, {vss.VDSErrInvalidOperation, vss.ErrProviderVeto},
		{vss.VDSErrNotSupported, vss.ErrProviderVeto},
		{vss.VDSErrProviderCacheCorrupt, vss.ErrProviderVeto}, {vss.ErrUnexpected, vss.ErrProviderVeto},
		{vss.ErrNotSupported, vss.ErrProviderVeto},
		{vss.ErrVolumeInUse, vss.ErrProviderVeto},
	} {
		cause := errors.New("cause")
		err := legal("Op", "object", fmt.Errorf("more: %w", vss.E("inner", x.in, cause)))
		if vss.CodeOf(err) != x.want || !errors.Is(err, cause) {
			t.Errorf("%s: %v", x.in.Name(), err)
		}
		if x.want != x.in && vss.Hint(err) == "" {
			t.Errorf("%s: no advice", x.in.Name())
		}
		if x.want == vss.ErrObjectNotFound && vss.CodeOf(lost("Op", vss.SnapshotSetID{}, err)) != vss.ErrProviderVeto {
			t.Errorf("%s: an array that lost the set makes it unknown", x.in.Name())
		}
	}
	for _, x := range []struct {
		err  error
		want vss.Code
	}{{nil, vss.OK}, {errors.New("plain"), vss.ErrProviderVeto}, {context.Canceled, vss.ErrProviderVeto},
		{vss.E("write", vss.ErrUnexpected, unix.ENOSPC), vss.ErrInsufficientStorage}} {
		if err := legal("Op", "object", x.err); vss.CodeOf(err) != x.want || !errors.Is(err, x.err) {
			t.Errorf("%v became %v", x.err, err)
		}
	}
	if err := legal("Op", "object", vss.E("inner", vss.VDSErrDeviceInUse, nil).Advise("mask it")); vss.Hint(
		err,
	) != "mask it" {
		t.Errorf("the array's advice is lost: %q", vss.Hint(err))
	}
}
