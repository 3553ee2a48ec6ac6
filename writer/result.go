package writer

import (
	"errors"
	"slices"
	"strings"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// own lists the codes that a writer may return. Source: SetWriterFailure, SetWriterFailureEx.
var own = []vss.Code{
	vss.ErrWriterErrorPartialFailure, vss.ErrWriterErrorInconsistentSnapshot, vss.ErrWriterErrorOutOfResources,
	vss.ErrWriterErrorTimeout, vss.ErrWriterErrorRetryable, vss.ErrWriterErrorNonRetryable,
	vss.ErrWriterErrorRecoveryFailed,
}

const maxMessage = 4 << 10 // bytes of a failure's message

// legal converts an error to one that a writer may return. An error with a code that is neither in own nor in also
// gets the code of the failure that the handler set, or VSS_E_WRITERERROR_NONRETRYABLE. Nil stays nil.
func legal(op string, err error, f *Failure, also ...vss.Code) error {
	if err == nil {
		return nil
	}
	code := vss.CodeOf(err)
	if slices.Contains(own, code) || slices.Contains(also, code) {
		var e *vss.Error
		if errors.As(err, &e) && e.Code == code && e.Op != "" {
			return err
		}
		return vss.E(op, code, err)
	}
	code = vss.ErrWriterErrorNonRetryable
	if f != nil && f.Code != vss.OK {
		code = f.Code
	}
	return vss.E(op, code, err).Advise("see the writer's log; a retry would fail, too")
}

// legalFailure returns a failure with a legal code and a message of limited length.
func legalFailure(f *Failure) *Failure {
	if f == nil {
		return nil
	}
	n := *f
	if n.Code != vss.OK && !slices.Contains(own, n.Code) {
		n.Code = vss.ErrWriterErrorNonRetryable
	}
	if len(n.Message) > maxMessage {
		n.Message = n.Message[:maxMessage]
	}
	n.Message = strings.ToValidUTF8(n.Message, "?")
	return &n
}

// vetoed reports whether a handler that returned no error set a failure.
func vetoed(f *Failure) bool { return f != nil && f.Code != vss.OK }
