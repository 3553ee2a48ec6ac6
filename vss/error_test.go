package vss

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestErrorText(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"code alone", E("DoSnapshotSet", ErrBadState, nil),
			"DoSnapshotSet: VSS_E_BAD_STATE: the call does not fit the state of the session"},
		{"with object", E("Add", ErrObjectNotFound, nil).On("/srv"),
			"Add /srv: VSS_E_OBJECT_NOT_FOUND: no such object"},
		{"with cause", E("Add", ErrUnexpected, io.EOF).On("/srv").Advise("unseen"), "Add /srv: VSS_E_UNEXPECTED: EOF"},
		{"nested", E("Add", ErrProviderVeto, E("lvcreate", ErrInsufficientStorage, nil).On("vg0")),
			"Add: VSS_E_PROVIDER_VETO: lvcreate vg0: VSS_E_INSUFFICIENT_STORAGE: " +
				"there is not enough space for the copy"},
	} {
		if got := tc.err.Error(); got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
	}
}

func TestErrorsIs(t *testing.T) {
	inner := E("lvcreate", ErrInsufficientStorage, io.ErrShortWrite)
	err := fmt.Errorf("more: %w", E("Add", ErrProviderVeto, fmt.Errorf("why: %w", inner)))
	for _, c := range []error{ErrProviderVeto, ErrInsufficientStorage, io.ErrShortWrite, inner} {
		if !errors.Is(err, c) {
			t.Errorf("%v is not %v", err, c)
		}
	}
	for _, c := range []error{ErrBadState, OK, io.EOF, E("lvcreate", ErrInsufficientStorage, io.ErrShortWrite)} {
		if errors.Is(err, c) {
			t.Errorf("%v is %v", err, c)
		}
	}
	// The same number, of another service.
	if errors.Is(E("x", VDSErrNotSupported, nil), ErrClusterError) ||
		errors.Is(E("x", ErrClusterError, nil), VDSErrNotSupported) {
		t.Error("VSS's and VDS's 0x80042400 are not the same")
	}
	if !errors.Is(E("x", ErrUnexpected, ErrFail), ErrFail) || !errors.Is(fmt.Errorf("%w", ErrFail), ErrFail) {
		t.Error("a bare code as a cause is lost")
	}
}

func TestCodeOf(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want Code
	}{
		{"nil", nil, OK},
		{"code", ErrFail, ErrFail},
		{"wrapped code", fmt.Errorf("x: %w", ErrFail), ErrFail},
		{"error", E("x", ErrBadState, ErrFail), ErrBadState},
		{"wrapped error", fmt.Errorf("x: %w", E("x", VDSErrDeviceInUse, nil)), VDSErrDeviceInUse},
		{"outermost", E("x", ErrProviderVeto, E("y", ErrFail, nil)), ErrProviderVeto},
		{"joined", errors.Join(io.EOF, E("x", ErrVolumeInUse, nil)), ErrVolumeInUse},
		{"success code", E("x", SuccessSomeSnapshotsNotImported, nil), SuccessSomeSnapshotsNotImported},
		{"foreign", io.EOF, ErrUnexpected},
	} {
		if got := CodeOf(tc.err); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got.Name(), tc.want.Name())
		}
	}
}

func TestHint(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"nil", nil, ""},
		{"foreign", io.EOF, ""},
		{"none", E("x", ErrFail, io.EOF), ""},
		{"own", E("x", ErrFail, E("y", ErrFail, nil).Advise("deep")).Advise("near"), "near"},
		{"of the cause", E("x", ErrFail, fmt.Errorf("z: %w", E("y", ErrFail, nil).Advise("deep"))), "deep"},
		{"behind a wrapper", fmt.Errorf("z: %w", E("y", ErrFail, nil).Advise("deep")), "deep"},
	} {
		if got := Hint(tc.err); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}
