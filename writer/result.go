package writer

import (
	"errors"
	"slices"
	"strings"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// own are the results that a writer itself may give. Source: SetWriterFailure, SetWriterFailureEx.
var own = []vss.Code{
	vss.ErrWriterErrorPartialFailure, vss.ErrWriterErrorInconsistentSnapshot, vss.ErrWriterErrorOutOfResources,
	vss.ErrWriterErrorTimeout, vss.ErrWriterErrorRetryable, vss.ErrWriterErrorNonRetryable, vss.ErrWriterErrorRecoveryFailed,
}

const maxMessage = 4 << 10 // bytes of a failure's message

// legal makes an error one that may come from a writer: any but VSS_E_WRITERERROR_* and those in also becomes
// VSS_E_WRITERERROR_NONRETRYABLE, or the failure's code, where the handler set one. Nil stays nil.
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
	return vss.E(op, code, err).Advise("see the writer's log; it would fail again as it is")
}

// legalFailure brings a writer's account of a failure into bounds: its code as legal does, its message a short text.
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

// vetoed says whether a handler that returned no error told of a failure all the same.
func vetoed(f *Failure) bool { return f != nil && f.Code != vss.OK }
