package vss

import (
	"errors"
	"strings"
)

// Error is the one error type of Stillpoint. It is the same on both sides of a socket. Callers test it by code:
// errors.Is(err, vss.ErrObjectNotFound).
type Error struct {
	Op     string // the operation that failed, as the interface names it: "AddToSnapshotSet"
	Code   Code   // what the requester sees
	Object string // the volume, copy, set, LUN or file it was about
	Hint   string // what to do next, as one sentence
	Err    error  // the cause, if it is not all said by the code
}

// E makes an error of an operation, its code and its cause (which may be nil).
func E(op string, code Code, err error) *Error { return &Error{Op: op, Code: code, Err: err} }

// On names the object the error is about.
func (e *Error) On(object string) *Error { e.Object = object; return e }

// Advise adds what to do next.
func (e *Error) Advise(hint string) *Error { e.Hint = hint; return e }

// Error gives operation, object, code and cause in one line.
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

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, code) true for the error's own code.
func (e *Error) Is(target error) bool {
	c, ok := target.(Code)
	return ok && c == e.Code
}

// CodeOf is the code of err: OK for nil, the outermost Code in its chain, else VSS_E_UNEXPECTED.
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

// Hint is the advice nearest to the surface of err, or "".
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
