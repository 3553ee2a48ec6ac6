package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// UsageError is an error of the command line, found before the service was called.
type UsageError struct{ Text, Hint string }

// Error returns the text of the error without the hint.
func (u *UsageError) Error() string { return u.Text }

// Usagef returns a *UsageError.
func Usagef(hint, format string, args ...any) error {
	return &UsageError{fmt.Sprintf(format, args...), hint}
}

// Failure is the JSON form of an error.
type Failure struct {
	Result   string `json:"result"`
	HRESULT  string `json:"hresult"`
	Facility string `json:"facility,omitempty"`
	Message  string `json:"message"`
	Cause    string `json:"cause"`
	Hint     string `json:"hint"`
}

// Documented is an error with a JSON document of its own, which has a member "error" and others.
type Documented interface {
	error
	Document() any
}

// HRESULT formats the number of a result code.
func HRESULT(c vss.Code) string { return fmt.Sprintf("0x%08x", c.HRESULT()) }

// NewFailure returns the JSON form of err.
func NewFailure(err error) Failure {
	var u *UsageError
	if errors.As(err, &u) {
		code := vss.ErrInvalidArg
		return Failure{Result: code.Name(), HRESULT: HRESULT(code), Message: u.Text, Hint: u.Hint}
	}
	code := vss.CodeOf(err)
	f := Failure{Result: code.Name(), HRESULT: HRESULT(code), Facility: code.Facility(), Hint: vss.Hint(err)}
	if code == vss.SuccessAsyncCancelled || errors.Is(err, context.Canceled) && !code.Failed() {
		f.Hint = "nothing was left behind; run the command again"
	}
	var e *vss.Error
	if !errors.As(err, &e) {
		f.Message = err.Error()
		return f
	}
	f.Message = strings.TrimPrefix(strings.TrimSpace(e.Op+" "+e.Object)+": "+e.Code.Text(), ": ")
	if e.Err != nil {
		f.Cause = e.Err.Error()
	}
	return f
}

// PrintError prints err: to standard error, or with t.JSON as the JSON document.
func (t *Tool) PrintError(err error) {
	if t.JSON {
		var d Documented
		if errors.As(err, &d) {
			t.PrintJSON(d.Document())
			return
		}
		t.PrintJSON(struct {
			Error Failure `json:"error"`
		}{NewFailure(err)})
		return
	}
	f := NewFailure(err)
	fmt.Fprintf(t.Stderr, "%s: %s\n", t.Name, f.Message)
	var u *UsageError
	if !errors.As(err, &u) {
		fmt.Fprintf(t.Stderr, "  result: %s (%s)\n", f.Result, f.HRESULT)
	}
	if f.Cause != "" {
		fmt.Fprintf(t.Stderr, "  cause:  %s\n", f.Cause)
	}
	if f.Hint != "" {
		fmt.Fprintf(t.Stderr, "  hint:   %s\n", f.Hint)
	}
}
