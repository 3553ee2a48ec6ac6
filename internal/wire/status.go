package wire

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// ErrServiceGone is the cause of a VSS_E_UNEXPECTED if the other side of a socket isn't running, or ended during a
// call.
var ErrServiceGone = errors.New("the service isn't running or has ended")

// ToStatus converts err to a gRPC status that has all of its content. Method is the name of the call, for errors
// without an operation. It returns nil for nil.
func ToStatus(method string, err error) error {
	if err == nil {
		return nil
	}
	var known *vss.Error
	if s, ok := status.FromError(err); ok && !errors.As(err, &known) {
		// of generated code (Unimplemented), or of a call that the handler made without Dial
		err = withoutDetail(method, s)
	}
	err = native(method, err)
	d := Detail(method, err)
	code := grpcCode(vss.MakeCode(d.GetHresult(), d.GetFacility()))
	if code == codes.Internal {
		switch {
		case errors.Is(err, context.Canceled):
			code = codes.Canceled
		case errors.Is(err, context.DeadlineExceeded):
			code = codes.DeadlineExceeded
		}
	}
	s := status.New(code, summary(err))
	if full, derr := s.WithDetails(d); derr == nil {
		s = full
	}
	return s.Err()
}

// FromStatus converts a gRPC status to a *vss.Error. A failure of the transport becomes VSS_E_UNEXPECTED with
// ErrServiceGone, context.Canceled or context.DeadlineExceeded as its cause. Nil and errors that aren't a status are
// returned unchanged.
func FromStatus(method string, err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	for _, any := range s.Details() {
		if d, ok := any.(*vssv1.ErrorDetail); ok {
			e := FromDetail(d)
			var v *vss.Error
			if errors.As(e, &v) && v.Op == "" {
				v.Op = method
			}
			return e
		}
	}
	return withoutDetail(method, s)
}

// withoutDetail converts a status that has no detail of ours.
func withoutDetail(method string, s *status.Status) error {
	text := errors.New(clean(s.Message()))
	switch s.Code() {
	case codes.Canceled:
		return vss.E(method, vss.ErrUnexpected, context.Canceled)
	case codes.DeadlineExceeded:
		return vss.E(method, vss.ErrUnexpected, context.DeadlineExceeded).
			Advise("the other side doesn't respond; see its log")
	case codes.Unavailable:
		return vss.E(method, vss.ErrUnexpected, &remote{text: ErrServiceGone.Error() + ": " + text.Error(),
			causes: []error{ErrServiceGone}}).
			Advise("check that the service is running, and try again")
	case codes.PermissionDenied, codes.Unauthenticated:
		return vss.E(method, vss.ErrAccessDenied, text)
	case codes.Unimplemented:
		return vss.E(method, vss.ErrNotImpl, text)
	case codes.InvalidArgument:
		return vss.E(method, vss.ErrInvalidArg, text)
	case codes.NotFound:
		return vss.E(method, vss.ErrObjectNotFound, text)
	case codes.AlreadyExists:
		return vss.E(method, vss.ErrObjectAlreadyExists, text)
	case codes.FailedPrecondition:
		return vss.E(method, vss.ErrBadState, text)
	case codes.ResourceExhausted:
		return vss.E(method, vss.ErrOutOfMemory, text)
	}
	return vss.E(method, vss.ErrUnexpected, text)
}

// summary returns the text for clients that can't read the detail.
func summary(err error) string {
	const most = 256 // bytes; it is sent in a header together with the detail
	text := err.Error()
	if len(text) > most {
		text = text[:most] + "..."
	}
	return clean(text)
}

// methodName returns AddToSnapshotSet for /vss.v1.Coordinator/AddToSnapshotSet.
func methodName(full string) string { return full[strings.LastIndexByte(full, '/')+1:] }
