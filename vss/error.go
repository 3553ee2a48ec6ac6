package vss

import (
	"errors"
	"strings"
)

// Error is the error type of Stillpoint, on both sides of a socket. Callers test for its code: errors.Is(err,
// vss.ErrObjectNotFound).
type Error struct {
	Op     string // operation that failed, by its name in the interface: "AddToSnapshotSet"
	Code   Code   // result for the requester
	Object string // volume, copy, set, LUN or file concerned
	Hint   string // what to do, in one sentence
	Err    error  // cause; may be nil
}

// E returns an error with an operation, its code and its cause, which may be nil.
func E(op string, code Code, err error) *Error { return &Error{Op: op, Code: code, Err: err} }

// On sets the object of the error.
func (e *Error) On(object string) *Error { e.Object = object; return e }

// Advise sets the hint.
func (e *Error) Advise(hint string) *Error { e.Hint = hint; return e }

// Error returns operation, object, code and cause in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Object != "" {
		b.WriteString(" " + e.Object)
	}
	b.WriteString(": " + e.Code.Name())
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	} else {
		b.WriteString(": " + e.Code.Text())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is the error's code.
func (e *Error) Is(target error) bool {
	c, ok := target.(Code)
	return ok && c == e.Code
}

// CodeOf returns the code of err: OK for nil, otherwise the outermost Code in its chain, or VSS_E_UNEXPECTED without
// one.
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	var c Code
	if errors.As(err, &c) {
		return c
	}
	return ErrUnexpected
}

// Hint returns the outermost hint in the chain of err, or "".
func Hint(err error) string {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}
