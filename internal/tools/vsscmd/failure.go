package vsscmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// usageError is a command line that means nothing; the service never saw it.
type usageError struct{ text, hint string }

func (u *usageError) Error() string { return u.text }

func usage(hint, format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...), hint}
}

// exactly, and the like, are cobra's checks of arguments in our words.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage("", "%s is missing", names[len(args)])
		case len(args) > len(names):
			return usage("", "too many arguments: %s", strings.Join(args[len(names):], " "))
		}
		return nil
	}
}

// failureJSON is the error of a command as scripts see it.
type failureJSON struct {
	Result   string `json:"result"`
	HRESULT  string `json:"hresult"`
	Facility string `json:"facility,omitempty"`
	Message  string `json:"message"`
	Cause    string `json:"cause"`
	Hint     string `json:"hint"`
}

func hresult(c vss.Code) string { return fmt.Sprintf("0x%08x", c.HRESULT()) }

// failure describes an error.
func failure(err error) failureJSON {
	var u *usageError
	if errors.As(err, &u) {
		return failureJSON{Result: vss.ErrInvalidArg.Name(), HRESULT: hresult(vss.ErrInvalidArg), Message: u.text, Hint: u.hint}
	}
	code := vss.CodeOf(err)
	f := failureJSON{Facility: code.Facility(), Hint: vss.Hint(err)}
	if code == vss.SuccessAsyncCancelled || errors.Is(err, context.Canceled) && !code.Failed() {
		f.Hint = "nothing was left behind; start it again when you want"
	}
	f.Result, f.HRESULT = code.Name(), hresult(code)
	var e *vss.Error
	if !errors.As(err, &e) {
		f.Message = err.Error()
		return f
	}
	f.Message = strings.TrimSpace(e.Op+" "+e.Object) + ": " + e.Code.Text()
	f.Message = strings.TrimPrefix(f.Message, ": ")
	if e.Err != nil {
		f.Cause = e.Err.Error()
	}
	return f
}

// fail prints an error, once.
func (a *app) fail(err error) {
	if a.json {
		var d *deletion
		if errors.As(err, &d) {
			a.print(d)
			return
		}
		a.print(struct {
			Error failureJSON `json:"error"`
		}{failure(err)})
		return
	}
	f := failure(err)
	var u *usageError
	if errors.As(err, &u) {
		fmt.Fprintf(a.stderr, "vss: %s\n", f.Message)
	} else {
		fmt.Fprintf(a.stderr, "vss: %s\n  result: %s (%s)\n", f.Message, f.Result, f.HRESULT)
	}
	if f.Cause != "" {
		fmt.Fprintf(a.stderr, "  cause:  %s\n", f.Cause)
	}
	if f.Hint != "" {
		fmt.Fprintf(a.stderr, "  hint:   %s\n", f.Hint)
	}
}

// warn tells of something that isn't a failure.
func (a *app) warn(format string, args ...any) {
	fmt.Fprintf(a.stderr, "vss: warning: "+format+"\n", args...)
}

// print writes the one JSON document.
func (a *app) print(v any) {
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		a.exit = exitFailed // standard output is gone, so nobody reads the reason
	}
}
